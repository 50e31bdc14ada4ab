# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What every operation that reads a repository shares: where it is, which point is meant, and duplicity with a cold cache."""

from __future__ import annotations

import os
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from . import chains, command, execute, outcome, record, reporter, spooled
from .errors import LifeboatError
from .keyring import Keyring
from .record import Record
from .store import Location, open_store
from .times import stamp

# From a workspace, and the place where duplicity finds the repository, to its arguments
Build = t.Callable[[command.Workspace, Location], tuple[str, ...]]


@dataclass(frozen=True)
class Origin:
    """Where to read from: the repository, and what its records call it. ``private_key`` is armored OpenPGP; ``passphrase``
    opens it, or sets that are sealed with a passphrase; with neither, the repository is one in clear. ``node`` and
    ``profile`` are None for a repository that keeps no records."""

    repository: Location
    private_key: bytes | None = None
    passphrase: str | None = None
    node: str | None = None
    profile: str | None = None

    @property
    def encrypted(self) -> bool:
        return self.private_key is not None or self.passphrase is not None

    @property
    def as_of(self) -> str | None:
        """The time as of which it is read, as a stamp; None for what is there now."""
        return stamp(self.repository.as_of) if self.repository.as_of else None

    @property
    def then(self) -> str:
        """The same as part of a sentence, or nothing."""
        return f" (the store as of {self.as_of})" if self.as_of else ""


@dataclass(frozen=True)
class Limits:
    """Seconds after which a run is ended: in all, and without progress."""

    timeout: int = 20 * 3600
    stall_timeout: int = 1800


def locate(repository: Location, moment: datetime | None) -> tuple[chains.Chain, chains.BackupSet]:
    """The point that is meant, judged by what the store holds (or held at ``repository.as_of``) and never by a cache
    (facts: guards 1, 2, 11)."""
    collection = chains.collect(open_store(repository).list())
    if repository.as_of is not None and not collection.chains:
        raise LifeboatError(
            f"the store held no backup here at {stamp(repository.as_of)}: choose a later as_of; what was overwritten or "
            "deleted is kept for the bucket's noncurrent days only."
        )
    return chains.choose_point(collection, moment)


@contextmanager
def opened(origin: Origin, room: str) -> t.Iterator[command.Workspace]:
    """A workspace in ``room`` with a cold cache and, for its time, the private key in a keyring of its own."""
    for folder in ("archive", "tmp"):
        os.makedirs(os.path.join(room, folder), mode=0o700)
    with Keyring(origin.passphrase) as ring:
        if origin.private_key is not None:
            ring.import_keys(origin.private_key)
        yield command.Workspace(
            archive=os.path.join(room, "archive"),
            temporary=os.path.join(room, "tmp"),
            log=os.path.join(room, "machine.log"),
            objects=os.devnull,
            gnupghome=ring.home,
            progress=reporter.follow(os.path.join(room, "progress")),
        )


def duplicity(
    origin: Origin,
    time: str,
    room: str,
    build: Build,
    limits: Limits,
    keep: t.Sequence[int] = (),
    *,
    onto: bool = False,
    parts: t.Collection[str] = spooled.PARTS,
) -> execute.Finished:
    """Run what ``build`` makes of a fresh workspace in ``room`` to read the point ``time``; ``keep`` are descriptors handed
    on; ``onto``: a restore may go onto a folder that holds something; ``parts``: which objects of the chain it needs."""
    with spooled.local(origin.repository, time, room, parts) as place, opened(origin, room) as work:
        work = replace(work, onto=onto)
        finished = execute.run(
            build(work, place),
            command.environment(place, work, os.environ),
            log=work.log,
            timeout=limits.timeout,
            stall_timeout=limits.stall_timeout,
            keep=keep,
        )
        reporter.phase("finishing")
        return finished


def entry(
    operation: str,
    origin: Origin,
    point: tuple[str, str],
    started: datetime,
    finished: execute.Finished,
    verdict: outcome.Verdict,
) -> Record:
    """The record of a run that read ``point``, the times of its chain and of its set."""
    return Record(
        operation=operation,
        outcome=verdict.outcome.value,
        started=stamp(started),
        seconds=round(finished.seconds, 3),
        node=origin.node,
        profile=origin.profile,
        chain=point[0],
        set_time=point[1],
        failure=verdict.failure,
        exit_code=finished.exit_code,
        warnings=record.warnings_of(finished.events),
        as_of=origin.as_of,
    )


def plain(operation: str, origin: Origin, point: tuple[str, str], started: datetime) -> Record:
    """The record of an operation that ended well without duplicity, just now."""
    seconds = round((datetime.now(started.tzinfo) - started).total_seconds(), 3)
    made = Record(operation, "ok", stamp(started), seconds, origin.node, origin.profile, as_of=origin.as_of)
    return replace(made, chain=point[0], set_time=point[1])

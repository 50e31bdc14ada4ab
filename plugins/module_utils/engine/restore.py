# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Restore with stock duplicity: cold cache, explicit time, into a fresh sibling that is renamed when all is well."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import stat
import tempfile
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from . import chains, command, execute, outcome, record, witness
from .errors import LifeboatError, Refused
from .keyring import Keyring
from .record import Record
from .result import Result
from .store import Location, open_store
from .times import now, stamp

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
Build = t.Callable[[command.Workspace], tuple[str, ...]]


@dataclass(frozen=True)
class Origin:
    """Where to restore from: the repository, and what its records call it. ``private_key`` is armored OpenPGP, or None
    for a repository in clear. ``node`` and ``profile`` are None for a repository that keeps no records."""

    repository: Location
    private_key: bytes | None = None
    node: str | None = None
    profile: str | None = None

    @property
    def encrypted(self) -> bool:
        return self.private_key is not None


@dataclass(frozen=True)
class Limits:
    """Seconds after which a run is ended: in all, and without progress."""

    timeout: int = 20 * 3600
    stall_timeout: int = 1800


def run(
    origin: Origin,
    destination: str,
    *,
    moment: datetime | None = None,
    path: str | None = None,
    replace_existing: bool = False,
    limits: Limits | None = None,
) -> Result:
    """Restore the newest point not after ``moment`` to ``destination``, which appears only when it is complete.

    ``path`` restores one file or folder of the source. An existing, non-empty destination is refused unless
    ``replace_existing``: then both are exchanged at once and the old tree is deleted afterwards.
    """
    destination = check_destination(destination, replace_existing)
    started = now()
    chain, point = locate(origin.repository, moment)
    parent, name = os.path.split(destination)
    try:
        room = tempfile.mkdtemp(prefix=f".{name[:64]}.lifeboat-", dir=parent)
    except OSError as error:
        raise LifeboatError(f"cannot write in {parent}: {error.strerror}; choose another destination.") from error
    try:
        tree = os.path.join(room, "tree")

        def build(work: command.Workspace) -> tuple[str, ...]:
            return command.restore(origin.repository, point.time, tree, work, encrypted=origin.encrypted, path=path)

        finished = _duplicity(origin, room, build, limits or Limits())
        verdict = outcome.decide(finished)
        entry = _entry("restore", origin, (chain.time, point.time), started, finished, verdict)
        if verdict.outcome is outcome.Outcome.FAILED:
            return Result(
                entry,
                False,
                f"The restore failed, {destination} is untouched: {verdict.failure}",
                outcome.detail(finished),
            )
        files, size = count(tree)
        put_in_place(tree, destination)
        entry = replace(entry, files=files, bytes=size)
        return Result(entry, True, f"Restored {files} files of {point.time} to {destination}.")
    finally:
        shutil.rmtree(room, ignore_errors=True)


def check_destination(destination: str, replace_existing: bool) -> str:
    """The normalised destination, if restoring to it can hurt nothing that was not named."""
    if not destination.startswith("/"):
        raise Refused(f"destination '{destination}' is not an absolute path.")
    path = os.path.normpath(destination)
    if path == "/" or os.path.ismount(path):
        raise Refused(f"{path} is a mount point, which cannot be swapped: restore into a folder below it.")
    inside = next((mount for mount in _mounts() if mount.startswith(os.path.realpath(path) + "/")), None)
    if replace_existing and inside and not os.path.islink(path):
        raise Refused(f"{inside} is a mount point, and what is in {path} is deleted after the swap: unmount it first.")
    if not os.path.isdir(os.path.dirname(path)):
        raise Refused(f"{os.path.dirname(path)} does not exist: create it, or choose another destination.")
    if os.path.lexists(path) and not _is_empty_folder(path) and not replace_existing:
        raise Refused(f"{path} exists and is not empty: choose another destination, or set replace to swap it.")
    return path


def _mounts() -> list[str]:
    """Every mount point that this process sees (proc(5): blanks and the like are octal)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as handle:
        return [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4]) for line in handle]


def _is_empty_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)


def locate(repository: Location, moment: datetime | None) -> tuple[chains.Chain, chains.BackupSet]:
    """The point to restore, judged by what the store holds now and never by a cache (facts: guards 1, 2, 11)."""
    return chains.choose_point(chains.collect(open_store(repository).list()), moment)


@contextmanager
def opened(origin: Origin, room: str) -> t.Iterator[command.Workspace]:
    """A workspace in ``room`` with a cold cache and, for its time, the private key in a keyring of its own."""
    for folder in ("archive", "tmp"):
        os.makedirs(os.path.join(room, folder), mode=0o700)
    with Keyring() as ring:
        if origin.private_key is not None:
            ring.import_keys(origin.private_key)
        yield command.Workspace(
            archive=os.path.join(room, "archive"),
            temporary=os.path.join(room, "tmp"),
            log=os.path.join(room, "machine.log"),
            objects=os.devnull,
            gnupghome=ring.home,
        )


def _duplicity(origin: Origin, room: str, build: Build, limits: Limits) -> execute.Finished:
    with opened(origin, room) as work:
        return execute.run(
            build(work),
            command.environment(origin.repository, work, os.environ),
            log=work.log,
            timeout=limits.timeout,
            stall_timeout=limits.stall_timeout,
        )


def _entry(
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
    )


def count(tree: str) -> tuple[int, int]:
    """Files and their bytes at ``tree``, which may be a single file."""
    status = os.lstat(tree)
    if not stat.S_ISDIR(status.st_mode):
        return 1, status.st_size
    files = [item.st_size for item in witness.walk(tree).values() if stat.S_ISREG(item.st_mode)]
    return len(files), sum(files)


def put_in_place(tree: str, destination: str) -> None:
    """Give ``tree`` its name. What stood there ends up where ``tree`` was, and is deleted with it."""
    try:
        if _is_empty_folder(destination):
            os.rmdir(destination)
        if os.path.lexists(destination):
            _exchange(tree, destination)
        else:
            os.rename(tree, destination)
    except OSError as error:
        raise LifeboatError(
            f"cannot put the restored tree at {destination}: {error.strerror}; it is as it was."
        ) from error


def _exchange(one: str, two: str) -> None:
    """Swap two paths in one step (renameat2, Linux 3.15): at no moment is there nothing at ``two``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def verify(origin: Origin, *, moment: datetime | None = None, limits: Limits | None = None) -> Result:
    """Scrub a point: read, hash, decrypt and unpack all its volumes. It compares with nothing: ``proof`` does."""
    started = now()
    chain, point = locate(origin.repository, moment)
    with tempfile.TemporaryDirectory(prefix="lifeboat-verify-") as room:
        empty = os.path.join(room, "empty")
        os.mkdir(empty)

        def build(work: command.Workspace) -> tuple[str, ...]:
            return command.verify(origin.repository, point.time, empty, work, encrypted=origin.encrypted)

        finished = _duplicity(origin, room, build, limits or Limits())
    # 1 says that the folder differs, which an empty one must; a loss comes with an ERROR stanza
    verdict = outcome.decide(finished, allowed=(0, 1))
    entry = _entry("verify", origin, (chain.time, point.time), started, finished, verdict)
    if verdict.outcome is outcome.Outcome.FAILED:
        return Result(
            entry, False, f"Point {point.time} could not be read: {verdict.failure}", outcome.detail(finished)
        )
    return Result(entry, False, f"All volumes of {point.time} and its chain are readable.")

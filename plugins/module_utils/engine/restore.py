# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Restore a point: into a fresh sibling that is swapped in when all is well, or not at all if it is there already."""

from __future__ import annotations

import os
import shutil
import stat
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import (
    chains,
    destination,
    differences,
    expected,
    in_place,
    outcome,
    proof,
    reader,
    reading,
    reporter,
    spooled,
    verify,
    witness,
)
from .destination import IN_PLACE, NO
from .errors import LifeboatError, Refused
from .reader import AUTO
from .reading import Limits, Origin
from .record import Record
from .result import Result
from .store import Location
from .times import now
from .witness import Difference, Witness


@dataclass(frozen=True)
class Wish:
    """What is to be restored where. ``moment``: the newest point not after it; ``path``: only this file or folder of
    the source; ``select``: duplicity's arguments that choose among its paths; ``replace``: false, true or in_place;
    ``reader``: auto, fast or duplicity; ``referee``: let stock duplicity restore it too, and compare; ``check``: only
    tell; ``diff``: say which paths come, go or change."""

    destination: str
    moment: datetime | None = None
    path: str | None = None
    select: tuple[str, ...] = ()
    replace: str = NO
    reader: str = AUTO
    referee: bool = False
    limits: Limits = field(default_factory=Limits)
    check: bool = False
    diff: bool = False


@dataclass(frozen=True)
class Known:
    """What the node recorded of the point, as far as it can be had; a restore does not depend on it."""

    record: Record | None = None
    witness: Witness | None = None


def run(origin: Origin, corner: Location | None, wish: Wish) -> Result:
    """Restore the point to ``wish.destination``, which appears, or changes, only when the whole tree is there.

    A destination that equals the point already is left alone. One that differs is refused, unless it may be replaced:
    then both are exchanged at once and the old tree is deleted afterwards, or it is restored in place.
    """
    wish = replace(wish, destination=destination.check(wish.destination, wish.replace))
    started = now()
    chain, point = reading.locate(origin.repository, wish.moment)
    known = _known(origin, corner, point.time, wish)
    occupied = not destination.is_free(wish.destination)
    found = _differing(origin, point.time, known, wish) if os.path.lexists(wish.destination) else None
    if found == []:
        if not wish.check:
            destination.sweep(wish.destination)  # a restore was killed when all was done but for this
        return _unchanged(origin, (chain.time, point.time), started, wish)
    if occupied and wish.replace == NO and found:
        raise _differs(wish, point.time, found)
    if wish.check:
        return _would(origin, (chain.time, point.time), started, wish, known, found)
    if wish.replace == IN_PLACE and occupied:
        return in_place.run(origin, wish, (chain.time, point.time), known.witness, found)
    return _swap(origin, wish, chain, point, started, known.record)


def _differs(wish: Wish, time: str, found: list[Difference]) -> Refused:
    # the root's own time changes with all that is in it: any other path tells more
    telling = min(found, key=lambda item: item.path == b".")
    return Refused(
        f"{wish.destination} exists and differs from {time}, first: {witness.show(telling.path)} ({telling.what}): choose "
        "another destination, or set replace to swap it."
    )


def _known(origin: Origin, corner: Location | None, time: str, wish: Wish) -> Known:
    """Record and witness of the point; what is wrong with them is a drill's matter and stops no restore."""
    if corner is None:
        return Known()
    try:
        entry = proof.record_of(corner, origin, time)
    except LifeboatError:
        return Known()
    if not os.path.lexists(wish.destination) and not wish.diff:
        return Known(entry)
    try:
        seen = proof.witness_of(corner, entry, origin)
    except LifeboatError:
        return Known(entry)
    return Known(entry, witness.below(seen, os.fsencode(wish.path)) if wish.path else seen)


def _differing(origin: Origin, time: str, known: Known, wish: Wish) -> list[Difference] | None:
    """What the destination differs in from the point, [] if nothing; None if only a restore could tell.

    By the witness where there is one. Else duplicity compares, which costs as much as a restore: where the restore
    itself follows, that is left to it. So is a selection, as duplicity would not see what is there beside it.
    """
    if os.path.islink(wish.destination):
        status = os.lstat(wish.destination)
        wanted = known.witness.entries.get(b".") if known.witness else None
        what = witness.differs(wanted, witness.entry_of(wish.destination, b".", status)) if wanted else "type"
        return [Difference(b".", what)] if what else []
    if known.witness is not None and not wish.select:
        compared = witness.compare(known.witness, wish.destination, hasty=not wish.diff)
        if compared.differences or compared.unjudged == 0:
            return compared.differences
    if wish.select or (wish.replace != NO and not wish.check) or destination.is_free(wish.destination):
        return None
    finished, found = verify.compare(origin, time, wish.destination, path=wish.path, limits=wish.limits)
    verdict = verify.judged(finished)
    if verdict.outcome is outcome.Outcome.FAILED:
        raise LifeboatError(f"{time} could not be compared with {wish.destination}: {verdict.failure}")
    return found or ([Difference(b".", "other")] if finished.exit_code else [])


def _swap(
    origin: Origin,
    wish: Wish,
    chain: chains.Chain,
    point: chains.BackupSet,
    started: datetime,
    recorded: Record | None,
) -> Result:
    with destination.room(wish.destination) as (room, held):
        if recorded is not None and not wish.path and not wish.select:
            stock = wish.reader == reader.DUPLICITY or wish.referee
            more = spooled.size(origin.repository, chain, point) if stock else 0
            destination.check_space(room, recorded.bytes + more, f"restore point {point.time}")
        if wish.path or wish.select:
            reporter.phase("restoring")  # how much that is, is not known
        else:
            expected.announce("restoring", origin, chain, point, recorded)
        tree = os.path.join(room, "tree")
        part = reader.Part(wish.path, wish.select)
        reads = reader.Reader(origin, chain, point, part, wish.limits, room, held)
        read = reads.read(wish.reader, tree)
        if read.record.failure is None and wish.referee and read.record.engine == reader.FAST:
            read = _refereed(reads, read, tree)
        if read.record.failure is not None:
            message = f"The restore failed, {wish.destination} is untouched: {read.record.failure}"
            return Result(read.record, False, message, read.detail, read.warnings)
        files, size = read.counted or count(tree)
        entry = replace(read.record, files=files, bytes=size)
        occupied = not destination.is_free(wish.destination)
        found = differences.between(tree, wish.destination) if occupied else []
        if occupied and not found:
            return Result(entry, False, _equal(wish, point.time), warnings=read.warnings)
        if occupied and wish.replace == NO:  # a selection is compared only here
            raise _differs(wish, point.time, found)
        extra = _diff(found if occupied or not wish.diff else _all(tree), wish, point.time)
        destination.put_in_place(tree, wish.destination)
        message = f"Restored {files} files of {point.time}{origin.then} to {wish.destination}."
        return Result(entry, True, message, warnings=read.warnings, extra=extra)


def _refereed(reads: reader.Reader, read: reader.Read, tree: str) -> reader.Read:
    """The same point by stock duplicity must be the same tree: what the bucket holds needs no Lifeboat."""
    other = os.path.join(reads.room, "referee")
    stock = reads.by_duplicity(other)
    if stock.record.failure is not None:
        failure = f"stock duplicity could not restore what the fast reader did: {stock.record.failure}"
    else:
        found = differences.between(other, tree)
        shutil.rmtree(other, ignore_errors=True) if os.path.isdir(other) else os.unlink(other)
        if not found:
            return read
        failure = (
            f"stock duplicity restores this point differently, {len(found)} path(s), first: "
            f"{witness.show(found[0].path)} ({found[0].what}): use engine duplicity, and report it."
        )
    failed = replace(read.record, outcome=outcome.Outcome.FAILED.value, failure=failure)
    return replace(read, record=failed, detail=stock.detail)


def _unchanged(origin: Origin, point: tuple[str, str], started: datetime, wish: Wish) -> Result:
    files, size = count(wish.destination)
    entry = replace(reading.plain("restore", origin, point, started), files=files, bytes=size)
    return Result(entry, False, _equal(wish, point[1]), extra=_diff([], wish, point[1]))


def _equal(wish: Wish, time: str) -> str:
    return f"{wish.destination} equals {time} already."


def _would(
    origin: Origin,
    point: tuple[str, str],
    started: datetime,
    wish: Wish,
    known: Known,
    found: list[Difference] | None,
) -> Result:
    """Check mode. Of a point without a witness only a restore could tell the paths, so there is no diff of it."""
    if found is None and known.witness is not None and not wish.select:
        found = [Difference(path, "missing") for path in known.witness.entries]
    entry = reading.plain("restore", origin, point, started)
    if wish.select and wish.replace == NO and not destination.is_free(wish.destination):
        message = (
            f"{wish.destination} exists. Only the restore itself tells whether it equals {point[1]} or is refused."
        )
        return Result(entry, False, message)
    extra = {} if found is None else _diff(found, wish, point[1])
    return Result(entry, True, f"{point[1]}{origin.then} would be restored to {wish.destination}.", extra=extra)


def _all(tree: str) -> list[Difference]:
    inside = sorted(witness.walk(tree)) if os.path.isdir(tree) and not os.path.islink(tree) else [b"."]
    return [Difference(path, "missing") for path in inside]


def _diff(found: t.Sequence[Difference], wish: Wish, time: str) -> dict[str, t.Any]:
    return {"diff": differences.diff(found, wish.destination, f"restore point {time}")} if wish.diff else {}


def count(tree: str) -> tuple[int, int]:
    """Files and their bytes at ``tree``, which may be a single file."""
    status = os.lstat(tree)
    if not stat.S_ISDIR(status.st_mode):
        return 1, status.st_size
    return witness.volume(witness.walk(tree))

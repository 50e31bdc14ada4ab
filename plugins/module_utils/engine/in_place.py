# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Restore onto the tree that is there, where there is no room for a second one or nothing can be swapped.

It is not atomic. While it runs, and after a failure, the folder ``.lifeboat-incomplete`` in the tree says so; running the
same again goes on from there, whatever had been done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import typing as t
from dataclasses import replace

from . import command, differences, files, outcome, reading, reporter, witness
from .errors import LifeboatError, Refused
from .reading import Origin
from .record import Record
from .result import Result
from .store import Location
from .times import now, parse_stamp

if t.TYPE_CHECKING:
    from .restore import Wish

MARK = ".lifeboat-incomplete"


def run(
    origin: Origin,
    wish: Wish,
    point: tuple[str, str],
    expected: witness.Witness | None,
    found: t.Sequence[witness.Difference] | None,
) -> Result:
    """Make ``wish.destination`` equal to the point (times of its chain and set). ``expected`` is its witness, ``found``
    what differs, where that is known."""
    if wish.select:
        raise Refused("a selection is not restored in place: name a path, or restore it to a folder of its own.")
    started = now()
    tree = wish.destination
    kinds = _kinds(origin, wish, point[1], expected)
    _check(tree, kinds)
    room = os.path.join(tree, MARK)
    held = _enter(room)
    try:
        _clear(tree, kinds)

        def build(work: command.Workspace, place: Location) -> tuple[str, ...]:
            return command.restore(
                place,
                point[1],
                tree,
                work,
                encrypted=origin.encrypted,
                path=wish.path,
            )

        if expected is None:
            reporter.phase("restoring")
        else:
            reporter.phase("restoring", files=expected.files, size=expected.bytes)
        work = os.path.join(room, "work")
        finished = reading.duplicity(origin, point[1], work, build, wish.limits, keep=[held], onto=True)
        verdict = outcome.decide(finished)
        entry = reading.entry("restore", origin, point, started, finished, verdict)
        failure = verdict.failure if verdict.outcome is outcome.Outcome.FAILED else None
        entry, failure = _judged(entry, failure, tree, expected)
        if failure:
            message = f"The restore in place failed, {tree} is incomplete: {failure} Then run the same again."
            return Result(entry, True, message, outcome.detail(finished))
        _leave(tree, room)
    finally:
        os.close(held)
    extra = {"diff": differences.diff(found or [], tree, f"restore point {point[1]}")} if wish.diff else {}
    return Result(
        entry, True, f"Restored {entry.files} files of {point[1]}{origin.then} in place at {tree}.", extra=extra
    )


def _kinds(origin: Origin, wish: Wish, time: str, expected: witness.Witness | None) -> dict[bytes, str]:
    """Type of every path that must be there, by the witness or, without one, by the repository's own list."""
    if expected is not None:
        return {path: entry["t"] for path, entry in expected.entries.items()}
    listed = files.of(origin, parse_stamp(time), wish.limits)[1]
    if not wish.path:
        return {item.path: item.type for item in listed}
    start = os.fsencode(wish.path)
    return {item.path[len(start) + 1 :] or b".": item.type for item in files.below(listed, start)}


def _check(tree: str, kinds: t.Mapping[bytes, str]) -> None:
    """Refuse what would only clear the tree."""
    if b"." not in kinds:  # and then nothing would belong there
        raise Refused("the path is not in that restore point: list its files first.")
    if kinds[b"."] != "d":
        raise Refused(f"what is to be restored is no folder, and {tree} is one: set replace to true.")


def _enter(room: str) -> int:
    """Make or take over the marker folder and lock it; what an earlier run had left in it is removed."""
    try:
        os.makedirs(room, mode=0o700, exist_ok=True)
        held = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise LifeboatError(f"cannot write {room}: {error.strerror}; choose another destination.") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise LifeboatError(f"another restore works in {os.path.dirname(room)}: wait for it to end.") from None
    shutil.rmtree(os.path.join(room, "work"), ignore_errors=True)
    os.mkdir(os.path.join(room, "work"), 0o700)
    return held


def _clear(tree: str, kinds: t.Mapping[bytes, str]) -> None:
    """Remove what does not belong there: it makes room, and a link where a folder must be would lead out of the tree.
    Links and special files go in any case: duplicity does not write over one."""
    top = os.fsencode(tree)
    pending = [b""]
    while pending:
        inside = pending.pop()
        for entry in list(os.scandir(os.path.join(top, inside))):
            path = os.path.join(inside, os.fsencode(entry.name)) if inside else os.fsencode(entry.name)
            if path == MARK.encode():
                continue
            wanted = kinds.get(path)
            if entry.is_dir(follow_symlinks=False):
                if wanted == "d":
                    pending.append(path)
                else:
                    shutil.rmtree(entry.path)
            elif not (wanted == "f" and entry.is_file(follow_symlinks=False)):
                os.unlink(entry.path)


def _judged(
    entry: Record, failure: str | None, tree: str, expected: witness.Witness | None
) -> tuple[Record, str | None]:
    """The record with what is there now; a tree that is not as the node recorded it has failed."""
    there = [item for path, item in witness.walk(tree).items() if not (path + b"/").startswith(MARK.encode() + b"/")]
    sizes = [item.st_size for item in there if stat.S_ISREG(item.st_mode)]
    entry = replace(entry, files=len(sizes), bytes=sum(sizes))
    if failure is None and expected is not None:
        compared = [
            item
            for item in witness.compare(expected, tree).differences
            if not (item.path + b"/").startswith(MARK.encode() + b"/") and (item.path, item.what) != (b".", "mtime")
        ]
        if compared:
            failure = f"{len(compared)} path(s) differ from what the node recorded, was it written to meanwhile?"
            entry = replace(entry, outcome=outcome.Outcome.FAILED.value, failure=failure)
    return entry, failure


def _leave(tree: str, room: str) -> None:
    """Take the marker away; the tree keeps the time that it was given."""
    status = os.stat(tree)
    shutil.rmtree(room)
    os.utime(tree, ns=(status.st_atime_ns, status.st_mtime_ns))

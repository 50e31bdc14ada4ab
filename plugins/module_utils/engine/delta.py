# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""librsync deltas -> where each byte of the newest version comes from. Pure.

A delta is a list of commands: copy this range of the old version, or take these bytes. A chain of deltas is folded into
one list, so that a file with thirty deltas is written once, from its base and from the deltas' own bytes; librsync would
make thirty whole copies. The form is librsync's (``command.c``, ``prototab.c``: RS_DELTA_MAGIC).
"""

from __future__ import annotations

import bisect
import typing as t

from .errors import Damaged

_MAGIC = b"rs\x026"
_WIDTHS = (1, 2, 4, 8)
_MOST = 200_000  # segments that a chain may fold to, in some 30 MB of memory
_LIMIT = 2_000_000  # and a single delta


class Buffer(t.Protocol):
    """Bytes, or what gives them for a slice."""

    def __getitem__(self, place: slice, /) -> bytes: ...


class Segment(t.NamedTuple):
    """``length`` bytes from ``start`` of the base, or of the buffer that holds the deltas."""

    base: bool
    start: int
    length: int


def commands(buffer: Buffer, at: int, end: int) -> t.Iterator[Segment]:
    """The commands of the delta at ``buffer[at:end]``; a copy is from the version before."""
    if buffer[at : at + 4] != _MAGIC:
        raise Damaged("a delta in it does not begin as one")
    at += 4
    while at < end:
        code = buffer[at : at + 1][0]
        at += 1
        if code == 0:
            if at != end:
                raise Damaged("a delta in it goes on behind its end")
            return
        if code <= 0x44:
            length = code
            if code > 0x40:
                width = _WIDTHS[code - 0x41]
                length = int.from_bytes(buffer[at : at + width], "big")
                at += width
            yield Segment(False, at, length)
            at += length
        elif code <= 0x54:
            where, size = _WIDTHS[(code - 0x45) >> 2], _WIDTHS[(code - 0x45) & 3]
            start = int.from_bytes(buffer[at : at + where], "big")
            at += where
            yield Segment(True, start, int.from_bytes(buffer[at : at + size], "big"))
            at += size
        else:
            raise Damaged(f"a delta in it holds the unknown command {code}")
    raise Damaged("a delta in it is cut short")


def fold(
    base: int, buffer: Buffer, deltas: t.Sequence[tuple[int, int]], most: int = _MOST
) -> tuple[list[Segment], int]:
    """The newest version, from a base of ``base`` bytes and the deltas at these (start, end) of ``buffer``, oldest
    first; and how many of them it holds: all, unless it would take more than ``most`` segments. At least one."""
    version = [Segment(True, 0, base)] if base else []
    for used, (at, end) in enumerate(deltas):
        newer = _next(version, buffer, at, end, most if used else _LIMIT)
        if newer is None:
            if used:
                return version, used
            raise Damaged("a delta in it has more commands than any known duplicity writes")
        version = newer
    return version, len(deltas)


def _next(version: list[Segment], buffer: Buffer, at: int, end: int, most: int) -> list[Segment] | None:
    """The version that one delta makes, or None if it has too many segments."""
    starts: list[int] = []
    length = 0
    for segment in version:
        starts.append(length)
        length += segment.length
    newer: list[Segment] = []
    for command in commands(buffer, at, end):
        if not command.base:
            newer.append(command)
        elif command.start + command.length > length:
            raise Damaged("a delta in it copies from behind the end of the version before")
        elif command.length:
            _copy(version, starts, command, newer)
        if len(newer) > most:
            return None
    return newer


def _copy(version: list[Segment], starts: list[int], command: Segment, newer: list[Segment]) -> None:
    """Append what ``command`` copies, in terms of what the older version is made of."""
    index = bisect.bisect_right(starts, command.start) - 1
    at, left = command.start, command.length
    while left:
        source = version[index]
        skip = at - starts[index]
        length = min(left, source.length - skip)
        start = source.start + skip
        last = newer[-1] if newer else None
        if last is not None and last.base == source.base and last.start + last.length == start:
            newer[-1] = Segment(last.base, last.start, last.length + length)
        else:
            newer.append(Segment(source.base, start, length))
        at += length
        left -= length
        index += 1

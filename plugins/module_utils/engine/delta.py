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


def fold(base: int, buffer: Buffer, deltas: t.Iterable[tuple[int, int]]) -> list[Segment]:
    """The newest version, from a base of ``base`` bytes and the deltas at these (start, end) of ``buffer``, oldest
    first."""
    version = [Segment(True, 0, base)] if base else []
    for at, end in deltas:
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
        version = newer
    return version


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

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The bytes of a decrypted volume -> its entries, one by one, never more than one of them in memory.

A volume is a whole tar. Its entries are named by what they are: ``snapshot/<path>``, ``diff/<path>`` (a librsync
delta), ``deleted/<path>``; data of 64 KiB and more is cut into ``multivol_snapshot/<path>/<n>`` and
``multivol_diff/<path>/<n>``, each of 64 KiB but the last, which is shorter (``diffdir.py`` of 0.8.22 and 3.2.1).
Behind the end marker padding of any content may follow: it is not read here.
"""

from __future__ import annotations

import functools
import re
import typing as t
import zlib

from .errors import Damaged

Read = t.Callable[[int], bytes]
Data = t.Union[bytes, memoryview]  # noqa: UP007 - ansible-test looks with the eyes of Python 3.9, which knows no other

PIECE = 65536  # bytes of each part of a file that is cut, but its last
_LARGEST = 1 << 20  # no entry is larger: names have 4096 bytes at most
ROOM = 2 * (_LARGEST + 512)  # bytes that one entry may take with the headers before it
_CHUNK = 1 << 20
_TYPES = {b"0": "file", b"\0": "file", b"2": "link", b"3": "character", b"4": "block", b"5": "folder", b"6": "fifo"}
# an empty name, a dot or two between slashes
_UNSAFE = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)|\0")
_KINDS = {b"snapshot": "snapshot", b"diff": "diff", b"deleted": "deleted"}
_CUT = re.compile(rb"(.*)/([1-9][0-9]{0,9})", re.DOTALL)


class Entry(t.NamedTuple):
    """One entry. ``kind`` is snapshot, diff or deleted; ``part`` counts from 1 for cut files and is 0 for whole ones;
    ``owner`` is (mode, uid, gid)."""

    kind: str
    part: int
    path: bytes
    type: str
    owner: tuple[int, int, int]
    mtime: int
    link: bytes
    device: tuple[int, int]
    data: Data


def entries(read: Read) -> t.Iterator[Entry]:
    """All entries up to the end marker. ``read(n)`` gives at most n bytes, none at the end.

    duplicity 0.8.22 and 3.0.4 write in clear an end marker only into the last volume of a set, and 0.8.22 not a byte when
    nothing changed. So a volume may also end behind an entry, or before the first; that nothing is missing is told by its hash.
    """
    return _entries(_Stream(read))


def entries_in(data: memoryview) -> t.Iterator[Entry]:
    """The same of what is in memory; their data are parts of that."""
    return _entries(_Memory(data))


def _entries(source: _Source) -> t.Iterator[Entry]:
    names: dict[bytes, bytes] = {}
    while True:
        header = source.header()
        if not header or (not header[0] and not header.strip(b"\0")):
            if names:
                raise Damaged("its tar ends within an entry")
            return
        _check(header)
        size = _number(names[b"size"]) if b"size" in names else _number(header[124:136])
        if not 0 <= size <= _LARGEST:
            raise _too_large(size)
        data = source.take_padded(size) if size else b""
        kind = header[156:157]
        if kind in b"xLK":
            _owner(header[100:124])  # nothing uses them, but tarfile ends in silence at a number that is none
            _number(header[136:148])
            text = bytes(data)
            names |= _pax(text) if kind == b"x" else {b"path" if kind == b"L" else b"linkpath": _text(text)}
            continue
        yield _entry(header, names, data)
        if names:
            names = {}


class Cutter:
    """A volume's entries as they are, cut between two of them: :func:`entries_in` reads each piece, and judges what is in
    it. Only where entries end is looked at here."""

    def __init__(self, read: Read) -> None:
        self._read, self._rest, self._ended = read, b"", False

    def fill(self, room: memoryview, wanted: int) -> int:
        """Put entries into ``room`` until they have ``wanted`` bytes or the volume ends; returns their bytes, 0 at the end."""
        room[: len(self._rest)] = self._rest
        have = len(self._rest)
        at = whole = 0  # where the next header is, and the last entry's end
        told = -1  # an entry's size, if a header before its own tells it
        while whole < wanted:
            have = self._more(room, have, at + 512)
            if have < at + 512 or not (room[at] or bytes(room[at : at + 512]).strip(b"\0")):
                self._ended = True
                whole = at if have >= at + 512 else have
                break
            size = told if told >= 0 else _number(bytes(room[at + 124 : at + 136]))
            if not 0 <= size <= _LARGEST:
                raise _too_large(size)
            kind, start = room[at + 156], at + 512
            at, told = start + size + (-size & 511), -1
            have = self._more(room, have, at)
            if kind == 0x78:  # x
                told = int(_pax(bytes(room[start : start + size])).get(b"size", b"-1"), 8)
            elif kind not in b"LK":
                whole = min(at, have)
        self._rest = b"" if self._ended else bytes(room[whole:have])
        return whole

    def _more(self, room: memoryview, have: int, wanted: int) -> int:
        """How many bytes there are, ``wanted`` ones if the volume has them."""
        if wanted > len(room):
            raise _too_large(wanted)
        while have < wanted and not self._ended:
            piece = self._read(min(max(wanted - have, PIECE), len(room) - have))
            if not piece:
                break
            room[have : have + len(piece)] = piece
            have += len(piece)
        return have


def _too_large(size: int) -> Damaged:
    return Damaged(f"it holds an entry of {size} bytes, which no known duplicity writes")


def _cut_short() -> Damaged:
    return Damaged("its tar is cut short")


class _Source(t.Protocol):
    def header(self) -> bytes:
        """The next block, or nothing if not a byte is left."""

    def take_padded(self, size: int) -> Data:
        """``size`` bytes, and past them to the end of their last block."""


class _Memory:
    """Takes from what is all there."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def header(self) -> bytes:
        return bytes(self.take_padded(512)) if self._at < len(self._data) else b""

    def take_padded(self, size: int) -> memoryview:
        at = self._at
        self._at = end = at + size + (-size & 511)
        if end > len(self._data):
            raise _cut_short()
        return self._data[at : at + size]


class _Stream:
    """Takes from a stream that comes in pieces."""

    def __init__(self, read: Read) -> None:
        self._read, self._bytes, self._at = read, b"", 0

    def header(self) -> bytes:
        if self._at == len(self._bytes):
            self._bytes, self._at = self._read(_CHUNK), 0
        return self.take_padded(512) if self._bytes else b""

    def take_padded(self, size: int) -> bytes:
        at, end = self._at, self._at + size + (-size & 511)
        if end > len(self._bytes):
            self._fill(end - at)
            at, end = 0, end - at
        self._at = end
        return self._bytes[at : at + size]

    def _fill(self, wanted: int) -> None:
        pieces = [self._bytes[self._at :]]
        have = len(pieces[0])
        while have < wanted:
            piece = self._read(_CHUNK)
            if not piece:
                raise _cut_short()
            pieces.append(piece)
            have += len(piece)
        self._bytes, self._at = b"".join(pieces), 0


def _check(header: bytes) -> None:
    """The sum of all bytes; adler32 holds it in its low half, modulo 65521, plus 1."""
    if zlib.adler32(header) & 0xFFFF != _expected(header[148:156]):
        raise Damaged("a tar header in it does not match its checksum")


@functools.lru_cache(maxsize=4096)
def _expected(checksum: bytes) -> int:
    """What adler32 then holds; the checksum is over all bytes, its own taken as blanks."""
    return (_number(checksum) + sum(checksum) - 8 * 0x20 + 1) % 65521


def _entry(header: bytes, names: dict[bytes, bytes], data: Data) -> Entry:
    name, what = _name(header, names)
    kind, part, path = _place(name, what)
    if data and what != "file":
        raise Damaged(f"it holds data for {path!r}, which is no file")
    owner = _owner(header[100:124])
    if names:
        uid, gid = (
            _decimal(names[key]) if key in names else known
            for key, known in zip((b"uid", b"gid"), owner[1:], strict=True)
        )
        owner = owner[0], _below(uid, 32), _below(gid, 32)
    mtime = _time(names[b"mtime"]) if b"mtime" in names else _number(header[136:148])
    link, device = b"", (0, 0)
    if what == "link":
        link = names.get(b"linkpath") or _text(header[157:257])
        if not link or b"\0" in link:
            raise Damaged(f"it holds the link {path!r} to nowhere")
    elif what in ("character", "block"):
        device = (_below(_number(header[329:337]), 32), _below(_number(header[337:345]), 32))
    return Entry(kind, part, path, what, owner, _below(mtime, 55), link, device, data)


def _name(header: bytes, names: dict[bytes, bytes]) -> tuple[bytes, str]:
    """The entry's name in the tar, and its type."""
    kind = header[156:157]
    name = names.get(b"path")
    if name is None:
        name = _text(header[:100])
        if header[345]:
            name = _text(header[345:500]) + b"/" + name
    what = _TYPES.get(kind)
    if what is None:
        raise Damaged(f"it holds a tar entry of the unknown type {kind!r}")
    if kind == b"\0" and name.endswith(b"/"):
        what = "folder"
    return name, what


def _place(name: bytes, what: str) -> tuple[str, int, bytes]:
    """Kind, part and path."""
    label, slash, path = name.partition(b"/")
    kind, part = _KINDS.get(label), 0
    cut = None
    if kind is None and what == "file" and label in (b"multivol_snapshot", b"multivol_diff"):
        cut = _CUT.fullmatch(path)
        if cut is not None:
            kind, path, part = label[9:].decode(), cut[1], int(cut[2])
    if kind is None or not slash:
        raise Damaged(f"it holds an entry with the unknown name {name!r}")
    if cut is None and path.endswith(b"/"):
        path = path[:-1]
    if path == b".":
        return kind, part, b""
    # what the expression finds always comes with one of these, which are found faster
    if (b"/." in name or b"//" in name or b"\0" in name) and path and _UNSAFE.search(path):
        raise Damaged(f"it holds the path {path!r}, which would leave the destination")
    return kind, part, path


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """A number of a tar header: octal, or binary with the first bit set (GNU)."""
    try:
        return int(field.rstrip(b"\0"), 8)
    except ValueError:
        return _odd_number(field)


def _odd_number(field: bytes) -> int:
    """Binary, empty, or followed by more than NULs."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        return value - (1 << 8 * (len(field) - 1)) if field[0] == 0xFF else value
    text = field.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise Damaged("a tar header in it holds no number where one belongs") from None


@functools.lru_cache(maxsize=1024)
def _owner(fields: bytes) -> tuple[int, int, int]:
    """(mode, uid, gid): the same few again and again."""
    return _number(fields[:8]) & 0o7777, _below(_number(fields[8:16]), 32), _below(_number(fields[16:]), 32)


def _below(number: int, bits: int) -> int:
    if not 0 <= number < 1 << bits:
        raise Damaged(f"a tar header in it holds the impossible number {number}")
    return number


def _decimal(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise Damaged("a tar header in it holds no number where one belongs") from None


def _time(text: bytes) -> int:
    return _decimal(text.partition(b".")[0] or b"0")


def _pax(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax header: ``<length> <key>=<value>\\n``."""
    found: dict[bytes, bytes] = {}
    while data:
        length, blank, _rest = data.partition(b" ")
        end = _decimal(length)
        key, equals, value = data[len(length) + 1 : end - 1].partition(b"=")
        if not blank or not equals or not len(length) + 1 < end <= len(data) or data[end - 1 : end] != b"\n":
            raise Damaged("a pax header in it is not in order")
        if key.startswith(b"GNU.sparse"):
            raise Damaged("it holds a sparse file, which no known duplicity writes")
        found[key] = value
        data = data[end:]
    if b"size" in found:
        found[b"size"] = b"%o" % _decimal(found[b"size"])
    return found

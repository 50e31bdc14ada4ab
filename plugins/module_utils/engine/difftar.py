# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The bytes of a decrypted volume -> its entries, one by one, never more than one of them in memory.

A volume is a whole tar. Its entries are named by what they are: ``snapshot/<path>``, ``diff/<path>`` (a librsync
delta), ``deleted/<path>``; data of 64 KiB and more is cut into ``multivol_snapshot/<path>/<n>`` and
``multivol_diff/<path>/<n>``, each of 64 KiB but the last, which is shorter (``diffdir.py`` of 0.8.22 and 3.2.1).
Behind the end marker padding of any content may follow: it is not read here.
"""

from __future__ import annotations

import re
import typing as t
import zlib

from .errors import Damaged

Read = t.Callable[[int], bytes]

PIECE = 65536  # bytes of each part of a file that is cut, but its last
_LARGEST = 1 << 20  # no entry is larger: names have 4096 bytes at most
_CHUNK = 1 << 20
_TYPES = {b"0": "file", b"\0": "file", b"2": "link", b"3": "character", b"4": "block", b"5": "folder", b"6": "fifo"}
# an empty name, a dot or two between slashes
_UNSAFE = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)|\0")
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
    data: bytes


def entries(read: Read) -> t.Iterator[Entry]:
    """All entries up to the end marker. ``read(n)`` gives at most n bytes, none at the end."""
    buffer, at = b"", 0
    names: dict[bytes, bytes] = {}
    owners: dict[bytes, tuple[int, int, int]] = {}
    while True:
        if len(buffer) - at < 512:
            buffer, at = _more(read, buffer, at, 512)
        header = buffer[at : at + 512]
        at += 512
        kind = header[156:157]
        if not header[0] and not header.strip(b"\0"):
            if names:
                raise Damaged("its tar ends within an entry")
            return
        # the sum of all bytes, the checksum's own counted as blanks; adler32 has it in its low half, modulo 65521
        total = zlib.adler32(header[156:], zlib.adler32(b"        ", zlib.adler32(header[:148]))) & 0xFFFF
        if total != (_number(header[148:156]) + 1) % 65521:
            raise Damaged("a tar header in it does not match its checksum")
        size = _number(names[b"size"]) if b"size" in names else _number(header[124:136])
        if size > _LARGEST:
            raise Damaged(f"it holds an entry of {size} bytes, which no known duplicity writes")
        data = b""
        if size:
            padded = size + (-size & 511)
            if len(buffer) - at < padded:
                buffer, at = _more(read, buffer, at, padded)
            data = buffer[at : at + size]
            at += padded
        if kind in b"xLK":
            names |= (
                {b"path": _text(data)} if kind == b"L" else {b"linkpath": _text(data)} if kind == b"K" else _pax(data)
            )
            continue
        owner = owners.get(header[100:124])
        if owner is None or names:
            owner = (_number(header[100:108]) & 0o7777, _owner(names, b"uid", header[108:116]), 0)
            owner = (owner[0], owner[1], _owner(names, b"gid", header[116:124]))
            if not names:
                owners[header[100:124]] = owner
        yield _entry(header, kind, names, owner, data)
        if names:
            names = {}


def _entry(header: bytes, kind: bytes, names: dict[bytes, bytes], owner: tuple[int, int, int], data: bytes) -> Entry:
    name = names.get(b"path") or _text(header[:100])
    if header[345] and b"path" not in names:
        name = _text(header[345:500]) + b"/" + name
    what = _TYPES.get(kind)
    if what is None:
        raise Damaged(f"it holds a tar entry of the unknown type {kind!r}")
    if what == "file" and kind == b"\0" and name.endswith(b"/"):
        what = "folder"
    label, slash, path = name.partition(b"/")
    part = 0
    if label == b"snapshot" or label == b"diff" or label == b"deleted":
        if path.endswith(b"/"):
            path = path[:-1]
    elif (label == b"multivol_snapshot" or label == b"multivol_diff") and what == "file":
        cut = _CUT.fullmatch(path)
        if cut is None:
            raise Damaged(f"it holds an entry with the unknown name {name!r}")
        label, path, part = label[9:], cut[1], int(cut[2])
    else:
        slash = b""
    if not slash:
        raise Damaged(f"it holds an entry with the unknown name {name!r}")
    if path == b".":
        path = b""
    elif path and _UNSAFE.search(path):
        raise Damaged(f"it holds the path {path!r}, which would leave the destination")
    if data and what != "file":
        raise Damaged(f"it holds data for {path!r}, which is no file")
    mtime = _time(names[b"mtime"]) if b"mtime" in names else _number(header[136:148])
    link, device = b"", (0, 0)
    if what == "link":
        link = names.get(b"linkpath") or _text(header[157:257])
    elif what == "character" or what == "block":
        device = (_number(header[329:337]), _number(header[337:345]))
    # negative times become 0, as duplicity makes them
    return Entry(label.decode(), part, path, what, owner, max(mtime, 0), link, device, data)


def _more(read: Read, buffer: bytes, at: int, wanted: int) -> tuple[bytes, int]:
    """A buffer with at least ``wanted`` bytes from its start."""
    pieces = [buffer[at:]]
    have = len(pieces[0])
    while have < wanted:
        piece = read(_CHUNK)
        if not piece:
            raise Damaged("its tar is cut short")
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces), 0


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """A number of a tar header: octal, or binary with the first bit set (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        return value - (1 << 8 * (len(field) - 1)) if field[0] == 0xFF else value
    text = field.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise Damaged("a tar header in it holds no number where one belongs") from None


def _owner(names: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    number = _decimal(names[key]) if key in names else _number(field)
    if not 0 <= number < 1 << 32:
        raise Damaged(f"a tar header in it names the impossible {key.decode()} {number}")
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

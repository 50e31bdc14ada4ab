# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A decrypted manifest -> its volumes: number, first and last path, SHA-1. Pure.

The form is that of duplicity 0.8.22 and 3.2.1 (``manifest.py`` there). A path is what duplicity calls an index: names
joined by slashes, empty for the source itself.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .errors import Damaged, UnknownFormat

_VOLUME = re.compile(rb"Volume ([0-9]{1,9}):", re.IGNORECASE)
_FIRST = re.compile(rb"^Volume [0-9]{1,9}:$", re.IGNORECASE | re.MULTILINE)
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Volume:
    """One volume of a set. A file that is cut between two volumes is the last of one and the first of the next."""

    number: int
    first: bytes
    last: bytes
    sha1: str


def order(path: bytes) -> bytes:
    """A key that sorts paths as duplicity does: name by name (no name holds a NUL)."""
    return path.replace(b"/", b"\0")


def parse(data: bytes) -> list[Volume]:
    """The volumes in order, from 1 without a gap. What is damaged is an error, a form that is not known
    :class:`UnknownFormat`."""
    if not data.endswith(b"\n"):
        raise Damaged("it is cut short")
    blocks: list[tuple[int, dict[bytes, list[bytes]]]] = []
    # a list of all changed files, longer than the rest, may come before the volumes or behind them
    first, files = _FIRST.search(data), data.find(b"\nFilelist ", data.rfind(b"\nVolume "))
    for line in data[first.start() if first else len(data) : files if files >= 0 else len(data)].split(b"\n"):
        head = _VOLUME.fullmatch(line)
        if head:
            blocks.append((int(head[1]), {}))
        elif blocks and line.strip():
            words = line.split()
            name = words[0].lower()
            key = name + b" " + words[1].upper() if name == b"hash" and len(words) > 1 else name
            blocks[-1][1][key] = words[1:]
    if not blocks:
        raise Damaged("it names no volume")
    found: dict[int, Volume] = {}
    for number, fields in blocks:
        # a restarted backup writes the volumes again from the one that it went back to, and the last word counts
        found = {known: volume for known, volume in found.items() if known < number}
        found[number] = _volume(number, fields)
    if list(found) != list(range(1, len(found) + 1)):
        raise Damaged("it skips a volume")
    return list(found.values())


def _volume(number: int, fields: t.Mapping[bytes, list[bytes]]) -> Volume:
    hashes = [key for key in fields if key.startswith(b"hash ")]
    if hashes and b"hash SHA1" not in hashes:
        raise UnknownFormat(f"its volumes have no SHA-1, but {hashes[0][5:].decode('ascii', 'replace')}")
    try:
        sha1 = fields[b"hash SHA1"][1].decode("ascii").lower()
        first, last = _unquote(fields[b"startingpath"][0]), _unquote(fields[b"endingpath"][0])
    except (KeyError, IndexError, ValueError):
        raise Damaged(f"what it says of volume {number} is incomplete") from None
    if not _SHA1.fullmatch(sha1):
        raise Damaged(f"what it says of volume {number} is incomplete")
    return Volume(number, first, last, sha1)


def _unquote(text: bytes) -> bytes:
    """A path as written there: ``.`` is the source itself; quoted, blanks, quotes and backslashes are ``\\xNN``."""
    if text == b".":
        return b""
    if not text.startswith(b'"'):
        return text
    if len(text) < 2 or not text.endswith(b'"'):
        raise ValueError(text)
    return re.sub(rb"\\x([0-9a-f]{2})|\\", _unescape, text[1:-1])


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise ValueError(match[0])
    return bytes.fromhex(match[1].decode())


def holding(volumes: t.Sequence[Volume], path: bytes) -> list[Volume]:
    """The volumes that can hold ``path`` or something in it.

    A volume is taken to begin where the one before ends: that of a restarted backup may name a later first path.
    """
    wanted = order(path)
    chosen = []
    start = b""
    for volume in volumes:
        start = min(start, order(volume.first))
        begins_before = start <= wanted or start.startswith(wanted + b"\0") or not path
        if begins_before and wanted <= order(volume.last):
            chosen.append(volume)
        start = order(volume.last)
    return chosen

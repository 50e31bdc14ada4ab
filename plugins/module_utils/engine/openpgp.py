# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""An OpenPGP message that gpg has decrypted (``--unwrap``) -> the bytes in it. Pure.

Keys, ciphers and the check against change are gpg's alone. What is left is compressed data around literal data, or the
latter alone (RFC 4880, 4.2 and 5.6 to 5.9); unpacking it is most of the work of a ``gpg --decrypt``, and goes faster here.
"""

from __future__ import annotations

from .errors import Damaged, LifeboatError, UnknownFormat
from .inflate import DEFLATE, ZLIB, Bunzipped, Inflated, Read, Unpacked

_ONE_PASS, _SIGNATURE, _COMPRESSED, _LITERAL = 4, 2, 8, 11
_CHUNK = 1 << 18
_ENDLESS = 1 << 62
_SHORT = "its OpenPGP form is cut short"


class Literal:
    """The bytes of a message that ``read`` gives: ``read(n)`` returns at most n, none at the end.

    A message that is not sound in its form is an error, at the latest at its end; a signed one is
    :class:`UnknownFormat`: whose it is, is for gpg to say.
    """

    def __init__(self, read: Read) -> None:
        self._outer = _Source(read)
        self._inner: Unpacked | None = None
        self._packet: _Packet | None = None
        self._trouble: LifeboatError | None = None

    def read(self, size: int) -> bytes:
        if self._trouble is not None:
            raise self._trouble
        try:
            packet = self._packet or self._open()
            data = packet.read(size)
            if not data and size:
                self._check_end(packet)
        except LifeboatError as error:
            self._trouble = error
            raise
        return data

    def _open(self) -> _Packet:
        packet = _Packet(self._outer)
        if packet.tag == _COMPRESSED:
            self._inner = _unpacked(packet)
            packet = _Packet(_Source(self._inner.read))
        if packet.tag in (_ONE_PASS, _SIGNATURE):
            raise UnknownFormat("it is signed")
        if packet.tag != _LITERAL:
            raise Damaged(f"it holds an OpenPGP packet of type {packet.tag} instead of data")
        head = packet.exactly(2)  # the format's letter, and the length of a name
        packet.exactly(head[1] + 4)  # the name, and a time
        self._packet = packet
        return packet

    def _check_end(self, packet: _Packet) -> None:
        inside = packet.source.is_at_end() and (self._inner is None or self._inner.ended())
        if not inside or not self._outer.is_at_end():
            raise Damaged("something follows behind the end of its data")


def _unpacked(packet: _Packet) -> Unpacked:
    algorithm = packet.exactly(1)[0]
    if algorithm == 1:
        return Inflated(packet.read, DEFLATE, "ZIP")
    if algorithm == 2:
        return Inflated(packet.read, ZLIB, "ZLIB")
    if algorithm == 3:
        return Bunzipped(packet.read)
    raise Damaged(f"it is compressed in the unknown way {algorithm}")


class _Source:
    """Bytes in the lengths that are asked for, from a stream that comes in pieces."""

    def __init__(self, read: Read) -> None:
        self._read, self._bytes, self._at = read, memoryview(b""), 0

    def some(self, wanted: int) -> memoryview:
        """At least one byte, at most ``wanted``; none at the end."""
        if self.is_at_end():
            return self._bytes
        piece = self._bytes[self._at : self._at + wanted]
        self._at += len(piece)
        return piece

    def byte(self) -> int:
        if self.is_at_end():
            raise Damaged(_SHORT)
        self._at += 1
        return self._bytes[self._at - 1]

    def number(self, width: int) -> int:
        value = 0
        for _byte in range(width):
            value = value << 8 | self.byte()
        return value

    def is_at_end(self) -> bool:
        if self._at == len(self._bytes):
            self._bytes, self._at = memoryview(self._read(_CHUNK)), 0
        return not self._bytes


class _Packet:
    """One packet: its tag, and its body, whose length may be told in parts or not at all."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self._left, self._partial, self._open_ended = 0, False, False
        first = source.byte()
        if not first & 0x80:
            raise Damaged("it holds no OpenPGP packet where one belongs")
        if first & 0x40:
            self.tag = first & 0x3F
            self._length()
            return
        self.tag = first >> 2 & 0xF
        self._open_ended = first & 3 == 3
        self._left = _ENDLESS if self._open_ended else source.number(1 << (first & 3))

    def _length(self) -> None:
        """The length of the whole body, or of its next part."""
        first = self.source.byte()
        self._partial = 224 <= first < 255
        if first < 192:
            self._left = first
        elif first < 224:
            self._left = (first - 192 << 8) + self.source.byte() + 192
        elif self._partial:
            self._left = 1 << (first & 0x1F)
        else:
            self._left = self.source.number(4)

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes of the body, none at its end."""
        pieces = []
        some = self.source.some
        while size:
            if not self._left:
                if not self._partial:
                    break
                self._length()
                continue
            piece = some(min(self._left, size))
            if not piece:
                if self._open_ended:
                    break
                raise Damaged(_SHORT)
            pieces.append(piece)
            self._left -= len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) != size:
            raise Damaged(_SHORT)
        return data

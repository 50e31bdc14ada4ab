# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Compressed streams -> plain bytes, with ISA-L where it is installed (package ``isal``): it takes half of zlib's time here.

Both check a stream's own sum at its end.
"""

from __future__ import annotations

import bz2
import typing as t
import zlib

from .errors import Damaged

_fastest: t.Any
_Error: t.Any  # isal's stubs take its class for an instance
try:
    from isal import isal_zlib as _fastest
    from isal.isal_zlib import error as _Error
except ImportError:
    _fastest, _Error = zlib, zlib.error

Read = t.Callable[[int], bytes]

ZLIB, DEFLATE, GZIP = 15, -15, 31  # the window bits by which zlib tells the forms apart
_PACKED = 1 << 17  # bytes taken at once: few enough that one step mostly unpacks them all


class Inflated:
    """The plain bytes of one deflate stream, which ``read`` gives, in one of the three forms."""

    def __init__(self, read: Read, form: int, what: str) -> None:
        self._packed, self._what = read, what
        self._inflate: t.Any = _fastest.decompressobj(wbits=form)

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        inflate = self._inflate
        try:
            while not inflate.eof:
                packed = inflate.unconsumed_tail or self._packed(_PACKED)
                if not packed:
                    raise Damaged(f"its {self._what} form is cut short")
                if plain := inflate.decompress(packed, size):
                    return t.cast(bytes, plain)
        except _Error:
            raise Damaged(f"its {self._what} form is damaged") from None
        return b""

    def ended(self) -> bool:
        """Whether the stream was all that there is."""
        return bool(self._inflate.eof) and not self._inflate.unused_data and not self._packed(1)


class Bunzipped:
    """The same for bzip2."""

    def __init__(self, read: Read) -> None:
        self._packed = read
        self._unzip = bz2.BZ2Decompressor()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        unzip = self._unzip
        try:
            while not unzip.eof:
                plain = unzip.decompress(b"", size)  # what the last step left over
                if not plain and not unzip.eof:
                    packed = self._packed(_PACKED)
                    if not packed:
                        raise Damaged("its bzip2 form is cut short")
                    plain = unzip.decompress(packed, size)
                if plain:
                    return plain
        except OSError:
            raise Damaged("its bzip2 form is damaged") from None
        return b""

    def ended(self) -> bool:
        """Whether the stream was all that there is."""
        return self._unzip.eof and not self._unzip.unused_data and not self._packed(1)

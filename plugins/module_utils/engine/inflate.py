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


class Unpacked:
    """The plain bytes of one compressed stream, which ``read`` gives."""

    def __init__(self, read: Read, unpack: t.Any, error: type[Exception], what: str) -> None:
        self._packed, self._unpack, self._error, self._what = read, unpack, error, what

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        unpack = self._unpack
        try:
            while not unpack.eof:
                # first what it still holds: where the bytes asked for just fitted, that is not in `unconsumed_tail`
                plain = unpack.decompress(self._tail(), size)
                if not plain and not unpack.eof:
                    packed = self._packed(_PACKED)
                    if not packed:
                        raise Damaged(f"its {self._what} form is cut short")
                    plain = unpack.decompress(self._tail() + packed, size)
                if plain:
                    return t.cast(bytes, plain)
        except self._error:
            raise Damaged(f"its {self._what} form is damaged") from None
        return b""

    def _tail(self) -> bytes:
        """What was handed over and not taken in; bzip2's keeps that itself."""
        return getattr(self._unpack, "unconsumed_tail", b"")

    def ended(self) -> bool:
        """Whether the stream was all that there is."""
        return bool(self._unpack.eof) and not self._unpack.unused_data and not self._packed(1)


class Inflated(Unpacked):
    """A deflate stream in one of the three forms."""

    def __init__(self, read: Read, form: int, what: str) -> None:
        super().__init__(read, _fastest.decompressobj(wbits=form), _Error, what)


class Bunzipped(Unpacked):
    """A bzip2 stream."""

    def __init__(self, read: Read) -> None:
        super().__init__(read, bz2.BZ2Decompressor(), OSError, "bzip2")

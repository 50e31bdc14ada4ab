# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The deltas that wait for their file's base: one file in the spool, up to a bound."""

from __future__ import annotations

import mmap
import os
import typing as t

Range = tuple[int, int]  # start and end of one delta


class DeltaSpool:
    """Written by one process; others may open the same path to read."""

    def __init__(self, path: str, bound: int = 0) -> None:
        self.path, self._bound = path, bound
        self._file: t.BinaryIO = open(path, "a+b", buffering=1 << 20)  # noqa: SIM115 - see `close`
        self.end = 0
        self._dirty = False

    def append(self, data: bytes) -> bool:
        """Whether there was room for ``data``."""
        if self.end + len(data) > self._bound:
            return False
        self._file.write(data)
        self.end += len(data)
        self._dirty = True
        return True

    def truncate(self, end: int) -> None:
        """Forget what is behind ``end``."""
        self._file.truncate(end)
        self.end, self._dirty = end, False

    def gather(self, ranges: t.Iterable[Range]) -> tuple[bytes, list[Range]]:
        """These deltas alone, side by side, and where each now is."""
        self.flush()
        pieces: list[bytes] = []
        places: list[Range] = []
        at = 0
        for start, end in ranges:
            pieces.append(os.pread(self._file.fileno(), end - start, start))
            places.append((at, at + end - start))
            at += end - start
        return b"".join(pieces), places

    def view(self) -> mmap.mmap | bytes:
        """All of it, without reading it into memory."""
        self.flush()
        if not os.fstat(self._file.fileno()).st_size:
            return b""  # nothing cannot be mapped
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def flush(self) -> None:
        if self._dirty:
            self._file.flush()
            self._dirty = False

    def close(self) -> None:
        self._file.close()

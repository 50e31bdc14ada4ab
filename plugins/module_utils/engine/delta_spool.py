# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The deltas that wait for their file's base: one file in the spool, up to a bound."""

from __future__ import annotations

import errno
import os
import typing as t

from .difftar import Data
from .errors import LifeboatError

_BLOCK = 1 << 14
Range = tuple[int, int]  # start and end of one delta


def spool_failure(folder: str, error: OSError) -> LifeboatError:
    """One sentence for what the system said while something was spooled."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LifeboatError(f"the spool {folder} is full: free space, or name another folder.")
    return LifeboatError(f"cannot write to the spool {folder}: {error.strerror}; name another folder.")


class Window:
    """A file as a buffer to look into. It is not mapped: what a process has mapped counts as its memory."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._block, self._at = b"", 0

    def __getitem__(self, place: slice) -> bytes:
        start, end = place.start, place.stop
        if not self._at <= start <= end <= self._at + len(self._block):
            if end - start > _BLOCK:
                return os.pread(self.descriptor, end - start, start)
            self._block, self._at = os.pread(self.descriptor, _BLOCK, start), start
        return self._block[start - self._at : end - self._at]


class DeltaSpool:
    """Written by one process; others may open the same path to read."""

    def __init__(self, path: str, bound: int = 0) -> None:
        self.path, self._bound = path, bound
        self._file: t.BinaryIO = open(path, "a+b", buffering=1 << 20)  # noqa: SIM115 - see `close`
        self.end = 0
        self._dirty = False

    def append(self, data: Data) -> bool:
        """Whether there was room for ``data``."""
        if self.end + len(data) > self._bound:
            return False
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error
        self.end += len(data)
        self._dirty = True
        return True

    def truncate(self, end: int) -> None:
        """Forget what is behind ``end``."""
        self.flush()
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

    def view(self) -> Window:
        """All of it, without reading it into memory."""
        self.flush()
        return Window(self._file.fileno())

    def flush(self) -> None:
        if self._dirty:
            try:
                self._file.flush()
            except OSError as error:
                raise self._failure(error) from error
            self._dirty = False

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            pass  # what was not written is not wanted any more

    def _failure(self, error: OSError) -> LifeboatError:
        return spool_failure(os.path.dirname(self.path), error)

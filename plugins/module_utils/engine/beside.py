# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""SHA-256 of files while another process works, in a thread of the lowest priority: what is idle then costs nothing later.

A backup hashes its source this way, in the order in which duplicity reads it. What is not done when duplicity ends is left
to who asked; so is every file that could not be read, or was no longer the one expected.
"""

from __future__ import annotations

import hashlib
import os
import threading
import typing as t

_BLOCK = 1 << 20

Told = t.Callable[[int], None]
Wanted = t.Sequence[tuple[bytes, bytes, os.stat_result]]  # a name of the caller's, a path, what is expected there


def same(one: os.stat_result, two: os.stat_result) -> bool:
    """Whether nobody has touched the file between these two."""
    return (
        one.st_ino,
        one.st_mode,
        one.st_uid,
        one.st_gid,
        one.st_size,
        one.st_mtime_ns,
        one.st_ctime_ns,
    ) == (
        two.st_ino,
        two.st_mode,
        two.st_uid,
        two.st_gid,
        two.st_size,
        two.st_mtime_ns,
        two.st_ctime_ns,
    )


def sha256(path: bytes, expected: os.stat_result | None = None, told: Told | None = None) -> str | None:
    """SHA-256 of a file; None if it cannot be read, "" if it is no longer the one expected. ``told`` gets the bytes read."""
    digest = hashlib.sha256()
    try:
        # NONBLOCK: a FIFO may have taken the file's place, and would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while block := os.read(descriptor, _BLOCK):
                digest.update(block)
                if told is not None:
                    told(len(block))
            if expected is not None and not same(expected, os.fstat(descriptor)):
                return ""
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return digest.hexdigest()


class _Stopped(Exception):
    """Nobody waits for the rest."""


class Beside:
    """Hashes these files, in this order, in the body of a ``with``."""

    def __init__(self, files: Wanted) -> None:
        self._files = files
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="beside", daemon=True)
        self._digests: dict[bytes, str] = {}

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def digests(self) -> t.Mapping[bytes, str]:
        """SHA-256 by name, of those that still were the expected files when they had been read."""
        return self._digests

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread alone
        try:
            for name, path, status in self._files:
                self._go_on()
                if digest := sha256(path, status, self._go_on):
                    self._digests[name] = digest
        except _Stopped:
            return

    def _go_on(self, _size: int = 0) -> None:
        if self._stop.is_set():
            raise _Stopped

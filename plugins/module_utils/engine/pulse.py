# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Whether a restore still moves: every process of it says so, and the one that was asked ends it when none does."""

from __future__ import annotations

import mmap
import signal
import struct
import threading
import time
import typing as t
from contextlib import contextmanager

from .errors import LifeboatError

_LOOK = 1.0  # seconds between two looks
_TIME = struct.Struct("d")


class Pulse:
    """When something last moved, in this process or in one that was forked after this was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _TIME.size)
        self._seen = b""
        self._looked = self._idle = 0.0
        self.beat()

    def beat(self) -> None:
        """Something moved: bytes came, or went to the tree."""
        _TIME.pack_into(self._memory, 0, time.monotonic())

    def idle(self) -> float:
        """Seconds since a look at it (the first one too) found that something had moved. One in which this process itself was
        stopped is none: much time between two looks counts as little.

        What is written there is only compared, never read as a time: another process may be writing it right now, and
        ``pack_into`` writes zeros first (CPython 3.11, Modules/_struct.c): the time at which the machine was started.
        """
        now, seen = time.monotonic(), self._memory[:]
        self._idle = 0.0 if seen != self._seen else self._idle + min(now - self._looked, 2 * _LOOK)
        self._seen, self._looked = seen, now
        return self._idle


class _Ended(BaseException):
    """No Exception: whoever tries a failed step again, here or in a library, would swallow it."""


@contextmanager
def watched(pulse: Pulse, timeout: float, stall_timeout: float) -> t.Iterator[None]:
    """End the body with an error after ``timeout`` seconds, or ``stall_timeout`` seconds in which nothing moved.

    Only a main thread can be told; an engine's request runs in one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    end = time.monotonic() + timeout

    def look(*_: object) -> None:
        if time.monotonic() > end:
            why = "the restore ran into its time limit: check the store, or raise the limit, then run again."
        elif pulse.idle() > stall_timeout:
            why = (
                f"nothing moved for {stall_timeout:.0f} s: check that the store answers and that the destination can be "
                "written, or raise stall_timeout, then run again."
            )
        else:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)  # once is enough
        raise _Ended(why)

    before = signal.signal(signal.SIGALRM, look)
    every = min(_LOOK, timeout, stall_timeout)
    signal.setitimer(signal.ITIMER_REAL, every, every)
    try:
        yield
    except _Ended as ended:
        raise LifeboatError(str(ended)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The full's volumes, decrypted and unpacked here -> batches of entries for whichever process is free.

A volume comes from one gpg and one deflate stream, but most of the work is to make its files. So threads of this process
unpack the streams into memory that all processes share, cut between entries. That keeps every core at work, whether
there is one volume or a hundred.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import queue
import threading
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor, wait

from .crew import Crew, Task
from .decrypt import Plain
from .difftar import ROOM, Cutter
from .errors import Damaged
from .parts import Part
from .unpack import Summary

BATCH = 1 << 19  # bytes of entries that one task is about
_SLOT = BATCH + ROOM
_MOST = 4  # volumes that are read at a time


class Slots:
    """Room for ``count`` batches, shared with the processes that are forked after it was made."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, max(count, 1) * _SLOT)
        self.free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        for number in range(count):
            self.free.put(number)

    def room(self, number: int, size: int = _SLOT) -> memoryview:
        """The first ``size`` bytes of a slot."""
        return memoryview(self._memory)[number * _SLOT : number * _SLOT + size]


Open = t.Callable[[Part], t.ContextManager[Plain]]


class Feed:
    """``opened`` waits for a volume, checks its hash and opens it; ``note`` is told of each batch's summary, by one thread
    at a time; ``stop`` ends whatever ``opened`` may wait for."""

    def __init__(
        self, crew: Crew, slots: Slots, opened: Open, note: t.Callable[[Summary], None], stop: t.Callable[[], None]
    ) -> None:
        self._crew, self._slots, self._opened, self._note, self._stop = crew, slots, opened, note, stop
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._ended = False
        self._behind: int | None = None  # the first volume that is known to go on behind all that is restored
        self._lock = threading.Lock()
        self._open: dict[int, Plain] = {}  # volume -> what is being read
        self._found: dict[int, dict[int, Summary]] = {}  # volume -> batch -> its ends
        self._hurt: dict[int, str] = {}  # volume -> what is wrong with its entries
        self._broken: dict[int, BaseException] = {}  # volume -> why it could not be read
        self._failures: list[BaseException] = []

    def run(self, parts: t.Sequence[Part]) -> list[list[Summary]]:
        """Unpack all these volumes; returns for each the first and last entries of its batches, in order."""
        rest = iter(parts)
        count = min(_MOST, len(self._crew), len(parts))
        with ThreadPoolExecutor(count + 1) as pool:
            try:
                fed = [pool.submit(self._feed, rest) for _number in range(count)]
                pool.submit(self._close, fed)
                self._crew.each(iter(self._tasks.get, None), self._done, self._end)
                for feeder in fed:  # each caught what went wrong with a volume; this is for what it did not
                    feeder.result()
            except BaseException as error:  # noqa: BLE001 - raised below, when all threads have ended
                # before what those who feed say: that nobody waits for them any more
                self._failures.insert(0, error)
                self._end()
        for part in parts:
            number = part.volume.number
            if number in self._hurt:
                with part.named():
                    raise self._broken.get(number) or Damaged(self._hurt[number])
        if self._failures:
            raise self._failures[0]
        return [[found for _number, found in sorted(self._found.get(part.volume.number, {}).items())] for part in parts]

    # --- threads that feed --------------------------------------------------------------------------------------------

    def _close(self, fed: t.Sequence[Future[None]]) -> None:
        """When nothing more is fed, whoever waits for a task hears of it."""
        wait(fed)
        self._tasks.put(None)

    def _feed(self, rest: t.Iterator[Part]) -> None:
        while not self._ended:
            with self._lock:
                part = next(rest, None)
            if part is None:
                return
            try:
                with part.named(), self._opened(part) as plain, self._noted(part.volume.number, plain):
                    self._volume(part, plain)
            except BaseException as error:  # noqa: BLE001 - raised by `run`
                self._broken[part.volume.number] = error
                self._failures.append(error)
                self._end()

    @contextlib.contextmanager
    def _noted(self, number: int, plain: Plain) -> t.Iterator[None]:
        """So that whoever waits for this one's gpg does not wait for ever."""
        with self._lock:
            self._open[number] = plain
        try:
            if self._ended:
                plain.stop()
            yield
        finally:
            with self._lock:
                del self._open[number]

    def _volume(self, part: Part, plain: Plain) -> None:
        number, cutter = part.volume.number, Cutter(plain.read)
        try:
            for count in itertools.count():
                slot = self._slots.free.get()
                if slot is None or self._ended:
                    self._slots.free.put(None)
                    break
                # only what follows there: volumes before it, which come later than it, may hold more
                if self._behind is not None and number >= self._behind:
                    self._slots.free.put(slot)
                    plain.skip()
                    return
                size = cutter.fill(self._slots.room(slot), BATCH)
                if not size:
                    self._slots.free.put(slot)
                    break
                self._tasks.put(("batch", (part.set, number, count, slot, size)))
        except Damaged:
            plain.finish()  # when gpg has failed, its own reason is the better one
            raise
        if not self._ended or number in self._hurt:
            plain.finish()

    # --- threads that drive the processes -----------------------------------------------------------------------------

    def _done(self, task: Task, answer: tuple[Summary, str]) -> None:
        _set, volume, count, slot, _size = task[1]
        summary, damage = answer
        self._slots.free.put(slot)
        if damage:
            self._hurt.setdefault(volume, damage)
            self._end()
            return
        if summary.behind:
            self._behind = volume if self._behind is None else min(volume, self._behind)
        self._note(summary)
        self._found.setdefault(volume, {})[count] = Summary(summary.first, summary.last, summary.open, summary.behind)

    def _end(self) -> None:
        """Nothing more is fed."""
        self._ended = True
        self._slots.free.put(None)
        with self._lock:
            for number, plain in self._open.items():
                if number not in self._hurt:  # why that one is hurt its gpg may know better
                    plain.stop()
        self._stop()

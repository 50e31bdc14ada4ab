# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Objects -> files in a spool folder: many at once, in the order in which they are needed, within a bound of bytes."""

from __future__ import annotations

import collections
import hashlib
import os
import threading
import time
import typing as t
from dataclasses import dataclass

from .delta_spool import spool_failure
from .errors import LifeboatError
from .store import StoredObject

Stream = t.Callable[..., t.Iterator[bytes]]

_TRIES = 3
_PATIENCE = 5.0  # seconds that threads get to end


@dataclass
class _Coming:
    """An object in the spool or on its way there."""

    item: StoredObject
    path: str
    parts: list[tuple[int, int | None]]  # (start, end), of which all but the first ``asked`` are not asked for
    asked: int = 0
    arrived: int = 0
    done: bool = False
    error: LifeboatError | None = None
    sha1: str = ""


class Fetcher:
    """``with Fetcher(...) as fetcher``: :meth:`want` objects, :meth:`take` each once, :meth:`drop` it when it is used.

    The bound holds over everything that was fetched and not dropped, and is never less than the two largest objects
    wanted need: one that is read and one on its way. Whoever takes in another order than wanted may wait for ever.
    ``stream`` is that of a store (:class:`.store_base.ObjectStore`).
    Objects larger than ``part`` bytes are fetched in such parts, side by side. ``alive`` is told whenever bytes come.
    """

    def __init__(
        self,
        stream: Stream,
        folder: str,
        bound: int,
        threads: int = 16,
        part: int | None = None,
        alive: t.Callable[[], None] = lambda: None,
    ) -> None:
        self._stream, self._folder, self._bound, self._part, self._alive = stream, folder, bound, part, alive
        self._queue: collections.deque[StoredObject] = collections.deque()
        self._coming: dict[str, _Coming] = {}
        self._current: _Coming | None = None  # the object whose parts are being given out
        self._largest = self._used = 0
        self._closed = False
        # taken as itself: a signal's handler that raises within Condition.__enter__ would leave it locked
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._threads = [threading.Thread(target=self._work, daemon=True) for number in range(threads)]

    def __enter__(self) -> Fetcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def stop(self) -> None:
        """From now on nothing is fetched, and whoever waits in :meth:`take` gets an error."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """End all threads; one that waits for a store that hangs is left to its own time limit."""
        self.stop()
        patient = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, patient - time.monotonic()))
        for coming in self._coming.values():
            _unlink(coming.path)

    def want(self, objects: t.Iterable[StoredObject]) -> None:
        """Fetch these, in this order, behind what was wanted before."""
        with self._lock:
            for item in objects:
                self._queue.append(item)
                self._largest = max(self._largest, item.bytes)
            self._changed.notify_all()

    def ready(self, name: str) -> bool:
        """Whether :meth:`take` would not wait."""
        with self._lock:
            return self._arrived(name)

    def _arrived(self, name: str) -> bool:
        return name in self._coming and self._coming[name].done

    def take(self, item: StoredObject, sha1: str | None = None) -> str | None:
        """Wait for the object's file and return its path, or None if it has another hash each time."""
        with self._lock:
            while not self._arrived(item.name) and not self._closed:
                self._changed.wait()
            if self._closed:
                raise LifeboatError("the restore was ended.")
            coming = self._coming[item.name]
        for attempt in range(_TRIES):
            if attempt:
                coming.parts = [(0, None)]  # the way here may have hurt it, not the store
                self._fetch(coming, 0)
            if coming.error is not None:
                raise coming.error
            if sha1 is None or coming.sha1 == sha1:
                return coming.path
        return None

    def drop(self, name: str) -> None:
        """The object's file is no longer needed."""
        with self._lock:
            coming = self._coming.pop(name)
            self._used -= coming.item.bytes
            self._changed.notify_all()
        _unlink(coming.path)

    # --- threads ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._closed and not self._next():
                    self._changed.wait()
                coming = self._current
                if self._closed or coming is None:
                    return
                number = coming.asked
                coming.asked += 1
            self._fetch(coming, number)
            with self._lock:
                coming.arrived += 1
                last = coming.arrived == len(coming.parts)
            if last:
                if len(coming.parts) > 1 and coming.error is None:
                    try:
                        coming.sha1 = _hash(coming.path)
                    except OSError as error:
                        coming.error = spool_failure(self._folder, error)
                with self._lock:
                    coming.done = True
                    self._changed.notify_all()

    def _next(self) -> bool:
        """Whether there is a part to fetch, of the current object or, where there is room, of the next one."""
        if self._current is not None and self._current.asked < len(self._current.parts):
            return True
        self._current = None
        if not self._queue or self._used + self._queue[0].bytes > max(self._bound, 2 * self._largest):
            return False
        item = self._queue.popleft()
        parts: list[tuple[int, int | None]] = [(0, None)]
        if self._part is not None and item.bytes > 2 * self._part:
            parts = [(at, min(at + self._part, item.bytes)) for at in range(0, item.bytes, self._part)]
        path = os.path.join(self._folder, os.path.basename(item.name))
        self._current = self._coming[item.name] = _Coming(item, path, parts)
        self._used += item.bytes
        return True

    def _fetch(self, coming: _Coming, number: int) -> None:
        """Fetch one part, again where that fails; the last one to arrive has the whole hashed."""
        error: LifeboatError | None = None
        for _attempt in range(_TRIES):
            try:
                digest = self._fetch_once(coming, *coming.parts[number])
            except LifeboatError as failed:
                error = failed
            except OSError as failed:
                error = spool_failure(self._folder, failed)
                break
            except Exception as failed:  # noqa: BLE001 - whoever waits for the object must hear of it
                error = LifeboatError(f"cannot read {coming.item.name}: {type(failed).__name__}: {failed}.")
                break
            else:
                coming.sha1, error = digest, None
                break
            if self._closed:
                break
        if error is not None:
            coming.error = error

    def _fetch_once(self, coming: _Coming, start: int, end: int | None) -> str:
        """Write a part to its place; returns the hash of what came, which is the object's if that is the whole."""
        digest = hashlib.sha1(usedforsecurity=False)
        at = start
        file = os.open(coming.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for piece in self._stream(coming.item.name, start, end, version_id=coming.item.version_id):
                if self._closed:
                    raise LifeboatError("the restore was ended.")
                self._alive()
                if end is None:
                    digest.update(piece)
                view = memoryview(piece)
                while view:
                    written = os.pwrite(file, view, at)
                    view, at = view[written:], at + written
            if end is None:
                os.ftruncate(file, at)
            elif at != end:
                raise LifeboatError(f"{coming.item.name} is shorter than the store's list says: run again.")
        finally:
            os.close(file)
        return digest.hexdigest()


def _hash(path: str) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

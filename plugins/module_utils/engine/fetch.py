# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Objects -> files in a spool folder: many at once, in the order in which they are needed, within a bound of bytes."""

from __future__ import annotations

import collections
import errno
import hashlib
import os
import threading
import typing as t

from .errors import LifeboatError
from .store import ObjectStore, StoredObject

_TRIES = 3


class Fetcher:
    """``with Fetcher(...) as fetcher``: :meth:`want` objects, :meth:`take` each once, :meth:`drop` it when it is used.

    The bound holds over everything that was fetched and not dropped, and is never less than the two largest objects
    wanted need: one that is read and one on its way. Whoever takes in another order than wanted may wait for ever.
    """

    def __init__(self, store: ObjectStore, folder: str, bound: int, threads: int = 16) -> None:
        self._store, self._folder, self._bound = store, folder, bound
        self._queue: collections.deque[StoredObject] = collections.deque()
        self._done: dict[str, str | LifeboatError] = {}  # object's name -> SHA-1 of its file, or why there is none
        self._sizes: dict[str, int] = {}  # of what is in the spool or on its way
        self._paths: dict[str, str] = {}
        self._largest = self._used = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Fetcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End all threads; whoever waits in :meth:`take` gets an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for path in self._paths.values():
            _unlink(path)

    def want(self, objects: t.Iterable[StoredObject]) -> None:
        """Fetch these, in this order, behind what was wanted before."""
        with self._changed:
            for item in objects:
                self._queue.append(item)
                self._largest = max(self._largest, item.bytes)
            self._changed.notify_all()

    def ready(self, name: str) -> bool:
        """Whether :meth:`take` would not wait."""
        with self._changed:
            return name in self._done

    def take(self, item: StoredObject, sha1: str | None = None) -> str | None:
        """Wait for the object's file and return its path, or None if it has another hash each time."""
        with self._changed:
            while item.name not in self._done and not self._closed:
                self._changed.wait()
            if self._closed:
                raise LifeboatError("the restore was ended.")
            result = self._done.pop(item.name)
        for _attempt in range(_TRIES):
            if isinstance(result, LifeboatError):
                raise result
            if sha1 is None or result == sha1:
                return self._paths[item.name]
            result = self._fetch(item)  # the way here may have hurt it, not the store
        return None

    def drop(self, name: str) -> None:
        """The object's file is no longer needed."""
        with self._changed:
            path = self._paths.pop(name, None)
            self._used -= self._sizes.pop(name, 0)
            self._changed.notify_all()
        if path is not None:
            _unlink(path)

    # --- threads ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._room():
                    self._changed.wait()
                if self._closed:
                    return
                item = self._queue.popleft()
                self._sizes[item.name] = item.bytes
                self._used += item.bytes
                self._paths[item.name] = os.path.join(self._folder, os.path.basename(item.name))
            result = self._fetch(item)
            with self._changed:
                self._done[item.name] = result
                self._changed.notify_all()

    def _room(self) -> bool:
        if not self._queue:
            return False
        return self._used + self._queue[0].bytes <= max(self._bound, 2 * self._largest)

    def _fetch(self, item: StoredObject) -> str | LifeboatError:
        result: str | LifeboatError = LifeboatError(f"cannot read {item.name}.")
        for _attempt in range(_TRIES):
            try:
                return self._fetch_once(item)
            except LifeboatError as error:
                result = error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    return LifeboatError(f"the spool {self._folder} is full: free space, or name another folder.")
                return LifeboatError(f"cannot write to the spool {self._folder}: {error.strerror}.")
            except Exception as error:  # noqa: BLE001 - whoever waits for the object must hear of it
                return LifeboatError(f"cannot read {item.name}: {type(error).__name__}: {error}.")
            if self._closed:
                break
        return result

    def _fetch_once(self, item: StoredObject) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        with open(self._paths[item.name], "wb", buffering=0) as file:
            for piece in self._store.stream(item.name):
                if self._closed:
                    raise LifeboatError("the restore was ended.")
                digest.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
        return digest.hexdigest()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Reports how far the running operation is to whoever watches: a terminal, Ansible, the process that started the unit.

An engine process does one operation, so there is one reporter, as there is one log: :func:`reporting` makes it, and the
operations tell it what they do (:func:`phase`, :func:`add`, :func:`follow`). Where nobody watches, these do nothing.
Every second it hands a :class:`State` to its sink. Progress is a courtesy: nothing here ever fails an operation.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
import typing as t
from contextlib import contextmanager
from dataclasses import replace

from .errors import Refused
from .progress import State, dump, parse

INTERVAL = 1.0  # seconds
_ID = re.compile(r"[0-9a-f]{32}")
_ABANDONED = 3600.0  # seconds: a living file is written every second
_LONGEST = 4096  # bytes of a file that are read

Sink = t.Callable[[State], None]


class Reporter:
    """Collects what the operation tells it, and hands a state to the sink every second, from a thread of its own."""

    def __init__(self, sink: Sink, operation: str, profile: str | None) -> None:
        self._sink = sink
        self._state = State(operation, profile, started=time.time())  # without the counts:
        self._counts = [0, 0, 0]
        self._followed: tuple[str, bool] | None = None
        self._told: State | None = None  # the last one of another process: its file goes when it ends
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def phase(self, name: str, files: int | None, size: int | None, volumes: int | None) -> None:
        with self._lock:
            self._followed, self._told = None, None
            self._counts = [0, 0, 0]
            self._state = State(
                self._state.operation,
                self._state.profile,
                name,
                total_files=files,
                total_bytes=size,
                total_volumes=volumes,
                started=time.time(),
            )

    def add(self, files: int, size: int, volumes: int) -> None:
        with self._lock:
            self._counts[0] += files
            self._counts[1] += size
            self._counts[2] += volumes

    def follow(self, path: str, whole: bool) -> None:
        with self._lock:
            self._followed, self._told = (path, whole), None

    def state(self) -> State:
        """How far it is now."""
        with self._lock:
            files, size, volumes = self._counts
            state = replace(self._state, files=files, bytes=size, volumes=volumes)
            told = self._told
            if self._followed:
                told = self._told = read(self._followed[0]) or told
            whole = self._followed is not None and self._followed[1]
        if told and whole:
            state = replace(told, operation=state.operation, profile=state.profile)
        elif told:
            state = replace(state, files=told.files, bytes=told.bytes, volumes=told.volumes)
        return replace(state, updated=time.time())

    def _report(self) -> None:
        try:
            while True:
                self._sink(self.state())
                if self._done.wait(INTERVAL):
                    return
        except (OSError, ValueError):
            return  # no place to show it: the operation goes on


_current: Reporter | None = None


@contextmanager
def reporting(sink: Sink | None, operation: str, profile: str | None = None) -> t.Iterator[None]:
    """Report to ``sink`` while the operation in the body runs; None: nobody watches."""
    global _current  # noqa: PLW0603 - one process, one operation, one watcher: see the top
    if sink is None:
        yield
        return
    outer, _current = _current, Reporter(sink, operation, profile)
    mine = _current
    try:
        yield
    finally:
        _current = outer
        mine.close()


def phase(name: str, *, files: int | None = None, size: int | None = None, volumes: int | None = None) -> None:
    """A new phase begins, of which these totals are known; its counts begin at 0."""
    if _current is not None:
        _current.phase(name, files, size, volumes)


def add(*, files: int = 0, size: int = 0, volumes: int = 0) -> None:
    """The operation has done this much more of the phase."""
    if _current is not None:
        _current.add(files, size, volumes)


def watched() -> bool:
    """Whether it is worth an effort to know totals."""
    return _current is not None


def follow(path: str, *, whole: bool = False) -> str | None:
    """Until the next phase the counts are those that another process writes to ``path``; with ``whole`` its phase and totals
    too. Returns the path, or None where nobody watches: then the other process need not count."""
    if _current is None:
        return None
    _current.follow(path, whole)
    return path


def read(path: str) -> State | None:
    """The state in a file, if there is one. Its folder may belong to another user than us: no link, no FIFO is opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return parse(os.read(descriptor, _LONGEST))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def file_sink(path: str) -> Sink:
    """A sink that keeps the newest state in a file for everybody's eyes."""
    temporary = path + ".new"

    def write(state: State) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(temporary, flags, 0o644), "wb") as handle:
            os.fchmod(handle.fileno(), 0o644)  # whatever our umask is
            handle.write(dump(state))
        os.replace(temporary, path)

    return write


def public_path(folder: str, identifier: str) -> str:
    """Where the state of the request with this id lies."""
    if not _ID.fullmatch(identifier):
        raise Refused("the progress id of a request is 32 hexadecimal digits.")
    return os.path.join(folder, f"{identifier}.progress.json")


@contextmanager
def published(path: str | None, operation: str, profile: str | None = None) -> t.Iterator[None]:
    """Keep the progress of the body in the file ``path``, and remove it at the end. None: nobody wants it."""
    if path is None:
        yield
        return
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _sweep(os.path.dirname(path))
    except OSError:
        pass
    try:
        with reporting(file_sink(path), operation, profile):
            yield
    finally:
        for name in (path, path + ".new"):
            try:
                os.unlink(name)
            except OSError:
                pass


def _sweep(folder: str) -> None:
    """Remove what killed processes have left."""
    for entry in os.scandir(folder):
        ours = entry.name.endswith((".progress.json", ".progress.json.new"))
        if ours and time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED:
            os.unlink(entry.path)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Processes that unpack volumes side by side: forked before any thread is started, ended with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import pickle
import signal
import threading
import typing as t

from .errors import LifeboatError

_PR_SET_PDEATHSIG = 1
_PATIENCE = 10.0  # seconds that a process gets to end its gpg

Task = tuple[str, t.Any]


class Server(t.Protocol):
    """What a member makes of its tasks."""

    def __call__(self, task: str, value: t.Any, /) -> t.Any: ...

    def close(self) -> None: ...


class Crew:
    """``count`` processes, each of which calls what ``make`` returns there for each task. With none, it is called here.

    What it raises arrives here as :class:`LifeboatError` with the same text."""

    def __init__(self, count: int, make: t.Callable[[], Server]) -> None:
        context = multiprocessing.get_context("fork")
        self._here = make() if not count else None
        self._members: list[tuple[multiprocessing.Process, multiprocessing.connection.Connection]] = []
        for _number in range(count):
            ours, theirs = context.Pipe()
            others = [connection for _process, connection in self._members]
            process = context.Process(target=_serve, args=(make, theirs, [ours, *others]), daemon=True)
            process.start()
            theirs.close()
            self._members.append((t.cast(multiprocessing.Process, process), ours))

    def __len__(self) -> int:
        return len(self._members)

    def all(self, task: Task) -> list[t.Any]:
        """Give the task to every member."""
        if self._here is not None:
            return [self._here(*task)]
        packed = pickle.dumps(task)  # once for all: it may be large
        for _process, connection in self._members:
            _send(connection, packed)
        return [_answer(connection) for _process, connection in self._members]

    def each(self, tasks: t.Iterator[Task], done: t.Callable[[Task, t.Any], None], stop: t.Callable[[], None]) -> None:
        """Give each task to whoever is free; the first error ends it. ``tasks`` may wait, until ``stop`` is called after
        an error; ``done`` is called with the task and its result, by one thread at a time."""
        if self._here is not None:
            for task in tasks:
                done(task, self._here(*task))
            return
        lock, failures = threading.Lock(), list[BaseException]()
        taking = threading.Lock()

        def drive(connection: multiprocessing.connection.Connection) -> None:
            try:
                while not failures:
                    with taking:
                        task = next(tasks, None)
                    if task is None:
                        return
                    _send(connection, pickle.dumps(task))
                    result = _answer(connection)
                    with lock:
                        done(task, result)
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
                failures.append(error)
                stop()

        threads = [
            threading.Thread(target=drive, args=(connection,), daemon=True) for member, connection in self._members
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def close(self) -> None:
        """End all members, whatever they do."""
        if self._here is not None:
            self._here.close()
        for process, connection in self._members:
            process.terminate()
            connection.close()
        for process, _connection in self._members:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._members.clear()


def _send(connection: multiprocessing.connection.Connection, packed: bytes) -> None:
    try:
        connection.send_bytes(packed)
    except OSError:
        raise _gone() from None


def _answer(connection: multiprocessing.connection.Connection) -> t.Any:
    try:
        good, result = connection.recv()
    except (EOFError, OSError):
        raise _gone() from None
    if not good:
        raise LifeboatError(result)
    return result


def _gone() -> LifeboatError:
    return LifeboatError("a process that unpacked volumes was killed: free memory, and try again.")


def _told_to_end(*signal_and_frame: object) -> t.NoReturn:
    raise SystemExit(1)


def _serve(
    make: t.Callable[[], Server],
    connection: multiprocessing.connection.Connection,
    others: list[multiprocessing.connection.Connection],
) -> None:
    """The life of a member: until its parent closes the pipe, ends it, or dies."""
    for other in others:
        other.close()
    signal.signal(signal.SIGTERM, _told_to_end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent will end us
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    serve = make()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, serve(*task))
        except LifeboatError as error:
            answer = (False, str(error))
        except Exception as error:  # noqa: BLE001 - the parent has to hear of it, whatever it is
            answer = (False, f"the fast reader failed: {type(error).__name__}: {error}.")
        connection.send(answer)

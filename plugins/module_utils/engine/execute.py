# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one door to a process: runs an argument vector in a group of its own and sees that it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass, field

from . import machine_log
from .errors import LifeboatError

_TAIL = 4000  # bytes of output kept for an error message
_LAST_WORDS = 30.0  # seconds without progress that a run gets once it has logged an error


@dataclass(frozen=True)
class Finished:
    """How a process ended: exit code (negative: killed by that signal), machine log, end of its output, seconds, and
    ``ended_by``: ``timeout``, ``stall`` or ``error`` when we stopped it (the last: it had failed, but did not end)."""

    exit_code: int
    events: list[machine_log.Event] = field(default_factory=list)
    output: str = ""
    seconds: float = 0.0
    ended_by: str | None = None


def run(
    argv: t.Sequence[str],
    env: t.Mapping[str, str],
    *,
    log: str | None = None,
    timeout: float = 3600.0,
    stall_timeout: float = 600.0,
    keep: t.Sequence[int] = (),
) -> Finished:
    """Run ``argv`` to its end and read its machine log.

    After ``timeout`` seconds, or ``stall_timeout`` seconds in which no process of the group used the processor or
    wrote to the log, the whole group is ended: duplicity can hang for ever (facts: guards 8 and 19). One that has
    logged an error gets less time: a restore that meets a damaged volume waits for its own gpg for ever (3.2.1, tried
    with an encrypted chain of two sets). ``keep`` are descriptors handed on (the lock).

    The environment says who we are (LIFEBOAT_PARENT), for a launcher that is to end with us. The kernel means the thread,
    so call this from one that stays.
    """
    started = time.monotonic()
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            list(argv),
            env={**env, "LIFEBOAT_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
            pass_fds=list(keep),
        )
    except OSError as error:
        os.close(read_end)
        raise LifeboatError(f"cannot start {argv[0]}: {error.strerror}; roll the node out again.") from error
    finally:
        os.close(write_end)
    with os.fdopen(read_end, "rb", buffering=0) as output:
        os.set_blocking(output.fileno(), False)
        try:
            ended_by, tail = _watch(process, output, log, started + timeout, stall_timeout)
        except BaseException:  # interrupted: its own session hears nothing of that
            _end_group(process)
            raise
    seconds = time.monotonic() - started
    return Finished(process.returncode, _events(log), tail.decode("utf-8", "replace"), seconds, ended_by)


def _watch(
    process: subprocess.Popen[bytes], output: t.BinaryIO, log: str | None, deadline: float, stall_timeout: float
) -> tuple[str | None, bytes]:
    """Wait for the end and drain the output; returns why we ended it (or None) and the last output."""
    tail = b""
    seen: tuple[int, int] = (-1, -1)
    alive_at = time.monotonic()
    ended_by = None
    end = os.pidfd_open(process.pid)  # readable when the process ends, so that no end is noticed late
    awaited = [end, output.fileno()]
    try:
        while True:
            select.select(awaited, [], [], 1.0)
            ended = process.poll() is not None
            while block := output.read(65536):
                tail = (tail + block)[-_TAIL:]
            if block == b"":  # closed: from now on it would always be readable
                awaited = [end]
            if ended:
                return ended_by, tail
            now = time.monotonic()
            progress = (_processor_ticks(process.pid), _size(log))
            if progress != seen:
                seen, alive_at = progress, now
            idle = now - alive_at
            if now > deadline or idle > stall_timeout:
                ended_by = "timeout" if now > deadline else "stall"
                _end_group(process)
            elif idle > _LAST_WORDS and machine_log.of(_events(log), "ERROR"):
                ended_by = "error"
                _end_group(process)
    finally:
        os.close(end)


def _end_group(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """SIGTERM the group, then SIGKILL what is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    # children of a leader that obeyed SIGTERM may still be there
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _processor_ticks(group: int) -> int:
    """Processor time that the group's living processes used, in clock ticks."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as handle:
                fields = handle.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:  # state ppid pgrp ...
            total += int(fields[11]) + int(fields[12])
    return total


def _size(path: str | None) -> int:
    try:
        return os.stat(path).st_size if path else 0
    except OSError:
        return 0


def _events(log: str | None) -> list[machine_log.Event]:
    if log is None:
        return []
    try:
        with open(log, encoding="utf-8", errors="surrogateescape", newline="\n") as handle:
            return machine_log.parse(handle.read())
    except FileNotFoundError:
        return []

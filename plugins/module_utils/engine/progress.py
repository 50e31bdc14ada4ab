# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""How far an operation is: counts, their form in a file, and the line that people see. Pure; ``reporter`` fills it.

A state holds counts only, no name of a file and no secret: its file may be readable for everybody.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, fields

PHASES = ("starting", "counting", "backing up", "restoring", "verifying", "hashing", "comparing", "finishing")
_MOST = 2**63


@dataclass(frozen=True)
class State:
    """Counts of the phase that runs since ``started`` (seconds since 1970, as ``updated``); totals are None if unknown.
    ``volumes`` are those read from the repository."""

    operation: str = ""
    profile: str | None = None
    phase: str = PHASES[0]
    files: int = 0
    bytes: int = 0
    volumes: int = 0
    total_files: int | None = None
    total_bytes: int | None = None
    total_volumes: int | None = None
    started: float = 0.0
    updated: float = 0.0


def dump(state: State) -> bytes:
    """The state as it is written to a file."""
    return json.dumps(asdict(state)).encode() + b"\n"


def parse(data: bytes) -> State | None:
    """The reverse of :func:`dump`; None for anything else. It may come from another machine, and be shown on a terminal:
    so only known phases and plain numbers pass."""
    try:
        values = json.loads(data)
        if not isinstance(values, dict):
            return None
        known = {field.name: values[field.name] for field in fields(State) if field.name in values}
        state = State(**known)
        counts = (state.files, state.bytes, state.volumes)
        totals = (state.total_files, state.total_bytes, state.total_volumes)
        for number in (*counts, *(total for total in totals if total is not None)):
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _MOST:
                return None
        for moment in (state.started, state.updated):
            if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < _MOST:
                return None
        names = (state.operation, state.profile or "x")
        if state.phase not in PHASES or not all(re.fullmatch(r"[a-z0-9_-]{0,32}", name) for name in names):
            return None
    except (ValueError, TypeError, RecursionError):
        return None
    return state


def line(state: State, now: float) -> str:
    """``backing up: 12,340 of 23,017 files, 120 MiB of 281 MiB, 14.2 MiB/s, 11 s left``. Pure."""
    elapsed = max(0.0, now - state.started)
    parts = [
        _of(state.files, state.total_files, "{:,}".format, " files"),
        _of(state.bytes, state.total_bytes, size, ""),
        _of(state.volumes, state.total_volumes, "{:,}".format, " volumes"),
    ]
    shown = [part for part in parts if part]
    if not shown:
        return f"{state.phase}, {duration(elapsed)}"
    if state.bytes and elapsed >= 1:
        shown.append(f"{size(state.bytes / elapsed)}/s")
    left = remaining(state, now)
    if left is not None:
        shown.append(f"{duration(left)} left")
    return f"{state.phase}: {', '.join(shown)}"


def remaining(state: State, now: float) -> float | None:
    """Seconds until the phase ends at its average speed; None if that would be a guess. Pure.

    Bytes say it best, then files, then volumes. What is complete says nothing: something else still runs."""
    elapsed = now - state.started
    for done, total in (
        (state.bytes, state.total_bytes),
        (state.files, state.total_files),
        (state.volumes, state.total_volumes),
    ):
        if total:
            return elapsed * (total - done) / done if 0 < done < total and elapsed >= 1 else None
    return None


def _of(done: int, total: int | None, show: t.Callable[[int], str], unit: str) -> str:
    if total:
        return f"{show(done)} of {show(max(done, total))}{unit}"  # the source may have grown
    return f"{show(done)}{unit}" if done else ""


def size(number: float) -> str:
    """``0 B``, ``1.5 KiB``, ``281 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1023.5 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 99.95 else f"{number:.1f} {unit}"


def duration(seconds: float) -> str:
    """``11 s``, ``2 min 05 s``, ``3 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

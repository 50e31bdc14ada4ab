# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One timed run, and whether what it restored is what was backed up."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import signal
import stat
import subprocess
import tempfile
import time
import typing as t
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PIECE = re.compile(rb"multivol_snapshot/(.+)/(\d+)")


@dataclass(frozen=True)
class Command:
    """What is timed: argv, its whole environment, and what it reads (secrets travel here)."""

    argv: t.Sequence[str]
    env: t.Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""


@dataclass
class Timing:
    """Seconds on the clock, the final sync of the destination included, and what the kernel counted for the command and
    its children (a mount's daemon is none); ``stolen`` is the share of the machine's time that its hypervisor gave to
    others meanwhile; ``error`` is "" when it ended well, ``words`` is what it printed."""

    seconds: float
    sync_seconds: float
    cpu_seconds: float
    peak_mib: float
    stolen: float
    error: str = ""
    words: str = ""


def sync_filesystem(folder: str) -> None:
    """Write out what the file system of ``folder`` still holds in memory."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), f"cannot sync {folder}")
    finally:
        os.close(descriptor)


def cold(folder: str, warm: t.Sequence[Command]) -> None:
    """Empty the machine's page cache, then load the programs again: their start from disk is nobody's restore speed."""
    sync_filesystem(folder)
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
    for command in warm:
        subprocess.run(command.argv, env=dict(command.env), input=command.stdin, capture_output=True, check=False)


def _ticks() -> tuple[int, int]:
    """Of all cores since the start: stolen by the hypervisor, and in all (``proc_stat(5)``; guests' are in user's)."""
    with open("/proc/stat", encoding="ascii") as handle:
        counts = [int(word) for word in handle.readline().split()[1:9]]
    return counts[7], sum(counts)


def timed(command: Command, folder: str, cores: t.Sequence[int], limit: float) -> Timing:
    """Run it on these cores, writing to the file system of ``folder``."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as given, tempfile.NamedTemporaryFile() as used:
        given.write(command.stdin)
        given.seek(0)
        # time(1), and not wait4 here: the kernel counts our own memory as the child's until it executes its program
        before = [
            "taskset",
            "-c",
            ",".join(map(str, cores)),
            "time",
            "--quiet",
            "--format",
            "%U %S %M",
            "-o",
            used.name,
        ]
        stolen, ticks = _ticks()
        start = time.monotonic()
        process = subprocess.Popen(
            [*before, *command.argv],
            env=dict(command.env),
            stdin=given,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            error = f"exit code {code}: " if code else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            error = f"no end within {limit:.0f} s: "
        ended = time.monotonic()
        sync_filesystem(folder)
        done = time.monotonic()
        stolen, ticks = (now - was for now, was in zip(_ticks(), (stolen, ticks), strict=True))
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip()
        numbers = [float(word) for word in Path(used.name).read_text(encoding="ascii").split()] or [0.0, 0.0, 0.0]
    share = stolen / max(ticks, 1)
    timing = Timing(done - start, done - ended, numbers[0] + numbers[1], numbers[2] / 1024, share, words=words)
    timing.error = error and error + words[-600:]
    return timing


Entry = tuple[str, int, int]  # SHA-256 ("" for a folder), mode, mtime in whole seconds


def tree(root: str) -> dict[bytes, Entry]:
    """Every path below ``root`` (itself as b"."): content and metadata."""
    paths = []
    for at, folders, names in os.walk(os.fsencode(root)):
        paths += [os.path.join(at, name) for name in [*folders, *names]]
    base = len(os.fsencode(root)) + 1
    size = max(len(paths) // 8, 100)
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    found: dict[bytes, Entry] = {}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for chunk, entries in zip(chunks, pool.map(_entries, chunks), strict=True):
            found |= {path[base:]: entry for path, entry in zip(chunk, entries, strict=True)}
    return found


def _entries(paths: t.Sequence[bytes]) -> list[Entry]:
    return [_entry(path) for path in paths]


def _entry(path: bytes) -> Entry:
    status = os.lstat(path)
    digest = ""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return digest, status.st_mode, int(status.st_mtime)


def below(whole: t.Mapping[bytes, Entry], path: str) -> dict[bytes, Entry]:
    """What lies below the folder ``path``, relative to it."""
    start = os.fsencode(path) + b"/" if path else b""
    return {name[len(start) :]: entry for name, entry in whole.items() if name.startswith(start)}


def compare(wanted: t.Mapping[bytes, Entry], found: t.Mapping[bytes, Entry]) -> tuple[str, bool]:
    """What is wrong with names and contents ("" if nothing), and whether modes and times of files are the same, too."""
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing or extra:
        one = min(missing or extra)
        return f"{len(missing)} path(s) missing, {len(extra)} too many, first {os.fsdecode(one)}", False
    other = [path for path, entry in wanted.items() if found[path][0] != entry[0]]
    if other:
        return f"{len(other)} file(s) with another content, first {os.fsdecode(min(other))}", False
    return "", all(found[path] == entry for path, entry in wanted.items() if entry[0])


def join_pieces(root: str) -> None:
    """Make a tree of what `tar x` leaves of a full's volumes: `snapshot/` and, in pieces, `multivol_snapshot/`."""
    base = os.fsencode(root)
    pieces: dict[bytes, list[tuple[int, bytes]]] = {}
    for at, _folders, names in os.walk(os.path.join(base, b"multivol_snapshot")):
        for name in names:
            path = os.path.join(at, name)
            found = _PIECE.fullmatch(path[len(base) + 1 :])
            if found is None:
                raise ValueError(f"{os.fsdecode(path)} is no piece of a file")
            pieces.setdefault(found[1], []).append((int(found[2]), path))
    for name, parts in pieces.items():
        target = os.path.join(base, b"snapshot", name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        status = os.stat(parts[0][1])
        with open(target, "wb") as handle:
            for _number, path in sorted(parts):
                handle.write(Path(os.fsdecode(path)).read_bytes())
        os.chmod(target, status.st_mode)
        os.utime(target, (status.st_mtime, status.st_mtime))

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""How much memory and disk the fast reader takes for a large repository, against its bounds.

    .venv/bin/python tests/benchmarks/bench_memory.py                     # 5 GB: some minutes, 16 GB of disk
    .venv/bin/python tests/benchmarks/bench_memory.py --gb 0.5
    .venv/bin/python tests/benchmarks/bench_memory.py --publish           # and docs/benchmarks/restore-memory.md

A full and two incrementals are made by stock duplicity: a file of random bytes that makes up nine tenths, a dump that
changes, and thousands of small files. Then the newest point is restored from file:// with as many processes as there are
cores, while every process's peak (VmHWM) and what lies in the spool are looked at, forty times a second.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP), str(TOP / "collections")]

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring  # noqa: E402

ENGINE = "ansible_collections.lifeboat.fleet.plugins.module_utils.engine"
MIB = 1 << 20
PER_PROCESS, SPOOL = 150 * MIB, 1 << 30  # the bounds
DAY = 86_400
RESTORE = f"""
import sys
sys.path[:0] = {[str(TOP / "collections")]!r}
from {ENGINE} import chains, fast
from {ENGINE}.reading import Origin
from {ENGINE}.store import Location, open_store
repository, destination, spool = sys.argv[1:]
place = Location("file://" + repository)
chain = chains.collect(open_store(place).list()).chains[0]
counted = fast.read(Origin(place, sys.stdin.buffer.read()), chain, chain.sets[-1], destination, spool=spool)
print(counted.files, counted.bytes)
"""


@dataclass
class Peaks:
    """The largest seen: bytes of each kind of process, and of the spool."""

    processes: dict[str, int] = field(default_factory=dict)
    spool: int = 0
    seconds: float = 0.0


def make(source: Path, gigabytes: float, dice: random.Random) -> None:
    source.mkdir()
    with (source / "image.bin").open("wb") as handle:
        for _ in range(int(gigabytes * 900)):
            handle.write(dice.randbytes(1_000_000))
    with (source / "dump.sql").open("wb") as handle:
        for number in range(int(gigabytes * 80)):
            handle.write(b"".join(b"(%d,'%x')\n" % (number, dice.getrandbits(64)) for _ in range(45_000)))
    for number in range(int(gigabytes * 4000)):
        path = source / f"m{number // 200}" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%x\n" % dice.getrandbits(4000) * 4)


def change(source: Path, day: int, dice: random.Random) -> None:
    """Five hundredths of both large files become other bytes, and a hundredth of the small ones."""
    for name in ("image.bin", "dump.sql"):
        with (source / name).open("r+b") as handle:
            size = os.fstat(handle.fileno()).st_size
            for _ in range(50):
                handle.seek(dice.randrange(size - size // 1000))
                handle.write(dice.randbytes(size // 1000))
    for path in dice.sample(sorted(source.glob("m*/*.txt")), len(list(source.glob("m*/*.txt"))) // 100):
        path.write_bytes(path.read_bytes() + b"day %d\n" % day)


def backup(room: Path, day: int, home: str, key: str) -> None:
    duplicity = os.path.join(os.path.dirname(sys.executable), "duplicity")
    subprocess.run(
        [
            *(
                duplicity,
                "incremental" if day else "full",
                "--archive-dir",
                str(room / "cache"),
                "--tempdir",
                str(room),
            ),
            *("--encrypt-key", key, "--gpg-options=--trust-model=always --compress-level=1", "--volsize", "50"),
            *("--current-time", str(1_700_000_000 + day * DAY), "--allow-source-mismatch"),
            *(str(room / "source"), f"file://{room / 'repository'}"),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(room), "GNUPGHOME": home, "PASSPHRASE": "", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def family(root: int) -> t.Iterator[int]:
    """The process and all below it."""
    yield root
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
        threads = os.listdir(f"/proc/{root}/task")
        for thread in threads:
            if thread != str(root):
                children += Path(f"/proc/{root}/task/{thread}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def look(root: int, spool: Path, peaks: Peaks) -> None:
    """Add what is there now. gpg-agent is a daemon and no child; it holds a key, and no data."""
    for pid in family(root):
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            name = status["Name"].strip()
            kind = "the reader itself" if pid == root else "gpg" if name.startswith("gpg") else "a process that unpacks"
            peaks.processes[kind] = max(peaks.processes.get(kind, 0), int(status["VmHWM"].split()[0]) * 1024)
        except (OSError, KeyError):
            continue  # it has just ended
    size = 0
    for at, _folders, names in os.walk(spool):
        for each in names:
            try:
                size += os.lstat(os.path.join(at, each)).st_size
            except OSError:
                continue
    peaks.spool = max(peaks.spool, size)


def measure(room: Path, private: bytes) -> tuple[Peaks, str]:
    (room / "spool").mkdir()
    peaks, start = Peaks(), time.monotonic()
    argv = [sys.executable, "-c", RESTORE, *(str(room / name) for name in ("repository", "restored", "spool"))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(private)
        process.stdin.close()
        while process.poll() is None:
            look(process.pid, room / "spool", peaks)
            time.sleep(0.025)
        peaks.seconds = time.monotonic() - start
        if process.returncode:
            raise SystemExit("bench-memory: the restore failed; it said why above.")
        return peaks, process.stdout.read().decode()


def report(peaks: Peaks, counted: str, stored: int) -> tuple[str, bool]:
    """The page, and whether all bounds were kept."""
    files, size = counted.split()
    rows = [(kind, peak, PER_PROCESS) for kind, peak in peaks.processes.items()] + [("the spool", peaks.spool, SPOOL)]
    lines = [
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
        "# Memory and spool of a restore",
        "",
        "Made by `tests/benchmarks/bench_memory.py --publish`, which says how.",
        "",
        (
            f"{int(files):,} files, {int(size) / 1e9:.1f} GB, from a repository of {stored / 1e9:.1f} GB (one full, two "
            f"incrementals, volumes of 50 MB) on {len(os.sched_getaffinity(0))} cores in {peaks.seconds:.0f} s."
        ),
        "",
        "| | peak, MiB | bound, MiB |",
        "|---|---|---|",
        *(f"| {name} | {peak / MIB:.0f} | {bound // MIB} |" for name, peak, bound in rows),
    ]
    return "\n".join(lines) + "\n", all(peak <= bound for _name, peak, bound in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=5.0, help="size of the source; 5 is what is published")
    parser.add_argument("--room", help="a folder on the disk to use; default: TMPDIR")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks/restore-memory.md, too")
    options = parser.parse_args()
    if options.publish and options.gb < 5:
        parser.error("--publish is for full size: leave out --gb.")
    dice = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="lifeboat-memory-", dir=options.room) as folder, Keyring() as ring:
        room = Path(folder)
        key = ring.generate("bench")
        make(room / "source", options.gb, dice)
        for day in range(3):
            if day:
                change(room / "source", day, dice)
            backup(room, day, ring.home, key)
        shutil.rmtree(room / "cache")
        peaks, counted = measure(room, ring.export_secret(key))
        stored = sum(path.stat().st_size for path in (room / "repository").iterdir())
        same = subprocess.run(["diff", "-r", str(room / "source"), str(room / "restored")], check=False).returncode == 0
        text, kept = report(peaks, counted, stored)
    print(text)
    if not same:
        print("bench-memory: what was restored is not what was backed up.", file=sys.stderr)
    if options.publish and same:
        (TOP / "docs/benchmarks/restore-memory.md").write_text(text)
    return int(not (same and kept))


if __name__ == "__main__":
    sys.exit(main())

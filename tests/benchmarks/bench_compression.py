#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Measure what the defaults of ``compression_level`` and ``volume_mib`` are chosen by: ``make bench-compression``.

Full backups of two sorts of data to a folder, encrypted, by the engine's own command line: source code (the modules of
this Python, as often as it takes) and random bytes (as good as pictures). Prints the tables of docs/options.md: wall and
processor seconds, and what is stored. ``--mib`` sets how much of each sort.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, execute, outcome, profile
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

LEVELS = (0, 1, 3, 6, 9)
VOLUMES = (10, 25, 50, 100, 200, 400)
MIB = 1 << 20


def make_text(root: Path, size: int) -> None:
    """Source code of Python, copied until there is enough. No compressor here looks back as far as to the last copy."""
    found = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    for number, path in enumerate(itertools.cycle(found)):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        target = root / f"{number // 500}" / f"{number}.php"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        size -= len(data)
        if size < 0:
            return


def make_noise(root: Path, size: int) -> None:
    """Random bytes in files of one MiB."""
    root.mkdir()
    for number in range(size // MIB):
        (root / f"{number}.jpg").write_bytes(os.urandom(MIB))


class Bench:
    """Runs of one engine command each, in an empty folder of its own."""

    def __init__(self, room: Path, ring: Keyring, fingerprint: str) -> None:
        self.room, self.ring, self.fingerprint = room, ring, fingerprint

    def full(self, source: Path, **options: int) -> tuple[float, float, int]:
        """Wall seconds, processor seconds and stored bytes of a full."""
        for name in ("store", "cache", "tmp"):
            shutil.rmtree(self.room / name, ignore_errors=True)
            (self.room / name).mkdir()
        store = self.room / "store"
        settings = profile.from_dict(
            "bench",
            {
                "node": "bench",
                "source": str(source),
                "store": {"url": f"file://{store}"},
                "fingerprint": self.fingerprint,
                **options,
            },
        )
        wall, processor = self._run(command.backup(settings, "full", self._work("log")), settings)
        return wall, processor, sum(path.stat().st_size for path in store.rglob("*") if path.is_file())

    def restore(self, source: Path, **options: int) -> tuple[float, float]:
        """Wall and processor seconds of a restore of the last full, from an empty cache."""
        settings = profile.from_dict(
            "bench",
            {
                "node": "bench",
                "source": str(source),
                "store": {"url": f"file://{self.room / 'store'}"},
                "fingerprint": self.fingerprint,
                **options,
            },
        )
        shutil.rmtree(self.room / "cache")
        shutil.rmtree(self.room / "tree", ignore_errors=True)
        work = self._work("restore-log")
        argv = command.restore(settings.repository, "20991231T000000Z", str(self.room / "tree"), work, encrypted=True)
        seconds = self._run(argv, settings)
        if len(list((self.room / "tree").rglob("*"))) != len(list(source.rglob("*"))):
            sys.exit("the restore is not whole")
        return seconds

    def _work(self, log: str) -> command.Workspace:
        names = ("cache", "tmp", f"tmp/{log}", "tmp/objects")
        return command.Workspace(*(str(self.room / name) for name in names), self.ring.home)

    def _run(self, argv: tuple[str, ...], settings: profile.Profile) -> tuple[float, float]:
        work = self._work("")
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        log = argv[argv.index("--log-file") + 1]
        done = execute.run(argv, command.environment(settings.store, work, os.environ), log=log)
        wall = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.exit_code != 0:
            sys.exit(f"duplicity failed: {outcome.detail(done)}")
        return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=200, help="MiB of each sort of data (200)")
    size = parser.parse_args().mib * MIB
    with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as folder, Keyring() as ring:
        bench = Bench(Path(folder), ring, ring.generate("bench"))
        text, noise = Path(folder) / "text", Path(folder) / "noise"
        make_text(text, size)
        make_noise(noise, size)
        print(f"{size // MIB} MiB of each sort, {os.cpu_count()} processors\n")
        print("| level | code: wall s | processor s | stored MiB | random: wall s | processor s | stored MiB |")
        print("|---|---|---|---|---|---|---|")
        for level in LEVELS:
            cells = [str(level)]
            for source in (text, noise):
                wall, processor, stored = bench.full(source, compression_level=level, volume_mib=50)
                cells += [f"{wall:.1f}", f"{processor:.1f}", f"{stored / MIB:.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)
        print("\n| volume_mib | full: wall s | processor s | volumes | restore: wall s | processor s | room MiB |")
        print("|---|---|---|---|---|---|---|")
        for volume in VOLUMES:
            wall, processor, _stored = bench.full(noise, volume_mib=volume)
            count = len(list((Path(folder) / "store").rglob("*.difftar.gpg")))
            back, work = bench.restore(noise, volume_mib=volume)
            room = (2 + 2.3) * volume
            cells = [str(volume), f"{wall:.1f}", f"{processor:.1f}", str(count), f"{back:.1f}", f"{work:.1f}"]
            print(f"| {' | '.join([*cells, f'{room:.0f}'])} |", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Measure what a fleet's prune takes from the controller, and that its memory does not grow with the fleet: ``make bench-prune``.

The store is synthetic: a generator that answers listings, reads and deletions as a bucket with versions would, without a network,
so what is measured is the engine alone. Each node has nightly points with a full a week, as many as its retention of 30 days
has left after a prune a week ago, so every night about one node in seven has a chain to drop. ``--latency 5`` lets each call take
5 ms, as a store does. Each size runs in a process of its own, for its peak of memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import resource
import subprocess
import sys
import time
import typing as t
from datetime import datetime, timedelta, timezone

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet_prune, record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet_prune import Asked
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import stamp
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version

NOW = datetime(2026, 11, 24, 6, tzinfo=timezone.utc)
DAY = timedelta(days=1)
SIZES = (100, 1_000, 10_000)


class Synthetic:
    """A bucket that is made up as it is asked. What is deleted is remembered until the node's last ledger entry."""

    def __init__(self, volumes: int, latency: float, flood: int) -> None:
        self.volumes, self.latency, self.flood = volumes, latency, flood
        self.deleted: dict[str, set[str]] = {}
        self.calls: dict[str, int] = {}
        self.listed = 0

    def count(self, call: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1
        if self.latency:
            time.sleep(self.latency)

    @functools.lru_cache(maxsize=64)  # noqa: B019  it lives as long as the process
    def sets(self, node: str) -> list[tuple[datetime, datetime | None, datetime]]:
        """(time, what it builds on, its full) of each set that is there."""
        found = []
        dice = random.Random(node)
        phase = dice.randrange(7)
        hour = timedelta(minutes=dice.randrange(240))
        # the newest full is `phase` days old; the oldest is that of the chain with which yesterday's window began
        first = next(ago for ago in range(31, 38) if (ago - phase) % 7 == 0)
        base = full = None
        for ago in range(first, -1, -1):
            moment = NOW - ago * DAY - DAY / 4 + hour
            if (ago - phase) % 7 == 0:
                base, full = None, moment
            found.append((moment, base, full or moment))
            base = moment
        return found

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def objects(self, node: str) -> list[tuple[str, datetime, int]]:
        """(name below the node, LastModified, bytes) of each object that was made, by name."""
        return sorted(self._objects(node))

    def _objects(self, node: str) -> t.Iterator[tuple[str, datetime, int]]:
        for moment, base, _full in self.sets(node):
            middle = f"inc.{stamp(base)}.to.{stamp(moment)}" if base else f"full.{stamp(moment)}"
            signatures = middle.replace("full.", "full-signatures.").replace("inc.", "new-signatures.")
            for number in range(1, (self.volumes if base is None else 1) + 1):
                yield f"repo/site/duplicity-{middle}.vol{number}.difftar.gpg", moment, 52_428_800
            yield f"repo/site/duplicity-{signatures}.sigtar.gpg", moment + DAY / 300, 400_000
            yield f"repo/site/duplicity-{middle}.manifest.gpg", moment + DAY / 290, 900
            yield f"records/site/{stamp(moment)}-backup.json", moment + DAY / 280, 1500
            yield f"records/site/{stamp(moment)}-backup.witness.gz.gpg", moment + DAY / 281, 90_000
        for number in range(self.flood if node == "n0" else 0):
            yield f"repo/site/duplicity-full.{stamp(NOW - DAY)}.vol{number + 1}.difftar.gpg", NOW - DAY, 1

    def list_versions(self, prefix: str = "") -> t.Iterator[Version]:
        node = prefix.split("/")[1]
        gone = self.deleted.get(node, ())
        rest = prefix.removeprefix(f"nodes/{node}/")
        for number, (name, moment, size) in enumerate(self.objects(node)):
            if name.startswith(rest) and name not in gone:
                if number % 1000 == 0:
                    self.count("list")
                self.listed += 1
                yield Version(f"nodes/{node}/{name}", f"{number:032x}", moment, size, "etag:x", latest=True)

    def list(self, prefix: str = "") -> list[StoredObject]:
        self.count("list ledger")
        return []

    def stream(self, name: str, *_: t.Any, **__: t.Any) -> t.Iterator[bytes]:
        self.count("read")
        _nodes, node, _records, _site, file = name.split("/")
        moment, base, full = next(one for one in self.sets(node) if file.startswith(stamp(one[0])))
        mode = "incremental" if base else "full"
        entry = Record("backup", "ok", stamp(moment), 1, node, "site", mode, stamp(moment), stamp(full))
        for held, when, size in self.objects(node):
            if held.startswith("repo/") and moment <= when < moment + DAY / 2:
                entry.objects.append(Object(held.rpartition("/")[2], size, "etag:x"))
        yield record.dump(entry)

    def stat(self, _name: str) -> None:
        self.count("stat")

    def write(self, name: str, *_: t.Any, **__: t.Any) -> StoredObject:
        self.count("write")
        if name.endswith("-done.json"):
            self.deleted.pop(name.split("/")[2], None)
        return StoredObject(name, 0, NOW)

    def delete_versions(self, pairs: t.Sequence[tuple[str, str]]) -> list[str]:
        self.count("delete")
        for name, _version in pairs:
            _nodes, node, rest = name.split("/", 2)
            self.deleted.setdefault(node, set()).add(rest)
        return []


def one(nodes: int, options: argparse.Namespace) -> dict[str, t.Any]:
    """One prune of so many nodes, in this process."""
    store = Synthetic(options.volumes, options.latency / 1000, options.flood)
    asked = (Asked(f"n{number}", {"site": Policy()}) for number in range(nodes))
    before, begun = time.process_time(), time.monotonic()
    told = {"chains": 0, "with_drops": 0, "failed": 0, "versions": 0}
    for fate in fleet_prune.run(t.cast(t.Any, store), asked, NOW, workers=options.workers):
        told["chains"] += sum(item["kind"] == "chain" for item in fate.dropped)
        told["with_drops"] += fate.changed
        told["failed"] += fate.failure is not None
        told["versions"] += fate.versions
    return {
        "nodes": nodes,
        "seconds": time.monotonic() - begun,
        "cpu": time.process_time() - before,
        "listed": store.listed,
        "calls": store.calls,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **told,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure a fleet's prune against a synthetic store.")
    parser.add_argument("--workers", type=int, default=fleet_prune.WORKERS)
    parser.add_argument("--volumes", type=int, default=4, help="volumes of a full")
    parser.add_argument("--latency", type=float, default=0, help="milliseconds that each call takes")
    parser.add_argument("--flood", type=int, default=0, help="objects more in the first node's corner")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(one(options.one, options)))
        return
    head = "| nodes | versions listed | seconds | ms per node | peak MiB | nodes that drop | versions dropped | calls |"
    print("The store is synthetic: a generator, no network.\n")
    print(f"{head}\n|{'---|' * 8}")
    for size in options.sizes:
        arguments = [f"--{key}={getattr(options, key)}" for key in ("workers", "volumes", "latency", "flood")]
        done = subprocess.run([sys.executable, __file__, f"--one={size}", *arguments], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        row = json.loads(done.stdout)
        assert row["failed"] == 0, row
        calls = ", ".join(f"{count} {call}" for call, count in sorted(row["calls"].items()))
        print(
            f"| {size} | {row['listed']} | {row['seconds']:.1f} | {row['seconds'] / size * 1000:.2f} | {row['peak_mib']:.0f} "
            f"| {row['with_drops']} | {row['versions']} | {calls} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

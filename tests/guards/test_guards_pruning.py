# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The guards about pruning and clean-up: what stock duplicity does (first), and what our engine answers (then)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import replace
from pathlib import Path

from tests.guards.conftest import MEGABYTE, Stock, ask_under, end, state, stop_at, times, volumes

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, machine_log
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record, dump
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, open_store

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

DAY = 86400
NO_WRITING = ("setpriv", "--bounding-set", "-dac_override")
JUNK = ("duplicity-full.{}.vol1.difftar.gz", "duplicity-full.{}.manifest", "duplicity-full-signatures.{}.sigtar.gz")


def long_ago(stock: Stock, source: Path, days: float, verb: str = "full") -> str:
    """A backup as it was made that many days ago, in the store's times too; returns its time."""
    moment = int(time.time() - days * DAY)
    before = set(stock.repository.glob("*"))
    done = stock.run(verb, "--volsize", "1", "--current-time", str(moment), source, stock.url)
    assert done.code == 0
    for path in set(stock.repository.glob("*")) - before:
        os.utime(path, (moment + 60, moment + 60))
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))


def in_the_making(one: Stock, known: int) -> bool:
    """It has uploaded three volumes more and writes on the next: what is uploaded is not looked at again."""
    sizes = []
    for path in (one.room / "tmp").rglob("mktemp*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            pass
    return len(volumes(one.repository)) > known + 2 and any(MEGABYTE // 10 < size < MEGABYTE // 2 for size in sizes)


def running(one: Stock, source: Path) -> subprocess.Popen[bytes]:
    """A full in its middle, stopped."""
    known = len(volumes(one.repository))
    process = one.start("full", "--volsize", "1", "--concurrency", "0", source, one.url)
    stop_at(process, lambda: in_the_making(one, known))
    return process


def same_tree(one: Path, two: Path) -> bool:
    return state(one) == state(two)


def test_guard_04_a_prune_takes_the_volumes_of_a_running_backup(node: Node, stock: Stock, tmp_path: Path) -> None:
    """From another host; the backup ends with exit code 0, the status is clean, and nothing of it can be restored."""
    for number in range(1, 5):
        (node.source / f"g{number}").write_bytes(os.urandom(MEGABYTE))
    long_ago(stock, node.source, 60)
    spare = node.copy(tmp_path / "spare")

    process = running(stock, node.source)
    other = replace(stock, archive="other")
    assert other.run("remove-all-but-n-full", "1", "--force", stock.url).code == 0
    assert end(process, signal.SIGCONT) == 0
    cold = replace(stock, archive="cold")
    status = cold.run("collection-status", stock.url)
    assert (status.code, machine_log.of(status.events, "ERROR")) == (0, [])
    assert "No orphaned or incomplete backup sets found." in status.output
    done = cold.restore(tmp_path / "half")
    assert (done.code, "difftar volume 1 not found in backup." in done.output) == (1, True)

    (tmp_path / "mine").mkdir()
    mine = Stock(tmp_path / "mine", spare.repository)
    process = running(mine, spare.source)
    before = state(spare.corner)
    for operation in ("prune", "cleanup"):
        answer = spare.ask(operation)
        assert (answer["failed"], answer["changed"]) == (False, False), answer
    assert state(spare.corner) == before
    assert end(process, signal.SIGCONT) == 0
    assert same_tree(spare.source, spare.restore())


def test_guard_05_a_dry_run_deletes(node: Node, stock: Stock, tmp_path: Path) -> None:
    old, *kept = (long_ago(stock, node.source, days) for days in (60, 50, 20))
    end(running(stock, node.source))
    cut = times(node.repository)[3]
    before = state(node.corner)
    twin = node.copy(tmp_path / "twin")
    url = f"file://{twin.repository}"
    assert stock.run("remove-older-than", "55D", "--dry-run", "--force", url).code == 0
    assert times(twin.repository) == [old, *kept]  # the incomplete set is gone

    answer = node.ask("prune", check=True, keep_days=10)
    assert (answer["failed"], answer["changed"]) == (False, True)
    fates = [(old, "drop"), *((each, "keep") for each in (*kept, cut))]
    assert [(item["chain"], item["action"]) for item in answer["plan"]] == fates
    assert answer["diff"]["before"].startswith(f"chain {old}: full {old}, ")
    assert node.ask("cleanup", check=True, incomplete_days=0)["diff"]["before"].startswith(
        f"incomplete {cut}: full {cut}"
    )
    node.ask("backup", check=True)
    assert state(node.corner) == before


def test_guard_15_junk_of_the_future_poisons_pruning(node: Node, stock: Stock, tmp_path: Path) -> None:
    real = long_ago(stock, node.source, 40)
    for name in JUNK:
        (node.repository / name.format("20300101T000000Z")).write_bytes(b"")
    before = state(node.corner)
    for verb, argument in (("remove-all-but-n-full", "1"), ("remove-older-than", "30D")):
        twin = node.copy(tmp_path / verb)
        done = replace(stock, archive=verb).run(verb, argument, "--force", f"file://{twin.repository}")
        assert done.code == 0
        assert all("20300101" in name for name in state(twin.repository))

    answer = node.ask("prune", keep_days=1)
    assert (answer["changed"], answer["outcome"]) == (False, "warning")
    (told,) = answer["warnings"]
    assert told.startswith("chain 20300101T000000Z is not believed and stays: set 20300101T000000Z is named for a time")
    assert state(node.corner) == before
    assert same_tree(node.source, node.restore(time=real))


def test_guard_18_denied_deletes(node: Node, stock: Stock) -> None:
    old, *kept = (long_ago(stock, node.source, days) for days in (60, 50, 20))
    before = state(node.corner)
    node.repository.chmod(0o555)
    try:
        stubborn = replace(stock, options=("--no-encryption", "--num-retries", "1"))
        done = stubborn.run("remove-older-than", "55D", "--force", stock.url, before=NO_WRITING)
        assert "Deleting complete backup chain" in done.output
        assert done.code == 0
        answer = ask_under(NO_WRITING, node, "prune", keep_days=10)
    finally:
        node.repository.chmod(0o755)
    assert (answer["failed"], answer["changed"], answer["outcome"]) == (True, False, "failed")
    first = node.repository / f"duplicity-full.{old}.manifest"
    assert answer["msg"] == (
        f"The prune failed: 9 of 9 objects are still there: cannot delete {first}: Permission denied."
    )
    assert state(node.corner) == before
    assert node.ask("prune", keep_days=10)["changed"]
    assert times(node.repository) == kept


def history(stock: Stock, node: Node) -> dict[str, dict[str, bytes]]:
    """Three chains of three sets each, 60, 50 and 20 days old; returns each point's tree."""
    trees = {}
    for chain in (60, 50, 20):
        for number, verb in enumerate(("full", "incremental", "incremental")):
            page = node.source / "page.php"
            page.write_text(f"{chain} {number}\n")
            os.utime(page, (chain * DAY, chain * DAY + number))  # it looks at the second of this time alone
            trees[long_ago(stock, node.source, chain - number, verb)] = state(node.source)
    return trees


_DIE = """
import os, pathlib, signal, sys
unlink, left = pathlib.Path.unlink, [int(sys.argv[1])]
def mortal(path, missing_ok=False):
    if "nodes/node1" in str(path):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, missing_ok=missing_ok)
pathlib.Path.unlink = mortal
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import prune, retention
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location
corner = Location("file://" + sys.argv[2])
prune.run(corner.below("repo/site"), corner, "site", "node1", retention.Policy(keep_days=10))
"""


def commit(node: Node, trees: t.Iterable[str]) -> None:
    """The records (and a stand-in for the witnesses) of these points, as old as they are."""
    stored = chains.collect(open_store(Location(f"file://{node.repository}")).list())
    folder = node.corner / "records" / "site"
    folder.mkdir(parents=True)
    for chain in stored.chains:
        for item in chain.sets:
            objects = [Object(one.name, one.bytes, "") for one in item.objects]
            entry = Record(
                "backup", "ok", item.time, 1, "node1", "site", item.kind, item.time, chain.time, objects=objects
            )
            for name, data in (("backup.json", dump(entry)), ("backup.witness.gz", b"x")):
                path = folder / f"{item.time}-{name}"
                path.write_bytes(data)
                os.utime(path, (item.moment.timestamp() + 120,) * 2)


def test_a_killed_prune_is_finished_by_the_next(node: Node, stock: Stock, tmp_path: Path) -> None:
    """SIGKILL before each of its deletions, at least at every change of what is deleted. What is left never looks whole
    and is not; the next prune does the rest; every point that stays restores as ever."""
    trees = history(stock, node)
    commit(node, trees)
    going = sum(item["action"] == "drop" for item in node.ask("prune", check=True, keep_days=10)["plan"])
    assert going == 1
    whole = node.copy(tmp_path / "whole")
    assert whole.ask("prune", keep_days=10)["changed"]
    finished = state(whole.corner)
    total = len(state(node.corner)) - len(finished)
    kept = sorted(trees)[3:]
    # 3 manifests, 3 witnesses, 3 records, the rest
    for number in sorted({0, 1, 2, 3, 4, 6, 7, 9, 10, total - 1, *random.sample(range(total), 4)}):
        twin = node.copy(tmp_path / f"twin{number}")
        argv = [sys.executable, "-c", _DIE, str(number), str(twin.corner)]
        done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})
        assert done.returncode == -signal.SIGKILL
        assert len(state(twin.corner)) == len(state(node.corner)) - number
        seen = {point["time"] for point in twin.ask("info")["points"]}
        assert set(kept) <= seen
        for time_ in sorted(seen - set(kept)):  # what still looks whole is
            assert state(twin.restore(time=time_)) == trees[time_]
        answer = twin.ask("prune", keep_days=10)
        assert (answer["failed"], answer["changed"], answer["outcome"]) == (False, True, "ok")
        assert state(twin.corner) == finished
        assert not twin.ask("prune", keep_days=10)["changed"]
    for time_ in kept:
        assert state(twin.restore(time=time_)) == trees[time_]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The guards, one by one: what stock duplicity does (first), and what our engine answers in the same place (then).

This file: a repository that is not what it seems, and restores from it. The numbers are those of "Guards" in the facts on
duplicity. Guards 4, 5, 15 and 18 are about pruning and clean-up: see test_guards_pruning.py. Guard 19
needs an S3 store that denies deletes to a node: a file:// folder cannot deny that and still take uploads.
"""

from __future__ import annotations

import os
import shutil
import signal
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from tests.guards.conftest import (
    MEGABYTE,
    Stock,
    end,
    flip,
    next_second,
    only,
    state,
    stop_at,
    times,
    untouched,
    volumes,
)

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import backup, machine_log
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import parse_stamp

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node


def test_guard_01_a_warm_cache_hides_a_crashed_backup(node: Node, stock: Stock, live: Path, tmp_path: Path) -> None:
    """The restore of a set that a kill cut off: some files, the last of them truncated, and exit code 0."""
    assert stock.full(node.source).code == 0
    first = times(node.repository)[0]
    whole_full = volumes(node.repository)
    next_second()
    second = stock.start("full", "--volsize", "1", "--concurrency", "0", node.source, stock.url)
    stop_at(second, lambda: len(volumes(node.repository)) > len(whole_full) + 2)
    assert end(second) == -signal.SIGKILL
    last = times(node.repository)[1]

    status = stock.run("collection-status", stock.url)
    assert status.code == 0
    (told,) = machine_log.of(status.events, "INFO", {3})
    assert f"chain-complete\n full {last} " in (stock.log.read_text())
    assert "No orphaned or incomplete backup sets found." in told.text
    done = stock.restore(tmp_path / "half")
    assert done.code == 0
    assert machine_log.of(done.events, "ERROR") == machine_log.of(done.events, "WARNING") == []
    whole = [path for path in node.source.glob("f?") if same(path, tmp_path / "half" / path.name)]
    assert len(whole) < 6

    for operation in ("restore", "verify"):
        dest = {"dest": str(live), "replace": True} if operation == "restore" else {}
        with pytest.raises(LifeboatError) as error:
            node.ask(operation, **dest)
        assert str(error.value) == (
            f"restore point {last} cannot be restored: set {last} lacks the manifest, the signatures; the newest whole "
            f"one before it is {first}."
        )
    untouched(live)
    assert all(same(path, node.restore(time=first) / path.name) for path in node.source.glob("f1"))


def same(one: Path, two: Path) -> bool:
    """Two files have the same content."""
    return two.is_file() and one.read_bytes() == two.read_bytes()


def test_guard_02_an_empty_cached_manifest_hides_the_full(node: Node, tmp_path: Path) -> None:
    """The restore then holds what the incremental brought, nothing else, and exit code 0."""
    stock = Stock(node.cache.parents[1], node.repository)  # the very cache that our backups use
    assert stock.full(node.source).code == 0
    (node.source / "new").write_text("new\n")
    assert stock.incremental(node.source).code == 0
    only(node.cache, "duplicity-full.*.manifest").write_bytes(b"")

    done = stock.restore(tmp_path / "half")
    assert done.code == 0
    assert machine_log.of(done.events, "ERROR") == machine_log.of(done.events, "WARNING") == []
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["new"]

    tree = node.restore()
    assert all(same(path, tree / path.name) for path in (node.source / "new", *node.source.glob("f?")))
    # nor does the cache hurt what is backed up next
    (node.source / "f1").unlink()
    node.backup(mode="incremental")
    node.proven(node.restore())


def test_guard_03_incrementals_pile_up_on_a_lost_volume(node: Node, stock: Stock, live: Path, tmp_path: Path) -> None:
    node.backup(mode="full", volume_mib=1)
    stock.cache.parent.mkdir()
    shutil.copytree(node.cache, stock.cache)
    twin = node.copy(tmp_path / "twin")
    full = times(node.repository)[0]
    volumes(node.repository)[1].unlink()  # in the middle: a gap in the listing
    last = volumes(twin.repository)[-1]
    last.unlink()  # at the end: only the record tells

    for verb in ("collection-status", "cleanup"):
        assert stock.run(verb, stock.url).code == 0
    assert stock.incremental(node.source).code == 0
    assert stock.restore(tmp_path / "half").code == 1
    for path in (*node.repository.glob("duplicity-inc.*"), *node.repository.glob("duplicity-new-signatures.*")):
        path.unlink()

    lacks = f"set {full} lacks volume 2"
    with pytest.raises(Refused, match=f"an incremental is not possible: {lacks}; run with mode full"):
        node.ask("backup", mode="incremental")
    with pytest.raises(LifeboatError, match=f"{full} cannot be restored: {lacks}; no older one is whole"):
        node.ask("restore", dest=str(live), replace=True)
    untouched(live)
    with pytest.raises(Refused, match=f"set {full} lost {last.name}; run with mode full"):
        twin.ask("backup", mode="incremental")
    for one, why in ((node, lacks), (twin, f"set {full} lost {last.name}")):
        answer = one.backup()
        assert (answer["record"]["mode"], answer["outcome"]) == ("full", "warning")
        assert answer["warnings"] == [f"a full was made, since {why}."]
        one.proven(one.restore())


def test_guard_07_two_fulls_in_the_same_second(
    node: Node, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two archive folders: each overwrites objects of the other, and both end with exit code 0."""
    same_second = ("--volsize", "1", "--current-time", "1700000000", "--concurrency", "0")
    one = stock.start("full", *same_second, node.source, stock.url)
    stop_at(one, lambda: len(volumes(node.repository)) > 2)
    (node.source / "f1").write_bytes(os.urandom(MEGABYTE))
    other = replace(stock, archive="other")
    assert other.run("full", *same_second, node.source, stock.url).code == 0
    assert end(one, signal.SIGCONT) == 0
    done = replace(stock, archive="cold").restore(tmp_path / "half")
    assert done.code == 21

    # ours: one run at a time for a repository, and a start in the second of a stored set waits for the next one
    taken = parse_stamp(times(node.repository)[0])
    moments = [taken]
    now = backup.now
    monkeypatch.setattr(backup, "now", lambda: moments.pop() if moments else now())
    node.backup(mode="full")
    assert moments == []
    assert len(times(node.repository)) == 2
    node.proven(node.restore())


def test_guard_11_a_time_before_the_oldest_point(node: Node, stock: Stock, live: Path, tmp_path: Path) -> None:
    assert stock.full(node.source).code == 0
    done = stock.restore(tmp_path / "too young", "--time", "20010101T000000Z")
    assert done.code == 0
    assert same(node.source / "f1", tmp_path / "too young" / "f1")

    oldest = times(node.repository)[0]
    with pytest.raises(LifeboatError) as error:
        node.ask("restore", dest=str(live), replace=True, time="20010101T000000Z")
    assert str(error.value) == f"there is no restore point that old: the oldest is {oldest}."
    untouched(live)


def test_guard_12_a_failed_restore_leaves_half_a_tree(node: Node, stock: Stock, live: Path, tmp_path: Path) -> None:
    assert stock.full(node.source).code == 0
    flip(volumes(node.repository)[3])
    done = stock.restore(tmp_path / "half")
    assert done.code == 21
    found = sorted(path.name for path in (tmp_path / "half").glob("f?"))
    assert found
    assert found != [f"f{number}" for number in range(1, 7)]

    before = state(node.repository)
    answer = node.ask("restore", dest=str(live), replace=True)
    assert (answer["failed"], answer["changed"], answer["record"]["engine"]) == (True, False, "fast")
    assert "volume 4 of set " in answer["msg"]
    untouched(live)
    answer = node.ask("restore", dest=str(live), replace=True, reader="duplicity")
    assert (answer["failed"], answer["changed"], answer["rc"]) == (True, False, 21)
    assert answer["msg"] == (
        f"The restore failed, {live} is untouched: a volume does not match its recorded hash: the repository is damaged "
        "(duplicity's code 21): restore an older point."
    )
    untouched(live)
    answer = node.ask("restore", dest=str(tmp_path / "none"))
    assert answer["failed"]
    assert not (tmp_path / "none").exists()
    assert state(node.repository) == before

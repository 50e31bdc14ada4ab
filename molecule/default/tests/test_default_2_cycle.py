# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The life of a fleet: full, change, incremental, both points back byte by byte, a drill, a status. In this order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SOURCE = "/srv/www"
seen: dict[str, dict[str, dict[str, list[Any]]]] = {"full": {}, "incremental": {}}
times: dict[str, dict[str, str]] = {"full": {}, "incremental": {}}


def newest(fleet: Any, node: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(fleet.on(node, "sudo cat /var/lib/lifeboat/site/last.json"))["record"]
    return record


def back_up(fleet: Any, mode: str) -> None:
    for node in fleet.nodes:
        seen[mode][node] = fleet.look(node, SOURCE)
    run = fleet.play("backup.yml", mode=mode)
    assert run.rc == 0, run.out
    for node in fleet.nodes:
        record = newest(fleet, node)
        assert (record["outcome"], record["mode"]) == ("ok", mode)
        times[mode][node] = record["set_time"]


def test_status_before_any_backup_is_never(fleet: Any) -> None:
    run = fleet.play("status.yml")
    assert run.rc != 0
    assert run.out.count("no backup was ever recorded") == len(fleet.nodes)


def test_full(fleet: Any) -> None:
    back_up(fleet, "full")


def test_incremental_after_a_change(fleet: Any) -> None:
    run = fleet.lab("change")
    assert run.rc == 0, run.out
    back_up(fleet, "incremental")
    assert all(seen["full"][node] != seen["incremental"][node] for node in fleet.nodes)


def test_every_file_of_every_owner_is_in_the_source(fleet: Any) -> None:
    """The lab must hold the odd cases, or the comparisons below prove little."""
    paths = {bytes.fromhex(path) for path in seen["full"]["node2"]}
    assert any(b"\n" in path for path in paths)
    assert any(b"\xff" in path for path in paths)
    assert any(path.rsplit(b"/", 1)[-1].startswith(b"-") for path in paths)
    assert len(seen["full"]["node1"]) > 20_000
    modes = {int(row[0], 8) & 0o170000 for row in seen["full"]["node2"].values()}
    assert {0o010000, 0o120000, 0o100000, 0o040000} <= modes  # FIFO, link, file, folder
    assert any(int(row[0], 8) & 0o4000 for row in seen["full"]["node2"].values())
    assert max(row[4] for row in seen["full"]["node2"].values() if len(row) > 4) >= 300_000_000


@pytest.mark.parametrize("mode", ["full", "incremental"])
@pytest.mark.parametrize("node", ["node1", "node2", "node3"])
def test_both_points_come_back_byte_by_byte(fleet: Any, node: str, mode: str) -> None:
    dest = f"/srv/back-{node}-{mode}"
    run = fleet.play("restore.yml", target=node, on="harbour", dest=dest, time=times[mode][node])
    assert run.rc == 0, run.out
    restored = fleet.look("harbour", dest)
    fleet.on("harbour", f"sudo rm -rf {dest}")
    expected = seen[mode][node]
    assert restored.keys() == expected.keys()
    assert {path: (row, restored[path]) for path, row in expected.items() if restored[path] != row} == {}


def test_drill_proves_both_points_and_leaves_evidence(fleet: Any, tmp_path: Path) -> None:
    run = fleet.play("drill.yml", points=2, lifeboat_drills_dir=str(tmp_path))
    assert run.rc == 0, run.out
    (path,) = tmp_path.glob("*/report.json")
    report = json.loads(path.read_text())
    assert report["verdict"] == "passed"
    proven = {(line["node"], line["point"], line["verdict"]) for line in report["restores"]}
    assert proven == {(node, times[mode][node], "passed") for node in fleet.nodes for mode in times}
    assert all(line["compared"]["hashed"] > 1000 and line["compared"]["unjudged"] == 0 for line in report["restores"])
    left = fleet.on("harbour", "sudo find /var/lib/lifeboat-drill /dev/shm -mindepth 1; pgrep gpg-agent || true")
    assert left.strip() == ""


def test_status_after_the_drill_is_ok_and_names_it(fleet: Any) -> None:
    run = fleet.play("status.yml")
    assert run.rc == 0, run.out
    assert all(times["incremental"][node] in run.out for node in fleet.nodes)
    assert "never" not in run.out


def test_a_node_knows_its_points_without_any_private_key(fleet: Any) -> None:
    arguments = ["-b", "-m", "lifeboat.fleet.duplicity_info", "-a", "profile=site"]
    run = fleet.run(["ansible", "-i", "inventories/lab", "node1", *arguments])
    assert run.rc == 0, run.out
    assert "2 restore point(s)" in run.out
    assert f"newest: {times['incremental']['node1']}" in run.out
    assert run.out.count("provable: true") == 2


def test_second_rollout_hands_out_the_same_keys(fleet: Any) -> None:
    before = fleet.on("node1", "sudo sha256sum /etc/lifeboat/public.asc /etc/lifeboat/store.ini")
    run = fleet.play("rollout.yml", target="node1")
    assert run.rc == 0, run.out
    assert fleet.on("node1", "sudo sha256sum /etc/lifeboat/public.asc /etc/lifeboat/store.ini") == before

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The examples in the documentation of the node's modules run as they are written, on a node that has what they speak of:
a profile ``site``, a folder ``/srv/www`` with uploads, a disk at ``/mnt/backup`` and a backup of some days ago."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.lifeboat.fleet.plugins.modules import duplicity, duplicity_info

NODE = "node3"
REPOSITORY = "/mnt/backup/www"
ADDED = "/srv/www/wp-content"
EXAMPLES = {task["name"]: task for module in (duplicity, duplicity_info) for task in yaml.safe_load(module.EXAMPLES)}
# Older than every time in the examples, on every day on which they may run.
OLD = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(min(time.time() - 4 * 86400, 1_795_000_000)))

# The backup that was just made becomes one of days ago: in clear and without records, its time is in its names alone.
AGE = f"""
cd {REPOSITORY} && for name in duplicity-full*; do mv "$name" "$(echo "$name" | sed 's/[0-9]\\{{8\\}}T[0-9]*Z/{OLD}/')"; done
rm -rf /var/lib/lifeboat/direct-* /var/cache/lifeboat/direct-*
"""
CHANGE = f"date +%s%N > {ADDED}/uploads/new"
SITE = "Back up the profile 'site' now, as its timer would"
DISK = "Back up a folder to another disk, in clear"
ROLL_BACK = "Roll a folder back, if it differs"
PRUNE = "See what a prune would drop (with --check --diff), and why"
FIRST = "Restore the state of the morning beside the live tree"
UPLOADS = "Bring back the uploads of three days ago, and nothing else"
# Names of examples, the shell that prepares the next one, and what runs a second time and must then change nothing.
ORDER = [
    *(SITE, DISK, AGE, CHANGE, DISK),
    *(FIRST, FIRST, UPLOADS, UPLOADS),
    *("List the uploads of yesterday", "Look at a folder of backups"),
    *(CHANGE, ROLL_BACK, ROLL_BACK),
    *("Was anything changed since the last backup?", "Make a full and see how far it is"),
    *("Look at what this node has stored", "Insist on a restore point of the last day"),
    *(PRUNE, PRUNE),
]


def results(fleet: Any, folder: Path, order: list[str], *flags: str) -> list[dict[str, Any]]:
    """Run these in one play; returns what each task gave."""
    tasks, names = [], []
    for number, name in enumerate(order):
        task = dict(EXAMPLES.get(name) or {"ansible.builtin.shell": name})
        names.append(task.setdefault("register", f"result_{number}"))
        tasks.append(task)
    values = "{{ [" + ", ".join(f"{name} | default({{}})" for name in names) + "] | to_json }}"
    keep = {"ansible.builtin.copy": {"content": values, "dest": str(folder / "results.json"), "mode": "0600"}}
    tasks.append({**keep, "delegate_to": "localhost", "become": False, "check_mode": False, "diff": False})
    playbook = folder / "examples.yml"
    playbook.write_text(json.dumps([{"hosts": NODE, "become": True, "gather_facts": False, "tasks": tasks}]))
    run = fleet.play(str(playbook), *flags)
    assert run.rc == 0, run.out
    seen: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())
    return seen


@pytest.fixture(scope="module")
def ran(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Name of an example -> its results, in order; afterwards the node is as it was."""
    # a folder of the image cannot be exchanged (overlayfs)
    fleet.on(NODE, "sudo sh -c 'cp -a /srv/www /srv/www.own && rm -rf /srv/www && mv /srv/www.own /srv/www'")
    fleet.on(NODE, f"sudo sh -c 'mkdir -p /mnt/backup {ADDED}/uploads && echo old > {ADDED}/uploads/old'")
    before = fleet.look(NODE, "/srv/www")
    try:
        seen: dict[str, list[dict[str, Any]]] = {}
        for name, result in zip(ORDER, results(fleet, tmp_path_factory.mktemp("run"), ORDER), strict=True):
            seen.setdefault(name, []).append(result)
        checked = results(fleet, tmp_path_factory.mktemp("check"), [PRUNE], "--check", "--diff")
        seen["check"] = checked
        uploads = fleet.look(NODE, "/srv/uploads.restored")
        seen["trees"] = [before, fleet.look(NODE, "/srv/www.restored"), fleet.look(NODE, "/srv/www"), uploads]
        yield seen
    finally:
        made = f"/mnt/backup {ADDED} /srv/www.restored /srv/uploads.restored"
        fleet.on(NODE, f"sudo sh -c 'rm -rf {made} /var/lib/lifeboat/direct-* /var/cache/lifeboat/direct-*'")


def test_every_example_is_run() -> None:
    assert set(EXAMPLES) == set(ORDER) - {AGE, CHANGE}


def test_backups_are_made(ran: dict[str, list[dict[str, Any]]]) -> None:
    for name in (SITE, DISK, "Make a full and see how far it is"):
        assert all((one["changed"], one["outcome"]) == (True, "ok") for one in ran[name])
    assert ran["Make a full and see how far it is"][0]["record"]["mode"] == "full"


@pytest.mark.parametrize("name", [FIRST, UPLOADS, ROLL_BACK])
def test_a_second_restore_changes_nothing(ran: dict[str, list[dict[str, Any]]], name: str) -> None:
    assert [one["changed"] for one in ran[name]] == [True, False]


def test_restored_is_what_the_names_say(ran: dict[str, list[dict[str, Any]]]) -> None:
    before, morning, live, uploads = ran["trees"]
    assert {path: row for path, row in morning.items() if before[path] != row} == {}
    assert morning.keys() == before.keys()
    new, old, top = (f"wp-content/uploads{name}".encode().hex() for name in ("/new", "/old", ""))
    assert set(uploads) == {b".".hex(), b"wp-content".hex(), top, old}
    assert live[new] != morning.get(new)
    assert ran[UPLOADS][0]["record"]["set_time"] == ran[FIRST][0]["record"]["set_time"] == OLD


def test_looks_tell_what_is_there(ran: dict[str, list[dict[str, Any]]]) -> None:
    (listed,) = ran["List the uploads of yesterday"]
    assert listed["point"] == OLD
    assert [item["path"] for item in listed["files"]] == ["wp-content/uploads", "wp-content/uploads/old"]
    (folder,) = ran["Look at a folder of backups"]
    old, new = (point["time"] for point in folder["points"])
    assert old == OLD < new
    (compared,) = ran["Was anything changed since the last backup?"]
    assert compared["comparison"]["differences"] == 0


def test_prune_has_nothing_to_drop(ran: dict[str, list[dict[str, Any]]]) -> None:
    assert [one["changed"] for one in (*ran[PRUNE], *ran["check"])] == [False, False, False]
    assert {item["action"] for item in ran["check"][0]["plan"]} == {"keep"}

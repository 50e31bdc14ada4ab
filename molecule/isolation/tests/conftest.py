# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the tests of this scenario share: six nodes with small trees, what every restore point must give back, and the attack.

``LIFEBOAT_LONG=1``: kills at every volume of every kind of backup, and every node's history restored in full.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.attacks import attempts
from tests.fleet import Fleet, Run
from tests.siege import Attack, Scene

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import now

SOURCE = "/srv/isolation"
Tree = dict[str, list[Any]]

# Runs on a node: a new tree with three volumes of what cannot be compressed, and some odd things; or a change of it.
PLANT = r"""
import os, sys
top = b"/srv/isolation"
os.makedirs(top + b"/deep/er", exist_ok=True)
for number in range(3 if sys.argv[1] == "new" else 1):
    with open(top + b"/big-%d" % number, "wb") as handle:
        handle.write(os.urandom(900_000))
with open(top + b"/page-%s.php" % os.urandom(4).hex().encode(), "wb") as handle:
    handle.write(b"<?php echo 1;\n")
with open(top + b"/deep/er/line\nbreak-\xff", "wb") as handle:
    handle.write(os.urandom(30))
os.chmod(top + b"/deep/er/line\nbreak-\xff", 0o640)
if not os.path.lexists(top + b"/link"):
    os.symlink(b"nowhere", top + b"/link")
"""


@dataclass
class World:
    """The fleet, and for every node and restore point the tree that was backed up, as an independent look saw it."""

    fleet: Fleet
    truth: dict[str, dict[str, Tree]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    before_attack: str = ""

    def plant(self, node: str, how: str = "change") -> Tree:
        """Make or change a node's tree; how it looks now."""
        run = self.fleet.feed(node, f"python3 - {how}", PLANT)
        assert run.rc == 0, run.out
        return self.fleet.look(node, SOURCE)

    def backup(self, node: str, mode: str = "auto") -> Run:
        """A backup by the node's own unit, as its timer starts it."""
        return self.fleet.feed(node, f"lifeboat backup site --mode {mode}", "")

    def note(self, node: str, tree: Tree) -> dict[str, Any]:
        """Remember the tree of the newest point; its record."""
        last = json.loads(self.fleet.on(node, "sudo cat /var/lib/lifeboat/site/last.json"))
        record: dict[str, Any] = last["record"]
        assert record["outcome"] in ("ok", "warning"), last
        self.truth.setdefault(node, {})[record["set_time"]] = tree
        return record

    def comes_back(self, node: str, point: str, *, on: str = "harbour", **more: Any) -> None:
        """The point, restored by the playbook on another host, is what the node had."""
        dest = f"/srv/back-{secrets.token_hex(4)}"
        run = self.fleet.play("restore.yml", target=node, on=on, dest=dest, time=point, **more)
        assert run.rc == 0, run.out
        self.equals(node, point, on, dest)
        self.fleet.on(on, f"sudo rm -rf {dest}")

    def equals(self, node: str, point: str, on: str, dest: str) -> None:
        restored, expected = self.fleet.look(on, dest), self.truth[node][point]
        assert restored.keys() == expected.keys()
        assert {path: (row, restored[path]) for path, row in expected.items() if restored[path] != row} == {}


@pytest.fixture(scope="session")
def world() -> World:
    return World(Fleet(6, ("molecule/isolation/inventory",)))


@pytest.fixture(scope="session")
def attack(world: World) -> Attack:
    """All attempts, made once. Before them, so that their moment can be told apart: a pause of two seconds."""
    scene = Scene(world.fleet)
    scene.build()
    made = Attack(scene)
    world.before_attack = now().isoformat()
    time.sleep(2)
    made.run(attempts())
    scene.tidy()
    return made

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Nights with a node's own power, on a real store: full, incremental, and SIGKILL in the middle of the upload of each volume.
The next run succeeds by itself, and every point of before and after comes back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

LONG = bool(os.environ.get("LIFEBOAT_LONG"))
NODE, VOLUMES = "node2", 3
ENGINE = "$(dirname $(find /opt/lifeboat/current/ -name launcher.py))"
# In the launcher's place. The first byte that is sent of the volume is the last one that this user's processes see.
MORTAL = r"""
import importlib.util, os, re, signal, sys
folder = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("launcher", folder + "/launcher_whole.py")
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)
from launcher_s3 import StrictS3Backend

upload = StrictS3Backend._upload

def strike(sent):
    open("/var/lib/lifeboat/struck", "w").write(str(sent))
    os.kill(-1, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def mortal(self, path, name):
    if re.search(open("/etc/lifeboat/kill").read(), name):
        self.tracker.progress_cb = strike
    return upload(self, path, name)

StrictS3Backend._upload = mortal
if __name__ == "__main__":
    from duplicity.__main__ import dup_run

    sys.exit(dup_run())
"""


@pytest.fixture(scope="module", autouse=True)
def trees(world: Any) -> None:
    def first(node: str) -> dict[str, Any]:
        tree = world.plant(node, "new")
        run = world.backup(node, "full")
        assert run.rc == 0, run.out
        record: dict[str, Any] = world.note(node, tree)
        return record

    with ThreadPoolExecutor(3) as pool:
        for record in pool.map(first, world.fleet.nodes):
            assert sum(".difftar" in item["name"] for item in record["objects"]) == VOLUMES, record


def test_a_second_night(world: Any) -> None:
    trees = {node: world.plant(node) for node in world.fleet.nodes}
    run = world.fleet.play("backup.yml", mode="incremental")
    assert run.rc == 0, run.out
    for node, tree in trees.items():
        assert world.note(node, tree)["mode"] == "incremental"


@pytest.fixture
def mortal(world: Any) -> Iterator[Any]:
    """Arms the node: a backup of it dies while it sends an object whose name matches."""
    swap = f"cd {ENGINE} && mv --no-clobber launcher.py launcher_whole.py && cat > launcher.py && chmod 644 launcher.py"
    assert world.fleet.feed(NODE, swap, MORTAL).rc == 0

    def arm(pattern: str) -> None:
        world.fleet.on(NODE, f"printf %s {shlex.quote(pattern)} | sudo tee /etc/lifeboat/kill")
        assert world.fleet.on(NODE, "sudo cat /etc/lifeboat/kill") == pattern

    arm("$never")
    try:
        yield arm
    finally:
        back = f"sudo sh -c 'cd {ENGINE} && mv launcher_whole.py launcher.py; rm -f /etc/lifeboat/kill'"
        world.fleet.on(NODE, back)


KILLS = [("full", volume) for volume in range(1, VOLUMES + 1)]
KILLS += [("incremental", 1)] if not LONG else [("incremental", 1), ("incremental", 2)]
OTHERS = [("full", r"sigtar"), ("full", r"manifest"), ("incremental", r"sigtar"), ("incremental", r"manifest")]


@pytest.mark.parametrize(("mode", "what"), KILLS + (OTHERS if LONG else []))
def test_killed_while_it_uploads(world: Any, mortal: Any, mode: str, what: int | str) -> None:
    attempt = world.plant(NODE, "new" if what == 2 else "change")
    mortal(rf"\.vol{what}\.difftar" if isinstance(what, int) else what)
    killed = world.backup(NODE, mode)
    assert killed.rc != 0, killed.out
    struck = world.fleet.on(NODE, "sudo sh -c 'cat /var/lib/lifeboat/struck; rm /var/lib/lifeboat/struck'")
    assert int(struck) > 0, "the upload had begun"
    mortal("$never")
    again = world.backup(NODE)
    journal = "sudo journalctl --unit lifeboat-backup@site --lines 40; sudo ls -l /var/lib/lifeboat"
    assert again.rc == 0, again.out + world.fleet.on(NODE, journal)
    world.note(NODE, attempt)


def test_after_all_that_the_node_is_well(world: Any) -> None:
    tree = world.plant(NODE)
    assert world.backup(NODE).rc == 0
    world.note(NODE, tree)
    left = world.fleet.on(NODE, "sudo find /var/cache/lifeboat/site/tmp /dev/shm -mindepth 1 2>/dev/null || true")
    assert left == ""
    known = world.fleet.ask(NODE, operation="info", profile="site")
    points = {point["time"] for point in known["points"]}
    assert points >= set(world.truth[NODE])


def test_every_point_comes_back(world: Any) -> None:
    """What was made before, between and after the kills. In the short form the oldest, the newest and two between."""
    points = sorted(world.truth[NODE])
    chosen = points if LONG else sorted({points[0], points[1], points[len(points) // 2], points[-1]})
    for point in chosen:
        world.comes_back(NODE, point)

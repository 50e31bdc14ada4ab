# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""After the attack: what the store took does no harm, a prune drops nothing of anybody's history, all of it comes back as it was
before, and the attacker's node can be repaired. Last: docs/attacks.md is what the store answered."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from tests import attacks, siege

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet_prune
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import open_store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import now

LONG = bool(os.environ.get("LIFEBOAT_LONG"))
TAKEN = {name: attempt["shown"] for name, attempt in attacks.attempts().items() if "harmless" in attempt}
OTHERS = [node for node in siege.IDS if node != "node1"]


@pytest.fixture(scope="module")
def pruned(world: Any, attack: Any) -> Any:
    run = world.fleet.play("prune.yml", target="lifeboat_nodes", confirm="yes", show="all")
    assert "Traceback" not in run.out
    return run


@pytest.fixture(scope="module")
def status(world: Any, attack: Any) -> dict[str, str]:
    """Node id -> its lines in the status: how it is, and why. The playbook ends non-zero because of the attacker."""
    run = world.fleet.play("status.yml", lifeboat_growth_mib=16)
    assert run.rc != 0
    lines = [line.strip() for line in run.out.splitlines()]
    return {
        node: "\n".join(line for line in lines if line.startswith((f"{node} ", f"{node}/site:")))
        for node in siege.IDS.values()
    }


class Proofs:
    """Each shows why something that the store took does no harm."""

    def __init__(self, request: pytest.FixtureRequest, name: str) -> None:
        self.request, self.name = request, name
        self.attack = request.getfixturevalue("attack")
        self.scene = self.attack.scene

    def sees_only_own(self) -> None:
        told = self.attack.answers[self.name]["told"]
        assert [name for name in told if not name.startswith("nodes/node1/")] == []

    def sees_nothing(self) -> None:
        assert self.attack.answers[self.name]["told"] == []

    def neighbour_is_untouched(self) -> None:
        """Every object of the neighbour's backups is there and current, with no version more than before."""
        for folder in ("repo", "records"):
            prefix = f"nodes/{siege.NEIGHBOUR}/{folder}/"
            now = {(item["Key"], item["VersionId"]) for item in self.scene.versions(prefix)}
            assert now == {key for key in self.scene.history if key[0].startswith(prefix)}
        assert "ok" in self.request.getfixturevalue("status")[siege.NEIGHBOUR].split()

    def public_upload_is_private(self) -> None:
        key = "nodes/node1/canary-public"
        nobody = {"raw": {"verb": "GET", "path": f"/$bucket/{key}", "who": "nobody"}}
        calls = {"nobody": {"steps": [nobody]}, "neighbour": {"steps": [{"get_object": {"Key": key}}]}}
        answers = self.scene.call("neighbour", calls)
        assert {answer["said"] for answer in answers.values()} == {"AccessDenied"}
        assert self.scene.call("self", {"own": calls["neighbour"]})["own"]["said"] == "done"

    def uploads_can_be_found(self) -> None:
        uploads = self.scene.minter.list_multipart_uploads(Bucket=self.scene.bucket).get("Uploads", [])
        assert "nodes/node1/canary-left" in {item["Key"] for item in uploads}

    def stays(self, word: str) -> None:
        """The version from before the attack is there, byte by byte, for who may read versions."""
        name, version = (self.scene.words[f"own_{word}{what}"] for what in ("", "_version"))
        answer = self.scene.restorer.get_object(Bucket=self.scene.bucket, Key=name, VersionId=version)
        assert answer["ETag"] == self.scene.history[name, version]
        assert len(answer["Body"].read()) == answer["ContentLength"] > 0

    def prune_keeps_history(self) -> None:
        """Not one version of any node's backups from before is gone; and the prune said what it does not believe."""
        run = self.request.getfixturevalue("pruned")
        left = {(item["Key"], item["VersionId"]) for item in self.scene.versions("nodes/")}
        assert [key for key in self.scene.history if key not in left] == []
        assert "20300101T000000Z" in run.out

    def status_tells_of_growth(self) -> None:
        status = self.request.getfixturevalue("status")
        assert "came in the last 24 h" in status[siege.SELF]
        assert [node for node, line in status.items() if "came in the last" in line] == [siege.SELF]


@pytest.mark.parametrize("name", TAKEN)
def test_harmless(request: pytest.FixtureRequest, name: str) -> None:
    proofs, shown = Proofs(request, name), TAKEN[name]
    if shown.endswith("_stays"):
        proofs.stays(shown.removesuffix("_stays"))
    else:
        getattr(proofs, shown)()


def test_status_names_the_attacker_and_no_one_else(status: dict[str, str]) -> None:
    assert {node for node, line in status.items() if "ok" not in line.split()} == {siege.SELF}
    assert "tampered" in status[siege.SELF] or "damaged" in status[siege.SELF]


def test_two_months_later_the_lies_have_pushed_nothing_out(world: Any, attack: Any) -> None:
    """The prune above ran minutes after the attack, when nothing may go anyway. So once more, only looking, as if it were two months
    later. The control: where no days are promised, older chains of a node that has several go then."""
    hasty = Policy()
    object.__setattr__(hasty, "keep_days", 1e-6)
    asked = [fleet_prune.Asked("node1", {"site": Policy()}), fleet_prune.Asked("node2", {"site": hasty})]
    later = now() + timedelta(days=60)
    mine, control = fleet_prune.run(open_store(siege.place("pruner")), asked, later, check=True)
    assert (mine.failure, control.failure) == (None, None)
    real = min(world.truth["node1"])
    assert [row["action"] for row in mine.plan if row["chain"] == real] == ["keep"]
    assert real not in {row["chain"] for row in mine.dropped}
    assert control.dropped
    assert any("2030" in text for text in mine.alarms)


def test_every_history_from_before_comes_back(world: Any, attack: Any, pruned: Any) -> None:
    """All points of the attacker's node; of the others the newest, in the long form all."""
    wanted = [("node1", point) for point in world.truth["node1"]]
    for node in OTHERS:
        points = sorted(world.truth[node])
        wanted += [(node, point) for point in (points if LONG else points[-1:])]
    with ThreadPoolExecutor(2) as pool:
        for _none in pool.map(lambda one: world.comes_back(*one, as_of=world.before_attack), wanted):
            pass


def test_the_attackers_node_is_repaired(world: Any, attack: Any, pruned: Any) -> None:
    """The good versions are current again, what was planted is gone, and the next night needs nobody."""
    run = world.fleet.play("repair.yml", target="node1", as_of=world.before_attack, remove_new="yes", confirm="yes")
    assert run.rc == 0, run.out
    for point in world.truth["node1"]:
        world.comes_back("node1", point)
    tree = world.plant("node1")
    again = world.backup("node1")
    assert again.rc == 0, again.out
    point = world.note("node1", tree)["set_time"]
    world.comes_back("node1", point)


def test_the_page_is_what_the_store_answered(attack: Any) -> None:
    """After a change of the attacks or the store: scripts/attacks writes the page from the results kept here."""
    found = siege.results(attack)
    siege.keep(found)
    assert attacks.PAGE.read_text(encoding="utf-8") == attacks.render(found)

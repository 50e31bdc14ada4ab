# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A fleet's prune in a bucket in memory: what goes, all versions of it, in which order, what is told, and what a kill leaves."""

from __future__ import annotations

import json
import random
import typing as t
from datetime import datetime, timedelta

import pytest
from tests.unit.engine.histories import DAY, History, Luck, run
from tests.unit.engine.test_ledger import VALIDATOR
from tests.unit.engine.versioned import MONDAY, Bucket

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet_prune, ledger, record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet_prune import Asked, Fate
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Sentences

ROOT = "nodes/{}/"
SITE = Policy(keep_days=7)
HISTORY = run(60, Luck(), random.Random(1))


def hours(moment: datetime) -> float:
    return (moment - MONDAY) / timedelta(hours=1)


class Fleet(Bucket):
    """A bucket that can list its folders, and may die."""

    left_to_live = 10**9

    def folders(self, prefix: str) -> t.Iterator[str]:
        yield from sorted(
            {name.removeprefix(prefix).partition("/")[0] for name in self.kept if name.startswith(prefix)}
        )

    def add(self, node: str, history: History = HISTORY, profile: str = "site") -> None:
        root = ROOT.format(node)
        for item in history.objects:
            self.put(f"{root}repo/{profile}/{item.name}", b"x" * item.bytes, hours(item.modified))
        for entry in history.records:
            (made,) = (one for one in history.sets if one.time == entry.set_time)
            for end, data in (("json", record.dump(entry)), ("witness.gz.gpg", b"x")):
                self.put(f"{root}records/{profile}/{entry.started}-backup.{end}", data, hours(made.moment) + 0.1)

    def delete_versions(self, pairs: t.Sequence[tuple[str, str]]) -> Sentences:
        for pair in pairs:
            if self.left_to_live == 0:
                raise KeyboardInterrupt
            self.left_to_live -= 1
            refused = super().delete_versions([pair])
            if refused:
                return refused
        return []

    def prune(
        self, *nodes: str, policy: Policy = SITE, check: bool = False, now: datetime | None = None
    ) -> dict[str, Fate]:
        asked = [Asked(node, {"site": policy}) for node in nodes]
        moment = now or HISTORY.now
        self.clock = hours(moment)
        return {fate.node: fate for fate in fleet_prune.run(self, asked, moment, check=check, workers=2)}

    def names(self, node: str) -> set[str]:
        return {name for name in self.kept if name.startswith(ROOT.format(node))}


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.add("web1")
    return made


def entries(fleet: Fleet, node: str = "web1") -> list[dict[str, t.Any]]:
    found = ledger.read_all(fleet, "prune", node)
    for entry in found:
        VALIDATOR.validate(entry)
    return sorted(found, key=lambda entry: entry["time"] + entry["step"])


def test_a_prune_deletes_every_version_and_marker_of_what_goes_and_touches_nothing_else(fleet: Fleet) -> None:
    first = HISTORY.sets[0]
    last = HISTORY.sets[-1]
    for made, moment in ((first, first.moment + DAY), (last, last.moment + DAY / 2)):
        for item in made.objects:
            fleet.put(f"nodes/web1/repo/site/{item.name}", b"garbage", hours(moment))
            fleet.hide(f"nodes/web1/repo/site/{item.name}", hours(moment) + 1)
        fleet.put(f"nodes/web1/repo/site/{made.objects[0].name.replace('vol1.', 'vol88.')}", b"junk", hours(moment))
    before = {name: list(found) for name, found in fleet.kept.items()}
    would = fleet.prune("web1", check=True)["web1"]
    assert {name: list(found) for name, found in fleet.kept.items()} == before
    done = fleet.prune("web1")["web1"]
    assert (would.changed, would.dropped, would.diff) == (True, done.dropped, done.diff)
    assert (done.failure, done.left, done.changed) == (None, 0, True)
    after = {name: found for name, found in fleet.kept.items() if name.startswith("nodes/")}
    dropped = {row["chain"] for row in done.plan if row["action"] == "drop"}
    assert len(dropped) == 7
    times = {made.time for made in HISTORY.sets if made.chain in dropped}
    gone = {name for name in before if any(time in name.rpartition(".to.")[2] for time in times)}
    assert after == {name: found for name, found in before.items() if name not in gone}
    told, ended = entries(fleet)
    assert (told["step"], ended["step"]) == ("begun", "done")
    assert {row["chain"] for row in ended["dropped"]} == dropped
    objects = [name for name in gone if "/repo/" in name]
    assert ended["objects"] == len(objects)
    assert ended["versions"] == sum(len(before[name]) for name in objects)
    assert ended["bytes"] == sum(item.bytes for name in objects for item in before[name])
    assert ended["records"] == 2 * len(times)
    again = fleet.prune("web1", now=HISTORY.now + DAY / 24)["web1"]
    assert (again.changed, again.failure, len(entries(fleet))) == (False, None, 2)


def test_what_was_not_approved_stays(fleet: Fleet) -> None:
    plan = fleet.prune("web1", check=True)["web1"].plan
    first = next(row for row in plan if row["action"] == "drop")
    asked = Asked("web1", {"site": SITE}, {("site", "chain", first["chain"]), ("other", "chain", plan[1]["chain"])})
    fleet.clock = hours(HISTORY.now)
    (done,) = fleet_prune.run(fleet, [asked], HISTORY.now)
    assert [row["chain"] for row in done.dropped] == [first["chain"]]
    kept = {made.time for made in HISTORY.sets if made.chain != first["chain"]}
    left = {
        name.rpartition(".to.")[2].rpartition("full.")[2][:16] for name in fleet.names("web1") if "manifest" in name
    }
    assert left == kept
    assert "it was not in the plan that was approved." in {row["reason"] for row in done.plan}


def test_where_nothing_can_go_nothing_is_read(fleet: Fleet) -> None:
    fleet.prune("web1")
    fleet.calls.clear()
    assert not fleet.prune("web1", now=HISTORY.now + DAY / 24)["web1"].changed
    assert [name for name, _ in fleet.calls] == ["list_versions"]


def test_the_order_manifests_newest_first_then_witness_and_record_then_the_rest(fleet: Fleet) -> None:
    fleet.prune("web1")
    deleted = [name for call, pairs in fleet.calls if call == "delete_versions" for name, _ in pairs]
    kinds = ["manifest" if "manifest" in name else "record" if "/records/" in name else "other" for name in deleted]
    assert [kind for number, kind in enumerate(kinds) if kinds[number - 1 : number] != [kind]] == [
        "manifest",
        "record",
        "other",
    ]
    manifests = [name.rpartition(".to.")[2].rpartition("full.")[2] for name in deleted if "manifest" in name]
    assert manifests == sorted(manifests, reverse=True)


def test_the_oldest_version_of_an_object_goes_last(fleet: Fleet) -> None:
    """A prune that is killed in between must not leave a manifest that only came later."""
    name = f"nodes/web1/repo/site/{HISTORY.sets[0].objects[-1].name}"
    fleet.put(name, b"garbage", hours(HISTORY.now) - 200)
    order = [item.version_id for item in fleet.kept[name]]
    fleet.prune("web1")
    deleted = [pair for call, pairs in fleet.calls if call == "delete_versions" for pair in pairs]
    assert [version for each, version in deleted if each == name] == order[::-1]


def test_a_prune_that_is_killed_anywhere_is_finished_by_the_next(fleet: Fleet) -> None:
    """And what looks whole meanwhile is whole. There is an entry of what was begun."""
    whole = Fleet({name: list(found) for name, found in fleet.kept.items()}, dict(fleet.data))
    whole.prune("web1")
    finished = whole.names("web1")
    total = len(fleet.names("web1")) - len(finished)
    for number in [0, 1, 20, 49, 50, 60, 120, *range(140, total, 31)]:
        twin = Fleet({name: list(found) for name, found in fleet.kept.items()}, dict(fleet.data))
        twin.left_to_live = number
        with pytest.raises(KeyboardInterrupt):
            twin.prune("web1")
        assert [entry["step"] for entry in entries(twin)] == ["begun"]
        assert len(twin.names("web1")) == len(fleet.names("web1")) - number
        twin.left_to_live = 10**9
        done = twin.prune("web1", now=HISTORY.now + DAY / 24)["web1"]
        assert (done.failure, twin.names("web1")) == (None, finished)


def test_a_node_that_fails_is_named_and_the_others_go_on(fleet: Fleet) -> None:
    fleet.add("web2")
    fleet.add("web3")
    name = next(name for name in sorted(fleet.names("web2")) if "manifest" in name)
    fleet.locked.add(fleet.kept[name][0].version_id)
    before = fleet.names("web2")
    fates = fleet.prune("web1", "web2", "web3")
    assert [node for node, fate in fates.items() if fate.failure] == ["web2"]
    failure = fates["web2"].failure or ""
    assert "objects are still there" in failure
    assert name in failure
    assert "Object Lock" in failure
    assert all("manifest" in one for one in before - fleet.names("web2"))  # after a refusal nothing more was tried
    (ended,) = (entry for entry in entries(fleet, "web2") if entry["step"] == "done")
    assert ended["failure"] == failure
    assert ended["left"] == fates["web2"].left > 0
    assert fleet.names("web1") == {name.replace("web3", "web1") for name in fleet.names("web3")}


def test_without_a_ledger_nothing_goes(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: t.Any, **__: t.Any) -> t.Any:
        raise fleet_prune.LifeboatError("cannot write 'ledger/prune/web1': the store answered AccessDenied.")

    before = fleet.names("web1")
    monkeypatch.setattr(fleet, "write", no)
    fate = fleet.prune("web1")["web1"]
    assert (fate.changed, fleet.names("web1")) == (False, before)
    assert "ledger/prune" in (fate.failure or "")


def test_a_drill_in_the_ledger_saves_its_chain(fleet: Fleet) -> None:
    def drill(number: int, verdict: str, profile: str = "site") -> None:
        made = HISTORY.sets[number]
        entry = ledger.drill(
            made.moment + number * DAY / 24, "web1", report="drills/x/report.json", profile=profile, point=made.time,
            chain=made.chain, level="L3", verdict=verdict,
        )  # fmt: skip
        ledger.add(fleet, entry)

    drill(9, "passed")
    drill(16, "failed")
    drill(23, "passed", "other")
    kept = [row["chain"] for row in fleet.prune("web1", check=True)["web1"].plan if row["action"] == "keep"]
    assert kept[0] == HISTORY.sets[9].chain
    assert kept[1] > HISTORY.sets[40].chain


def test_what_the_inventory_does_not_know_stays_and_is_named(fleet: Fleet) -> None:
    fleet.add("gone")
    fleet.add("web1", profile="old")
    fleet.put("nodes/web1/notes/x", b"?", 0)
    fleet.put("nodes/web1/repo/site/duplicity-else", b"?", 0)
    fate = fleet.prune("web1")["web1"]
    assert fate.unknown == ["old"]
    assert {row["profile"] for row in fate.plan} == {"site"}
    (alarm,) = fate.alarms
    assert alarm == (
        "2 object(s) in its corner belong to no backup and stay, the first are 'nodes/web1/notes/x', "
        "'nodes/web1/repo/site/duplicity-else': find out who wrote them."
    )
    assert fleet_prune.unknown_nodes(fleet, {"web1"}) == ["gone"]
    assert len(fleet.names("gone")) == len(HISTORY.objects) + 2 * len(HISTORY.records)
    assert {"nodes/web1/notes/x", "nodes/web1/repo/site/duplicity-else"} <= fleet.names("web1")


def test_any_number_of_versions_of_one_object_go(fleet: Fleet) -> None:
    """Of so many the ids are not held in memory; what came after the listing is not touched, and is no failure."""
    name = f"nodes/web1/repo/site/{HISTORY.sets[0].objects[0].name}"
    for number in range(2500):
        fleet.put(name, b"x", hours(HISTORY.now) - 300 + number / 100)
    fate = fleet.prune("web1")["web1"]
    assert (fate.failure, name in fleet.kept) == (None, False)


def test_objects_beyond_measure_stop_the_node(fleet: Fleet) -> None:
    asked = [Asked("web1", {"site": SITE})]
    (refused,) = fleet_prune.run(fleet, asked, HISTORY.now, most_objects=10)
    assert refused.failure == (
        "nodes/web1/ holds more than 10 objects or 10000 sets: the node is not pruned; find out who wrote them, or raise "
        "most_objects (and volume_mib, for what is to come)."
    )


def test_records_beyond_measure_stop_the_node(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_prune, "MOST_OF_RECORDS", 1000)
    assert "nodes/web1/records/site holds more than 0 MiB" in (fleet.prune("web1")["web1"].failure or "")


def test_sets_beyond_measure_stop_the_node(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs time, whatever it is; a hostile node must not hold up the others."""
    for number in range(60):
        fleet.put(f"nodes/web1/repo/site/duplicity-full.20250101T0000{number:02}Z.vol1.difftar.gz", b"x", 0)
    monkeypatch.setattr(fleet_prune, "MOST_SETS", len(HISTORY.sets) * 2 + 50)
    assert "sets: the node is not pruned" in (fleet.prune("web1")["web1"].failure or "")
    monkeypatch.setattr(fleet_prune, "MOST_SETS", len(HISTORY.sets) * 2 + 70)
    fate = fleet.prune("web1")["web1"]
    assert (fate.failure, fate.changed) == (None, True)
    assert fate.alarms[-1] == "site: and 40 alarms more."


def test_an_overwritten_record_is_read_as_it_was_first(fleet: Fleet) -> None:
    """The first one says that a set was whole; the second would have said that there never was one."""
    made = HISTORY.sets[-1]
    name = f"nodes/web1/records/site/{made.time}-backup.json"
    fleet.put(name, b"{}", hours(HISTORY.now))
    done = fleet.prune("web1")["web1"]
    assert done.alarms == []
    assert ("stream", (name, fleet.kept[name][0].version_id)) in fleet.calls


def test_the_ledger_lists_a_thousand_and_counts_all() -> None:
    row = {"profile": "s", "kind": "orphans", "chain": "20260101T000000Z", "reason": "x.", "sets": 1}
    rows = [row | {"objects": 1, "versions": 2, "bytes": 3}] * 1500
    entry = ledger.prune(MONDAY, "web1", step="done", dropped=rows, points=1, records=0)
    VALIDATOR.validate(json.loads(ledger.encode(entry)))
    assert (len(entry["dropped"]), entry["not_listed"], entry["bytes"]) == (1000, 500, 4500)

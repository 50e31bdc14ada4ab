# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A plan carried out in a folder: what goes, in which order, and what is told. Objects are invented, deletions are real."""

from __future__ import annotations

import json
import os
import random
import typing as t
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.histories import DAY, History, Luck, Made, make, run
from tests.unit.engine.test_record import VALIDATOR
from tests.unit.engine.test_retention import HISTORIES, POLICIES, UNDAMAGED, decide, gone

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, prune, record, spent
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.result import Result
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import FileStore, Location, StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import parse_stamp

RECORDS = "records/site/"
WEEKLY = Policy(keep_days=7)


class Corner:
    """A node's corner in a folder that holds a history with its records and witnesses."""

    def __init__(self, root: Path, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.history = root, history
        monkeypatch.setattr(prune, "now", lambda: history.now)
        for item in history.objects:
            self.put(f"repo/site/{item.name}", b"x" * item.bytes, item.modified)
        for entry in history.records:
            moment = parse_stamp(entry.started) + DAY / 24
            self.put(f"{RECORDS}{entry.started}-backup.json", record.dump(entry), moment)
            self.put(f"{RECORDS}{entry.started}-backup.witness.gz.gpg", b"x", moment)

    def put(self, name: str, data: bytes, moment: t.Any) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (moment.timestamp(), moment.timestamp()))

    def names(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def prune(self, policy: Policy = WEEKLY, **more: t.Any) -> Result:
        place = Location(f"file://{self.root}")
        return prune.run(place.below("repo/site"), place, "site", "n", policy, **more)

    def cleanup(self, **more: t.Any) -> Result:
        place = Location(f"file://{self.root}")
        return prune.cleanup(place.below("repo/site"), place, "site", "n", **more)


@pytest.fixture
def corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corner:
    """Sixty days without a fault, a full each week."""
    return Corner(tmp_path / "corner", run(60, Luck(), random.Random(1)), monkeypatch)


def test_a_prune(corner: Corner) -> None:
    before = corner.names()
    would = corner.prune(check=True)
    assert corner.names() == before
    done = corner.prune()
    assert (done.failed, done.changed) == (would.failed, would.changed) == (False, True)
    assert would.extra == done.extra
    assert would.message.replace("would be dropped", "dropped") == done.message
    dropped = [item["chain"] for item in done.extra["plan"] if item["action"] == "drop"]
    assert len(dropped) == 7
    # objects, records and witnesses of what was dropped, nothing else
    times = {made.time for made in corner.history.sets if made.chain in dropped}
    assert {
        name for name in before if any(time in name.rpartition(".to.")[2] for time in times)
    } == before - corner.names()
    assert done.extra["diff"]["after"] == ""
    assert done.extra["diff"]["before"].splitlines()[0].startswith(f"chain {dropped[0]}: full {dropped[0]}, ")
    assert len(done.extra["diff"]["before"].splitlines()) == 3 * len(times)
    kept = sum(item["points"] for item in done.extra["plan"] if item["action"] == "keep")
    stored = sum(item["stored"] for item in done.extra["plan"] if item["action"] == "drop")
    assert (
        done.message
        == f"7 chain(s), {len(times)} set(s) in all, {stored} bytes: dropped; {kept} restore point(s) stay."
    )
    again = corner.prune()
    assert (again.changed, again.message) == (False, "There is nothing to drop.")
    for result in (would, done, again):
        jsonschema.validate(json.loads(record.dump(result.record)), VALIDATOR.schema)
        assert (result.record.operation, result.record.node, result.record.profile) == ("prune", "n", "site")


def test_a_repository_without_a_corner(corner: Corner) -> None:
    place = Location(f"file://{corner.root}/repo/site")
    before = corner.names()
    done = prune.run(place, None, None, None, WEEKLY)
    assert done.changed
    gone_ = before - corner.names()
    assert gone_
    assert all(name.startswith("repo/site/") for name in gone_)
    assert (done.record.node, done.record.profile) == (None, None)


def test_a_drill_saves_its_chain(corner: Corner) -> None:
    first = corner.history.sets[0].time
    assert "20260101" in first
    assert corner.prune(drilled=[first], check=True).extra["plan"][0]["action"] == "keep"
    assert corner.prune(check=True).extra["plan"][0]["action"] == "drop"


def test_records_of_no_point_go_when_they_are_old(corner: Corner) -> None:
    corner.prune()
    entry = Record("backup", "failed", "20260101T000000Z", 1, "n", "site", "full", failure="x.")
    verify = Record("verify", "ok", "20260101T000000Z", 1, "n", "site")
    lost = replace(corner.history.records[0], started="20260101T000001Z", set_time="20251231T000000Z")
    old, young = corner.history.now - 8 * DAY, corner.history.now - 6 * DAY
    for moment, stem in ((old, "20260101T000000Z"), (young, "20260201T000000Z")):
        corner.put(f"{RECORDS}{stem}-backup.json", record.dump(entry), moment)
        corner.put(f"{RECORDS}{stem}-verify.json", record.dump(verify), moment)
        corner.put(f"{RECORDS}{stem[:-2]}1Z-backup.json", record.dump(lost), moment)
        corner.put(f"{RECORDS}{stem[:-2]}2Z-backup.witness.gz", b"alone", moment)
        corner.put(f"{RECORDS}{stem[:-2]}3Z-backup.json", b"no record", moment)
        corner.put(f"{RECORDS}{stem}-else", b"?", moment)
    before = corner.names()
    assert corner.cleanup(check=True).extra["diff"]["before"] == f"record {RECORDS}20260101T000002Z-backup.witness.gz\n"
    done = corner.prune()
    gone_ = [
        f"20260101T00000{end}" for end in ("0Z-backup.json", "0Z-verify.json", "1Z-backup.json", "2Z-backup.witness.gz")
    ]
    assert before - corner.names() == {RECORDS + name for name in gone_}
    assert done.record.outcome == "warning"
    assert [text.split(" is not")[0] for text in done.warnings] == [
        f"{RECORDS}20260101T000003Z-backup.json",
        f"{RECORDS}20260201T000003Z-backup.json",
    ]


def test_a_forged_record_deletes_nothing_but_itself(corner: Corner) -> None:
    """It claims a point that goes, and names another point's witness, a volume, and a path out of the corner."""
    victim = corner.history.sets[-1]
    before = corner.names()
    honest = corner.history.records[0]
    for number, witness in enumerate(
        (f"{RECORDS}{victim.time}-backup.witness.gz.gpg", f"repo/site/{victim.objects[0].name}", "../../outside")
    ):
        forged = replace(honest, witness=witness)
        corner.put(f"{RECORDS}2026010{number + 1}T235959Z-backup.json", record.dump(forged), corner.history.now)
    (corner.root.parent / "outside").write_text("safe")
    corner.prune()
    kept = {f"repo/site/{item.name}" for item in victim.objects} | {
        f"{RECORDS}{victim.time}-backup.{end}" for end in ("json", "witness.gz.gpg")
    }
    assert kept <= corner.names()
    assert (corner.root.parent / "outside").read_text() == "safe"
    assert corner.names() < before


def test_a_cleanup_takes_no_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = run(30, Luck(crashed=30), random.Random(4))
    alone = make(history.sets[5].moment + DAY / 4, Made("x", None, "20250101T000000Z", []))
    history.sets.append(replace(alone, recorded=False))
    volume = next(made for made in history.sets if made.finished).objects[0]
    part = replace(volume, name=volume.name.replace(".gpg", ".part"))
    history.junk.append(part)
    corner = Corner(tmp_path, history, monkeypatch)
    assert len(corner.prune(check=True, policy=Policy(keep_days=1)).extra["plan"]) > 1
    before, points = corner.names(), {made.time for made in history.points()}
    cut = {made.time for made in history.sets if not made.finished}
    old = {time for time in cut if parse_stamp(time) < history.now - 7 * DAY - DAY / 24}
    assert old
    assert old < cut
    done = corner.cleanup()
    assert (done.changed, done.record.operation) == (True, "cleanup")
    expected = {item.name for made in history.sets if made.time in old for item in made.objects}
    expected |= {item.name for item in alone.objects} | {part.name}
    assert {name.removeprefix("repo/site/") for name in before - corner.names()} == expected
    assert {item["kind"] for item in done.extra["plan"]} == {"incomplete", "orphans", "part"}
    assert not corner.cleanup().changed
    everything = corner.cleanup(incomplete_days=0)
    assert everything.changed
    objects = [path.name for path in (corner.root / "repo/site").iterdir()]
    assert {made.time for made in history.sets if made.objects[0].name in objects} == points


def test_what_went_before_a_refusal_is_told_as_a_change(corner: Corner, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FileStore.delete
    monkeypatch.setattr(FileStore, "delete", lambda store, names: [*real(store, names[1:]), "cannot delete it: no."])
    before = corner.names()
    done = corner.prune()
    assert (done.failed, done.changed) == (True, True)
    left = before - corner.names()
    assert len(left) > 1
    assert all(name.endswith(".manifest.gpg") for name in left)
    monkeypatch.undo()
    monkeypatch.setattr(prune, "now", lambda: corner.history.now)
    assert not corner.prune().failed
    assert {item["action"] for item in corner.prune().extra["plan"]} == {"keep"}


@pytest.mark.parametrize("says", [[], ["cannot delete x: no."]])
def test_a_deletion_counts_when_it_is_seen(corner: Corner, monkeypatch: pytest.MonkeyPatch, says: list[str]) -> None:
    """A store that accepts a deletion and does not delete (facts: guard 18): the first answers, then nothing happens."""
    before = corner.names()
    asked: list[list[str]] = []

    def deaf(_store: FileStore, names: list[str]) -> list[str]:
        asked.append(names)
        return says

    monkeypatch.setattr(FileStore, "delete", deaf)
    done = corner.prune()
    total = sum(len(names) for names in asked)
    assert (done.failed, done.changed, done.record.outcome) == (True, False, "failed")
    if says:
        assert len(asked) == 1  # after a refusal nothing more is tried
        assert all("manifest" in name for name in asked[0])
        assert done.record.failure is not None
        assert done.record.failure.endswith(" objects are still there: cannot delete x: no.")
    else:
        assert done.record.failure == (
            f"{total} of {total} objects are still there, though the store accepted the deletions: check this key's policy "
            "and the bucket's locks."
        )
    assert corner.names() == before
    VALIDATOR.validate(json.loads(record.dump(done.record)))


@settings(max_examples=150)
@given(HISTORIES | UNDAMAGED, POLICIES, st.floats(0, 1))
def test_a_crash_anywhere_leaves_nothing_that_only_looks_whole(history: History, policy: Policy, where: float) -> None:
    """After any part of the deletions: what looks whole is, and the next plan names the rest, or, of a chain that was
    damaged before, a part of it (without its last manifest it may look whole, and then ``keep_chains`` counts it)."""
    policy = replace(policy, incomplete_days=min(policy.incomplete_days, policy.keep_days))  # younger pieces wait
    plan = decide(history, policy)
    manifests, others = ([item.name for item in items] for items in prune.order(plan))
    names = manifests + others
    assert len(names) == len(set(names))
    assert set(names) == gone(plan)
    cut = round(where * len(names))
    left = [item for item in history.objects if item.name not in names[:cut]]
    seen = {point.time for point in chains.collect(left).points}
    # by records; without them a lost last volume shows nowhere
    assert seen <= {made.time for made in history.sets if made.finished}
    dropped = {each.time for item in plan.dropped for each in item.sets}
    records = [entry for entry in history.records if cut <= len(manifests) or entry.set_time not in dropped]
    again = prune.retention.decide(chains.collect(left), records, policy, history.now)
    assert gone(again) <= set(names[cut:])
    if not any(made.lost for made in history.sets):
        assert gone(again) == set(names[cut:])


def test_records_that_were_copied_before_their_sets_stay() -> None:
    """A bucket that was copied name by name has its records first: by the store's times they tell of no set that is there."""
    made = chains.BackupSet("full", None, "20261101T021500Z")
    made.objects.append(StoredObject("x", 1, datetime(2026, 11, 20, 1, tzinfo=timezone.utc)))
    copied = datetime(2026, 11, 20, tzinfo=timezone.utc)
    later = datetime(2027, 1, 20, tzinfo=timezone.utc)
    names = [
        f"r/{time}-backup.{end}" for time in ("20261001T021500Z", "20261101T021500Z") for end in ("json", "witness.gz")
    ]
    listing = [StoredObject(name, 1, copied) for name in names]
    gone = spent.outlived("r/", listing, [made], Policy(), later)
    assert [item.name for item in gone] == sorted(names[:2], key=lambda name: name.endswith(".json"))

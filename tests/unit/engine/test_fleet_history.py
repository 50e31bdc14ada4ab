# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The fleet's status when somebody overwrote or hid what is stored. The rules are in tampering.yml; this is how they show."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from tests.unit.engine.versioned import Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet, record, report
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Row, Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store_as_of import AsOf

T0 = "20261123T010000Z"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
REPO, RECORDS = "nodes/node1/repo/site/", "nodes/node1/records/site/"
NAMES = [
    f"duplicity-full-signatures.{T0}.sigtar.gpg",
    f"duplicity-full.{T0}.manifest.gpg",
    f"duplicity-full.{T0}.vol1.difftar.gpg",
]
RECORD = "20261123T005959Z-backup.json"
WANTED = Wanted("node1", "site")


def entry(objects: t.Sequence[str] = NAMES) -> Record:
    items = [Object(name, 4, "") for name in objects]
    return Record("backup", "ok", "20261123T005959Z", 1.0, "node1", "site", "full", T0, T0, 9, 100, objects=items)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A node with one full of one o'clock."""
    made = Bucket()
    for name in NAMES:
        made.put(REPO + name, b"good", 1)
    made.put(RECORDS + RECORD, record.dump(entry()), 2)
    monkeypatch.setattr(fleet, "open_store", lambda location: made)
    return made


def row(accepted: datetime | None = None) -> Row:
    (corner,) = fleet.read(Location("s3://b"), [WANTED], history=True)
    return fleet.status(corner, NOW, 26, None, accepted)


def test_a_quiet_node_shows_what_a_plain_listing_shows(bucket: Bucket) -> None:
    (plain,) = fleet.read(Location("s3://b"), [WANTED])
    (found,) = fleet.read(Location("s3://b"), [WANTED], history=True)
    assert found.records == plain.records
    assert (found.collection, found.complaints) == (plain.collection, [])
    shown = row()
    assert (shown.state, shown.alarms) == ("ok", [])
    assert shown == fleet.status(plain, NOW, 26)


def test_an_overwrite_is_told_with_its_time_and_the_next_step(bucket: Bucket) -> None:
    version = bucket.put(REPO + NAMES[2], b"evil", 9)
    found = row()
    assert (found.state, found.points) == ("tampered", 1)
    assert found.reason.startswith("a stored object was overwritten or hidden, the first at 20261123T090000Z: find out")
    assert found.alarms == [
        {"object": NAMES[2], "what": "overwritten", "time": "20261123T090000Z", "version_id": version}
    ]
    table = report.status_table([found.to_dict()])
    assert f"node1/site: ALARM: {NAMES[2]} was overwritten at 20261123T090000Z" in table.splitlines()
    assert row(accepted=at(9)).state == "ok"
    assert row(accepted=at(8.9)).state == "tampered"


def test_what_is_lost_now_is_said_first(bucket: Bucket) -> None:
    bucket.hide(REPO + NAMES[2], 9)
    found = row()
    assert (found.state, found.alarms[0]["what"]) == ("damaged", "hidden")
    assert f"{NAMES[2]} is missing" in found.reason


def test_hidden_records_are_no_node_that_never_was(bucket: Bucket) -> None:
    bucket.hide(RECORDS + RECORD, 9)
    assert row().state == "tampered"


def test_an_overwritten_record_counts_in_its_first_version(bucket: Bucket) -> None:
    """Otherwise a record that is emptied would let a volume be changed before its manifest was there."""
    late = f"duplicity-full.{T0}.vol2.difftar.gpg"
    bucket.put(REPO + late, b"good", 0.5)
    bucket.put(REPO + late, b"evil", 0.9)  # the manifest is of one o'clock
    bucket.kept[RECORDS + RECORD].clear()
    bucket.put(RECORDS + RECORD, record.dump(entry([*NAMES, late])), 0.7)
    bucket.put(RECORDS + RECORD, record.dump(entry([])), 9)
    assert [(item["object"], item["what"]) for item in row().alarms] == [(late, "overwritten"), (RECORD, "overwritten")]


def test_the_table_shows_the_first_few(bucket: Bucket) -> None:
    for hour in range(30):
        bucket.put(REPO + NAMES[2], b"evil%d" % hour, 3 + hour / 10)
    found = row()
    assert len(found.alarms) == 20
    lines = [line for line in report.status_table([found.to_dict()]).splitlines() if "ALARM" in line]
    assert (len(lines), lines[-1]) == (6, "node1/site: ALARM: and 15 more")


def test_too_many_changes_to_judge_are_an_alarm() -> None:
    corner = fleet.Corner(WANTED, [entry()], unjudged=3)
    found = fleet.status(corner, NOW, 26)
    assert found.state == "damaged"  # the corner holds nothing of the record's
    found = fleet.status(replace(corner, records=[]), NOW, 26)
    assert (found.state, found.reason[:36]) == ("tampered", "3 more stored objects were changed t")


def test_a_store_without_versions_cannot_be_judged(tmp_path: Path) -> None:
    (corner,) = fleet.read(Location(f"file://{tmp_path}"), [WANTED], history=True)
    found = fleet.status(corner, NOW, 26)
    assert found.state == "unreadable"
    assert "keeps no earlier versions" in found.reason


def test_as_of_a_time_it_is_as_it_was_then(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = row()
    for name in NAMES:
        bucket.put(REPO + name, b"evil", 9)
        bucket.hide(REPO + name, 10)
    bucket.hide(RECORDS + RECORD, 9)
    monkeypatch.setattr(fleet, "open_store", lambda location: AsOf(bucket, at(8)))
    assert row() == quiet
    (plain,) = fleet.read(Location("s3://b"), [WANTED])
    assert fleet.status(plain, NOW, 26) == quiet
    monkeypatch.setattr(fleet, "open_store", lambda location: AsOf(bucket, at(9.5)))
    assert {item["what"] for item in row().alarms} == {"overwritten", "hidden"}

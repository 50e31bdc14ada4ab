# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The fleet as the store shows it."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, fleet, record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Corner, Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import FileStore, Location, StoredObject

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
WANTED = Wanted("node1", "site")
T0, T1 = "20261122T020000Z", "20261123T020000Z"


def objects(time: str, start: str | None = None) -> list[StoredObject]:
    times, kind, signatures = (f"{start}.to.{time}", "inc", "new") if start else (time, "full", "full")
    names = [f"duplicity-{kind}.{times}.vol1.difftar.gpg", f"duplicity-{kind}.{times}.manifest.gpg"]
    names.append(f"duplicity-{signatures}-signatures.{times}.sigtar.gpg")
    return [StoredObject(name, 10, NOON) for name in names]


def entry(time: str, stored: t.Sequence[StoredObject], chain: str = T0, **changes: t.Any) -> Record:
    items = [Object(item.name, item.bytes, "") for item in stored]
    found = Record("backup", "ok", time, 1.0, "node1", "site", "full", time, chain, 9, 100, objects=items)
    return replace(found, **changes)


FULL, INC = objects(T0), objects(T1, T0)
RECORDS = [entry(T0, FULL), entry(T1, INC)]
LOOK = Record("backup", "ok", "20261123T100000Z", 1.0, "node1", "site", None, T1, T0, 9, 100)
FAILED = entry("20261123T030000Z", [], outcome="failed", failure="gpg failed: x.", set_time=None, chain=None)


def corner(
    records: t.Sequence[Record] = (), stored: t.Sequence[StoredObject] = (), complaints: t.Sequence[str] = ()
) -> Corner:
    return Corner(WANTED, list(records), chains.collect(stored), list(complaints))


@pytest.mark.parametrize(
    ("found", "state", "reason"),
    [
        (corner(RECORDS, [*FULL, *INC]), "ok", ""),
        (corner(), "never", "no backup was ever recorded: is it rolled out, is its timer active?"),
        (corner([FAILED]), "failed", "its last run failed: gpg failed: x."),
        (corner(complaints=["cannot list x."]), "unreadable", "cannot list x."),
        (corner(RECORDS, [*FULL, *INC], ["y is not a run record."]), "ok", ""),
        (corner([*RECORDS, FAILED], [*FULL, *INC]), "failed", "its last run failed: gpg failed: x."),
        (
            corner(RECORDS, [*FULL, *INC[1:]]),
            "damaged",
            f"{INC[0].name} is missing: the next run makes a new full; find out who",
        ),
        (corner(RECORDS, [*FULL[1:], *INC]), "damaged", f"{FULL[0].name} is missing"),
        (
            corner(RECORDS, [replace(FULL[0], bytes=9), *FULL[1:], *INC]),
            "damaged",
            f"{FULL[0].name} has 9 bytes, recorded were 10",
        ),
        (corner(RECORDS[:1], FULL), "stale", "its newest restore point is 34 h old, allowed are 26 h."),
        # a run that found the source unchanged, and named that very point
        (corner([RECORDS[0], replace(LOOK, set_time=T0)], FULL), "ok", ""),
        (corner([RECORDS[0], LOOK], FULL), "stale", "its newest restore point is 34 h old"),
        (corner([RECORDS[0], replace(LOOK, set_time=T0, outcome="failed", failure="x.")], FULL), "stale", ""),
        (corner([LOOK]), "failed", "its last run failed: the restore point that it names has no record; run a full."),
    ],
)
def test_status(found: Corner, state: str, reason: str) -> None:
    row = fleet.status(found, NOON, 26, drilled=T0)
    assert row.state == state
    assert row.reason.startswith(reason)
    assert (row.reason == "") == (state == "ok")
    assert row.drilled == T0
    assert row.to_dict()["node"] == "node1"


def test_a_good_row() -> None:
    row = fleet.status(corner(RECORDS, [*FULL, *INC]), NOON, 26)
    assert (row.point, row.age_hours, row.points, row.chain_length) == (T1, 10.0, 2, 2)
    assert (row.files, row.bytes, row.stored) == (9, 100, 60)


def test_a_point_of_the_future_is_damage() -> None:
    future = NOON + timedelta(hours=30)
    time = record.stamp(future)
    row = fleet.status(corner([entry(time, objects(time), chain=time)], objects(time)), NOON, 26)
    assert (row.state, row.reason) == (
        "damaged",
        "its newest restore point lies 30 h in the future: check the node's clock.",
    )


def test_points_newest_first() -> None:
    found = fleet.points(corner([*RECORDS, FAILED]), 5, NOON)
    assert [(point.time, point.chain, point.stored, point.age_seconds) for point in found] == [
        (T1, T0, 30, 36000),
        (T0, T0, 30, 122400),
    ]
    assert [point.time for point in fleet.points(corner(RECORDS), 1, NOON)] == [T1]
    assert fleet.points(corner(), 3, NOON) == []


def test_why_there_are_too_few() -> None:
    assert fleet.why_short(corner(), 0, 1).startswith("no backup was ever recorded")
    assert fleet.why_short(corner(RECORDS), 2, 3) == "it has 2 restore point(s), asked for were 3."
    assert fleet.why_short(corner(complaints=["cannot list x."]), 0, 1) == "cannot list x."


def test_the_newest_drilled_point() -> None:
    line = {"node": "node1", "profile": "site", "verdict": "passed", "point": T0}
    entries = [
        line | {"point": T1},
        line,
        line | {"verdict": "failed", "point": "20261124T020000Z"},
        line | {"point": None},
    ]
    assert fleet.drilled(entries) == {WANTED: T1}


def test_reading_real_corners(odd: Node, tmp_path: Path) -> None:
    here = odd.copy(tmp_path / "node")
    bucket = Location(f"file://{here.root / 'store'}")
    first, other = fleet.read(bucket, [WANTED, Wanted("node2", "site")])
    row = fleet.status(first, record.parse_stamp(first.records[-1].set_time or ""), 26)
    assert (row.state, row.points, row.chain_length) == ("ok", 2, 2)
    assert fleet.status(other, NOON, 26).state == "never"
    next(here.repository.glob("*.vol3.*")).unlink()
    (damaged,) = fleet.read(bucket, [WANTED])
    assert fleet.status(damaged, first.records[-1].moment, 26).state == "damaged"


def test_a_record_that_names_another_node_is_not_believed(tmp_path: Path) -> None:
    store = FileStore(Location(f"file://{tmp_path}"))
    for number, node in enumerate(["node1", "node2"]):
        store.write(
            f"nodes/node1/records/site/2026112{number}T000000Z-backup.json", record.dump(entry(T0, FULL, node=node))
        )
    (found,) = fleet.read(Location(f"file://{tmp_path}"), [WANTED])
    assert len(found.records) == 1


def test_a_store_that_refuses_one_node_still_shows_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = FileStore.list

    def refuse(self: FileStore, prefix: str = "") -> list[StoredObject]:
        if "node1" in prefix:
            raise LifeboatError("cannot list x.")
        return listed(self, prefix)

    monkeypatch.setattr(FileStore, "list", refuse)
    rows = [
        fleet.status(found, NOON, 26)
        for found in fleet.read(Location(f"file://{tmp_path}"), [WANTED, Wanted("node2", "site")])
    ]
    assert (rows[0].state, rows[0].reason) == ("unreadable", "cannot list x.")
    assert rows[1].state == "never"


def test_a_hostile_record_does_not_hide_the_others(tmp_path: Path) -> None:
    store = FileStore(Location(f"file://{tmp_path}"))
    hostile = record.dump(entry(T0, FULL)).replace(f'"name": "{FULL[0].name}"'.encode(), b'"name": []')
    store.write("nodes/node1/records/site/20261120T000000Z-backup.json", hostile)
    for found in fleet.read(Location(f"file://{tmp_path}"), [WANTED]):
        fleet.status(found, NOON, 26)

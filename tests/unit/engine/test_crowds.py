# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A node may write into its corner what it likes, as much as it likes. Its own row pays for that, and no other node's."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.engine.test_fleet_history import NAMES, NOW, RECORD, RECORDS, REPO, T0, WANTED, entry
from tests.unit.engine.versioned import Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet, growth, record, store_base
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Row, Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

OTHER = Wanted("node2", "site")
PLACE = Location("s3://b")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Two nodes, of which the first one then writes more than anybody reads."""
    made = Bucket()
    for node in ("node1", "node2"):
        for name in NAMES:
            made.put(REPO.replace("node1", node) + name, b"good", 1)
        made.put(RECORDS.replace("node1", node) + RECORD, record.dump(replace(entry(), node=node)), 2)
    for module in (fleet, growth):
        monkeypatch.setattr(module, "open_store", lambda location: made)
    return made


def rows(*, history: bool = True) -> list[Row]:
    corners = fleet.read(PLACE, [WANTED, OTHER], history=history)
    found = [fleet.status(corner, NOW, 26) for corner in corners]
    return growth.told(PLACE, corners, found, NOW, 1 << 30) if history else found


@pytest.mark.parametrize("where", [REPO, RECORDS])
def test_too_many_objects_are_that_nodes_trouble(where: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        bucket.put(f"{where}junk{number}", b"", 3)
    monkeypatch.setattr(store_base, "MOST_LISTED", 10)
    bad, good = rows()
    assert bad.state == "unreadable"
    assert f"{where} holds more than 10 objects or versions of them: find out who wrote them" in bad.reason
    assert (good.state, good.point) == ("ok", T0)


def test_the_growth_of_a_crowd_is_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its profiles, where nobody else looks."""
    for number in range(20):
        bucket.put(f"nodes/node1/junk{number}", b"", 3)
    monkeypatch.setattr(store_base, "MOST_LISTED", 10)
    bad, good = rows()
    assert (bad.state, bad.point) == ("growing", T0)
    assert "nodes/node1/ holds more than 10 objects" in bad.reason
    assert good.state == "ok"


def test_no_more_of_a_record_is_read_than_one_can_have(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LARGEST", 5000)
    taken: list[int] = []

    class Endless(Bucket):
        def stream(self, name: str, *more: t.Any, **how: t.Any) -> t.Iterator[bytes]:
            while True:
                taken.append(1000)
                yield bytes(1000)

    with pytest.raises(LifeboatError, match="x is larger than any run record: ignore it, and find out who wrote it"):
        record.fetch(Endless(), "x")
    assert len(taken) == 6

    bucket.put(f"{RECORDS}20261123T020000Z-backup.json", bytes(6000), 3)
    for history in (True, False):
        bad, good = fleet.read(PLACE, [WANTED, OTHER], history=history)
        assert len(bad.records) == len(good.records) == 1
        assert "is larger than any run record" in bad.complaints[0]


def test_the_newest_records_are_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_MOST", 3)
    started = [(at(3) + timedelta(minutes=number)).strftime("%Y%m%dT%H%M%SZ") for number in range(5)]
    for time in started:
        bucket.put(f"{RECORDS}{time}-backup.json", record.dump(replace(entry(), started=time)), 3)
    for history in (True, False):
        crowded, _other = fleet.read(PLACE, [WANTED, OTHER], history=history)
        assert [found.started for found in crowded.records] == started[2:]
        assert crowded.complaints == ["of 6 run records only the newest 3 were read: find out who wrote them."]

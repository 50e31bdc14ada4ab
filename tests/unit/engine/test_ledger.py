# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Ledger entries: the schema, the names, and who owns a node's id."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import jsonschema
import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import ledger
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import FileStore, Location
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/ledger_entry.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EARLY = datetime(2026, 11, 23, 2, 15, tzinfo=timezone.utc)
LATE = datetime(2026, 11, 24, 2, 15, tzinfo=timezone.utc)
MACHINE = ledger.machine_hash("0123456789abcdef0123456789abcdef\n")


def identity(moment: datetime = EARLY, node: str = "node1", machine: str = MACHINE) -> ledger.Entry:
    user = f"lifeboat_fleet_node_{node}"
    return ledger.identity(moment, node, machine=machine, fingerprint="A" * 40, store_user=user)


OF_DRILL: dict[str, t.Any] = {
    "report": "drills/20261123T021500Z/report.json",
    "profile": "www",
    "point": "20261122T021500Z",
    "chain": "20261120T021500Z",
    "level": "L3",
    "verdict": "passed",
}


def drill(**changes: t.Any) -> ledger.Entry:
    return ledger.drill(EARLY, "node1", **(OF_DRILL | changes))


def prune(**changes: t.Any) -> ledger.Entry:
    row = {"profile": "www", "kind": "chain", "chain": "20261020T021500Z", "reason": "superseded.", "sets": 7}
    values: dict[str, t.Any] = {
        "step": "done",
        "dropped": [row | {"objects": 28, "versions": 30, "bytes": 5}],
        "points": 31,
        "records": 14,
    }
    return ledger.prune(EARLY, "node1", **(values | changes))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(Location(f"file://{tmp_path}"))


def repaired(count: int = 1) -> ledger.Entry:
    versions = [ledger.version(Version("nodes/node1/repo/site/x", str(number), LATE, 3)) for number in range(count)]
    return ledger.repair(LATE, "node1", profile="site", as_of=EARLY, part=2, versions=versions)


@pytest.mark.parametrize(
    "entry",
    [
        *(identity(), drill(), drill(point=None, chain=None, level="L0", verdict="failed")),
        *(repaired(), repaired(1000)),
        *(prune(), prune(step="begun", dropped=[]), prune(left=3, failure="no.")),
    ],
)
def test_built_entries_fit_the_schema(entry: ledger.Entry) -> None:
    VALIDATOR.validate(entry)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"kind": "other"},
        {"kind": "drill"},
        {"time": "2026-11-23"},
        {"node": "Node1"},
        {"machine": "0123456789abcdef0123456789abcdef"},
        {"fingerprint": "a" * 40},
        {"secret": "x"},
    ],
)
def test_the_schema_refuses(change: dict[str, t.Any]) -> None:
    VALIDATOR.check_schema(SCHEMA)
    assert not VALIDATOR.is_valid(identity() | change)


def test_the_machine_is_hashed() -> None:
    assert hashlib.sha256(b"lifeboat:0123456789abcdef0123456789abcdef").hexdigest() == MACHINE


def test_names() -> None:
    assert ledger.name(identity()) == f"ledger/identity/node1/20261123T021500Z-{MACHINE[:12]}.json"
    assert ledger.name(drill()) == "ledger/drill/node1/20261123T021500Z-www-20261122T021500Z.json"
    assert ledger.name(drill(point=None)) == "ledger/drill/node1/20261123T021500Z-www-none.json"
    assert ledger.name(prune()) == "ledger/prune/node1/20261123T021500Z-done.json"


def test_two_points_of_one_drill_are_two_entries(store: FileStore) -> None:
    ledger.add(store, drill())
    ledger.add(store, drill(point="20261121T021500Z"))
    assert len(ledger.read_all(store, "drill")) == 2


def test_read_in_the_order_of_arrival_and_by_node(store: FileStore) -> None:
    """A clock that is wrong does not make an entry older than it is."""
    for number, entry in enumerate((identity(LATE), identity(EARLY), identity(EARLY, "node10"), drill())):
        os.utime(store.root / ledger.add(store, entry), (number, number))
    assert [entry["time"] for entry in ledger.read_all(store, "identity", "node1")] == [
        "20261124T021500Z",
        "20261123T021500Z",
    ]
    assert len(ledger.read_all(store, "identity")) == 3
    assert ledger.read_all(store, "identity", "node2") == []


def test_entries_are_never_overwritten(store: FileStore) -> None:
    ledger.add(store, identity())
    with pytest.raises(LifeboatError, match="never overwritten"):
        ledger.add(store, identity() | {"fingerprint": "B" * 40})
    assert ledger.read_all(store, "identity")[0]["fingerprint"] == "A" * 40


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        json.dumps(identity() | {"node": "node2"}).encode(),
        json.dumps(identity() | {"time": "yesterday"}).encode(),
        json.dumps(drill()).encode(),
    ],
)
def test_what_is_no_entry_is_named(store: FileStore, data: bytes) -> None:
    store.write(ledger.name(identity()), data)
    with pytest.raises(
        LifeboatError, match=r"ledger/identity/node1/20261123T021500Z-[0-9a-f]{12}\.json is not a ledger entry"
    ):
        ledger.read_all(store, "identity")


def test_a_newer_schema_is_named(store: FileStore) -> None:
    store.write(ledger.name(identity()), json.dumps(identity() | {"schema": 2}).encode())
    with pytest.raises(LifeboatError, match="update Lifeboat"):
        ledger.read_all(store, "identity")


def test_the_first_machine_owns_the_id() -> None:
    ledger.check_machine([], "node1", MACHINE)
    ledger.check_machine([identity(), identity(LATE, machine="f" * 64)], "node1", MACHINE)
    with pytest.raises(Refused) as error:
        ledger.check_machine([identity()], "node1", "f" * 64)
    assert "node1" in str(error.value)
    assert MACHINE[:12] in str(error.value)
    assert "f" * 12 in str(error.value)


@pytest.mark.parametrize("change", [{"level": "L6"}, {"verdict": "good"}])
def test_a_drill_entry_is_checked_when_built(change: dict[str, t.Any]) -> None:
    with pytest.raises(Refused):
        drill(**change)


def test_a_repair_entry_names_some_versions_and_not_too_many() -> None:
    assert ledger.name(repaired()).endswith("-site-0002.json")
    for count in (0, 1001):
        with pytest.raises(Refused, match=f"names 1 to 1000 versions, not {count}"):
            repaired(count)


def test_a_prune_entry_is_checked_when_built() -> None:
    with pytest.raises(Refused, match="begun or done"):
        prune(step="over")


def test_which_points_passed_a_drill(store: FileStore) -> None:
    """Of one profile, any time, whatever came of it later; only entries about these points are read."""
    points = [f"2026110{number}T021500Z" for number in range(1, 6)]
    for number, verdict in enumerate(["passed", "failed", "passed", "passed"]):
        ledger.add(store, drill(point=points[number], verdict=verdict))
    ledger.add(store, drill(profile="other", point=points[4]))
    ledger.add(store, ledger.drill(LATE, "node1", **(OF_DRILL | {"point": points[0], "verdict": "failed"})))
    store.write(f"ledger/drill/node1/20261125T021500Z-www-{points[3]}.json", b"no entry")
    assert ledger.passed(store, "node1", "www", {points[0], points[1], points[2], points[4]}) == {points[0], points[2]}
    with pytest.raises(LifeboatError, match="is not a ledger entry"):
        ledger.passed(store, "node1", "www", points)

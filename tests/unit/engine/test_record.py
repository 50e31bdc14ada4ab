# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Run records: what the engine writes fits schemas/run_record.schema.json, and what does not fit is not believed."""

from __future__ import annotations

import copy
import json
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.machine_log import Event
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import FileStore, Location

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/run_record.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
GOOD, FAILED = SCHEMA["examples"]
START = datetime(2026, 11, 23, 2, 15, tzinfo=timezone.utc)

Change = tuple[str, t.Any]

# What breaks whoever reads it (a complaint of theirs is worth more than their crash): parse must refuse each.
TAMPERED: list[Change] = [
    ("schema", 2),
    ("surprise", 1),
    ("started", "yesterday"),
    ("started", None),
    ("set_time", "2026112T21500Z"),
    ("set_time", 5),
    ("chain", "x"),
    ("files", "many"),
    ("bytes", None),
    ("objects", 5),
    ("objects", [{"name": "x"}]),
    ("objects", [{"name": "x", "bytes": 1, "checksum": "", "version_id": None, "surprise": 1}]),
    ("objects", [{"name": [], "bytes": 1, "checksum": "", "version_id": None}]),
    ("objects", [{"name": "x", "bytes": "1", "checksum": "", "version_id": None}]),
    ("objects", [{"name": "x", "bytes": -1, "checksum": "", "version_id": None}]),
    ("objects", {}),
    ("operation", "delete"),
    ("outcome", "splendid"),
    ("seconds", "long"),
    ("seconds", -1),
    ("files", -1),
    ("files", True),
    ("bytes", 10**400),
    ("node", 5),
    ("profile", "../x"),
    ("failure", ["x"]),
    ("exit_code", "0"),
    ("warnings", "many"),
    ("versions", None),
    ("witness", 5),
    ("as_of", "yesterday"),
    ("as_of", 5),
]


def with_change(change: Change) -> dict[str, t.Any]:
    return copy.deepcopy(GOOD) | {change[0]: change[1]}


@pytest.mark.parametrize("example", SCHEMA["examples"], ids=["ok", "failed"])
def test_examples_are_records(example: dict[str, t.Any]) -> None:
    VALIDATOR.validate(example)
    assert record.parse(json.dumps(example).encode(), "x").to_dict() == example


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == set(Record("restore", "ok", "", 0, as_of="").to_dict())
    assert (
        set(SCHEMA["required"]) == set(Record("backup", "ok", "", 0).to_dict()) == set(SCHEMA["properties"]) - {"as_of"}
    )


@pytest.mark.parametrize("change", TAMPERED, ids=str)
def test_tampered_records_are_refused_by_both(change: Change) -> None:
    assert not VALIDATOR.is_valid(with_change(change))
    with pytest.raises(LifeboatError, match=r"^here (is not a run record|has schema)"):
        record.parse(json.dumps(with_change(change)).encode(), "here")


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "failed"},  # without a failure
        {"failure": "x."},  # with one, and ok
        {"set_time": None},
        {"objects": []},
        {"operation": "restore"},  # with objects, mode and witness
    ],
    ids=str,
)
def test_the_schema_refuses_what_does_not_belong_together(change: dict[str, t.Any]) -> None:
    assert not VALIDATOR.is_valid(copy.deepcopy(GOOD) | change)


@pytest.mark.parametrize("missing", sorted(SCHEMA["required"]))
def test_the_schema_wants_every_field(missing: str) -> None:
    assert not VALIDATOR.is_valid({key: value for key, value in GOOD.items() if key != missing})


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"5", b"null", b"\xff", b'{"schema": 1}', b'{"schema": []}'])
def test_what_is_no_record_is_a_sentence(data: bytes) -> None:
    with pytest.raises(LifeboatError, match=r"^x/y.json (is not a run record \(|has schema )"):
        record.parse(data, "x/y.json")


STAMPS = st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1)).map(lambda moment: moment.strftime("%Y%m%dT%H%M%SZ"))  # noqa: DTZ001
COUNTS = st.integers(0, 2**53)
OBJECTS = st.builds(
    record.Object,
    st.text(min_size=1),
    COUNTS,
    st.text(st.sampled_from("0af")).map("sha256:{}".format),
    st.none() | st.text(),
)
RECORDS = st.builds(
    Record,
    operation=st.just("backup"),
    outcome=st.sampled_from(["ok", "warning"]),
    started=STAMPS,
    seconds=st.floats(0, 1e9),
    node=st.none() | st.text(min_size=1),
    profile=st.none() | st.just("site"),
    mode=st.sampled_from(["full", "incremental"]),
    set_time=STAMPS,
    chain=STAMPS,
    files=COUNTS,
    bytes=COUNTS,
    exit_code=st.none() | st.integers(-20, 99),
    objects=st.lists(OBJECTS, min_size=1, max_size=3),
    witness=st.none() | st.text(min_size=1),
)


@given(RECORDS)
def test_what_is_dumped_fits_and_comes_back(entry: Record) -> None:
    data = record.dump(entry)
    VALIDATOR.validate(json.loads(data))
    assert record.parse(data, "x") == entry


def test_a_backup_without_a_mode_is_no_point() -> None:
    assert record.points([record.parse(json.dumps(GOOD | {"mode": None}).encode(), "x")]) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), JSON, min_size=1))
def test_any_change_is_a_record_or_a_sentence(changes: dict[str, t.Any]) -> None:
    data = copy.deepcopy(GOOD) | changes
    try:
        entry = record.parse(json.dumps(data).encode(), "x")
    except LifeboatError:
        return
    # what is believed is of the right kinds; that its parts belong together only the schema tells
    kinds = {key: rule for key, rule in SCHEMA.items() if key != "allOf"}
    jsonschema.Draft202012Validator(kinds).validate(entry.to_dict())


# --- what the engine really writes ------------------------------------------------------------------------------------


def test_records_of_backups_fit(odd: Node, sealed: Node) -> None:
    for node in (odd, sealed):
        for path in (node.corner / "records/site").glob("*.json"):
            VALIDATOR.validate(json.loads(path.read_text()))


def test_a_failed_backups_record_fits(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import execute

    events = [Event("WARNING", 10, "'/a'", "cannot read /a"), Event("WARNING", 10), Event("WARNING", 1)]
    monkeypatch.setattr(execute, "run", lambda *_, **__: execute.Finished(0, events))  # a mock: nothing is uploaded
    answer = node.ask("backup")
    assert answer["failed"]
    assert answer["msg"].startswith("The backup failed: a file could not be read (2 in all)")
    (path,) = (node.corner / "records/site").glob("*.json")
    written = json.loads(path.read_text())
    VALIDATOR.validate(written)
    assert written == answer["record"]
    assert written["warnings"] == [{"code": 1, "count": 1}, {"code": 10, "count": 2}]
    assert (written["outcome"], written["witness"], written["objects"]) == ("failed", None, [])
    assert record.points(record.read_all(FileStore(Location(f"file://{node.corner}")), "records/")[0]) == []


def test_records_of_reading_fit(odd: Node, damaged: Node, tmp_path: Path) -> None:
    answers = [
        odd.ask("restore", dest=str(tmp_path / "tree")),
        odd.ask("restore", dest=str(tmp_path / "none"), path="none"),
        odd.ask("verify"),
        odd.ask("verify", dest=str(tmp_path / "tree")),
        odd.ask("verify", dest=str(tmp_path)),
        odd.ask("restore", dest=str(tmp_path / "tree2"), check=True),
    ]
    next(damaged.repository.glob("duplicity-full.*.vol3.*")).unlink()
    answers.append(damaged.ask("verify"))
    assert [answer["failed"] for answer in answers] == [False, True, False, False, True, False, True]
    for answer in answers:
        VALIDATOR.validate(answer["record"])


# --- reading many -----------------------------------------------------------------------------------------------------


def test_reading_all(tmp_path: Path) -> None:
    store = FileStore(Location(f"file://{tmp_path}"))
    entry = record.parse(json.dumps(GOOD).encode(), "x")
    store.write(record.name("records/site/", START, "backup"), record.dump(entry))
    store.write(
        "records/site/20260101T000000Z-backup.json", json.dumps(FAILED | {"started": "20260101T000000Z"}).encode()
    )
    store.write("records/site/20260102T000000Z-backup.json", b"junk")
    store.write("records/site/20260101T000000Z-backup.witness.gz.gpg", b"")
    records, complaints = record.read_all(store, "records/site/")
    assert [found.outcome for found in records] == ["failed", "ok"]
    assert len(complaints) == 1
    assert complaints[0].startswith("records/site/20260102T000000Z-backup.json is not a run record")
    assert record.points(records) == [entry]


def test_names_and_moments() -> None:
    assert record.name("records/site/", START, "backup") == "records/site/20261123T021500Z-backup.json"
    assert record.witness_name("records/site/", START) == "records/site/20261123T021500Z-backup.witness.gz.gpg"
    assert Record("backup", "ok", "20261123T021500Z", 0).moment == START
    assert Record("backup", "ok", "20261122T000000Z", 0, set_time="20261123T021500Z").moment == START

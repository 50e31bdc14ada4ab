# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A repair: what it removes, what it writes down before, and what a store that refuses, lies or dies makes of it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from tests.unit.engine.test_tampering import NAMES
from tests.unit.engine.versioned import Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import repairing, versions
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.repairing import Keys, Outcome, Wish
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import stamp

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/ledger_entry.schema.json").read_text())
WANTED = Wanted("node1", "site")
REPO, RECORDS = "nodes/node1/repo/site/", "nodes/node1/records/site/"
THEN = Wish(at(5))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is a minute later than the one before."""
    minutes = iter(range(1000))
    monkeypatch.setattr(repairing, "now", lambda: at(30 + next(minutes) / 60))


def corner() -> Bucket:
    """A node with a full and its record, and a neighbour whose name begins with the node's."""
    bucket = Bucket(clock=20)
    for short in ("s", "m", "v1", "v2"):
        bucket.put(REPO + NAMES[short], b"good " + short.encode(), 1)
    for short in ("r", "w"):
        bucket.put(RECORDS + NAMES[short], b"good " + short.encode(), 2)
    bucket.put("nodes/node10/repo/site/" + NAMES["m"], b"theirs", 1)
    bucket.put("nodes/node10/repo/site/" + NAMES["m"], b"theirs too", 9)
    return bucket


def attack(bucket: Bucket) -> None:
    bucket.put(REPO + NAMES["v1"], b"evil", 9)
    bucket.put(REPO + NAMES["v1"], b"evil again", 10)
    bucket.put(REPO + NAMES["m"], b"evil", 9)
    bucket.hide(REPO + NAMES["m"], 10)
    bucket.hide(REPO + NAMES["s"], 9)
    bucket.hide(RECORDS + NAMES["r"], 9)
    bucket.put(REPO + "junk", b"evil", 9)


def run(bucket: Bucket, wish: Wish = THEN, copier: Bucket | None = None) -> Outcome:
    return repairing.run(Keys(bucket, bucket, copier), WANTED, wish)


def shown(bucket: Bucket) -> dict[str, bytes]:
    """What a plain reader finds, but for the ledger."""
    return {item.name: bucket.read(item.name) for item in bucket.list("nodes/")}


def entries(bucket: Bucket) -> list[dict[str, t.Any]]:
    found = [json.loads(bucket.read(item.name)) for item in bucket.list("ledger/")]
    for entry in found:
        jsonschema.validate(entry, SCHEMA)
    return found


def test_the_good_versions_are_current_again() -> None:
    bucket = corner()
    good, kept = shown(bucket), list(bucket.list_versions())
    attack(bucket)
    bad = {item.version_id: item for item in bucket.list_versions("nodes/node1/")}.keys() - {
        item.version_id for item in kept
    }
    outcome = run(bucket)
    assert outcome.to_dict() == {
        "node": "node1",
        "profile": "site",
        "state": "repaired",
        "back": [f"repo/site/{NAMES[short]}" for short in ("s", "m", "v1")] + [f"records/site/{NAMES['r']}"],
        "back_count": 4,
        "new": ["repo/site/junk"],
        "new_count": 1,
        "removed": 6,
        "copied": 0,
        "reason": "",
    }
    assert shown(bucket) == good | {REPO + "junk": b"evil"}
    # with the times at which the store got them, and nothing of that time is gone
    left = {item.version_id for item in bucket.list_versions("nodes/")}
    assert {item.version_id for item in kept} <= left
    assert [item.modified for item in versions.as_of(bucket.list_versions(REPO + NAMES["m"]), None)] == [at(1)]
    first, second = entries(bucket)
    assert (first["node"], first["profile"], first["as_of"], first["part"]) == ("node1", "site", stamp(at(5)), 1)
    assert sorted(item["version_id"] for item in first["versions"] + second["versions"]) == sorted(bad - left)
    (evil,) = second["versions"]  # what was current went last
    assert (evil["object"], evil["bytes"], evil["marker"]) == (REPO + NAMES["v1"], 10, False)
    assert evil["modified"] == stamp(at(10))
    assert evil["checksum"].startswith("etag:")


def test_again_changes_nothing() -> None:
    bucket = corner()
    attack(bucket)
    run(bucket)
    bucket.calls.clear()
    outcome = run(bucket)
    assert (outcome.changed, outcome.failure, outcome.to_dict()["state"]) == (False, None, "good")
    assert {call for call, _what in bucket.calls} == {"list_versions"}


def test_check_mode_tells_and_writes_nothing() -> None:
    bucket = corner()
    attack(bucket)
    outcome = run(bucket, replace(THEN, check=True))
    assert (outcome.changed, outcome.removed, outcome.to_dict()["state"]) == (True, 6, "would be repaired")
    assert {call for call, _what in bucket.calls} == {"list_versions"}
    name = REPO + NAMES["m"]
    assert f"{name}: hidden at {stamp(at(10))}, 2 version(s) since then" in outcome.before
    assert any(line.startswith(f"{name}: 6 bytes of {stamp(at(1))} (etag:") for line in outcome.after)
    assert not any("junk" in line for line in outcome.before)


def test_what_did_not_exist_then_goes_only_when_that_is_asked_for() -> None:
    bucket = corner()
    good = shown(bucket)
    attack(bucket)
    run(bucket)
    outcome = run(bucket, replace(THEN, remove_new=True))
    assert (outcome.removed, outcome.new, outcome.failure) == (1, ["repo/site/junk"], None)
    assert shown(bucket) == good
    assert run(bucket, replace(THEN, remove_new=True)).changed is False


@pytest.mark.parametrize("moment", [at(0.5), at(-100)])
def test_a_time_at_which_nothing_could_be_restored_removes_nothing(moment: t.Any) -> None:
    bucket = corner()
    attack(bucket)
    before = list(bucket.list_versions())
    outcome = run(bucket, Wish(moment, remove_new=True))
    assert outcome.failure is not None
    assert outcome.failure.startswith("the store held no whole restore point of node1/site at ")
    assert list(bucket.list_versions()) == before


def test_many_versions_go_in_batches_each_written_down_before() -> None:
    bucket = corner()
    for number in range(2100):
        bucket.put(REPO + NAMES["v1"], b"evil", 6 + number / 1000)
    outcome = run(bucket)
    assert (outcome.failure, outcome.removed) == (None, 2100)
    assert [len(entry["versions"]) for entry in entries(bucket)] == [1000, 1000, 99, 1]
    acts = [call for call, _what in bucket.calls if call in ("write", "delete_versions")]
    assert acts == ["write", "delete_versions"] * 4


def test_more_than_fit_into_memory_go_in_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.lifeboat.fleet.plugins.module_utils.engine.repair._MOST", 40)
    bucket = corner()
    for number in range(100):
        bucket.put(REPO + NAMES["v1"], b"evil", 6 + number / 1000)
    outcome = run(bucket)
    assert (outcome.failure, outcome.removed) == (None, 100)
    assert [entry["part"] for entry in entries(bucket)] == [1, 2, 3, 4]
    assert bucket.read(REPO + NAMES["v1"]) == b"good v1"


# --- a store that refuses ---------------------------------------------------------------------------------------------


def locked() -> Bucket:
    """What was overwritten is held by a lock; delete markers never are."""
    bucket = corner()
    attack(bucket)
    bucket.locked = {
        item.version_id for item in bucket.list_versions(REPO) if item.modified > at(5) and not item.marker
    }
    return bucket


def test_a_lock_is_told_with_the_next_step() -> None:
    bucket = locked()
    outcome = run(bucket)
    assert outcome.failure == (
        f"2 object(s) are not as they were then, first {REPO}{NAMES['m']}: cannot delete '{REPO}{NAMES['m']}' (version "
        f"{bucket.kept[REPO + NAMES['m']][-1].version_id}) in s3://b: Object Lock holds it. Or store the good versions once "
        "more, with the minter's key (copy=yes)."
    )
    assert (outcome.removed, outcome.copied) == (3, 0)  # the delete markers went
    assert bucket.read(REPO + NAMES["s"]) == b"good s"


def test_a_locked_bucket_gets_the_good_versions_once_more() -> None:
    bucket = locked()
    bucket.clock = 21
    outcome = run(bucket, copier=bucket)
    assert (outcome.failure, outcome.copied) == (None, 2)
    assert outcome.warnings[0].startswith(
        "node1/site: all good versions are current; 3 bad version(s) below them stay: "
    )
    assert {short: bucket.read(REPO + NAMES[short]) for short in ("m", "v1")} == {"m": b"good m", "v1": b"good v1"}
    again = run(bucket, copier=bucket)
    assert (again.failure, again.changed) == (None, False)


def test_a_good_copy_above_locked_versions_is_never_removed() -> None:
    bucket = locked()
    run(bucket, copier=bucket)
    assert run(bucket).failure is None
    assert {short: bucket.read(REPO + NAMES[short]) for short in ("m", "v1")} == {"m": b"good m", "v1": b"good v1"}
    bucket.locked.clear()  # the lock's time is over
    assert run(bucket).failure is None
    kept = [item for item in bucket.list_versions(REPO + "duplicity-") if not item.latest]
    assert {item.modified for item in kept} == {at(1)}  # below the two copies
    assert run(bucket).changed is False


def test_a_copy_is_judged_by_its_content() -> None:
    """A copy in one piece of what was uploaded in parts has another checksum, and a forgery may have the same size."""
    bucket = locked()
    name = REPO + NAMES["v1"]
    bucket.kept[name][0] = replace(bucket.kept[name][0], checksum="etag:x-3")
    forged = bucket.put(name, b"evil v1", 11)
    bucket.locked.add(forged)
    assert run(bucket, copier=bucket).copied == 2
    assert bucket.read(name) == b"good v1"
    assert run(bucket, copier=bucket).changed is False


def test_a_store_that_accepts_and_does_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = corner()
    attack(bucket)
    monkeypatch.setattr(bucket, "delete_versions", lambda pairs: [])
    outcome = run(bucket)
    assert outcome.failure is not None
    assert "4 object(s) are not as they were then" in outcome.failure
    assert "the store accepted the deletions: check this key's policy" in outcome.failure
    assert outcome.removed == 0


def test_whoever_goes_on_writing_is_told_and_no_reason_to_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = corner()
    attack(bucket)
    delete = bucket.delete_versions

    def writes(pairs: t.Sequence[tuple[str, str]]) -> list[str]:
        bucket.put(REPO + NAMES["v2"], b"evil", 12)
        return delete(pairs)

    monkeypatch.setattr(bucket, "delete_versions", writes)
    outcome = run(bucket)
    assert outcome.failure is not None
    assert outcome.failure.startswith(
        f"1 object(s) are not as they were then, first {REPO}{NAMES['v2']}: the store accepted"
    )
    assert "that nobody writes there any more" in outcome.failure


def test_nothing_goes_that_could_not_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = corner()
    attack(bucket)
    before = list(bucket.list_versions())

    def refuse(*_: object, **__: object) -> t.NoReturn:
        raise LifeboatError("cannot write 'ledger/repair/x'.")

    monkeypatch.setattr(bucket, "write", refuse)
    assert run(bucket).failure == "cannot write 'ledger/repair/x'."
    assert list(bucket.list_versions()) == before


def test_a_repair_that_is_killed_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = corner()
    good = shown(bucket)
    attack(bucket)
    delete = bucket.delete_versions
    monkeypatch.setattr(repairing, "_BATCH", 2)

    def dies(pairs: t.Sequence[tuple[str, str]]) -> t.NoReturn:
        delete(pairs[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(bucket, "delete_versions", dies)
    with pytest.raises(KeyboardInterrupt):
        run(bucket)
    monkeypatch.setattr(bucket, "delete_versions", delete)
    assert run(bucket).failure is None
    assert shown(bucket) == good | {REPO + "junk": b"evil"}


def test_the_table_shows_failures_first() -> None:
    rows = [run(corner()).to_dict(), run(locked()).to_dict() | {"node": "node2"}]
    lines = repairing.table(rows).splitlines()
    assert lines[2].split()[:3] == ["node2", "site", "failed"]
    assert lines[3].split()[:3] == ["node1", "site", "good"]
    assert lines[4].startswith("node2/site: 2 object(s) are not as they were then")

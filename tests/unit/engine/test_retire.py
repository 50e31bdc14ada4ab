# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A node leaves: what goes, what stays, what the ledger says, and what happens when it breaks off."""

from __future__ import annotations

import typing as t

import jsonschema
import pytest
from tests.unit.engine.test_identities import Memory
from tests.unit.engine.test_ledger import VALIDATOR
from tests.unit.engine.versioned import Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import identities, ledger, retire
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retire import Gone

NODE = Wanted("fleet", "node", "node1")
OTHERS = ("nodes/node10/repo/www/x", "escrow/node10/F.gpg", "drills/t/report.json", "nodes/node1")


@pytest.fixture
def admin() -> Memory:
    made = Memory()
    identities.ensure(made, NODE, None)
    return made


@pytest.fixture
def bucket() -> Bucket:
    made = Bucket(clock=2)
    made.put("nodes/node1/repo/www/a", b"12345", 0)
    made.put("nodes/node1/repo/www/a", b"123", 1)
    made.hide("nodes/node1/repo/www/a", 1)
    made.put("nodes/node1/records/www/r", b"1", 1)
    made.put("escrow/node1/F.gpg", b"key", 0)
    for name in OTHERS:
        made.put(name, b"theirs", 0)
    entry = ledger.identity(at(0), "node1", machine="a" * 64, fingerprint="A" * 40, store_user=NODE.user)
    made.put(ledger.name(entry), ledger.encode(entry), 0)
    return made


def names(bucket: Bucket) -> set[str]:
    return {name for name in bucket.kept if not name.startswith("ledger/")}


def entries(bucket: Bucket) -> list[dict[str, t.Any]]:
    found = ledger.read_all(bucket, "retire", "node1")
    for entry in found:
        jsonschema.validate(entry, VALIDATOR.schema)
    return [{key: entry[key] for key in ("action", "versions", "bytes", "escrow")} for entry in found]


REVOKED = {"action": "revoked", "versions": 0, "bytes": 0, "escrow": 0}
ALL = Gone(4, 9, 1)


def test_keep_then_drop_then_nothing(admin: Memory, bucket: Bucket) -> None:
    kept = retire.retire(admin, bucket, NODE, at(2), drop=False)
    assert (kept.gone, kept.kept, len(kept.changes)) == (Gone(), ALL, 2)
    assert admin.users == {}
    assert entries(bucket) == [REVOKED]
    assert retire.retire(admin, bucket, NODE, at(3), drop=False).changes == ()
    dropped = retire.retire(admin, bucket, NODE, at(4), drop=True)
    assert (dropped.gone, dropped.kept) == (ALL, Gone())
    assert names(bucket) == set(OTHERS)
    what = {"versions": 4, "bytes": 9, "escrow": 1}
    assert sorted(entries(bucket), key=lambda item: item["action"]) == [
        {"action": "dropped", **what},
        {"action": "dropping", **what},
        REVOKED,
    ]
    assert retire.retire(admin, bucket, NODE, at(5), drop=True) == retire.Retired((), Gone(), Gone())


def test_check_mode_tells_and_changes_nothing(admin: Memory, bucket: Bucket) -> None:
    before = {name: list(found) for name, found in bucket.kept.items()}
    told = retire.retire(admin, bucket, NODE, at(2), drop=True, check=True)
    assert told.gone == ALL
    assert len(told.changes) == 3
    assert bucket.kept == before
    assert admin.keys(NODE.user)


def test_what_is_locked_is_said_and_the_node_is_revoked_nevertheless(admin: Memory, bucket: Bucket) -> None:
    held = bucket.kept["nodes/node1/repo/www/a"][0].version_id
    bucket.locked.add(held)
    with pytest.raises(LifeboatError, match=r"can write no more, but 1 versions \(5 bytes\).*Object Lock holds it"):
        retire.retire(admin, bucket, NODE, at(2), drop=True)
    assert admin.users == {}
    assert "escrow/node1/F.gpg" in bucket.kept, "the key went before all that it opens"
    assert [entry["action"] for entry in entries(bucket)].count("dropped") == 0
    bucket.locked.clear()
    assert retire.retire(admin, bucket, NODE, at(3), drop=True).gone == Gone(1, 5, 1)
    assert names(bucket) == set(OTHERS)


def test_more_than_a_batch_goes_by_version_id(admin: Memory, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retire, "_BATCH", 2)
    retire.retire(admin, bucket, NODE, at(2), drop=True)
    batches = [pairs for call, pairs in bucket.calls if call == "delete_versions"]
    assert [len(pairs) for pairs in batches] == [2, 2, 1]
    assert all(version for pairs in batches for _name, version in pairs)
    assert names(bucket) == set(OTHERS)


def test_a_name_that_was_never_a_node_is_refused(bucket: Bucket) -> None:
    with pytest.raises(Refused, match="was ever enrolled"):
        retire.retire(Memory(), bucket, Wanted("fleet", "node", "node2"), at(2), drop=True)
    assert ledger.read_all(bucket, "retire") == []


def test_a_user_without_a_trace_in_the_bucket_can_be_retired(admin: Memory) -> None:
    bucket = Bucket()
    assert len(retire.retire(admin, bucket, NODE, at(2), drop=True).changes) == 2
    assert entries(bucket) == [REVOKED]


def test_a_drop_that_was_killed_before_its_last_word_says_it_later(admin: Memory, bucket: Bucket) -> None:
    retire.retire(admin, bucket, NODE, at(2), drop=True)
    (name,) = (name for name in bucket.kept if "retire" in name and b"dropped" in bucket.read(name))
    del bucket.kept[name]
    told = retire.retire(admin, bucket, NODE, at(3), drop=True, check=True)
    assert told.changes == ("note that all of node1 is gone",)
    assert retire.retire(admin, bucket, NODE, at(3), drop=True).changes == told.changes
    assert {"action": "dropped", "versions": 4, "bytes": 9, "escrow": 1} in entries(bucket)
    assert retire.retire(admin, bucket, NODE, at(4), drop=True).changes == ()

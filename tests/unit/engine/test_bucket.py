# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The bucket's settings against a store in memory; molecule/default (94_powers) has the same against a real one."""

from __future__ import annotations

import copy
import json
import typing as t
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bucket, bucket_rules, policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

PLACE = Location("s3://fleet", endpoint_url="https://store.example")
MULTIPART = "lifeboat-multipart: all, abort multipart uploads after 7 days"
GOOD = bucket.State(True, "Enabled", True, True, lifecycle=(MULTIPART,))
NOT_SET = {
    "bucket_policy": "NoSuchBucketPolicy",
    "bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "bucket_encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "object_lock_configuration": "ObjectLockConfigurationNotFoundError",
    "public_access_block": "NoSuchPublicAccessBlockConfiguration",
}


def no(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Call")  # type: ignore[typeddict-item]


class Memory:
    """The few calls of an S3 client that are used; ``lacks`` are calls that the store does not know; with ``forgets`` it
    takes lifecycle filters by size and keeps the rules without them, ``late_lock`` gives a lock to an old bucket."""

    def __init__(self, lacks: str = "", sees_tls: bool = True) -> None:
        self.lacks, self.sees_tls = lacks, sees_tls
        self.forgets = False
        self.late_lock = True
        self.kept: dict[str, t.Any] = {}
        self.writes: list[str] = []

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        def call(**arguments: t.Any) -> t.Any:
            verb, _, what = name.partition("_")
            if self.lacks and self.lacks in name:
                raise no("NotImplemented")
            if verb in ("put", "create", "delete"):
                self.writes.append(name)
                if verb == "delete":
                    self.kept.pop({"bucket_lifecycle": "bucket_lifecycle_configuration"}.get(what, what), None)
                else:
                    self._check(what)
                    self.kept[what] = copy.deepcopy(arguments)
                return {}
            return self._read(what)

        return call

    def _check(self, what: str) -> None:
        made_for_it = self.kept.get("bucket", {}).get("ObjectLockEnabledForBucket")
        if what == "object_lock_configuration" and not made_for_it and not self.late_lock:
            raise no("InvalidBucketState")

    def _read(self, what: str) -> t.Any:
        if what == "bucket" and "bucket" not in self.kept:
            raise no("404")
        if what == "bucket_versioning":
            return self.kept.get(what, {}).get("VersioningConfiguration", {})
        if what == "objects_v2":
            if not self.sees_tls and policies.TLS_ONLY in json.dumps(self.kept.get("bucket_policy", {})):
                raise no("AccessDenied")
            return {}
        if what not in self.kept:
            raise no(NOT_SET[what])
        if what == "bucket_lifecycle_configuration":
            found = copy.deepcopy(self.kept[what]["LifecycleConfiguration"])
            for rule in found["Rules"] if self.forgets else ():
                rule["Filter"].get("And", {}).pop("ObjectSizeGreaterThan", None)
            return found
        return self.kept[what]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setattr(bucket, "s3_client", lambda location: memory)
    return memory


def test_made_safe_once(client: Memory) -> None:
    assert bucket.ensure(PLACE, check=True) == bucket.Result(bucket.State(), GOOD, ("block_public_acls",))
    assert client.writes == []
    assert bucket.ensure(PLACE).after == GOOD
    writes = len(client.writes)
    again = bucket.ensure(PLACE)
    assert (again.before, again.after, len(client.writes)) == (GOOD, GOOD, writes)


def test_block_public_acls_is_left_alone_on_rgw(client: Memory) -> None:
    """There it refuses every upload."""
    bucket.ensure(PLACE)
    assert "BlockPublicAcls" not in client.kept["public_access_block"]["PublicAccessBlockConfiguration"]
    result = bucket.ensure(PLACE, provider="aws_iam")
    assert result.unsupported == ()
    assert client.kept["public_access_block"]["PublicAccessBlockConfiguration"]["BlockPublicAcls"]


def test_what_the_store_lacks_is_named(client: Memory) -> None:
    client.lacks = "public_access_block"
    result = bucket.ensure(PLACE)
    assert result.unsupported == ("block_public_acls", "public_access_block")
    assert result.after == replace(GOOD, public_access_blocked=False)
    assert bucket.ensure(PLACE, check=True).after == result.after


def test_a_store_that_sees_no_tls_is_not_locked(client: Memory) -> None:
    client.sees_tls = False
    result = bucket.ensure(PLACE)
    assert "tls_only" in result.unsupported
    assert not result.after.tls_only
    assert "bucket_policy" not in client.kept


LOCK = bucket_rules.Lock("compliance", 60)
ALL = bucket_rules.Rules(
    lock=LOCK,
    encryption="aws:kms",
    kms_key_id="k1",
    noncurrent_days=51,
    transition=bucket_rules.Transition("GLACIER_IR", 1),
)
FULL = replace(
    GOOD,
    lock="compliance, 60 days",
    encryption="aws:kms k1",
    lifecycle=(
        MULTIPART,
        "lifeboat-noncurrent: nodes/, expire noncurrent versions after 51 days",
        "lifeboat-volumes: nodes/ larger than 1048576 bytes, move to GLACIER_IR after 1 days",
    ),
)


def test_everything_asked_for_is_set_once_and_told_before(client: Memory) -> None:
    assert bucket.ensure(PLACE, rules=ALL, check=True).after == FULL
    assert client.writes == []
    assert bucket.ensure(PLACE, rules=ALL).after == FULL
    assert client.kept["bucket"]["ObjectLockEnabledForBucket"]
    writes = len(client.writes)
    again = bucket.ensure(PLACE, rules=ALL)
    assert (again.before, again.after, len(client.writes)) == (FULL, FULL, writes)
    # lock and encryption are left alone when they are not asked for; rules of ours go
    less = bucket.ensure(PLACE)
    assert less.after == replace(FULL, lifecycle=(MULTIPART,))
    assert bucket.ensure(PLACE, rules=bucket_rules.Rules(abort_multipart_days=0)).after.lifecycle == ()
    assert "bucket_lifecycle_configuration" not in client.kept


def test_a_rule_that_the_store_keeps_otherwise_is_taken_back_and_named(client: Memory) -> None:
    """Without its filter the transition would move manifests and records as well."""
    client.forgets = True
    result = bucket.ensure(PLACE, provider="aws_iam", rules=ALL)
    assert result.unsupported == ("lifecycle_volumes",)
    assert result.after.lifecycle == FULL.lifecycle[:2]
    rules = client.kept["bucket_lifecycle_configuration"]["LifecycleConfiguration"]["Rules"]
    assert [rule["ID"] for rule in rules] == ["lifeboat-multipart", "lifeboat-noncurrent"]


@pytest.mark.parametrize(
    ("lacks", "named"), [("object_lock", "object_lock"), ("encryption", "encryption"), ("lifecycle", "lifecycle")]
)
def test_what_the_store_lacks_of_a_wish_is_named(client: Memory, lacks: str, named: str) -> None:
    client.lacks = lacks
    for check in (False, True):  # a look at a bucket that is not there shows nothing
        result = bucket.ensure(PLACE, provider="aws_iam", rules=ALL, check=check)
        assert result.unsupported == (named,)
        assert getattr(result.after, {"object_lock": "lock"}.get(named, named)) in ("off", "", ())


def test_a_bucket_that_cannot_get_a_lock_says_what_is_needed(client: Memory) -> None:
    bucket.ensure(PLACE)
    client.late_lock = False
    with pytest.raises(Refused, match=r"made without Object Lock.*name a new one"):
        bucket.ensure(PLACE, rules=ALL)
    client.late_lock = True
    assert bucket.ensure(PLACE, rules=ALL).after.lock == "compliance, 60 days"


def test_lifecycle_rules_of_others_stay_and_are_told_if_they_harm(client: Memory) -> None:
    client.kept["bucket"] = {}
    theirs = [
        {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}},
        {"ID": "markers", "Status": "Enabled", "Filter": {}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"ID": "ice", "Status": "Enabled", "Filter": {}, "Transitions": [{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}]},
        {"ID": "off", "Status": "Disabled", "Filter": {}, "Expiration": {"Days": 1}},
    ]
    client.kept["bucket_lifecycle_configuration"] = {"LifecycleConfiguration": {"Rules": theirs}}
    result = bucket.ensure(PLACE, rules=ALL)
    rules = client.kept["bucket_lifecycle_configuration"]["LifecycleConfiguration"]["Rules"]
    assert rules[:4] == theirs
    assert len(rules) == 7
    assert [sentence.split("'")[1] for sentence in result.hazards] == ["tidy", "ice"]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"lock": bucket_rules.Lock("compliance", 50)}, r"at least 51 \(keep_days 30 \+ longest chain 7 \+ 14\)"),
        ({"lock": bucket_rules.Lock("strict", 60)}, "mode 'strict' is unknown"),
        ({"noncurrent_days": 50}, "at least 51"),
        ({"noncurrent_days": 60, "keep_days": 60}, "at least 81"),
        ({"noncurrent_days": 60, "chain_days": 30}, "at least 74"),
        ({"transition": bucket_rules.Transition("DEEP_ARCHIVE", 90)}, "at once"),
        ({"transition": bucket_rules.Transition("STANDARD", 90)}, "no other class"),
        ({"transition": bucket_rules.Transition("STANDARD_IA", 29)}, "30 days at the earliest"),
        ({"encryption": "AES256", "kms_key_id": "k"}, "only to it"),
    ],
)
def test_wishes_that_would_harm_are_refused_before_anything_is_done(
    client: Memory, wish: dict[str, t.Any], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        bucket.ensure(PLACE, rules=bucket_rules.Rules(**wish))
    assert client.writes == []


def test_no_rule_touches_escrow_ledger_or_drills() -> None:
    for rule in bucket_rules.lifecycle(ALL):
        chosen = rule["Filter"].get("And", rule["Filter"])
        assert chosen["Prefix"] == "nodes/" or set(rule) == {"ID", "Status", "Filter", "AbortIncompleteMultipartUpload"}


@pytest.mark.parametrize("sees_tls", [True, False])
def test_other_statements_stay(client: Memory, sees_tls: bool) -> None:
    client.sees_tls = sees_tls
    client.kept["bucket"] = {}
    theirs = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "x"}
    client.kept["bucket_policy"] = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [theirs]})}
    bucket.ensure(PLACE)
    names = [item["Sid"] for item in json.loads(client.kept["bucket_policy"]["Policy"])["Statement"]]
    assert names == (["Theirs", policies.TLS_ONLY] if sees_tls else ["Theirs"])


def test_failures_are_one_sentence(client: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(**arguments: t.Any) -> t.Any:
        raise EndpointConnectionError(endpoint_url="x")

    monkeypatch.setattr(client, "head_bucket", down, raising=False)
    with pytest.raises(LifeboatError, match="the store does not answer"):
        bucket.ensure(PLACE)
    client.lacks = "versioning"
    monkeypatch.setattr(client, "head_bucket", lambda **arguments: {}, raising=False)
    with pytest.raises(LifeboatError, match="NotImplemented"):
        bucket.ensure(PLACE)
    for url in ("file:///x", "s3://Bad_Name", "s3://"):
        with pytest.raises(Refused):
            bucket.ensure(Location(url))

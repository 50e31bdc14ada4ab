# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The bucket's settings against a store in memory; tests/live has the same against a real one."""

from __future__ import annotations

import json
import typing as t

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bucket, policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

PLACE = Location("s3://fleet", endpoint_url="https://store.example")
GOOD = bucket.State(True, "Enabled", True, True)


def no(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Call")  # type: ignore[typeddict-item]


class Memory:
    """The few calls of an S3 client that are used; ``lacks`` are calls that the store does not know."""

    def __init__(self, lacks: str = "", sees_tls: bool = True) -> None:
        self.lacks, self.sees_tls = lacks, sees_tls
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
                    del self.kept[what]
                else:
                    self.kept[what] = arguments
                return {}
            return self._read(what)

        return call

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
            raise no("NoSuchBucketPolicy" if "policy" in what else "NoSuchPublicAccessBlockConfiguration")
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


def test_block_public_acls_is_left_alone(client: Memory) -> None:
    """On RGW it refuses every upload."""
    bucket.ensure(PLACE)
    assert "BlockPublicAcls" not in client.kept["public_access_block"]["PublicAccessBlockConfiguration"]


def test_what_the_store_lacks_is_named(client: Memory) -> None:
    client.lacks = "public_access_block"
    result = bucket.ensure(PLACE)
    assert result.unsupported == ("block_public_acls", "public_access_block")
    assert result.after == bucket.State(True, "Enabled", False, True)
    assert bucket.ensure(PLACE, check=True).after == result.after


def test_a_store_that_sees_no_tls_is_not_locked(client: Memory) -> None:
    client.sees_tls = False
    result = bucket.ensure(PLACE)
    assert "tls_only" in result.unsupported
    assert not result.after.tls_only
    assert "bucket_policy" not in client.kept


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

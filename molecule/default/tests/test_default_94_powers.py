# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Powers against the lab's real Ceph RGW, in a bucket of our own that is removed again."""

from __future__ import annotations

import json
import secrets
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from tests.powers.matrix import Fleet, outcome
from tests.powers.promises import (  # noqa: F401 (pytest runs what it finds here)
    test_a_clone_is_refused_and_gets_nothing,
    test_a_key_that_may_do_more_does_not_prove_itself,
    test_a_lost_store_key_is_replaced_and_the_old_one_ends,
    test_a_node_cannot_take_a_version_away,
    test_a_retired_node_is_out_and_its_id_is_spent,
    test_a_rotation_has_no_gap,
    test_a_second_rollout_changes_nothing,
    test_a_wrong_secret_is_no_power,
    test_check_writes_nothing,
    test_escrow_and_ledger_are_written_once,
    test_escrow_opens_with_either_key,
    test_powers,
    test_the_controllers_keys_are_rotated,
)

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bucket, identities, retire, times
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.bucket_rules import Lock, Rules, Transition
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, S3Store, s3_client


@pytest.fixture(scope="module")
def powers(fleet: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    store = json.loads((fleet.state / "fleet.json").read_text())["store"]
    place = Location(
        f"s3://lifeboat-powers-{secrets.token_hex(4)}",
        endpoint_url=store["endpoint_url"],
        region=store["region"],
        ca_bundle=store["ca_bundle"],
        credentials_file=str(fleet.state / "minter.ini"),
    )
    made = Fleet(tmp_path_factory.mktemp("controller"), place, "ceph_rgw")
    try:
        made.make()
        yield made
    finally:
        made.remove()


def test_a_public_upload_is_not_public(powers: Fleet) -> None:
    """RGW takes the access list of an upload; the bucket's settings take its effect away."""
    name = "nodes/node1/public"
    put = powers.client("node1").put_object
    assert outcome(lambda: put(Bucket=powers.name, Key=name, ACL="public-read")) == "done"
    place = powers.minter
    anonymous = boto3.client(
        "s3",
        region_name=place.region,
        endpoint_url=place.endpoint_url,
        verify=place.ca_bundle,
        config=Config(signature_version=UNSIGNED),
    )
    assert outcome(lambda: anonymous.get_object(Bucket=powers.name, Key=name)) == "AccessDenied"
    assert outcome(lambda: powers.client("node10").get_object(Bucket=powers.name, Key=name)) == "AccessDenied"
    assert outcome(lambda: powers.client("node1").get_object(Bucket=powers.name, Key=name)) == "done"


def test_nodes_own_no_buckets(powers: Fleet) -> None:
    node = powers.client("node1")
    assert outcome(lambda: node.create_bucket(Bucket=powers.name + "-own")) != "done"
    assert node.list_buckets()["Buckets"] == []


def test_the_bucket_is_safe(powers: Fleet) -> None:
    assert powers.result.before == bucket.State()
    multipart = "lifeboat-multipart: all, abort multipart uploads after 7 days"
    assert powers.result.after == bucket.State(True, "Enabled", True, True, lifecycle=(multipart,))
    assert powers.result.unsupported == ("block_public_acls",)


@pytest.fixture
def locked(powers: Fleet) -> Location:
    """A bucket with a lock in compliance mode. It cannot be removed before its time, so it stays as long as this lab does."""
    place = replace(powers.minter, url=f"s3://lifeboat-locked-{secrets.token_hex(4)}")
    rules = Rules(lock=Lock("compliance", 14), keep_days=0, chain_days=0)
    assert bucket.ensure(place, rules=rules).after.lock == "compliance, 14 days"
    return place


def test_not_even_the_minter_deletes_under_a_compliance_lock(locked: Location) -> None:
    store, client = S3Store(locked), s3_client(locked)
    version = store.write("nodes/node1/x", b"1").version_id
    refused = store.delete_versions([("nodes/node1/x", str(version))])
    assert "AccessDenied" in refused[0]
    name, chosen = locked.url.removeprefix("s3://"), {"Key": "nodes/node1/x", "VersionId": version}
    for call in (
        lambda: client.delete_object(Bucket=name, BypassGovernanceRetention=True, **chosen),
        lambda: client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"}),
        lambda: client.put_object_retention(
            Bucket=name,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(timezone.utc)},
            BypassGovernanceRetention=True,
            **chosen,
        ),
    ):
        assert outcome(call) != "done"
    assert [item.version_id for item in store.list_versions("nodes/node1/")] == [version]


def test_a_retired_nodes_locked_backups_stay_and_it_is_said(powers: Fleet, locked: Location) -> None:
    wanted = Wanted(locked.url.removeprefix("s3://"), "node", "node1")
    admin, store = powers.admin(wanted), S3Store(locked)
    identities.ensure(admin, wanted, None)
    store.write("nodes/node1/x", b"12")
    with pytest.raises(LifeboatError, match=r"can write no more, but 1 versions \(2 bytes\)"):
        retire.retire(admin, store, wanted, times.now(), drop=True)
    assert admin.keys(wanted.user) is None


def test_settings_of_a_bucket_are_kept_as_they_were_said(powers: Fleet) -> None:
    """And what this store keeps otherwise is taken back and named: it forgets the size in a transition's filter."""
    place = replace(powers.minter, url=f"s3://lifeboat-rules-{secrets.token_hex(4)}")
    move = Transition("STANDARD_IA", 30)
    rules = Rules(lock=Lock("governance", 60), encryption="AES256", noncurrent_days=60, transition=move)
    try:
        made = bucket.ensure(place, rules=rules)
        assert made.unsupported == ("block_public_acls", "lifecycle_volumes")
        assert (made.after.lock, made.after.encryption) == ("governance, 60 days", "AES256")
        assert made.after.lifecycle == (
            "lifeboat-multipart: all, abort multipart uploads after 7 days",
            "lifeboat-noncurrent: nodes/, expire noncurrent versions after 60 days",
        )
        again = bucket.ensure(place, rules=rules)
        assert again.before == again.after == made.after
    finally:
        s3_client(place).delete_bucket(Bucket=place.url.removeprefix("s3://"))


def test_an_old_bucket_gets_no_lock_here_and_it_is_said(powers: Fleet) -> None:
    with pytest.raises(Refused, match="gives it to new buckets only"):
        bucket.ensure(powers.minter, rules=Rules(lock=Lock("compliance", 60)))


def test_this_store_does_not_enforce_write_once(powers: Fleet) -> None:
    """It takes the statement and the header, and writes over what is there. If this fails, lifeboat_write_once can be offered."""
    wanted = replace(powers.wanted["node10"], write_once=True)
    admin = powers.admin(wanted)
    admin.put_policy(wanted.user, "lifeboat", wanted.policy)
    put = powers.client("node10").put_object
    try:
        for header in ({}, {"IfNoneMatch": "*"}, {"IfNoneMatch": "*"}):
            assert outcome(lambda: put(Bucket=powers.name, Key="nodes/node10/once", Body=b"1", **header)) == "done"  # noqa: B023
    finally:
        admin.put_policy(wanted.user, "lifeboat", powers.wanted["node10"].policy)

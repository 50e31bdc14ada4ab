# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Powers against the lab's real Ceph RGW, in a bucket of our own that is removed again."""

from __future__ import annotations

import json
import secrets
import typing as t

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

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bucket
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location


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

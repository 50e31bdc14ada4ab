# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Policy documents, judged by a small evaluator of our own, and the names of nodes and users."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused

BUCKET = "fleet-1"


def matches(statement: policies.Document, action: str, resource: str, prefix: str | None) -> bool:
    condition = statement.get("Condition")
    wanted = condition["StringLike"]["s3:prefix"] if condition else None
    return (
        action in statement["Action"]
        and any(fnmatch.fnmatchcase(resource, item) for item in statement["Resource"])
        and (wanted is None or (prefix is not None and any(fnmatch.fnmatchcase(prefix, item) for item in wanted)))
    )


def effects(document: policies.Document, action: str, path: str | None, prefix: str | None = None) -> set[str]:
    """The effects of all statements that match the action on an object (or the bucket, path None)."""
    resource = f"arn:aws:s3:::{BUCKET}" + ("" if path is None else f"/{path}")
    return {item["Effect"] for item in document["Statement"] if matches(item, action, resource, prefix)}


def allows(document: policies.Document, action: str, path: str | None, prefix: str | None = None) -> bool:
    return effects(document, action, path, prefix) == {"Allow"}


NODE_CASES = [
    # action, object, prefix of a list, allowed
    ("s3:PutObject", "nodes/node1/repo/www/x", None, True),
    ("s3:GetObject", "nodes/node1/records/www/x", None, True),
    ("s3:DeleteObject", "nodes/node1/repo/www/x", None, True),
    ("s3:ListBucket", None, "nodes/node1/", True),
    ("s3:ListBucket", None, "nodes/node1/repo/www/", True),
    ("s3:ListBucket", None, None, False),  # HeadBucket, and a list of everything
    ("s3:ListBucket", None, "", False),
    ("s3:ListBucket", None, "nodes/", False),
    ("s3:ListBucket", None, "nodes/node1", False),  # would show node10
    ("s3:ListBucket", None, "nodes/node10/", False),
    ("s3:PutObject", "nodes/node10/repo/www/x", None, False),
    ("s3:GetObject", "nodes/node10/repo/www/x", None, False),
    ("s3:GetObject", "nodes/node1", None, False),
    ("s3:GetObject", "escrow/node1/F.gpg", None, False),
    ("s3:GetObject", "ledger/identity/node1/t.json", None, False),
    ("s3:PutObject", "drills/t/report.json", None, False),
    ("s3:DeleteObjectVersion", "nodes/node1/repo/www/x", None, False),
    ("s3:GetObjectVersion", "nodes/node1/repo/www/x", None, False),
    ("s3:ListBucketVersions", None, "nodes/node1/", False),
    ("s3:PutBucketVersioning", None, None, False),
    ("s3:PutObjectAcl", "nodes/node1/x", None, False),
]


@pytest.mark.parametrize(("action", "path", "prefix", "allowed"), NODE_CASES)
def test_a_node_keeps_to_its_prefix(action: str, path: str | None, prefix: str | None, allowed: bool) -> None:
    assert allows(policies.node_policy(BUCKET, "node1"), action, path, prefix) is allowed


ACTIONS = ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload", "s3:PutBucketPolicy"]


@pytest.mark.parametrize(
    ("action", "path"),
    list(itertools.product(ACTIONS, ["nodes/node1/x", "escrow/n/x", "drills/x", "ledger/drill/x", None])),
)
def test_a_restorer_changes_nothing(action: str, path: str | None) -> None:
    assert not allows(policies.restorer_policy(BUCKET), action, path)


@pytest.mark.parametrize("action", ["s3:PutObjectAcl", "s3:DeleteObjectVersion", "s3:PutObjectTagging"])
def test_uploaders_are_denied_what_an_access_list_would_give(action: str) -> None:
    assert effects(policies.node_policy(BUCKET, "node1"), action, "nodes/node1/x") == {"Deny"}
    assert effects(policies.evidence_policy(BUCKET), action, "drills/x") == {"Deny"}
    assert effects(policies.evidence_policy(BUCKET), "s3:GetObject", "drills/x") == {"Deny"}


def test_a_restorer_reads_everything() -> None:
    document = policies.restorer_policy(BUCKET)
    for path in ("nodes/node1/x", "escrow/n/x", "drills/x", "ledger/identity/x"):
        assert allows(document, "s3:GetObject", path)
        assert allows(document, "s3:GetObjectVersion", path)
    assert allows(document, "s3:ListBucket", None)
    assert allows(document, "s3:ListBucketVersions", None)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("drills/t/report.json", True),
        ("ledger/drill/node1/t.json", True),
        ("ledger/identity/node1/t.json", False),
        ("ledger/drill", False),
        ("nodes/node1/x", False),
        ("escrow/node1/x", False),
    ],
)
def test_evidence_is_only_added(path: str, allowed: bool) -> None:
    document = policies.evidence_policy(BUCKET)
    assert allows(document, "s3:PutObject", path) is allowed
    for action in ("s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion"):
        assert not allows(document, action, path)
    assert not allows(document, "s3:ListBucket", None, "drills/")


PRUNER_CASES = [
    # action, object, allowed
    ("s3:DeleteObjectVersion", "nodes/node1/repo/www/x", True),
    ("s3:DeleteObject", None, True),  # on the bucket: RGW asks for it when many go at once
    ("s3:ListBucket", None, True),
    ("s3:ListBucketVersions", None, True),
    ("s3:GetObject", "nodes/node1/records/www/x.json", True),
    ("s3:GetObjectVersion", "nodes/node1/records/www/x.json", True),
    ("s3:GetObject", "ledger/drill/node1/t.json", True),
    ("s3:PutObject", "ledger/prune/node1/t.json", True),
    ("s3:PutObject", "ledger/repair/node1/t.json", True),
    ("s3:PutObject", "ledger/identity/node1/t.json", False),
    ("s3:GetObject", "nodes/node1/repo/www/x", False),
    ("s3:GetObject", "escrow/node1/F.gpg", False),
    ("s3:GetObject", "drills/t/report.json", False),
    ("s3:DeleteObject", "nodes/node1/repo/www/x", True),  # AWS asks for it when many go at once
    ("s3:DeleteObject", "escrow/node1/F.gpg", False),
    ("s3:DeleteObject", "ledger/prune/node1/t.json", False),
    ("s3:PutObject", "nodes/node1/repo/www/x", False),
    ("s3:PutObject", "ledger/drill/node1/t.json", False),
    ("s3:DeleteObjectVersion", "ledger/prune/node1/t.json", False),
    ("s3:DeleteObjectVersion", "ledger/repair/node1/t.json", False),
    ("s3:DeleteObjectVersion", "escrow/node1/F.gpg", False),
    ("s3:DeleteObjectVersion", "drills/t/report.json", False),
    ("s3:BypassGovernanceRetention", "nodes/node1/repo/www/x", False),
    ("s3:PutObjectRetention", "nodes/node1/repo/www/x", False),
    ("s3:PutLifecycleConfiguration", None, False),
]


@pytest.mark.parametrize(("action", "path", "allowed"), PRUNER_CASES)
def test_a_pruner_only_drops_versions_of_nodes(action: str, path: str | None, allowed: bool) -> None:
    assert allows(policies.pruner_policy(BUCKET), action, path) is allowed


def test_documents_of_the_controller_fit() -> None:
    bucket = "b" * 63
    for document in (
        policies.restorer_policy(bucket),
        policies.evidence_policy(bucket),
        policies.pruner_policy(bucket),
    ):
        assert len(json.dumps(document, separators=(",", ":"))) < 2048


node_ids = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True).filter(lambda x: x not in policies.RESERVED)


@given(node_ids, node_ids)
def test_no_node_reaches_another(one: str, other: str) -> None:
    document = policies.node_policy(BUCKET, one)
    same = one == other
    assert allows(document, "s3:GetObject", f"nodes/{other}/repo/x") is same
    assert allows(document, "s3:ListBucket", None, f"nodes/{other}/") is same


@given(node_ids)
def test_documents_hold_no_variables_and_fit(node_id: str) -> None:
    text = json.dumps(policies.node_policy(BUCKET, node_id))
    assert "${" not in text
    assert len(text) < 2048  # AWS: all inline policies of a user together


@pytest.mark.parametrize("node_id", ["node1", "a", "0", "web-1.example.org", "a_b", "x" * 63, "node"])
def test_good_ids(node_id: str) -> None:
    assert policies.check_node_id(node_id) == node_id


@pytest.mark.parametrize(
    "node_id",
    ["", "Node1", "-a", ".a", "..", "_a", "a/b", "a b", "a*", "a?", "a\n", "é", "x" * 64, "a$b", "drill", "all"],
)
def test_bad_ids(node_id: str) -> None:
    with pytest.raises(Refused, match=r"choose|use up to") as error:
        policies.check_node_id(node_id)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("bucket", ["", "ab", "Fleet", "a_b", "-ab", "ab-", "a..b", "a/b", "x" * 64, "a*b"])
def test_bad_buckets(bucket: str) -> None:
    with pytest.raises(Refused):
        policies.node_policy(bucket, "node1")


buckets = st.from_regex(r"[a-z0-9][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True)
identities = st.one_of(
    st.tuples(buckets, st.just("node"), node_ids),
    st.tuples(buckets, st.sampled_from(["restorer", "evidence", "pruner"]), st.none()),
)


@given(identities, identities)
def test_users_of_two_identities_differ(one: tuple[str, str, str | None], other: tuple[str, str, str | None]) -> None:
    assert (policies.user_name(*one) == policies.user_name(*other)) is (one == other)


def test_users_of_look_alikes_differ() -> None:
    assert policies.user_name("a-b", "node", "restorer") != policies.user_name("a-b-node", "restorer")


@given(identities)
def test_users_names_suit_aws(one: tuple[str, str, str | None]) -> None:
    name = policies.user_name(*one)
    assert re.fullmatch(r"[a-z0-9+=,.@_-]{1,64}", name)


def test_long_names_of_neighbours_differ_and_stay() -> None:
    long = "n" * 62
    names = [policies.user_name("b" * 63, "node", long + end) for end in ("1", "2")]
    assert len(set(names)) == 2
    assert (
        policies.user_name("fleet", "node", long) == "lifeboat_fleet_node_nnnnnnnnnnnnnnnnn=eiy7rpx6i4cdtcvmmzjfm6iu2p"
    )

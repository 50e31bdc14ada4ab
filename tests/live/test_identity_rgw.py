# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Powers against the lab's real Ceph RGW, in a bucket of our own that is removed again.

    .venv/bin/pytest tests/live          # needs a lab: make lab-up

Every refusal has a positive control beside it: the same call with the right key or on the right name.
"""

from __future__ import annotations

import json
import os
import secrets
import typing as t
from pathlib import Path

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    bucket,
    enrol,
    identities,
    key_files,
    ledger,
    times,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.escrow import Escrow, open_key
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.once import write_once
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import RgwAdmin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, S3Store, s3_client

LAB = Path(__file__).parents[2] / "lab" / ".state" / os.environ.get("LIFEBOAT_LAB", "demo")
pytestmark = pytest.mark.skipif(not (LAB / "fleet.json").exists(), reason=f"no lab '{LAB.name}' is up: run make lab-up")


class Fleet:
    """A bucket with two enrolled nodes (node1, node10), a restorer and an evidence key."""

    def __init__(self, folder: Path) -> None:
        store = json.loads((LAB / "fleet.json").read_text())["store"]
        self.folder = folder
        self.name = f"lifeboat-live-{secrets.token_hex(4)}"
        self.minter = Location(
            f"s3://{self.name}",
            endpoint_url=store["endpoint_url"],
            region=store["region"],
            ca_bundle=store["ca_bundle"],
            credentials_file=str(LAB / "minter.ini"),
        )
        self.admin = RgwAdmin(self.minter)
        self.users: list[str] = []
        self.clients: dict[str, t.Any] = {}

    def make(self) -> None:
        self.result = bucket.ensure(self.minter)
        for power in ("restorer", "evidence"):
            wanted = Wanted(self.name, power)
            self.users.append(wanted.user)
            identities.ensure_file(self.admin, wanted, self.file(power))
        key_files.ensure_drill_key(str(self.folder))
        self.desk = enrol.Desk(self.name, self.admin, self.store("minter"), self._escrow())
        self.enrolled = {node: self.enrol(node) for node in ("node1", "node10")}

    def _escrow(self) -> Escrow:
        drill_key = (self.folder / key_files.DRILL_KEY).read_bytes()
        recovery = (LAB / "recovery.pub.asc").read_bytes()
        return Escrow(self.store("minter"), self.store("restorer"), recovery, drill_key)

    def file(self, who: str) -> str:
        return str(LAB / "minter.ini") if who == "minter" else str(self.folder / f"{who}.ini")

    def place(self, who: str) -> Location:
        return Location(
            self.minter.url, self.minter.endpoint_url, self.minter.region, self.minter.ca_bundle, self.file(who)
        )

    def store(self, who: str) -> S3Store:
        return S3Store(self.place(who))

    def client(self, who: str) -> t.Any:
        if who not in self.clients:
            self.clients[who] = s3_client(self.place(who))
        return self.clients[who]

    def enrol(self, node_id: str, holds: str | None = None, machine: str | None = None) -> enrol.Enrolled:
        node = enrol.Node(node_id, machine or ledger.machine_hash(node_id), holds)
        self.users.append(Wanted(self.name, "node", node_id).user)
        enrolled = enrol.enrol(self.desk, node, times.now())
        if enrolled.identity.key:
            key_files.write_file(self.file(node_id), identities.credentials(enrolled.identity.key), 0o600)
        return enrolled

    def remove(self) -> None:
        client = self.client("minter")
        for page in client.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                client.delete_object(Bucket=self.name, Key=item["Key"], VersionId=item["VersionId"])
        client.delete_bucket(Bucket=self.name)
        for user in set(self.users):
            self.admin.remove_user(user)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("controller"))
    try:
        made.make()
        yield made
    finally:
        made.remove()


def outcome(call: t.Callable[[], t.Any]) -> str:
    """``done``, or the store's own word for its refusal."""
    try:
        call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return "AccessDenied" if code == "403" else str(code)
    return "done"


OWN, OTHER = "nodes/node1/repo/www/x", "nodes/node10/repo/www/x"

CASES: list[tuple[str, str, dict[str, t.Any], bool]] = [
    # who, call, arguments, allowed
    ("node1", "put_object", {"Key": OWN}, True),
    ("node1", "head_object", {"Key": OWN}, True),
    ("node1", "get_object", {"Key": OWN}, True),
    ("node1", "list_objects_v2", {"Prefix": "nodes/node1/"}, True),
    ("node1", "list_objects", {"Prefix": "nodes/node1/repo/www/"}, True),
    ("node1", "delete_object", {"Key": "nodes/node1/repo/www/gone"}, True),
    ("node10", "put_object", {"Key": OTHER}, True),
    ("node10", "get_object", {"Key": OTHER}, True),
    ("node10", "list_objects_v2", {"Prefix": "nodes/node10/"}, True),
    ("node1", "head_bucket", {}, False),
    ("node1", "list_objects_v2", {}, False),
    ("node1", "list_objects_v2", {"Prefix": ""}, False),
    ("node1", "list_objects_v2", {"Prefix": "nodes/"}, False),
    ("node1", "list_objects_v2", {"Prefix": "nodes/node1"}, False),
    ("node1", "list_objects_v2", {"Prefix": "nodes/node10/"}, False),
    ("node1", "list_objects_v2", {"Prefix": "escrow/"}, False),
    ("node1", "get_object", {"Key": OTHER}, False),
    ("node1", "head_object", {"Key": OTHER}, False),
    ("node1", "put_object", {"Key": OTHER}, False),
    ("node1", "delete_object", {"Key": OTHER}, False),
    ("node1", "put_object", {"Key": "nodes/node1"}, False),
    ("node1", "copy_object", {"Key": "nodes/node1/stolen", "CopySource": {"Key": OTHER}}, False),
    ("node1", "create_multipart_upload", {"Key": OTHER}, False),
    ("node1", "put_object", {"Key": "escrow/node1/x"}, False),
    ("node1", "get_object", {"Key": "escrow/node1/FPR.gpg"}, False),
    ("node1", "put_object", {"Key": "ledger/identity/node1/x.json"}, False),
    ("node1", "put_object", {"Key": "drills/t/report.json"}, False),
    ("node1", "list_object_versions", {"Prefix": "nodes/node1/"}, False),
    ("node1", "put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}, False),
    ("node1", "delete_bucket_policy", {}, False),
    ("node1", "get_bucket_policy", {}, False),
    ("node1", "put_object_acl", {"Key": OWN, "ACL": "public-read"}, False),
    ("node1", "put_object_tagging", {"Key": OWN, "Tagging": {"TagSet": []}}, False),
    ("restorer", "list_objects_v2", {}, True),
    ("restorer", "list_object_versions", {"Prefix": "nodes/"}, True),
    ("restorer", "get_object", {"Key": OWN}, True),
    ("restorer", "get_object", {"Key": "escrow/node1/FPR.gpg"}, True),
    ("restorer", "put_object", {"Key": OWN}, False),
    ("restorer", "put_object", {"Key": "drills/t/report.json"}, False),
    ("restorer", "delete_object", {"Key": OWN}, False),
    ("restorer", "delete_objects", {"Delete": {"Objects": [{"Key": OWN}], "Quiet": True}}, False),
    ("restorer", "create_multipart_upload", {"Key": OWN}, False),
    ("evidence", "put_object", {"Key": "drills/t/report.json"}, True),
    ("evidence", "put_object", {"Key": "ledger/drill/node1/x.json"}, True),
    ("evidence", "get_object", {"Key": "drills/t/report.json"}, False),
    ("evidence", "delete_object", {"Key": "drills/t/report.json"}, False),
    ("evidence", "list_objects_v2", {"Prefix": "drills/"}, False),
    ("evidence", "put_object", {"Key": "ledger/identity/node1/x.json"}, False),
    ("evidence", "put_object", {"Key": OWN}, False),
    ("evidence", "put_object", {"Key": "escrow/node1/x"}, False),
]


@pytest.mark.parametrize(("who", "call", "arguments", "allowed"), CASES)
def test_powers(fleet: Fleet, who: str, call: str, arguments: dict[str, t.Any], allowed: bool) -> None:
    # by their own uploaders: on RGW an object's access list gives its uploader powers of its own
    fleet.client("node1").put_object(Bucket=fleet.name, Key=OWN, Body=b"1")
    fleet.client("node10").put_object(Bucket=fleet.name, Key=OTHER, Body=b"10")
    fleet.client("evidence").put_object(Bucket=fleet.name, Key="drills/t/report.json", Body=b"{}")
    values = dict(arguments)
    if "FPR" in values.get("Key", ""):
        values["Key"] = values["Key"].replace("FPR", fleet.enrolled["node1"].key.fingerprint)
    if "CopySource" in values:
        values["CopySource"] = {"Bucket": fleet.name, **values["CopySource"]}
    if call == "put_object":
        values["Body"] = b"data"
    answer: list[dict[str, t.Any]] = []
    said = outcome(lambda: answer.append(getattr(fleet.client(who), call)(Bucket=fleet.name, **values)))
    if call == "delete_objects":  # it answers 200 and tells per object
        said = answer[0]["Errors"][0]["Code"] if answer and answer[0].get("Errors") else said
    assert said == ("done" if allowed else "AccessDenied")


@pytest.mark.parametrize("version", ["current", "older"])
def test_a_node_cannot_take_a_version_away(fleet: Fleet, version: str) -> None:
    node = fleet.client("node1")
    old = node.put_object(Bucket=fleet.name, Key="nodes/node1/v", Body=b"1")["VersionId"]
    new = node.put_object(Bucket=fleet.name, Key="nodes/node1/v", Body=b"2")["VersionId"]
    chosen = new if version == "current" else old
    call: t.Callable[[], t.Any] = lambda: node.delete_object(  # noqa: E731
        Bucket=fleet.name, Key="nodes/node1/v", VersionId=chosen
    )
    assert outcome(call) == "AccessDenied"
    assert outcome(lambda: node.delete_object(Bucket=fleet.name, Key="nodes/node1/v")) == "done"
    body = fleet.client("restorer").get_object(Bucket=fleet.name, Key="nodes/node1/v", VersionId=old)["Body"]
    assert body.read() == b"1"


def test_a_public_upload_is_not_public(fleet: Fleet) -> None:
    """RGW takes the access list of an upload; the bucket's settings take its effect away."""
    name = "nodes/node1/public"
    assert outcome(lambda: fleet.client("node1").put_object(Bucket=fleet.name, Key=name, ACL="public-read")) == "done"
    place = fleet.minter
    anonymous = boto3.client(
        "s3",
        region_name=place.region,
        endpoint_url=place.endpoint_url,
        verify=place.ca_bundle,
        config=Config(signature_version=UNSIGNED),
    )
    assert outcome(lambda: anonymous.get_object(Bucket=fleet.name, Key=name)) == "AccessDenied"
    assert outcome(lambda: fleet.client("node10").get_object(Bucket=fleet.name, Key=name)) == "AccessDenied"
    assert outcome(lambda: fleet.client("node1").get_object(Bucket=fleet.name, Key=name)) == "done"


def test_nodes_own_no_buckets(fleet: Fleet) -> None:
    node = fleet.client("node1")
    assert outcome(lambda: node.create_bucket(Bucket=fleet.name + "-own")) != "done"
    assert node.list_buckets()["Buckets"] == []


def test_a_wrong_secret_is_no_power(fleet: Fleet) -> None:
    path = Path(fleet.file("node1")).with_name("wrong.ini")
    text = Path(fleet.file("node1")).read_text()
    path.write_text(text[:-5] + "AAAA\n")
    place = Location(fleet.minter.url, fleet.minter.endpoint_url, "us-east-1", fleet.minter.ca_bundle, str(path))
    # with `rgw s3 auth use sts` RGW says AccessDenied
    with pytest.raises(LifeboatError, match=r"SignatureDoesNotMatch|AccessDenied"):
        S3Store(place).list("nodes/node1/")


def test_escrow_opens_with_either_key(fleet: Fleet) -> None:
    for key in (str(fleet.folder / key_files.DRILL_KEY), str(LAB / "recovery.key.asc")):
        assert open_key(fleet.place("restorer"), "node1", None, key).startswith(b"-----BEGIN PGP PRIVATE KEY")


def test_escrow_and_ledger_are_written_once(fleet: Fleet) -> None:
    store = fleet.store("minter")
    names = [item.name for item in (*store.list("escrow/"), *store.list("ledger/identity/"))]
    assert len(names) == 6
    for name in names:
        with pytest.raises(LifeboatError, match="never overwritten"):
            write_once(store, name, b"other")


def test_a_second_rollout_changes_nothing(fleet: Fleet) -> None:
    first = fleet.enrolled["node1"]
    again = fleet.enrol("node1", first.identity.access_key)
    assert again.changes == ()
    assert again.key.armored == first.key.armored
    assert bucket.ensure(fleet.minter) == bucket.Result(fleet.result.after, fleet.result.after, ("block_public_acls",))
    wanted = Wanted(fleet.name, "restorer")
    assert identities.ensure_file(fleet.admin, wanted, fleet.file("restorer")).changes == ()


def test_the_bucket_is_safe(fleet: Fleet) -> None:
    assert fleet.result.before == bucket.State()
    assert fleet.result.after == bucket.State(True, "Enabled", True, True)
    assert fleet.result.unsupported == ("block_public_acls",)


def test_a_clone_is_refused_and_gets_nothing(fleet: Fleet) -> None:
    holds = fleet.enrolled["node1"].identity.access_key
    with pytest.raises(Refused, match="belongs to machine"):
        fleet.enrol("node1", None, ledger.machine_hash("clone"))
    assert fleet.admin.keys("lifeboat_" + fleet.name + "_node_node1") == [holds]


def test_a_lost_store_key_is_replaced_and_the_old_one_ends(fleet: Fleet) -> None:
    fleet.enrol("node5")
    old = fleet.store("node5")
    old.write("nodes/node5/x", b"1")
    again = fleet.enrol("node5", None)
    assert again.identity.key is not None
    with pytest.raises(LifeboatError, match=r"InvalidAccessKeyId|AccessDenied"):
        old.write("nodes/node5/x", b"2")
    new = fleet.store("node5")
    new.write("nodes/node5/x", b"3")
    assert new.read("nodes/node5/x") == b"3"


def test_check_writes_nothing(fleet: Fleet) -> None:
    missing = Location(
        f"s3://{fleet.name}-none",
        endpoint_url=fleet.minter.endpoint_url,
        ca_bundle=fleet.minter.ca_bundle,
        credentials_file=fleet.file("minter"),
    )
    told = bucket.ensure(missing, check=True)
    assert (told.before.exists, told.after.exists) == (False, True)
    assert not bucket.exists(missing)
    node = enrol.Node("node6", ledger.machine_hash("node6"), None)
    assert len(enrol.enrol(fleet.desk, node, times.now(), check=True).changes) == 5
    assert fleet.admin.keys(f"lifeboat_{fleet.name}_node_node6") is None
    assert fleet.store("minter").list("escrow/node6/") == []

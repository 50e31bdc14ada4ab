# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A fleet of two nodes (node1, node10) and the controller's powers on a store that enforces policies, and what each may do.

Most refusals have a positive control beside them: the same call with the right key or on the right name (all of them in
molecule/isolation). The same matrix runs
against the lab's Ceph RGW (molecule/default) and against an emulator of AWS (beside this file).
"""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import ClientError

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    bucket,
    enrol,
    identities,
    key_files,
    ledger,
    providers,
    times,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.bucket_rules import Rules
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.escrow import Escrow
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, S3Store, s3_client
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import UserAdmin

CONTROLLER = ("restorer", "evidence", "pruner")


class Fleet:
    """``minter`` is the bucket's location with the minter's credentials; all else is made in ``folder``. ``root`` may do
    everything: it cleans up (default: the minter)."""

    def __init__(
        self, folder: Path, minter: Location, provider: str, rules: Rules | None = None, root: Location | None = None
    ) -> None:
        self.root = root or minter
        self.folder, self.minter, self.provider, self.rules = folder, minter, provider, rules or Rules()
        self.name = minter.url.removeprefix("s3://")
        self.wanted: dict[str, Wanted] = {}
        self.clients: dict[str, t.Any] = {}

    def admin(self, wanted: Wanted) -> UserAdmin:
        return providers.user_admin(self.provider, self.minter, wanted)

    def make(self) -> None:
        self.result = bucket.ensure(self.minter, provider=self.provider, rules=self.rules)
        for power in CONTROLLER:
            wanted = self.wanted[power] = Wanted(self.name, power)
            admin = self.admin(wanted)
            prove = providers.prover(admin, self.minter)
            identities.ensure_file(admin, wanted, self.file(power), prove=prove)
        key_files.ensure_drill_key(str(self.folder))
        with Keyring() as ring:
            fingerprint = ring.generate("Recovery")
            self.recovery_key = self.folder / "recovery.key.asc"
            self.recovery_key.touch(mode=0o600)
            self.recovery_key.write_bytes(ring.export_secret(fingerprint))
            self.recovery = ring.export_public(fingerprint)
        self.enrolled = {node: self.enrol(node) for node in ("node1", "node10")}

    def file(self, who: str) -> str:
        for name, place in (("minter", self.minter), ("root", self.root)):
            if who == name:
                return str(place.credentials_file)
        return str(self.folder / f"{who}.ini")

    def place(self, who: str) -> Location:
        return replace(self.minter, credentials_file=self.file(who))

    def store(self, who: str) -> S3Store:
        made = S3Store(self.place(who))
        assert made.client, (
            "it reads its key when it is first used: here, so that a later key in the file changes nothing"
        )
        return made

    def client(self, who: str) -> t.Any:
        if who not in self.clients:
            self.clients[who] = s3_client(self.place(who))
        return self.clients[who]

    def desk(self, node_id: str) -> enrol.Desk:
        wanted = self.wanted[node_id] = Wanted(self.name, "node", node_id)
        admin = self.admin(wanted)
        prove = providers.prover(admin, self.minter)
        drill_key = (self.folder / key_files.DRILL_KEY).read_bytes()
        escrow = Escrow(self.store("minter"), self.store("restorer"), self.recovery, drill_key)
        return enrol.Desk(self.name, admin, self.store("minter"), escrow, prove)

    def enrol(
        self, node_id: str, holds: str | None = None, machine: str | None = None, *, rotate: bool = False
    ) -> enrol.Enrolled:
        """What a rollout (or a rotation) does for a node; a new key is installed in our folder."""
        node = enrol.Node(node_id, machine or ledger.machine_hash(node_id), holds)
        enrolled = enrol.enrol(self.desk(node_id), node, times.now(), step="rotate" if rotate else "enrol")
        if enrolled.identity.key:
            key_files.write_file(self.file(node_id), identities.credentials(enrolled.identity.key), 0o600)
            self.clients.pop(node_id, None)
        return enrolled

    def furnish(self) -> None:
        """Objects by their own uploaders: on RGW an object's access list gives its uploader powers of its own."""
        for who, name in {
            "node1": OWN,
            "node10": OTHER,
            "evidence": "drills/t/report.json",
            "pruner": "ledger/prune/node1/x.json",
        }.items():
            self.client(who).put_object(Bucket=self.name, Key=name, Body=b"1")
        self.client("node1").put_object(Bucket=self.name, Key="nodes/node1/v", Body=b"2")
        self.client("node1").put_object(Bucket=self.name, Key="nodes/node1/records/www/r", Body=b"3")
        self.client("evidence").put_object(Bucket=self.name, Key="ledger/drill/node1/x.json", Body=b"4")

    def attempt(self, who: str, call: str, arguments: dict[str, t.Any]) -> str:
        """What the store said to a call of the matrix: ``done`` or its own word."""
        values = {"Bucket": self.name, **arguments}
        if "Key" in values:
            values["Key"] = values["Key"].replace("FPR", self.enrolled["node1"].key.fingerprint)
        if "CopySource" in values:
            values["CopySource"] = {"Bucket": self.name, **values["CopySource"]}
        if values.get("VersionId") == "OLDEST":
            values["VersionId"] = self._oldest(values["Key"])
        if "Delete" in values:
            wanted = [
                {**item, "VersionId": self._oldest(item["Key"])} if "VersionId" in item else item
                for item in values["Delete"]["Objects"]
            ]
            values["Delete"] = {"Objects": wanted, "Quiet": True}
        if call == "put_object":
            values["Body"] = b"data"
        answer: list[dict[str, t.Any]] = []
        said = outcome(lambda: answer.append(getattr(self.client(who), call)(**values)))
        if call == "delete_objects" and answer and answer[0].get("Errors"):  # it answers 200 and tells per object
            return str(answer[0]["Errors"][0]["Code"])
        return said

    def _oldest(self, name: str) -> str:
        found = self.client("minter").list_object_versions(Bucket=self.name, Prefix=name)["Versions"]
        return str(found[-1]["VersionId"])

    def remove(self) -> None:
        client = self.client("root")
        for page in client.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                client.delete_object(Bucket=self.name, Key=item["Key"], VersionId=item["VersionId"])
        client.delete_bucket(Bucket=self.name)
        for wanted in self.wanted.values():
            self.admin(wanted).remove_user(wanted.user)


def outcome(call: t.Callable[[], t.Any]) -> str:
    """``done``, or the store's own word for its refusal."""
    try:
        call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return "AccessDenied" if code == "403" else str(code)
    return "done"


def many(name: str, version: str = "") -> dict[str, t.Any]:
    """The argument of a delete of many at once."""
    return {"Objects": [{"Key": name, "VersionId": version} if version else {"Key": name}]}


LIFECYCLE = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
OWN, OTHER = "nodes/node1/repo/www/x", "nodes/node10/repo/www/x"

Case = tuple[str, str, dict[str, t.Any], bool]

CASES: list[Case] = [
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
    ("node1", "list_object_versions", {"Prefix": ""}, False),
    ("node1", "put_object_retention", {"Key": OWN, "Retention": {}}, False),
    ("node1", "put_bucket_policy", {"Policy": "{}"}, False),
    ("node1", "put_bucket_lifecycle_configuration", {"LifecycleConfiguration": LIFECYCLE}, False),
    ("node1", "delete_bucket", {}, False),
    ("restorer", "list_objects_v2", {}, True),
    ("restorer", "list_object_versions", {"Prefix": "nodes/"}, True),
    ("restorer", "get_object", {"Key": OWN}, True),
    ("restorer", "get_object", {"Key": "escrow/node1/FPR.gpg"}, True),
    ("restorer", "put_object", {"Key": OWN}, False),
    ("restorer", "put_object", {"Key": "drills/t/report.json"}, False),
    ("restorer", "delete_object", {"Key": OWN}, False),
    ("restorer", "delete_objects", {"Delete": many(OWN)}, False),
    ("restorer", "create_multipart_upload", {"Key": OWN}, False),
    ("evidence", "put_object", {"Key": "drills/t/report.json"}, True),
    ("evidence", "put_object", {"Key": "ledger/drill/node1/x.json"}, True),
    ("evidence", "get_object", {"Key": "drills/t/report.json"}, False),
    ("evidence", "delete_object", {"Key": "drills/t/report.json"}, False),
    ("evidence", "list_objects_v2", {"Prefix": "drills/"}, False),
    ("evidence", "put_object", {"Key": "ledger/identity/node1/x.json"}, False),
    ("evidence", "put_object", {"Key": OWN}, False),
    ("evidence", "put_object", {"Key": "escrow/node1/x"}, False),
    ("pruner", "list_objects_v2", {"Prefix": "nodes/"}, True),
    ("pruner", "list_object_versions", {"Prefix": "nodes/node1/"}, True),
    ("pruner", "get_object", {"Key": "nodes/node1/records/www/r"}, True),
    ("pruner", "get_object", {"Key": "ledger/drill/node1/x.json"}, True),
    ("pruner", "put_object", {"Key": "ledger/prune/node1/x.json"}, True),
    ("pruner", "delete_object", {"Key": "nodes/node1/v", "VersionId": "OLDEST"}, True),
    ("pruner", "delete_object", {"Key": "escrow/node1/FPR.gpg"}, False),
    ("pruner", "delete_objects", {"Delete": many("nodes/node1/v", "OLDEST")}, True),
    ("pruner", "delete_objects", {"Delete": many("drills/t/report.json")}, False),
    ("pruner", "delete_objects", {"Delete": many("drills/t/report.json", "OLDEST")}, False),
    ("pruner", "delete_objects", {"Delete": many("ledger/prune/node1/x.json", "OLDEST")}, False),
    ("node1", "delete_objects", {"Delete": many(OTHER)}, False),
    ("node1", "delete_objects", {"Delete": many("nodes/node1/v", "OLDEST")}, False),
    ("evidence", "delete_objects", {"Delete": many("drills/t/report.json")}, False),
    ("pruner", "delete_object", {"Key": "drills/t/report.json", "VersionId": "OLDEST"}, False),
    ("pruner", "delete_object", {"Key": "escrow/node1/FPR.gpg", "VersionId": "OLDEST"}, False),
    ("pruner", "delete_object", {"Key": "ledger/prune/node1/x.json", "VersionId": "OLDEST"}, False),
    ("pruner", "get_object", {"Key": OWN}, False),
    ("pruner", "get_object", {"Key": "escrow/node1/FPR.gpg"}, False),
    ("pruner", "get_object", {"Key": "drills/t/report.json"}, False),
    ("pruner", "put_object", {"Key": OWN}, False),
    ("pruner", "put_object", {"Key": "nodes/node1/records/www/r"}, False),
    ("pruner", "put_object", {"Key": "ledger/drill/node1/x.json"}, False),
    ("pruner", "put_object", {"Key": "escrow/node1/x"}, False),
    ("pruner", "put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}, False),
    ("node1", "delete_object", {"Key": "nodes/node1/v", "VersionId": "OLDEST"}, False),
    ("restorer", "delete_object", {"Key": "nodes/node1/v", "VersionId": "OLDEST"}, False),
    ("evidence", "delete_object", {"Key": "drills/t/report.json", "VersionId": "OLDEST"}, False),
]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Versions, repairs and Object Lock on the lab's real Ceph RGW, in buckets of their own that are removed again."""

from __future__ import annotations

import json
import secrets
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet as engine_fleet
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import identities, repairing, versions
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.repairing import Keys, Outcome, Wish
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import RgwAdmin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, S3Store, open_store

WANTED, T0 = Wanted("node1", "site"), "20261123T010000Z"
REPO = "nodes/node1/repo/site/"
SIGNATURES, MANIFEST, VOLUME = (
    f"{REPO}duplicity-{name}.gpg"
    for name in (f"full-signatures.{T0}.sigtar", f"full.{T0}.manifest", f"full.{T0}.vol1.difftar")
)


class Bucket:
    """A bucket with one full, in the hands of the minter and of a pruner."""

    def __init__(self, state: Path, folder: Path, *, lock: bool) -> None:
        store = json.loads((state / "fleet.json").read_text())["store"]
        self.name = f"lifeboat-live-{secrets.token_hex(4)}"
        place = (f"s3://{self.name}", store["endpoint_url"], store["region"], store["ca_bundle"])
        self.minter = S3Store(Location(*place, str(state / "minter.ini")))
        self.admin = RgwAdmin(self.minter.location)
        self.client = self.minter.client
        self.client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=lock)
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        if lock:
            rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
            enabled = {"ObjectLockEnabled": "Enabled", "Rule": rule}
            self.client.put_object_lock_configuration(Bucket=self.name, ObjectLockConfiguration=enabled)
        identities.ensure_file(self.admin, identities.Wanted(self.name, "pruner"), str(folder / "pruner.ini"))
        self.pruner = S3Store(Location(*place, str(folder / "pruner.ini")))
        for name in (SIGNATURES, MANIFEST, VOLUME):
            self.minter.write(name, f"good {name}".encode())
        self.good = max(item.modified for item in self.minter.list_versions(REPO)) + timedelta(seconds=0.5)
        time.sleep(1.5)

    def attack(self) -> None:
        self.minter.write(VOLUME, b"evil")
        self.minter.write(VOLUME, b"evil again")
        self.minter.delete([MANIFEST])

    def repair(self, copy: bool = False) -> Outcome:
        time.sleep(1)  # a repair's name in the ledger is its second
        return repairing.run(Keys(self.pruner, self.pruner, self.minter if copy else None), WANTED, Wish(self.good))

    def remove(self) -> None:
        for item in list(self.minter.list_versions()):
            more = {} if item.marker else {"BypassGovernanceRetention": True}
            self.client.delete_object(Bucket=self.name, Key=item.name, VersionId=item.version_id, **more)
        self.client.delete_bucket(Bucket=self.name)
        self.admin.remove_user(identities.Wanted(self.name, "pruner").user)


@pytest.fixture
def bucket(request: pytest.FixtureRequest, fleet: t.Any, tmp_path: Path) -> t.Iterator[Bucket]:
    made = Bucket(fleet.state, tmp_path, lock=request.param)
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("bucket", [True], indirect=True)
def test_object_lock_is_told_and_got_over_by_a_copy(bucket: Bucket) -> None:
    bucket.attack()
    refused = bucket.repair()
    assert refused.failure is not None
    assert "Object Lock holds it until its retention ends. Or store the good versions once more" in refused.failure
    assert bucket.minter.read(MANIFEST) == f"good {MANIFEST}".encode()  # its delete marker went all the same
    assert bucket.minter.read(VOLUME) == b"evil again"
    repaired = bucket.repair(copy=True)
    assert (repaired.failure, repaired.copied) == (None, 1)
    assert "2 bad version(s) below them stay" in repaired.warnings[0]
    assert bucket.minter.read(VOLUME) == f"good {VOLUME}".encode()
    for copy in (True, False):
        again = bucket.repair(copy=copy)
        assert (again.failure, again.changed) == (None, False)


@pytest.mark.parametrize("bucket", [False], indirect=True)
def test_a_view_sees_exactly_what_was_current_and_reads_it(bucket: Bucket) -> None:
    before = {item.name: item.checksum for item in bucket.minter.list(REPO)}
    bucket.attack()
    view = open_store(replace(bucket.minter.location, as_of=bucket.good))
    assert {item.name: item.checksum for item in view.list(REPO)} == before
    assert view.read(VOLUME) == f"good {VOLUME}".encode()
    assert b"".join(view.stream(VOLUME, 5, 10)) == f"good {VOLUME}".encode()[5:10]
    now = versions.as_of(bucket.minter.list_versions(REPO), None)
    assert [(item.name, item.bytes) for item in now] == [(item.name, item.bytes) for item in bucket.minter.list(REPO)]


@pytest.mark.parametrize("bucket", [False], indirect=True)
def test_more_versions_than_a_page_holds(bucket: Bucket) -> None:
    """1,200 overwrites of one object: two pages cut through its versions, and two batches remove them."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bucket.minter.write(VOLUME, b"evil %d" % number), range(1200)))
    listed = list(bucket.minter.list_versions(VOLUME))
    assert (len(listed), len({item.version_id for item in listed})) == (1201, 1201)
    # RGW puts parallel writes in the order in which they end: by milliseconds that is not the order of their times
    assert all(newer.modified > older.modified - timedelta(seconds=1) for newer, older in pairwise(listed))
    assert [item.latest for item in listed[:2]] == [True, False]
    (corner,) = engine_fleet.read(bucket.minter.location, [WANTED], history=True)
    assert {item.name for item in corner.alarms} == {VOLUME.rpartition("/")[2]}
    outcome = bucket.repair()
    assert (outcome.failure, outcome.removed) == (None, 1200)
    assert len(bucket.minter.list("ledger/repair/node1/")) == 3
    assert [item.version_id for item in bucket.minter.list_versions(VOLUME)] == [listed[-1].version_id]

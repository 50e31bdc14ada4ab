# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the tests of this scenario share: the lab they run against, playbooks, and an independent look at a tree,
and a bucket of a test's own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest
from tests.fleet import STATE, Fleet

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bucket, policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import RgwAdmin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, s3_client
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet()


class OwnBucket:
    """A bucket that one test file has for itself, on the lab's store."""

    def __init__(self) -> None:
        store = json.loads((STATE / "fleet.json").read_text())["store"]
        self.name = f"lifeboat-test-{secrets.token_hex(4)}"
        self.endpoint_url, self.region, self.node_ca_bundle = (
            store[key] for key in ("endpoint_url", "region", "node_ca_bundle")
        )
        self.place = Location(
            f"s3://{self.name}", self.endpoint_url, self.region, store["ca_bundle"], str(STATE / "minter.ini")
        )
        self.client = s3_client(self.place)
        self.admin = RgwAdmin(self.place)
        self.users: dict[str, Key] = {}
        bucket.ensure(self.place)

    def user(self, node: str, *, without: str = "") -> Key:
        """The key of a user with a node's policy, less the action ``without``, and with what stock duplicity asks for
        besides: HeadBucket. Asked again, the same user gets the new policy."""
        user = policies.user_name(self.name, "node", node)
        document = policies.node_policy(self.name, node)
        for statement in document["Statement"]:
            statement["Action"] = [action for action in statement["Action"] if action != without]
        arn = f"arn:aws:s3:::{self.name}"
        document["Statement"].append({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [arn]})
        if node not in self.users:
            self.admin.create_user(user, node)
            self.users[node] = self.admin.create_key(user)
        self.admin.put_policy(user, "lifeboat", document)
        return self.users[node]

    def access(self, key: Key) -> dict[str, str]:
        """The ``store`` of a request with this key."""
        place = {"endpoint_url": self.endpoint_url, "region": self.region, "ca_bundle": self.node_ca_bundle}
        return {**place, "access_key": key.access_key, "secret_key": key.secret_key}

    def names(self, prefix: str) -> set[str]:
        """What is there below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"][len(prefix) :] for page in pages for item in page.get("Contents", [])}

    def remove(self) -> None:
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                self.client.delete_object(Bucket=self.name, Key=item["Key"], VersionId=item["VersionId"])
        self.client.delete_bucket(Bucket=self.name)
        for node in self.users:
            self.admin.remove_user(policies.user_name(self.name, "node", node))


@pytest.fixture(scope="module")
def own_bucket() -> Iterator[OwnBucket]:
    made = OwnBucket()
    try:
        yield made
    finally:
        made.remove()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Store keys are replaced without a gap, and a node leaves for ever. The fleet is as it was before when this ends."""

from __future__ import annotations

import configparser
import json
import secrets
import typing as t
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import ledger
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.policies import user_name
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import RgwAdmin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, S3Store, key_client


class Keys:
    """Store keys of the lab, used from the controller as whoever holds them could."""

    def __init__(self, fleet: t.Any) -> None:
        self.fleet = fleet
        store = self.store = json.loads((fleet.state / "fleet.json").read_text())["store"]
        self.bucket = store["bucket"]
        self.place = Location(
            f"s3://{self.bucket}",
            endpoint_url=store["endpoint_url"],
            region=store["region"],
            ca_bundle=store["ca_bundle"],
            credentials_file=str(fleet.state / "minter.ini"),
        )
        self.minter = S3Store(self.place)

    def of_node(self, host: str) -> tuple[str, str]:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(self.fleet.on(host, "sudo cat /etc/lifeboat/store.ini"))
        return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]

    def ids(self, node: str) -> list[str]:
        """The ids of the keys that the store knows of a node."""
        return RgwAdmin(self.place).keys(user_name(self.bucket, "node", node)) or []

    def lists(self, key: tuple[str, str], prefix: str) -> bool:
        """Whether the store lets this key list a prefix; anything but a refusal is an error."""
        try:
            key_client(self.place, "s3", *key).list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)
        except ClientError as error:
            # with `rgw s3 auth use sts` RGW says AccessDenied of an unknown key
            if error.response["Error"]["Code"] in ("AccessDenied", "InvalidAccessKeyId"):
                return False
            raise
        return True


@pytest.fixture(scope="module")
def keys(fleet: t.Any) -> Keys:
    return Keys(fleet)


def test_a_rotation_replaces_a_nodes_key_and_its_backups_go_on(fleet: t.Any, keys: Keys) -> None:
    old, neighbour = keys.of_node("node1"), keys.of_node("node2")
    assert keys.lists(old, "nodes/node1/")
    told = fleet.play("rotate.yml", "--check", target="node1")
    assert (told.rc, keys.of_node("node1")) == (0, old), told.out
    run = fleet.play("rotate.yml", target="node1")
    assert run.rc == 0, run.out
    new = keys.of_node("node1")
    assert new[0] != old[0]
    assert not keys.lists(old, "nodes/node1/")
    assert keys.lists(new, "nodes/node1/")
    assert not keys.lists(new, "nodes/node10/")
    assert keys.of_node("node2") == neighbour
    backup = fleet.play("backup.yml", target="node1")
    assert backup.rc == 0, backup.out
    for secret in (old[1], new[1]):
        assert secret not in told.out + run.out + backup.out


def test_a_rotation_that_breaks_off_is_mended_by_the_next(fleet: t.Any, keys: Keys) -> None:
    """The new key is made and the node cannot use it: the node goes on with its own, and the new one ends next time."""
    old = keys.of_node("node1")
    broken = fleet.play("rotate.yml", target="node1", identity_store={**keys.store, "node_ca_bundle": "/etc/hostname"})
    assert broken.rc != 0
    assert "The node holds a key that works: run playbooks/rotate.yml again" in " ".join(broken.out.split())
    assert len(keys.ids("node1")) == 2
    assert keys.of_node("node1") == old
    assert keys.lists(old, "nodes/node1/")
    assert fleet.play("rotate.yml", target="node1").rc == 0
    new = keys.of_node("node1")
    assert keys.ids("node1") == [new[0]]
    assert keys.lists(new, "nodes/node1/")
    assert not keys.lists(old, "nodes/node1/")


def test_the_controllers_keys_are_replaced(fleet: t.Any, keys: Keys) -> None:
    folder = fleet.state / "controller"
    before = {power: (folder / f"{power}.ini").read_text() for power in ("restorer", "evidence", "pruner")}
    run = fleet.play("rotate.yml", controller="yes")
    assert run.rc == 0, run.out
    for power, text in before.items():
        assert (folder / f"{power}.ini").read_text() != text
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(before["restorer"])
    old = parser["default"]
    assert not keys.lists((old["aws_access_key_id"], old["aws_secret_access_key"]), "nodes/")
    assert S3Store(replace(keys.place, credentials_file=str(folder / "restorer.ini"))).list("nodes/node1/records/")


@pytest.mark.parametrize(
    ("playbook", "extra", "said"),
    [
        ("rotate.yml", {}, "Say whose keys"),
        ("retire.yml", {"backups": "drop", "confirm": "yes"}, "Say who leaves"),
        ("retire.yml", {"target": "node1", "confirm": "yes"}, "backups=keep or -e backups=drop"),
        ("retire.yml", {"target": "node1", "backups": "drop"}, "Nothing was changed: answer yes"),
        ("retire.yml", {"ids": "never-there", "backups": "keep", "confirm": "yes"}, "was ever enrolled"),
    ],
)
def test_half_a_request_changes_nothing(
    fleet: t.Any, keys: Keys, playbook: str, extra: dict[str, str], said: str
) -> None:
    run = fleet.play(playbook, **extra)
    assert run.rc != 0
    assert said in " ".join(run.out.split())
    assert keys.lists(keys.of_node("node1"), "nodes/node1/")


def test_a_node_leaves_for_ever(fleet: t.Any, keys: Keys) -> None:
    """node3 joins once more under another id, which leaves; node3 itself stays."""
    name = f"leaver-{secrets.token_hex(4)}"  # an id is never used again, in the next run of this test neither
    leaver = {"target": "node3", "lifeboat_node_id": name}
    try:
        for playbook in ("rollout.yml", "backup.yml"):
            run = fleet.play(playbook, **leaver)
            assert run.rc == 0, run.out
        key = keys.of_node("node3")
        assert keys.lists(key, f"nodes/{name}/")
        stored = sum(1 for _version in keys.minter.list_versions(f"nodes/{name}/"))
        others = [item.name for item in keys.minter.list("nodes/node3/")]
        assert stored > 3

        kept = fleet.play("retire.yml", backups="keep", confirm="yes", **leaver)
        assert kept.rc == 0, kept.out
        assert f"Still there: {stored} versions" in " ".join(kept.out.split())
        assert not keys.lists(key, f"nodes/{name}/")
        assert fleet.on("node3", "sudo test -e /etc/lifeboat/store.ini || echo gone").strip() == "gone"

        again = fleet.play("rollout.yml", **leaver)
        assert again.rc != 0
        assert "an id is never used again: give this node another one" in " ".join(again.out.split())

        told = fleet.play("retire.yml", "--check", ids=name, backups="drop")
        assert f"delete {stored} versions" in " ".join(told.out.split()), told.out
        assert sum(1 for _version in keys.minter.list_versions(f"nodes/{name}/")) == stored
        dropped = fleet.play("retire.yml", ids=name, backups="drop", confirm="yes")
        assert dropped.rc == 0, dropped.out
        for prefix in (f"nodes/{name}/", f"escrow/{name}/"):
            assert list(keys.minter.list_versions(prefix)) == []
        assert [item.name for item in keys.minter.list("nodes/node3/")] == others
        entries = {entry["action"]: entry["versions"] for entry in ledger.read_all(keys.minter, "retire", name)}
        assert entries == {"revoked": 0, "dropping": stored, "dropped": stored}

        nothing = fleet.play("retire.yml", ids=name, backups="drop", confirm="yes")
        assert nothing.rc == 0
        assert f"{name}: nothing to do" in " ".join(nothing.out.split())
    finally:
        back = fleet.play("rollout.yml", target="node3")
    assert back.rc == 0, back.out
    backup = fleet.play("backup.yml", target="node3")
    assert backup.rc == 0, backup.out

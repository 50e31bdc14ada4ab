# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Identities against a store in memory that counts what is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import identities, policies, providers
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key


class Memory:
    """Users of a store; like RGW 16 it forgets a user's policies when a key is made, like AWS it has room for two keys."""

    settles = 0.0
    manages = True

    def __init__(self) -> None:
        self.users: dict[str, list[str]] = {}
        self.policies: dict[tuple[str, str], policies.Document] = {}
        self.writes = 0

    def keys(self, user: str) -> list[str] | None:
        return list(self.users[user]) if user in self.users else None

    def create_user(self, user: str, display_name: str) -> None:
        self.writes += 1
        self.users.setdefault(user, [])

    def create_key(self, user: str) -> Key:
        self.writes += 1
        assert len(self.users[user]) < 2
        key = Key(f"KEY{self.writes}", f"secret{self.writes}")
        self.users[user].append(key.access_key)
        self.policies = {name: document for name, document in self.policies.items() if name[0] != user}
        return key

    def remove_key(self, user: str, access_key: str) -> None:
        self.writes += 1
        self.users[user].remove(access_key)

    def remove_user(self, user: str) -> None:
        self.writes += 1
        del self.users[user]
        self.policies = {name: document for name, document in self.policies.items() if name[0] != user}

    def policy(self, user: str, name: str) -> policies.Document | None:
        return self.policies.get((user, name))

    def put_policy(self, user: str, name: str, document: policies.Document) -> None:
        self.writes += 1
        self.policies[user, name] = document


NODE = Wanted("fleet", "node", "node1")


def test_first_time_then_nothing() -> None:
    admin = Memory()
    made = identities.ensure(admin, NODE, None)
    assert made.user == "lifeboat_fleet_node_node1"
    assert made.key is not None
    assert admin.users == {made.user: [made.key.access_key]}
    assert admin.policies == {(made.user, "lifeboat"): policies.node_policy("fleet", "node1")}
    writes = admin.writes
    again = identities.ensure(admin, NODE, made.access_key)
    assert (again.key, again.changes, again.access_key) == (None, (), made.access_key)
    assert admin.writes == writes


def test_check_mode_tells_and_writes_nothing() -> None:
    admin = Memory()
    told = identities.ensure(admin, NODE, None, check=True)
    assert len(told.changes) == 3
    assert (told.key, told.access_key, admin.writes) == (None, None, 0)


@pytest.mark.parametrize("holds", [None, "UNKNOWN"])
def test_an_owner_without_a_working_key_gets_a_new_one_and_the_old_ends(holds: str | None) -> None:
    admin = Memory()
    first = identities.ensure(admin, NODE, None)
    second = identities.ensure(admin, NODE, holds)
    assert second.key is not None
    assert admin.users[NODE.user] == [second.key.access_key]
    assert first.access_key != second.access_key
    assert admin.policies, "the policy was not put back after the new key"


def test_leftover_keys_go() -> None:
    admin = Memory()
    first = identities.ensure(admin, NODE, None)
    extra = admin.create_key(NODE.user)
    identities.ensure(admin, NODE, first.access_key)
    assert extra.access_key not in admin.users[NODE.user]


def test_a_changed_policy_is_put_back() -> None:
    admin = Memory()
    made = identities.ensure(admin, NODE, None)
    admin.policies[made.user, "lifeboat"] = policies.restorer_policy("fleet")
    again = identities.ensure(admin, NODE, made.access_key)
    assert again.changes == (f"set the policy of {made.user}",)
    assert admin.policies[made.user, "lifeboat"] == NODE.policy


def test_credentials_go_to_a_private_file(tmp_path: Path) -> None:
    admin, path = Memory(), tmp_path / "restorer.ini"
    wanted = Wanted("fleet", "restorer")
    identities.ensure_file(admin, wanted, str(path), check=True)
    assert not path.exists()
    made = identities.ensure_file(admin, wanted, str(path))
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert identities.installed_key(str(path)) == made.access_key
    assert identities.ensure_file(admin, wanted, str(path)).changes == ()
    os.chmod(path, 0o640)
    with pytest.raises(Refused, match="others may read"):
        identities.ensure_file(admin, wanted, str(path))
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(LifeboatError, match="not a credentials file"):
        identities.ensure_file(admin, wanted, str(path))


@pytest.mark.parametrize(
    ("power", "node"), [("node", None), ("restorer", "node1"), ("minter", None), ("node", "Node1")]
)
def test_impossible_identities(power: str, node: str | None) -> None:
    with pytest.raises(Refused):
        Wanted("fleet", power, node)


class Broken(Exception):
    """The controller dies here."""


@pytest.mark.parametrize("dies_after", ["nothing", "mint", "install", "end"])
@pytest.mark.parametrize("then", ["rotate", "rollout"])
def test_a_rotation_that_breaks_off_is_mended_and_never_leaves_a_node_without_a_key(dies_after: str, then: str) -> None:
    admin = Memory()
    first = identities.ensure(admin, NODE, None).access_key
    node = {"holds": first}

    def works() -> bool:
        return node["holds"] in admin.users[NODE.user] and admin.policies[NODE.user, "lifeboat"] == NODE.policy

    def step(name: str) -> None:
        assert works(), name
        if name == dies_after:
            raise Broken

    def rotate() -> None:
        made = identities.rotate(admin, NODE, node["holds"])
        assert made.key is not None
        step("mint")
        node["holds"] = made.key.access_key
        step("install")
        identities.ensure(admin, NODE, node["holds"])
        step("end")

    try:
        step("nothing")
        rotate()
    except Broken:
        dies_after = "never again"
    if then == "rotate":
        rotate()
        assert node["holds"] != first
    else:
        identities.ensure(admin, NODE, node["holds"])
    assert works()
    assert admin.users[NODE.user] == [node["holds"]]


def test_a_new_key_that_does_not_prove_itself_is_taken_away_again() -> None:
    admin = Memory()
    held = identities.ensure(admin, NODE, None).access_key

    def prove(wanted: Wanted, key: Key) -> None:
        raise LifeboatError(f"the store does not know {key.access_key}.")

    with pytest.raises(LifeboatError, match="does not know"):
        identities.rotate(admin, NODE, held, prove=prove)
    assert admin.users[NODE.user] == [held]
    assert admin.policies[NODE.user, "lifeboat"] == NODE.policy


@pytest.mark.parametrize("holds", [None, "SOME-OTHER-KEY"])
def test_a_rotation_of_an_owner_without_a_working_key_makes_one(holds: str | None) -> None:
    admin = Memory()
    identities.ensure(admin, NODE, None)
    made = identities.rotate(admin, NODE, holds)
    assert admin.users[NODE.user] == [made.access_key]


def test_check_mode_of_a_rotation_tells_and_changes_nothing() -> None:
    admin = Memory()
    held = identities.ensure(admin, NODE, None).access_key
    writes = admin.writes
    told = identities.rotate(admin, NODE, held, check=True)
    assert told.changes == (f"make a key for {NODE.user}",)
    assert (told.key, admin.writes) == (None, writes)


def test_the_controllers_file_has_a_working_key_all_the_time(tmp_path: Path) -> None:
    admin, path = Memory(), tmp_path / "pruner.ini"
    wanted = Wanted("fleet", "pruner")
    old = identities.ensure_file(admin, wanted, str(path)).access_key
    seen: list[tuple[str | None, list[str]]] = []

    def prove(wanted: Wanted, key: Key) -> None:
        seen.append((identities.installed_key(str(path)), list(admin.users[wanted.user])))

    renewed = identities.ensure_file(admin, wanted, str(path), renew=True, prove=prove)
    assert seen == [(old, [old, renewed.access_key])]
    assert identities.installed_key(str(path)) == renewed.access_key
    assert admin.users[wanted.user] == [renewed.access_key]
    assert renewed.changes[-1] == f"remove key {old} of {wanted.user}"


def test_revoked_is_gone_and_again_is_nothing() -> None:
    admin = Memory()
    identities.ensure(admin, NODE, None)
    assert len(identities.revoke(admin, NODE, check=True)) == 1
    assert NODE.user in admin.users
    assert len(identities.revoke(admin, NODE)) == 1
    assert admin.users == {}
    assert identities.revoke(admin, NODE) == ()


def test_a_key_does_not_show_its_secret() -> None:
    assert "hidden" not in repr(Key("ID", "hidden"))


def test_write_once_is_only_said_where_it_holds() -> None:
    providers.check_write_once("ceph_rgw", False)
    providers.check_write_once("aws_iam", True)
    with pytest.raises(Refused, match="takes no notice"):
        providers.check_write_once("ceph_rgw", True)
    assert "s3:if-none-match" in str(Wanted("fleet", "node", "node1", write_once=True).policy)
    assert "s3:if-none-match" not in str(NODE.policy)


@pytest.mark.parametrize("holds", [None, "LATE"])
def test_the_end_of_a_rotation_never_makes_a_key_nor_ends_the_last_that_works(holds: str | None) -> None:
    admin = Memory()
    first = identities.ensure(admin, NODE, None).access_key
    second = identities.rotate(admin, NODE, first).access_key
    with pytest.raises(LifeboatError, match="so no other was ended: run this again"):
        identities.end_others(admin, NODE, holds)
    assert admin.users[NODE.user] == [first, second]
    assert identities.end_others(admin, NODE, second, check=True).changes == (f"remove key {first} of {NODE.user}",)
    assert admin.users[NODE.user] == [first, second]
    assert identities.end_others(admin, NODE, second).key is None
    assert admin.users[NODE.user] == [second]
    assert identities.end_others(admin, NODE, second).changes == ()


def test_a_first_key_that_does_not_prove_itself_is_taken_away_again() -> None:
    def refuse(_wanted: Wanted, _key: Key) -> None:
        raise LifeboatError("it may do too much.")

    admin = Memory()
    with pytest.raises(LifeboatError, match="it may do too much"):
        identities.ensure(admin, NODE, None, prove=refuse)
    assert admin.users[NODE.user] == []

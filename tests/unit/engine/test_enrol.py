# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Enrolment in a folder, with real gpg and a store's users in memory."""

from __future__ import annotations

import os
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import enrol, ledger, policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.escrow import Escrow
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import FileStore, Location, StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key

NOW = datetime(2026, 11, 23, 2, 15, tzinfo=timezone.utc)
MACHINE, CLONE = ledger.machine_hash("one"), ledger.machine_hash("other")


class Users:
    """Users of a store, in memory."""

    settles = 0.0
    manages = True

    def __init__(self) -> None:
        self.users: dict[str, list[str]] = {}
        self.policies: dict[str, policies.Document] = {}

    def keys(self, user: str) -> list[str] | None:
        return list(self.users[user]) if user in self.users else None

    def create_user(self, user: str, display_name: str) -> None:
        self.users[user] = []

    def create_key(self, user: str) -> Key:
        self.users[user].append(f"KEY{len(self.users[user])}")
        return Key(self.users[user][-1], "secret")

    def remove_key(self, user: str, access_key: str) -> None:
        self.users[user].remove(access_key)

    def remove_user(self, user: str) -> None:
        del self.users[user]

    def policy(self, user: str, name: str) -> policies.Document | None:
        return self.policies.get(user)

    def put_policy(self, user: str, name: str, document: policies.Document) -> None:
        self.policies[user] = document


@pytest.fixture(scope="module")
def keys() -> tuple[bytes, bytes]:
    with Keyring() as ring:
        return ring.export_public(ring.generate("Recovery")), ring.export_secret(ring.generate("Drill"))


@pytest.fixture
def desk(tmp_path: Path, keys: tuple[bytes, bytes]) -> enrol.Desk:
    store = FileStore(Location(f"file://{tmp_path}"))
    return enrol.Desk("fleet", Users(), store, Escrow(store, store, *keys))


def node(machine: str = MACHINE, access_key: str | None = None) -> enrol.Node:
    return enrol.Node("node1", machine, access_key)


def names(desk: enrol.Desk) -> list[str]:
    assert desk.minter
    return [item.name for item in desk.minter.list()]


def test_first_rollout_then_nothing(desk: enrol.Desk) -> None:
    made = enrol.enrol(desk, node(), NOW)
    assert len(made.changes) == 5
    entry = {
        "schema": 1,
        "kind": "identity",
        "time": "20261123T021500Z",
        "node": "node1",
        "machine": MACHINE,
        "fingerprint": made.key.fingerprint,
        "store_user": "lifeboat_fleet_node_node1",
    }
    assert desk.minter
    assert ledger.read_all(desk.minter, "identity") == [entry]
    before = names(desk)
    again = enrol.enrol(desk, node(access_key=made.identity.access_key), NOW + timedelta(days=1))
    assert (again.changes, again.identity.key, names(desk)) == ((), None, before)


def test_check_mode_on_a_virgin_store(desk: enrol.Desk) -> None:
    for place in (
        desk,
        enrol.Desk("fleet", desk.admin, None, None),
        enrol.Desk("fleet", desk.admin, desk.minter, None),
    ):
        told = enrol.enrol(place, node(), NOW, check=True)
        assert len(told.changes) == 5
        assert (told.key.fingerprint, told.identity.key) == ("", None)
    assert names(desk) == []
    assert desk.admin.keys("lifeboat_fleet_node_node1") is None


def test_a_clone_is_refused_before_anything_is_made(desk: enrol.Desk) -> None:
    enrol.enrol(desk, node(), NOW)
    before = names(desk)
    for check in (True, False):
        with pytest.raises(Refused, match=f"belongs to machine {MACHINE[:12]} .* this is machine {CLONE[:12]}"):
            enrol.enrol(desk, node(CLONE), NOW + timedelta(days=1), check=check)
    assert names(desk) == before
    assert desk.admin.keys("lifeboat_fleet_node_node1") == ["KEY0"]


@pytest.mark.parametrize("lead", [timedelta(0), timedelta(seconds=1)])
def test_of_two_machines_at_once_the_first_gets_the_id(desk: enrol.Desk, lead: timedelta) -> None:
    """The other one's entry arrives between our look and our claim."""
    assert isinstance(desk.minter, FileStore)
    first = ledger.identity(NOW - lead, "node1", machine=CLONE, fingerprint="A" * 40, store_user="u")

    class Late(FileStore):
        def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
            if name.startswith("ledger/") and not self.list("ledger/"):
                super().write(ledger.name(first), ledger.encode(first))
                os.utime(self.root / ledger.name(first), (1, 1))
            return super().write(name, data, if_absent=if_absent)

    late = Late(Location(f"file://{desk.minter.root}"))
    with pytest.raises(Refused, match=f"belongs to machine {CLONE[:12]}"):
        enrol.enrol(enrol.Desk("fleet", desk.admin, late, desk.escrow), node(), NOW)
    assert desk.admin.keys("lifeboat_fleet_node_node1") is None


def test_no_store_key_without_escrow(desk: enrol.Desk, keys: tuple[bytes, bytes]) -> None:
    """What cannot be read back stops the enrolment before the node could write."""
    assert isinstance(desk.minter, FileStore)

    class Garbling(FileStore):
        def read(self, name: str) -> bytes:
            return super().read(name)[:-20]

    reader = Garbling(Location(f"file://{desk.minter.root}"))
    broken = enrol.Desk("fleet", desk.admin, desk.minter, Escrow(desk.minter, reader, *keys))
    with pytest.raises(LifeboatError, match="does not open"):
        enrol.enrol(broken, node(), NOW)
    assert desk.admin.keys("lifeboat_fleet_node_node1") is None


@pytest.mark.parametrize(("node_id", "machine"), [("Node1", MACHINE), ("node1", "")])
def test_bad_nodes(desk: enrol.Desk, node_id: str, machine: str) -> None:
    with pytest.raises(Refused):
        enrol.enrol(desk, enrol.Node(node_id, machine, None), NOW)
    assert names(desk) == []


def test_a_lost_store_key_is_replaced(desk: enrol.Desk) -> None:
    made = enrol.enrol(desk, node(), NOW)
    again = enrol.enrol(desk, node(access_key=None), NOW)
    assert again.identity.key is not None
    assert again.key == made.key.__class__(made.key.fingerprint, made.key.armored, False)
    changes: t.Sequence[str] = again.changes
    assert [change.split()[0] for change in changes] == ["remove", "make"]


def test_a_retired_id_is_never_used_again(desk: enrol.Desk) -> None:
    made = enrol.enrol(desk, node(), NOW)
    assert desk.minter
    ledger.add(desk.minter, ledger.retire(NOW, "node1", action="revoked"))
    for machine in (MACHINE, CLONE):
        with pytest.raises(Refused, match=r"was retired at 20261123T021500Z|belongs to machine"):
            enrol.enrol(desk, node(machine, made.identity.access_key), NOW)
    # it is the retirement that refuses the very machine that had the id
    with pytest.raises(Refused, match="never used again: give this node another one"):
        enrol.enrol(desk, node(), NOW)


def test_a_store_key_proves_itself_before_the_node_gets_it(desk: enrol.Desk) -> None:
    def prove(wanted: t.Any, key: Key) -> None:
        raise LifeboatError(f"{wanted.user} may do more than its power.")

    strict = enrol.Desk(desk.bucket, desk.admin, desk.minter, desk.escrow, prove)
    with pytest.raises(LifeboatError, match="may do more"):
        enrol.enrol(strict, node(), NOW)


def test_rotation_keeps_the_first_key_until_the_second_is_installed(desk: enrol.Desk) -> None:
    first = enrol.enrol(desk, node(), NOW).identity.access_key
    second = enrol.enrol(desk, node(access_key=first), NOW, step="rotate").identity
    assert desk.admin.keys(second.user) == [first, second.access_key]
    enrol.enrol(desk, node(access_key=second.access_key), NOW)
    assert desk.admin.keys(second.user) == [second.access_key]


def test_a_node_that_is_retired_meanwhile_keeps_no_key(desk: enrol.Desk) -> None:
    """The retirement comes after the look and before the new key."""
    minter = desk.minter
    assert minter

    def prove(_wanted: t.Any, _key: Key) -> None:
        ledger.add(minter, ledger.retire(NOW, "node1", action="revoked"))

    late = enrol.Desk(desk.bucket, desk.admin, minter, desk.escrow, prove)
    with pytest.raises(Refused, match="never used again"):
        enrol.enrol(late, node(), NOW)
    assert desk.admin.keys("lifeboat_fleet_node_node1") is None

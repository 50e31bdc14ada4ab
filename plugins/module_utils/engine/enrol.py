# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A node becomes a member of the fleet: its id, its key pair in escrow, its store user; in that order."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from . import identities, ledger
from .errors import Refused
from .escrow import Escrow
from .identities import Identity, Prove, Wanted
from .key_files import PublicKey
from .policies import check_node_id
from .store import ObjectStore
from .users import UserAdmin


@dataclass(frozen=True)
class Desk:
    """Where nodes are enrolled: ``minter`` at the bucket's root, escrow and the store's users.

    ``minter`` and ``escrow`` are None while there is no bucket, drill key or restorer yet: good for a look only. ``prove``
    tries a new store key before the node gets it.
    """

    bucket: str
    admin: UserAdmin
    minter: ObjectStore | None
    escrow: Escrow | None
    prove: Prove | None = None


@dataclass(frozen=True)
class Node:
    """A node that asks: its id, its machine (:func:`.ledger.machine_hash`), the access key id it has installed, and whether
    its policy lets it write over nothing."""

    node_id: str
    machine: str
    access_key: str | None
    write_once: bool = False


@dataclass(frozen=True)
class Enrolled:
    """What the node gets, and what was changed for it, for people to read."""

    key: PublicKey
    identity: Identity
    changes: tuple[str, ...]


Step = t.Literal["enrol", "rotate", "end_others"]


def enrol(desk: Desk, node: Node, now: datetime, *, step: Step = "enrol", check: bool = False) -> Enrolled:
    """Make or keep everything that the store knows of this node. With ``check`` nothing is written.

    A store key is made last: no node can write before its private half is proven to be in escrow. With the step ``rotate``
    it is a second one, and the first works until the step ``end_others``, which comes when the node holds the second.
    """
    check_node_id(node.node_id)
    if len(node.machine) != 64:
        raise Refused(f"node '{node.node_id}' has no machine-id: run systemd-machine-id-setup on it.")
    wanted = Wanted(desk.bucket, "node", node.node_id, node.write_once)
    claims = ledger.read_all(desk.minter, "identity", node.node_id) if desk.minter else []
    ledger.check_machine(claims, node.node_id, node.machine)
    if desk.minter:
        ledger.check_not_retired(ledger.read_all(desk.minter, "retire", node.node_id), node.node_id)
    key = desk.escrow.ensure(node.node_id, check=check) if desk.escrow else PublicKey("", b"", True)
    changes = [f"escrow a key pair for node {node.node_id}"] if key.changed else []
    if not claims:
        changes.append(f"give the id {node.node_id} to machine {node.machine[:12]}")
        if desk.minter and not check:
            _claim(desk.minter, node, now, key.fingerprint, wanted.user)
    identity = _identity(desk, wanted, node.access_key, step, check)
    if identity.key and desk.minter:
        _take_back_if_retired(desk.admin, desk.minter, wanted, node.node_id)
    return Enrolled(key, identity, (*changes, *identity.changes))


def _identity(desk: Desk, wanted: Wanted, holds: str | None, step: Step, check: bool) -> Identity:
    if step == "end_others":
        return identities.end_others(desk.admin, wanted, holds, check=check)
    fit = identities.rotate if step == "rotate" else identities.ensure
    return fit(desk.admin, wanted, holds, prove=desk.prove, check=check)


def _take_back_if_retired(admin: UserAdmin, minter: ObjectStore, wanted: Wanted, node_id: str) -> None:
    """Somebody may have retired the node between the look and the new key."""
    try:
        ledger.check_not_retired(ledger.read_all(minter, "retire", node_id), node_id)
    except Refused:
        identities.revoke(admin, wanted)
        raise


def _claim(minter: ObjectStore, node: Node, now: datetime, fingerprint: str, user: str) -> None:
    """Write the node's identity entry. Of two machines that ask for one id, the one whose entry came first gets it."""
    entry = ledger.identity(now, node.node_id, machine=node.machine, fingerprint=fingerprint, store_user=user)
    ledger.add(minter, entry)
    ledger.check_machine(ledger.read_all(minter, "identity", node.node_id), node.node_id, node.machine)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A node leaves the fleet: its store user goes at once; its backups and its private key stay or go. Its id is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from . import identities, ledger
from .errors import LifeboatError, Refused
from .identities import Wanted
from .policies import check_node_id
from .store import ObjectStore, Sentences
from .users import UserAdmin
from .versions import Version

_BATCH = 1000  # versions deleted between two pages of the listing


@dataclass(frozen=True)
class Gone:
    """What was deleted: versions (delete markers included) and bytes of the node, versions of escrow entries."""

    versions: int = 0
    bytes: int = 0
    escrow: int = 0


@dataclass(frozen=True)
class Retired:
    """``changes`` for people; what went (in check mode: would go), and what is kept."""

    changes: tuple[str, ...]
    gone: Gone
    kept: Gone


def retire(
    admin: UserAdmin, minter: ObjectStore, wanted: Wanted, now: datetime, *, drop: bool, check: bool = False
) -> Retired:
    """Retire the node ``wanted``; ``minter`` is at the bucket's root. Again, it does what is left to do, or nothing.

    The user goes first: whatever fails then, the node can write no more. With ``drop`` every version below ``nodes/<id>/``
    and of its escrow entries is deleted and the listing is read again to see that; the ledger says what went. The ledger
    itself and the evidence of drills stay: they hold no data.
    """
    node = check_node_id(wanted.node_id or "")
    entries = ledger.read_all(minter, "retire", node)
    present = count(minter, node)
    known = entries or present != Gone() or ledger.read_all(minter, "identity", node)
    if not known and admin.keys(wanted.user) is None:
        raise Refused(f"no node with the id '{node}' was ever enrolled: correct the name; nothing was changed.")
    changes = [*identities.revoke(admin, wanted, check=check)]
    if not any(entry["action"] == "revoked" for entry in entries):
        changes.append(f"retire the id {node}")
        if not check:
            ledger.add(minter, ledger.retire(now, node, action="revoked"))
    begun = _unfinished(entries)
    if begun and present == Gone():
        changes.append(f"note that all of {node} is gone")
        if not check:
            _note(minter, now, node, "dropped", Gone(begun["versions"], begun["bytes"], begun["escrow"]))
    if not drop or present == Gone():
        return Retired(tuple(changes), Gone(), present)
    changes.append(
        f"delete {present.versions} versions ({present.bytes} bytes) of {node}, and {present.escrow} escrow entries"
    )
    if check:
        return Retired(tuple(changes), present, Gone())
    _note(minter, now, node, "dropping", present)
    gone = _delete(minter, node)
    _note(minter, now, node, "dropped", gone)
    return Retired(tuple(changes), gone, Gone())


def _unfinished(entries: Sequence[ledger.Entry]) -> ledger.Entry | None:
    """The entry of a drop that was killed before its last word: both entries of a run have its time."""
    ended = max((entry["time"] for entry in entries if entry["action"] == "dropped"), default="")
    return next((entry for entry in entries if entry["action"] == "dropping" and entry["time"] > ended), None)


def _note(minter: ObjectStore, now: datetime, node: str, action: str, what: Gone) -> None:
    entry = ledger.retire(now, node, action=action, versions=what.versions, size=what.bytes, escrow=what.escrow)
    ledger.add(minter, entry)


def _places(node: str) -> tuple[str, str]:
    return f"nodes/{node}/", f"escrow/{node}/"


def count(store: ObjectStore, node: str) -> Gone:
    """How much of the node there is, versions and delete markers."""
    data, escrow = (list_sizes(store, prefix) for prefix in _places(node))
    return Gone(data[0], data[1], escrow[0])


def list_sizes(store: ObjectStore, prefix: str) -> tuple[int, int]:
    """Number and bytes of the versions below a prefix, in constant memory."""
    number = size = 0
    for version in store.list_versions(prefix):
        number += 1
        size += version.bytes
    return number, size


def _delete(store: ObjectStore, node: str) -> Gone:
    """Delete all of it, backups before the key that opens them; LifeboatError unless a new listing finds nothing."""
    counts = []
    for prefix in _places(node):
        number = size = 0
        refused: list[str] = []
        batch: list[Version] = []
        for version in store.list_versions(prefix):
            batch.append(version)
            if len(batch) == _BATCH:
                refused += _delete_batch(store, batch)
                number, size, batch = number + len(batch), size + sum(item.bytes for item in batch), []
        refused += _delete_batch(store, batch)
        number, size = number + len(batch), size + sum(item.bytes for item in batch)
        left, left_bytes = list_sizes(store, prefix)
        if left:
            why = refused[0] if refused else "something still writes there: run this again."
            raise LifeboatError(
                f"node {node} can write no more, but {left} versions ({left_bytes} bytes) below {prefix} are still there: {why}"
            )
        counts.append((number, size))
    return Gone(counts[0][0], counts[0][1], counts[1][0])


def _delete_batch(store: ObjectStore, batch: Sequence[Version]) -> Sentences:
    return store.delete_versions([(version.name, version.version_id) for version in batch]) if batch else []

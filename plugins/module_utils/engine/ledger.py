# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The ledger: what was decided about the fleet, one small object per event, only ever added.

Names are ``ledger/<kind>/<node>/<stamp>-<detail>.json``; the shape is ``schemas/ledger_entry.schema.json``. Nodes can
neither read nor write it. A new kind is one more builder and detail here, one more ``$defs`` entry in the
schema, and a policy for ``ledger/<kind>/*`` for the power that writes it; entries that exist never change.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from datetime import datetime

from .errors import LifeboatError, Refused
from .once import write_once
from .policies import check_node_id
from .store import ObjectStore
from .times import parse_stamp, stamp
from .versions import Version

Entry = dict[str, t.Any]

SCHEMA = 1
LEVELS = ("L0", "L1", "L2", "L3", "L4", "L5")
VERDICTS = ("passed", "failed")
RETIRED = ("revoked", "dropping", "dropped")
_FOLDER = "ledger/"


def machine_hash(machine_id: str) -> str:
    """Which machine, without its machine-id: that is a secret of the node (see machine-id(5))."""
    return hashlib.sha256(f"lifeboat:{machine_id.strip()}".encode()).hexdigest()


def identity(moment: datetime, node: str, *, machine: str, fingerprint: str, store_user: str) -> Entry:
    """This machine (its hash) took the id ``node``, with this key and this store user."""
    return _entry("identity", moment, node) | {
        "machine": machine,
        "fingerprint": fingerprint,
        "store_user": store_user,
    }


def drill(
    moment: datetime,
    node: str,
    *,
    report: str,
    profile: str,
    point: str | None,
    chain: str | None,
    level: str,
    verdict: str,
) -> Entry:
    """A drill tried a restore point. ``point`` and ``chain`` (its full) are stamps, None if none was found.

    ``report`` is the report's object, ``drills/<time>/report.json``; ``level`` the highest one reached (L0 to L5);
    ``moment`` that of the drill, the same for all its entries.
    """
    if level not in LEVELS or verdict not in VERDICTS:
        raise Refused(
            f"a drill's ledger entry has level L0 to L5 and verdict passed or failed, not {level}, {verdict}."
        )
    return _entry("drill", moment, node) | {
        "report": report,
        "profile": profile,
        "point": point,
        "chain": chain,
        "level": level,
        "verdict": verdict,
    }


def repair(
    moment: datetime,
    node: str,
    *,
    profile: str,
    as_of: datetime,
    part: int,
    versions: t.Sequence[t.Mapping[str, t.Any]],
) -> Entry:
    """These ``versions`` (:func:`version`) are about to be removed, so that what was current ``as_of`` is so again; what the
    store then refuses is still in its listing. ``part`` counts the entries of one repair of a profile from 1."""
    if not 1 <= len(versions) <= 1000:
        raise Refused(f"a repair's ledger entry names 1 to 1000 versions, not {len(versions)}.")
    return _entry("repair", moment, node) | {
        "profile": profile,
        "as_of": stamp(as_of),
        "part": part,
        "versions": list(versions),
    }


def version(item: Version) -> Entry:
    """One version of an object, or a delete marker, as evidence."""
    return {
        "object": item.name,
        "version_id": item.version_id,
        "modified": stamp(item.modified),
        "bytes": item.bytes,
        "checksum": item.checksum,
        "marker": item.marker,
    }


PRUNE_STEPS = ("begun", "done")
_MOST_DROPPED = 1000  # lines in an entry; a hostile node can leave any number of leftovers


def prune(
    moment: datetime,
    node: str,
    *,
    step: str,
    dropped: t.Sequence[t.Mapping[str, t.Any]],
    points: int,
    records: int,
    left: int = 0,
    failure: str | None = None,
) -> Entry:
    """A prune of a node: ``begun`` is written before anything goes, ``done`` after the last listing; a prune that was killed
    has no second one. ``dropped`` are ``{profile, kind, chain, reason, sets, objects, versions, bytes}``; ``points`` stay,
    ``records`` (and witnesses) go; ``left`` objects were to go and are still there, ``failure`` says why."""
    if step not in PRUNE_STEPS:
        raise Refused(f"a prune's ledger entry is begun or done, not {step}.")
    return _entry("prune", moment, node) | {
        "step": step,
        "dropped": [dict(item) for item in dropped[:_MOST_DROPPED]],
        "not_listed": max(len(dropped) - _MOST_DROPPED, 0),
        "objects": sum(item["objects"] for item in dropped),
        "versions": sum(item["versions"] for item in dropped),
        "bytes": sum(item["bytes"] for item in dropped),
        "points": points,
        "records": records,
        "left": left,
        "failure": failure,
    }


def retire(moment: datetime, node: str, *, action: str, versions: int = 0, size: int = 0, escrow: int = 0) -> Entry:
    """The node left the fleet for ever. ``action`` is ``revoked`` (its store user is gone), ``dropping`` (so many versions,
    delete markers included, of ``size`` bytes below ``nodes/<id>/`` and of its escrow entries will go now) or ``dropped``
    (a new listing showed that these are gone)."""
    if action not in RETIRED:
        raise Refused(f"a retire entry's action is one of {', '.join(RETIRED)}, not {action}.")
    return _entry("retire", moment, node) | {"action": action, "versions": versions, "bytes": size, "escrow": escrow}


def _entry(kind: str, moment: datetime, node: str) -> Entry:
    return {"schema": SCHEMA, "kind": kind, "time": stamp(moment), "node": check_node_id(node)}


def name(entry: Entry) -> str:
    """The entry's object name. The detail keeps entries of the same second apart: claims of two machines, and the
    points of a node that one drill tries."""
    detail = _DETAILS[entry["kind"]](entry)
    return f"{_FOLDER}{entry['kind']}/{entry['node']}/{entry['time']}-{detail}.json"


_DETAILS: dict[str, t.Callable[[Entry], str]] = {
    "identity": lambda entry: str(entry["machine"][:12]),
    "drill": lambda entry: f"{entry['profile']}-{entry['point'] or 'none'}",
    "repair": lambda entry: f"{entry['profile']}-{entry['part']:04}",
    "prune": lambda entry: str(entry["step"]),
    "retire": lambda entry: str(entry["action"]),
}


def encode(entry: Entry) -> bytes:
    """The object's content."""
    return json.dumps(entry, indent=1, sort_keys=True).encode() + b"\n"


def decode(name_of_object: str, data: bytes) -> Entry:
    """An entry from its object; LifeboatError if it is none, or not the one that its name says."""
    try:
        entry = json.loads(data)
        parse_stamp(entry["time"])
        known = name(entry) == name_of_object
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise LifeboatError(
            f"{name_of_object} is not a ledger entry: find out who wrote it, and restore its first version."
        )
    if entry["schema"] != SCHEMA:
        raise LifeboatError(
            f"{name_of_object} has schema {entry['schema']}, and this version reads {SCHEMA}: update Lifeboat."
        )
    return t.cast(Entry, entry)


def add(store: ObjectStore, entry: Entry) -> str:
    """Write the entry, which must not exist yet; returns its name. ``store`` is at the bucket's root."""
    write_once(store, name(entry), encode(entry))
    return name(entry)


def read_all(store: ObjectStore, kind: str, node: str | None = None) -> list[Entry]:
    """All entries of a kind (of one node, if named) in the order in which the store got them."""
    prefix = f"{_FOLDER}{kind}/" + (f"{check_node_id(node)}/" if node else "")
    found = sorted(store.list(prefix), key=lambda item: (item.modified, item.name))
    return [decode(item.name, store.read(item.name)) for item in found]


def passed(store: ObjectStore, node: str, profile: str, points: t.Collection[str]) -> set[str]:
    """Those of a node's points that passed a drill. Only entries about them are read, and of each point the newest first."""
    found: set[str] = set()
    prefix = f"{_FOLDER}drill/{check_node_id(node)}/"
    for item in sorted(store.list(prefix), key=lambda item: item.name, reverse=True):
        detail = item.name.removeprefix(prefix).removesuffix(".json")[17:]  # behind the stamp and its dash
        point = detail.removeprefix(f"{profile}-")
        if point != detail and point in points and point not in found:
            entry = decode(item.name, store.read(item.name))
            if entry["verdict"] == "passed" and entry["profile"] == profile:
                found.add(point)
    return found


def check_machine(entries: t.Sequence[Entry], node: str, machine: str) -> None:
    """Refuse a node whose id belongs to another machine: the first identity entry owns the id for ever."""
    if entries and entries[0]["machine"] != machine:
        first = entries[0]
        raise Refused(
            f"node id '{node}' belongs to machine {first['machine'][:12]} since {first['time']}, and this is machine "
            f"{machine[:12]}: a clone or a new machine needs an id of its own (set lifeboat_node_id)."
        )


def check_not_retired(entries: t.Sequence[Entry], node: str) -> None:
    """Refuse a node whose id has been retired (``entries`` of kind ``retire``): an id is never used again."""
    if entries:
        raise Refused(
            f"node id '{node}' was retired at {entries[0]['time']}, and an id is never used again: give this node another "
            "one (set lifeboat_node_id)."
        )

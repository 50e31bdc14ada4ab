# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What one repository holds, from its listing and its records: nothing is decrypted and nothing is written. Pure."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta

from . import chains, record
from .record import Record
from .schedule import is_long, next_full
from .times import parse_stamp, stamp

Described = dict[str, t.Any]


def describe(
    collection: chains.Collection,
    records: t.Sequence[Record],
    moment: datetime,
    period: timedelta | None,
    key: str,
    most: int = 0,
) -> Described:
    """``{chains, points, orphans, foreign, newest, oldest, stored, next_full}``; sizes in bytes, ages in seconds.

    A set's ``missing`` is what its name shows (``gaps``) and what its record counts but the store no longer lists: volumes
    lost at the end show only so. A restore point counts only if nothing up to it is missing. ``most``: incrementals after
    which a full is due.
    """
    recorded = {entry.set_time: entry for entry in record.points(records)}
    described = [_chain(chain, recorded) for chain in collection.chains]
    points = [
        _point(item, chain["time"], recorded.get(item["time"]), moment)
        for chain in described
        for item in _whole(chain["sets"])
    ]
    points.sort(key=lambda point: str(point["time"]))
    last = max(
        (chain for chain in described if _whole(chain["sets"])), key=lambda chain: str(chain["time"]), default=None
    )
    due = next_full(parse_stamp(last["time"]), period, key) if last and period else None
    if last and due and is_long(len(last["sets"]) - 1, most):
        due = min(due, moment)
    return {
        "chains": described,
        "points": points,
        "orphans": [f"{item.start} to {item.time}" for item in collection.orphans],
        "foreign": collection.foreign[:50],
        "oldest": points[0]["time"] if points else None,
        "newest": points[-1]["time"] if points else None,
        "stored": sum(chain["stored"] for chain in described) + sum(item.bytes for item in collection.orphans),
        "next_full": stamp(due) if due else None,
    }


def _chain(chain: chains.Chain, recorded: t.Mapping[str | None, Record]) -> Described:
    sets = [_set(item, recorded.get(item.time)) for item in chain.sets]
    return {"time": chain.time, "sets": sets, "stored": sum(item["stored"] for item in sets)}


def _set(item: chains.BackupSet, entry: Record | None) -> Described:
    sizes = {one.name: one.bytes for one in item.objects}
    lost = [one.name for one in entry.objects if sizes.get(one.name) != one.bytes] if entry else []
    return {
        "kind": item.kind,
        "time": item.time,
        "volumes": len(item.volumes),
        "stored": item.bytes,
        "recorded": entry is not None,
        "missing": item.gaps + lost,
    }


def _whole(sets: t.Iterable[Described]) -> list[Described]:
    """The sets up to the first that misses something."""
    good = []
    for item in sets:
        if item["missing"]:
            break
        good.append(item)
    return good


def _point(item: Described, chain: str, entry: Record | None, moment: datetime) -> Described:
    return {
        "time": item["time"],
        "kind": item["kind"],
        "chain": chain,
        "age": int((moment - parse_stamp(item["time"])).total_seconds()),
        "stored": item["stored"],
        "files": entry.files if entry else None,
        "bytes": entry.bytes if entry else None,
        "provable": entry is not None and entry.witness is not None,
    }

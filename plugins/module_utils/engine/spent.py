# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which records and witnesses go with a prune. Pure.

A witness belongs to the record of the same object name. What a record says of its witness is not asked: a forged one could
name any object of the store.
"""

from __future__ import annotations

import re
import typing as t
from datetime import datetime, timedelta

from . import belief, record
from .chains import BackupSet
from .record import Record
from .retention import Plan, Policy
from .store import StoredObject
from .written import touched_one

_NAME = re.compile(r"(?P<stem>[0-9]{8}T[0-9]{6}Z-[a-z]+)\.(?:json|witness\.gz(?:\.gpg)?)")

Listing = t.Sequence[StoredObject]


def _stem(prefix: str, name: str) -> str | None:
    """What a record and its witness have in common, or None for an object that is neither."""
    found = _NAME.fullmatch(name.removeprefix(prefix))
    return prefix + found["stem"] if found else None


def is_one(prefix: str, name: str) -> bool:
    """Whether this is the name of a record or a witness below ``prefix``."""
    return _stem(prefix, name) is not None


def of_points(prefix: str, listing: Listing, records: t.Mapping[str, Record], plan: Plan) -> list[StoredObject]:
    """What goes with the dropped points."""
    kept = {each.time for item in plan.items if not item.drop for each in item.sets}
    gone = {each.time for item in plan.dropped for each in item.sets} - kept
    stems = {
        _stem(prefix, name) for name, entry in records.items() if record.points([entry]) and entry.set_time in gone
    }
    return _with(prefix, stems - {None}, listing)


def old(
    prefix: str, listing: Listing, records: t.Mapping[str, Record], plan: Plan, policy: Policy, moment: datetime
) -> list[StoredObject]:
    """What has nothing to tell any more: runs older than ``keep_days`` that made no point, or one that is gone."""
    here = {each.time for item in plan.items for each in item.sets}
    long_ago = moment - timedelta(days=policy.keep_days)
    stems = {
        _stem(prefix, item.name)
        for item in listing
        if item.name in records
        and item.modified < long_ago
        and not (record.points([records[item.name]]) and records[item.name].set_time in here)
    }
    return _with(prefix, stems - {None}, listing)


def outlived(
    prefix: str, listing: Listing, sets: t.Sequence[BackupSet], policy: Policy, moment: datetime
) -> list[StoredObject]:
    """The same without reading any: a record comes last, so one that is older than the first object of all sets that are
    there tells of none of them. Neither does one that is named for a time before that of all sets; both must be so, since a
    bucket may have been copied, its records first. None if there is no set: then records may be all that tells what was there."""
    if not sets:
        return []
    oldest = min(item.time for item in sets)
    until = min(*map(belief.oldest, sets), moment - timedelta(days=policy.keep_days))
    young = {
        _stem(prefix, item.name)
        for item in listing
        if touched_one(item) >= until or item.name.removeprefix(prefix)[: len(oldest)] >= oldest
    }
    return _with(prefix, {_stem(prefix, item.name) for item in listing} - young - {None}, listing)


def alone(prefix: str, listing: Listing, policy: Policy, moment: datetime) -> list[StoredObject]:
    """Witnesses that a crash left without a record."""
    recorded = {item.name.removesuffix(".json") for item in listing if item.name.endswith(".json")}
    long_ago = moment - timedelta(days=policy.incomplete_days)
    stems = {_stem(prefix, item.name) for item in listing if item.modified < long_ago} - recorded
    return _with(prefix, stems - {None}, listing)


def _with(prefix: str, stems: t.Collection[str | None], listing: Listing) -> list[StoredObject]:
    """All objects of these stems, witnesses first: a witness is found by its record."""
    found = [item for item in listing if _stem(prefix, item.name) in stems]
    return sorted(found, key=lambda item: (item.name.endswith(".json"), item.name))

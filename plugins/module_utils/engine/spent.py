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

from . import record
from .record import Record
from .retention import Plan, Policy
from .store import StoredObject

_NAME = re.compile(r"(?P<stem>[0-9]{8}T[0-9]{6}Z-[a-z]+)\.(?:json|witness\.gz(?:\.gpg)?)")

Listing = t.Sequence[StoredObject]


def _stem(prefix: str, name: str) -> str | None:
    """What a record and its witness have in common, or None for an object that is neither."""
    found = _NAME.fullmatch(name.removeprefix(prefix))
    return prefix + found["stem"] if found else None


def of_points(prefix: str, listing: Listing, records: t.Mapping[str, Record], plan: Plan) -> list[str]:
    """The names that go with the dropped points."""
    kept = {each.time for item in plan.items if not item.drop for each in item.sets}
    gone = {each.time for item in plan.dropped for each in item.sets} - kept
    stems = {
        _stem(prefix, name) for name, entry in records.items() if record.points([entry]) and entry.set_time in gone
    }
    return _with(prefix, stems - {None}, listing)


def old(
    prefix: str, listing: Listing, records: t.Mapping[str, Record], plan: Plan, policy: Policy, moment: datetime
) -> list[str]:
    """The names that have nothing to tell any more: runs older than ``keep_days`` that made no point, or one that is gone."""
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


def alone(prefix: str, listing: Listing, policy: Policy, moment: datetime) -> list[str]:
    """Witnesses that a crash left without a record."""
    recorded = {item.name.removesuffix(".json") for item in listing if item.name.endswith(".json")}
    long_ago = moment - timedelta(days=policy.incomplete_days)
    stems = {_stem(prefix, item.name) for item in listing if item.modified < long_ago} - recorded
    return _with(prefix, stems - {None}, listing)


def _with(prefix: str, stems: t.Collection[str | None], listing: Listing) -> list[str]:
    """All objects of these stems, witnesses first: a witness is found by its record."""
    names = [item.name for item in listing if _stem(prefix, item.name) in stems]
    return sorted(names, key=lambda name: (name.endswith(".json"), name))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Whether a set's name can be believed: it must fit the times at which the store got its objects. Pure.

Whoever may write into a repository chooses names freely, LastModified not. Three junk objects named like a full of 2030
made stock duplicity delete the only real chain (facts: guard 15). Here a set in doubt only ever causes more to be kept.
"""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta

from .chains import BackupSet
from .times import stamp

# A node's clock may be wrong, for instance set to local time; a set is named when its backup starts.
AHEAD = timedelta(days=1)
LATE = timedelta(days=7)


def oldest(item: BackupSet) -> datetime:
    """When the store got the set's first object."""
    return min(one.modified for one in item.objects)


def youngest(sets: t.Iterable[BackupSet]) -> datetime:
    """When the store got the last object of these sets."""
    return max(one.modified for item in sets for one in item.objects)


def doubt(sets: t.Sequence[BackupSet], now: datetime) -> str | None:
    """Why these sets, each building on the one before, are not to be believed; or None."""
    base: BackupSet | None = None
    for item in sets:
        found = _doubt(item, now) or (_order(base, item) if base is not None else None)
        if found:
            return found
        base = item
    return None


def _doubt(item: BackupSet, now: datetime) -> str | None:
    got = oldest(item)
    if item.moment > got + AHEAD:
        return f"set {item.time} is named for a time long after the store got it ({stamp(got)})"
    if item.moment < got - LATE:
        return f"set {item.time} is named for a time long before the store got it ({stamp(got)})"
    if item.start is not None and item.start >= item.time:
        return f"set {item.time} claims to build on a later one ({item.start})"
    if youngest([item]) > now + AHEAD:
        return f"the store's time of set {item.time} lies in the future of this host's clock"
    return None


def _order(base: BackupSet, item: BackupSet) -> str | None:
    if youngest([base]) > youngest([item]):
        return f"an object of set {base.time} was written after set {item.time}, which builds on it"
    return None

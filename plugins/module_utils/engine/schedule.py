# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""When the next full is due: each node has its own weekly slot. Pure."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta, timezone


def _share(key: str) -> float:
    """A number from 0 to 1 that stands for ``key``."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def slot(moment: datetime, period: timedelta, key: str) -> int:
    """Number of the period that ``moment`` falls into, with its boundary shifted by a hash of ``key``.

    The shift is spread evenly over the period, so a fleet's fulls are too; and it does not drift with the jitter of
    daily runs, as "full if older than 7 days" does (it turns into 8-day cycles).
    """
    seconds = period.total_seconds()
    return int((moment.timestamp() + _share(key) * seconds) // seconds)


def full_is_due(now: datetime, last_full: datetime | None, period: timedelta, key: str) -> bool:
    """True when there is no full yet, or the last one lies in an earlier slot than ``now``."""
    return last_full is None or slot(now, period, key) > slot(last_full, period, key)


def is_long(incrementals: int, most: int) -> bool:
    """True when a chain already has ``most`` incrementals; 0 sets no limit."""
    return 0 < most <= incrementals


def next_full(last_full: datetime, period: timedelta, key: str) -> datetime:
    """The moment from which the next run makes a full (to the second, rounded up)."""
    seconds = period.total_seconds()
    begins = (slot(last_full, period, key) + 1 - _share(key)) * seconds
    return datetime.fromtimestamp(math.ceil(begins), timezone.utc)

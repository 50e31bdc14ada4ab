# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A node that writes far more than it ever did: how a bucket looks on the day on which somebody begins to fill it.

Nothing in a store's policy bounds how much a node may write, so this is found and told. Judged by the store's own times and
sizes, all versions counted, wherever in its prefix they lie.
"""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from .errors import LifeboatError
from .fleet import Corner, Row
from .report import size
from .store import Location, bounded, open_store
from .versions import Version

_DAY = timedelta(days=1)
_FACTOR = 3
_READERS = 16  # requests under way; boto3's pool holds as many connections


def alarm(versions: t.Iterable[Version], claimed: int, moment: datetime, floor: int) -> str | None:
    """A sentence if more arrived in the last 24 hours than three times the node's largest earlier day, and more than
    ``floor`` bytes; else None. Pure; memory grows with days, not with versions.

    ``claimed`` stands in for earlier days while a node has none: the bytes of all objects that its records name.
    """
    days: dict[int, int] = {}
    for item in versions:
        day = max((moment - item.modified) // _DAY, 0)
        days[day] = days.get(day, 0) + item.bytes
    recent = days.pop(0, 0)
    usual = max(days.values()) if days else claimed
    if recent <= max(_FACTOR * usual, floor):
        return None
    before = "on no earlier day" if days else "by its records"
    return (
        f"{size(recent)} came in the last 24 h, {before} more than {size(usual)}: find out what writes there before the "
        "bucket is full."
    )


def told(
    location: Location, corners: t.Sequence[Corner], rows: t.Sequence[Row], moment: datetime, floor: int
) -> list[Row]:
    """The rows, with the alarm where there is one: as the state of what else is ok, after the reason of what is not.

    ``location`` is the bucket, with a key that may list versions.
    """
    store = open_store(location)
    claims: dict[str, int] = {}
    for corner in corners:
        claimed = sum(item.bytes for entry in corner.records for item in entry.objects)
        claims[corner.wanted.node] = claims.get(corner.wanted.node, 0) + claimed

    def one(node: str) -> str | None:
        try:
            return alarm(bounded(store, f"nodes/{node}/"), claims[node], moment, floor)
        except LifeboatError as error:
            return str(error)

    with ThreadPoolExecutor(_READERS) as pool:
        sentences = dict(zip(claims, pool.map(one, claims), strict=True))
    return [_with(row, sentences[row.node]) for row in rows]


def _with(row: Row, sentence: str | None) -> Row:
    if sentence is None:
        return row
    return replace(row, state="growing" if row.state == "ok" else row.state, reason=f"{row.reason} {sentence}".strip())

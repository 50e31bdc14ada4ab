# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Full or incremental, or nothing at all: by the store's listing, the records, the cache and the clock. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from . import chains, record, unchanged, witness
from .errors import Refused
from .profile import Profile
from .record import Record
from .schedule import full_is_due, is_long

MODES = ("auto", "full", "incremental")


@dataclass(frozen=True)
class Choice:
    """The mode that will run and why it is not the one a user might expect (or None)."""

    mode: str
    chain: chains.Chain | None
    reason: str | None = None


def choose(
    profile: Profile,
    wish: str,
    collection: chains.Collection,
    records: t.Sequence[Record],
    cached: t.Collection[str],
    moment: datetime,
) -> Choice:
    """Full or incremental. ``cached`` are the names in duplicity's cache."""
    latest = max(collection.chains, key=lambda chain: chain.time, default=None)
    obstacle = _obstacle(latest, records, cached, encrypted=profile.fingerprint is not None)
    if wish == "full" or (obstacle and wish == "auto"):
        return Choice("full", None, obstacle if latest and wish == "auto" else None)
    if obstacle or latest is None:
        raise Refused(f"an incremental is not possible: {obstacle}; run with mode full.")
    if wish == "auto" and (
        full_is_due(moment, latest.sets[0].moment, profile.full_period, f"{profile.node}/{profile.name}")
        or is_long(len(latest.sets) - 1, profile.full_every_incrementals)
    ):
        return Choice("full", None)
    return Choice("incremental", latest)


def _obstacle(
    chain: chains.Chain | None, records: t.Sequence[Record], cached: t.Collection[str], *, encrypted: bool
) -> str | None:
    """Why nothing may be built on this chain, or None. Damage must not be built upon in silence (facts: guard 3)."""
    if chain is None:
        return "there is no full yet"
    for item in chain.sets:
        if item.gaps:
            return f"set {item.time} lacks {', '.join(item.gaps)}"
    stored = {item.name: item.bytes for one in chain.sets for item in one.objects}
    for entry in record.points(records):
        if entry.chain == chain.time:
            lost = [item.name for item in entry.objects if stored.get(item.name) != item.bytes]
            if lost:
                return f"set {entry.set_time} lost {lost[0]}"
    return _closed(chain, cached, encrypted=encrypted)


def _closed(chain: chains.Chain, cached: t.Collection[str], *, encrypted: bool) -> str | None:
    """Why this run's key (or its having none) does not fit the chain, or None."""
    if not encrypted:
        mixed = any(one.name.endswith(".gpg") for item in chain.sets for one in item.objects)
        return f"chain {chain.time} is encrypted and this backup is not" if mixed else None
    for item in chain.sets:
        # without the private key a lost cache cannot be rebuilt from the store (facts: guard 17)
        if not any("signatures" in name and f"{item.time}.sigtar" in name for name in cached):
            return f"the cache does not hold the signatures of {item.time} for this key"
        # the last file that a run gives its name here: a kill before that leaves a set that is whole in the store only
        if not any(name.endswith(f".{item.time}.manifest") for name in cached):
            return f"the cache does not hold the manifest of {item.time}"
    return None


def still_stands(
    profile: Profile, wish: str, choice: Choice, last: witness.Witness | None, before: witness.Tree, day: int
) -> str | None:
    """The time of the newest set, if the source is still what that set holds and no other was asked for; or None.

    The last witness must be the one of that very set, of this source, and nothing in it may have changed while it was made. ``day`` as in
    ``witness.observe``: now and then files are hashed again all the same.
    """
    if not profile.skip_if_unchanged or wish != "auto" or choice.chain is None or last is None:
        return None
    newest = choice.chain.sets[-1].time
    known = last.header.get("set_time") == newest and last.header.get("source") == profile.source
    return newest if known and not unchanged.overdue(last, day) and unchanged.same(before, last) else None

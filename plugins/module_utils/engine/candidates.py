# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The chains of a repository as retention judges them: their points, what a crash cut off, what cannot be believed. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from . import record
from .belief import doubt, youngest
from .chains import BackupSet, Chain, Collection
from .record import Record
from .written import as_made, had

# A run writes its record when its set is whole. One that came later says nothing about the set.
PROMPT = timedelta(days=1)

Recorded: t.TypeAlias = "Record | tuple[Record, datetime]"
Claims = dict[str, list[dict[str, int]]]
Homes = dict[str, list[str]]


class Point(t.NamedTuple):
    """A restorable point: when the store had it whole, its name, its chain."""

    moment: datetime
    time: str
    chain: str


@dataclass
class Candidate:
    """A chain as it is judged. ``tail`` is what a crash cut off at its end; ``seen`` its points by the listing, ``sure``
    those by listing and records. A chain in doubt has no points."""

    body: list[BackupSet]
    tail: list[BackupSet]
    doubt: str | None = None
    fork: str | None = None
    seen: list[Point] = field(default_factory=list)
    sure: list[Point] = field(default_factory=list)
    flaw: str | None = None
    guests: list[BackupSet] = field(default_factory=list)  # unfinished sets that build on a set that has a successor

    @property
    def time(self) -> str:
        return (self.body or self.tail)[0].time

    @property
    def born(self) -> datetime:
        """When its full was whole."""
        return youngest(self.body[:1])

    @property
    def whole(self) -> bool:
        """Everything in it can be restored, by listing and records."""
        return len(self.sure) == len(self.body) > 0

    @property
    def cut_off(self) -> list[BackupSet]:
        return [item for item in (*self.body, *self.tail, *self.guests) if not item.manifest]


def made(collection: Collection) -> Collection:
    """The collection with each set as it was when it was made."""
    chains = [Chain([as_made(item) for item in chain.sets]) for chain in collection.chains]
    return Collection(chains, [as_made(item) for item in collection.orphans], collection.foreign)


def claims_of(records: t.Iterable[Recorded], collection: Collection) -> Claims:
    """Set -> what records say it holds. Where it is known when the store got a record first, only the first one of a set
    counts, and only if it came with the set: so a record that is forged later changes nothing."""
    last = {item.time: youngest([item]) for chain in collection.chains for item in chain.sets}
    last |= {item.time: youngest([item]) for item in collection.orphans}
    dated: dict[str, tuple[datetime, Record]] = {}
    claims: Claims = {}
    for each in records:
        entry, moment = each if isinstance(each, tuple) else (each, None)
        if not record.points([entry]) or entry.set_time is None:
            continue
        time = entry.set_time
        if moment is None:
            claims.setdefault(time, []).append(_sizes(entry))
        elif time in last and moment <= last[time] + PROMPT and (time not in dated or moment < dated[time][0]):
            dated[time] = (moment, entry)
    for time, (_moment, entry) in dated.items():
        claims.setdefault(time, []).append(_sizes(entry))
    return claims


def _sizes(entry: Record) -> dict[str, int]:
    return {item.name: item.bytes for item in entry.objects}


def unfinished(item: BackupSet, claims: Claims) -> bool:
    """A crash left this: duplicity uploads the manifest last. Without one, but recorded, it is damage."""
    return not item.manifest and item.time not in claims


def _lost(item: BackupSet, claims: Claims) -> str | None:
    """The first object that a record counts and the store did not get in that size when the set was made."""
    stored = {one.name: one for one in item.objects}
    whole = youngest([item])
    for claim in claims.get(item.time, []):
        for name, size in claim.items():
            if name not in stored or not had(stored[name], size, whole):
                return name
    return None


def candidate(chain: Chain, claims: Claims, forks: t.Mapping[str, str], now: datetime) -> Candidate:
    """The chain, judged; ``forks`` as :func:`forks_of` gives them."""
    end = len(chain.sets)
    while end and unfinished(chain.sets[end - 1], claims):
        end -= 1
    one = Candidate(chain.sets[:end], chain.sets[end:], doubt(chain.sets, now), forks.get(chain.time))
    believed = not (one.doubt or one.fork)
    for item in one.body:
        lost = _lost(item, claims)
        if item.gaps or lost:
            one.flaw = one.flaw or f"set {item.time} lacks {', '.join(item.gaps) or lost}"
        if item.gaps:
            break
        point = Point(youngest([item]), item.time, chain.time)
        if believed:
            one.seen.append(point)
        if believed and not one.flaw:
            one.sure.append(point)
    return one


def groups_of(orphans: t.Iterable[BackupSet]) -> list[list[BackupSet]]:
    """Orphans that build on each other belong together."""
    groups: list[list[BackupSet]] = []
    known: dict[str, list[BackupSet]] = {}
    for item in orphans:
        group = known.get(item.start or "")
        if group is None:
            groups.append(group := [])
        group.append(item)
        known.setdefault(item.time, group)
    return groups


def homes_of(chains: t.Iterable[Chain]) -> Homes:
    """Set -> the chains that hold one of that time."""
    homes: Homes = {}
    for chain in chains:
        for item in chain.sets:
            homes.setdefault(item.time, []).append(chain.time)
    return homes


def forks_of(homes: Homes, groups: t.Iterable[list[BackupSet]], claims: Claims) -> dict[str, str]:
    """Chain (and group) -> why it is in doubt: two sets build on one, or have one time, and either may be the true one."""
    found: dict[str, str] = {}
    for time, chains in homes.items():
        if len(chains) > 1:
            found |= dict.fromkeys(chains, f"two sets are named for {time}")
    for group in groups:
        start = group[0].start or ""
        if start in homes and not all(unfinished(item, claims) for item in group):
            why = f"set {group[0].time} and another one both build on {start}"
            found |= dict.fromkeys([*homes[start], group_key(group)], why)
    return found


def group_key(group: list[BackupSet]) -> str:
    """What :func:`forks_of` calls a group of orphans; no chain has such a name."""
    return f"{group[0].start}>{group[0].time}"

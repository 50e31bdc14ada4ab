# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a repository keeps and what it may drop, each with its reason. Pure.

The guarantee: after any prune at least ``keep_points`` restorable points and ``keep_chains`` complete chains remain, and
every moment of the last ``keep_days`` is answered by the same point as before, the window's first moment included, if
they were there before. So a point at least ``keep_days`` old, or as old as there is, can always be restored.

- The window ends at the newest restorable point, not at today: a node that is silent for a year, or a clock that is a year
  ahead, costs no point.
- Ages are those of the store (LastModified), never of names. Only whole chains go, and only when a newer complete chain has
  held a restorable point for 48 hours: so no backup that runs now loses its base or its objects, and no lock is needed.
- Sets in doubt (see ``belief``) count for nothing, are kept, and raise an alarm.
- Records are claims of the node: promises are made once by the listing and once by listing and records, and what either
  promises stays. So a record can cause more to be kept, never less.
- A crash leaves a set without a manifest. It goes when its youngest object is ``incomplete_days`` old, unless a record says
  that it once was whole.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from . import record
from .belief import doubt, youngest
from .chains import BackupSet, Chain, Collection, parse_name
from .errors import Refused
from .record import Record
from .store import StoredObject

SETTLED = timedelta(hours=48)


@dataclass(frozen=True)
class Policy:
    """What is promised, see the module's text. ``incomplete_days`` may be 0 for whoever knows that no backup runs."""

    keep_days: float = 30
    keep_chains: int = 1
    keep_points: int = 1
    incomplete_days: float = 7

    def __post_init__(self) -> None:
        for name, least in (("keep_days", 1), ("keep_chains", 1), ("keep_points", 1), ("incomplete_days", 0)):
            value = getattr(self, name)
            number = isinstance(value, (int, float) if name.endswith("days") else int) and not isinstance(value, bool)
            if not number or not least <= value <= 36500:
                raise Refused(f"{name} is {value!r}: give a number from {least} to 36500.")


@dataclass(frozen=True)
class Item:
    """One decision. ``kind`` is chain, incomplete (sets that a crash cut off), orphans (sets whose base is gone) or part
    (a crash's leftover beside whole sets); ``points`` counts its restorable points."""

    kind: str
    time: str
    drop: bool
    reason: str
    sets: tuple[BackupSet, ...]
    objects: tuple[StoredObject, ...]
    points: int = 0

    @property
    def stored(self) -> int:
        return sum(one.bytes for one in self.objects)


@dataclass(frozen=True)
class Plan:
    """All decisions, oldest first, and a sentence for each thing that someone should look at."""

    items: list[Item]
    alarms: list[str]

    @property
    def dropped(self) -> list[Item]:
        return [item for item in self.items if item.drop]


class _Point(t.NamedTuple):
    """A restorable point: when the store had it whole, its name, its chain."""

    moment: datetime
    time: str
    chain: str


@dataclass
class _Candidate:
    """A chain as it is judged. ``tail`` is what a crash cut off at its end; ``seen`` its points by the listing, ``sure``
    those by listing and records. A chain in doubt has no points."""

    body: list[BackupSet]
    tail: list[BackupSet]
    doubt: str | None = None
    fork: str | None = None
    seen: list[_Point] = field(default_factory=list)
    sure: list[_Point] = field(default_factory=list)
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
    def looks_whole(self) -> bool:
        """The same by the listing alone: no record may change that."""
        finished = [number for number, item in enumerate(self.body, 1) if item.manifest]
        return len(self.seen) == max(finished, default=0) > 0

    @property
    def cut_off(self) -> list[BackupSet]:
        return [item for item in (*self.body, *self.tail, *self.guests) if not item.manifest]


Claims = dict[str, list[dict[str, int]]]


def decide(
    collection: Collection,
    records: t.Iterable[Record],
    policy: Policy,
    now: datetime,
    drilled: t.Collection[str] = (),
) -> Plan:
    """The plan for one repository. ``drilled`` are the times of points that passed a drill."""
    claims: Claims = {}
    for entry in record.points(records):
        claims.setdefault(entry.set_time or "", []).append({item.name: item.bytes for item in entry.objects})
    groups = _groups(collection.orphans)
    homes = _homes(collection.chains)
    forks = _forks(homes, groups, claims)
    chains = [_candidate(chain, claims, forks, now) for chain in collection.chains]
    by_time = {one.time: one for one in chains}
    for group in groups:
        for home in homes.get(group[0].start or "", ()):
            by_time[home].guests += group
    rules = _Rules(chains, policy, now, drilled)
    items: list[Item] = []
    for one in chains:
        items += rules.chain(one)
    items += [rules.orphans(group, claims, forks) for group in groups]
    alarms = [f"chain {one.time} is not believed and stays: {why}; find out who wrote it." for one, why in _odd(chains)]
    dropped = {item.time for item in items if item.drop and item.kind == "chain"}
    alarms += [
        f"chain {one.time} is damaged: {one.flaw}; run a full backup, and see what the store did."
        for one in chains
        if one.flaw and one.time not in dropped
    ]
    return Plan(sorted(items, key=lambda item: item.time), alarms + rules.alarms)


def _odd(chains: t.Iterable[_Candidate]) -> t.Iterator[tuple[_Candidate, str]]:
    for one in chains:
        why = one.doubt or one.fork
        if why:
            yield one, why


def _unfinished(item: BackupSet, claims: Claims) -> bool:
    """A crash left this: duplicity uploads the manifest last. Without one, but recorded, it is damage."""
    return not item.manifest and item.time not in claims


def _lost(item: BackupSet, claims: Claims) -> str | None:
    """The first object that a record counts and the store does not hold in that size."""
    sizes = {one.name: one.bytes for one in item.objects}
    for claim in claims.get(item.time, []):
        for name, size in claim.items():
            if sizes.get(name) != size:
                return name
    return None


def _candidate(chain: Chain, claims: Claims, forks: t.Mapping[str, str], now: datetime) -> _Candidate:
    end = len(chain.sets)
    while end and _unfinished(chain.sets[end - 1], claims):
        end -= 1
    one = _Candidate(chain.sets[:end], chain.sets[end:], doubt(chain.sets, now), forks.get(chain.time))
    believed = not (one.doubt or one.fork)
    for item in one.body:
        lost = _lost(item, claims)
        if item.gaps or lost:
            one.flaw = one.flaw or f"set {item.time} lacks {', '.join(item.gaps) or lost}"
        if item.gaps:
            break
        point = _Point(youngest([item]), item.time, chain.time)
        if believed:
            one.seen.append(point)
        if believed and not one.flaw:
            one.sure.append(point)
    return one


def _groups(orphans: t.Iterable[BackupSet]) -> list[list[BackupSet]]:
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


Homes = dict[str, list[str]]


def _homes(chains: t.Iterable[Chain]) -> Homes:
    """Set -> the chains that hold one of that time."""
    homes: Homes = {}
    for chain in chains:
        for item in chain.sets:
            homes.setdefault(item.time, []).append(chain.time)
    return homes


def _forks(homes: Homes, groups: t.Iterable[list[BackupSet]], claims: Claims) -> dict[str, str]:
    """Chain (and group) -> why it is in doubt: two sets build on one, and either may be the true one."""
    found: dict[str, str] = {}
    for group in groups:
        start = group[0].start or ""
        if start in homes and not all(_unfinished(item, claims) for item in group):
            why = f"set {group[0].time} and another one both build on {start}"
            found |= dict.fromkeys([*homes[start], _group_key(group)], why)
    return found


def _group_key(group: list[BackupSet]) -> str:
    return f"{group[0].start}>{group[0].time}"


class _Rules:
    """The rules over all chains of a repository."""

    def __init__(self, chains: list[_Candidate], policy: Policy, now: datetime, drilled: t.Collection[str]) -> None:
        self.policy = policy
        self.now = now
        self.drilled = drilled
        self.alarms: list[str] = []
        self.chains = sorted((one for one in chains if one.seen), key=lambda one: (one.born, one.time))
        newest = max((point.moment for one in self.chains for point in one.sure), default=None)
        self.cutoff = None if newest is None else min(newest, now) - timedelta(days=policy.keep_days)
        self.stand_ins = [one for one in reversed(self.chains) if one.whole and one.sure[0].moment <= now - SETTLED]
        self.promised: dict[str, str] = {}
        passed = [one for one in chains if any(item.time in drilled for item in one.body)]
        if passed:  # even if nothing of it can be restored today: junk may make it look so
            self.promised[max(passed, key=lambda one: one.born).time] = "it is the newest chain that passed a drill"
        self._promise([one.time for one in self.chains if one.whole], [p for one in self.chains for p in one.sure])
        self._promise(
            [one.time for one in self.chains if one.looks_whole], [p for one in self.chains for p in one.seen]
        )

    def _promise(self, complete: list[str], points: list[_Point]) -> None:
        """Which chains one view (its complete chains, its points) must keep, and why; the first reason found is told."""
        keep = self.promised.setdefault
        days, count = f"{self.policy.keep_days:g}", self.policy.keep_points
        points = sorted(points)
        if complete:
            keep(complete[-1], "it is the newest complete chain")
        passed = [point for point in points if point.time in self.drilled]
        if passed:
            keep(passed[-1].chain, f"point {passed[-1].time} is the newest that passed a drill")
        for point in reversed(points):
            if self.cutoff is None or point.moment > self.cutoff:
                keep(point.chain, f"it holds points of the last {days} days")
            else:
                keep(point.chain, f"point {point.time} is what the window of {days} days starts with")
                break
        for point in points[-count:]:
            keep(point.chain, f"it holds one of the newest {count} restorable points")
        for time in complete[-self.policy.keep_chains :]:
            keep(time, f"it is one of the newest {self.policy.keep_chains} complete chains")

    def chain(self, one: _Candidate) -> list[Item]:
        """The decisions on a chain: its body, its cut off tail, leftovers in its body."""
        items: list[Item] = []
        tail = self._tail(one) if one.tail else None
        if one.body:
            drop, reason = self._body(one)
            objects = tuple(item for each in one.body for item in each.objects)
            items.append(Item("chain", one.time, drop, reason, tuple(one.body), objects, len(one.sure)))
            if not drop and not one.doubt:
                items += self._parts(one)
        return items if tail is None else [*items, tail]

    def _body(self, one: _Candidate) -> tuple[bool, str]:
        if one.doubt or one.fork:
            return False, f"it is not believed: {one.doubt or one.fork}."
        if one.time in self.promised:
            return False, f"{self.promised[one.time]}."
        newer = self._superseded(one.born, one.body)
        if newer is None or self.cutoff is None:
            return False, "no newer complete chain has held a restorable point for 48 hours."
        if youngest(one.body) > self.cutoff:
            return False, f"something in it is younger than {self.policy.keep_days:g} days."
        if any(not self._old(youngest([item])) for item in one.cut_off):
            return False, f"a set in it has no manifest, and is younger than {self.policy.incomplete_days:g} days."
        what = "superseded by" if one.sure else "nothing in it can be restored, and it is superseded by"
        return True, f"{what} chain {newer}; every promised point remains without it."

    def _superseded(self, born: datetime, sets: t.Sequence[BackupSet]) -> str | None:
        """The newest chain that may stand in for this one. Newer also by name: a backup builds on the newest name."""
        last = max(item.time for item in sets)
        return next((one.time for one in self.stand_ins if one.born > born and one.time > last), None)

    def _old(self, moment: datetime) -> bool:
        days = self.policy.incomplete_days
        return days == 0 or moment <= self.now - timedelta(days=days)

    def _tail(self, one: _Candidate) -> Item:
        objects = tuple(item for each in one.tail for item in each.objects)
        drop = self._old(youngest(one.tail)) and not one.doubt
        if one.doubt:
            reason = f"it is not believed: {one.doubt}."
        elif drop:
            reason = f"it was never finished, and nothing was added for {self.policy.incomplete_days:g} days."
        else:
            reason = f"it is not finished, and younger than {self.policy.incomplete_days:g} days."
        return Item("incomplete", one.tail[0].time, drop, reason, tuple(one.tail), objects)

    def _parts(self, one: _Candidate) -> list[Item]:
        items = []
        for each in one.body:
            parts = tuple(item for item in each.objects if (name := parse_name(item.name)) and name.partial)
            if parts and not each.gaps:
                drop = self._old(max(item.modified for item in parts))
                reason = "a crash left it beside a set." if drop else "it may be in the making."
                items.append(Item("part", each.time, drop, reason, (), parts))
        return items

    def orphans(self, group: list[BackupSet], claims: Claims, forks: t.Mapping[str, str]) -> Item:
        objects = tuple(item for each in group for item in each.objects)
        drop, reason = self._orphans(group, claims, forks.get(_group_key(group)))
        return Item("orphans", group[0].time, drop, reason, tuple(group), objects)

    def _orphans(self, group: list[BackupSet], claims: Claims, fork: str | None) -> tuple[bool, str]:
        why = doubt(group, self.now) or fork
        if why:
            self.alarms.append(f"orphaned set {group[0].time} is not believed and stays: {why}; find out who wrote it.")
            return False, f"it is not believed: {why}."
        last = youngest(group)
        if not self._old(last):
            return (
                False,
                f"nothing can be restored from it, but it is younger than {self.policy.incomplete_days:g} days.",
            )
        if any(item.time in claims for item in group) and (
            self.cutoff is None or last > self.cutoff or self._superseded(last, group) is None
        ):
            self.alarms.append(
                f"set {group[0].time} was recorded as whole and lost its base {group[0].start}: see what the store did."
            )
            return False, "it was recorded as whole and lost its base: that is damage, not a crash."
        what = "its base is gone" if any(item.manifest for item in group) else "it was never finished"
        return True, f"{what}, and nothing was added for {self.policy.incomplete_days:g} days."

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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from . import candidates, written
from .belief import doubt, youngest
from .candidates import Candidate, Claims, Recorded
from .chains import BackupSet, Collection, parse_name
from .errors import Refused
from .store import StoredObject

# what a policy must at least promise
_LEAST = {
    "keep_days": 0.0001,
    "keep_chains": 1,
    "keep_points": 1,
    "incomplete_days": 0,
    "settle_hours": 0,
    "lock_days": 0,
}


@dataclass(frozen=True)
class Policy:
    """What is promised, see the module's text. ``incomplete_days`` may be 0 for whoever knows that no backup runs, and
    ``settle_hours``, for how long a newer chain must have been restorable, be less than 48. ``lock_days`` are those for which
    the store refuses to delete a version."""

    keep_days: float = 30
    keep_chains: int = 1
    keep_points: int = 1
    incomplete_days: float = 7
    settle_hours: float = 48
    lock_days: float = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            whole = name in ("keep_chains", "keep_points")
            number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
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
        return sum(written.stored(one) for one in self.objects)


@dataclass(frozen=True)
class Plan:
    """All decisions, oldest first, and a sentence for each thing that someone should look at."""

    items: list[Item]
    alarms: list[str]

    @property
    def dropped(self) -> list[Item]:
        return [item for item in self.items if item.drop]


def decide(
    collection: Collection,
    records: t.Iterable[Recorded],
    policy: Policy,
    now: datetime,
    drilled: t.Collection[str] = (),
) -> Plan:
    """The plan for one repository. ``records`` come with the moment when the store got them first, where that is known;
    ``drilled`` are the times of points that passed a drill."""
    collection = candidates.made(collection)
    claims = candidates.claims_of(records, collection)
    groups = candidates.groups_of(collection.orphans)
    homes = candidates.homes_of(collection.chains)
    forks = candidates.forks_of(homes, groups, claims)
    chains = [candidates.candidate(chain, claims, forks, now) for chain in collection.chains]
    by_time = {one.time: one for one in chains}
    for group in groups:
        for home in homes.get(group[0].start or "", ()):
            by_time[home].guests += group
    rules = _Rules(chains, policy, now, drilled)
    items: list[Item] = []
    for one in chains:
        items += rules.chain(one)
    items += [rules.orphans(group, claims, forks) for group in groups]
    dropped = {item.time for item in items if item.drop and item.kind == "chain"}
    alarms = list(_alarms(chains, dropped)) + rules.alarms
    return Plan(sorted((rules.unlocked(item) for item in items), key=lambda item: item.time), alarms)


def _alarms(chains: t.Iterable[Candidate], dropped: t.Collection[str]) -> t.Iterator[str]:
    """What someone should look at in these chains."""
    for one in chains:
        if why := one.doubt or one.fork:
            yield f"chain {one.time} is not believed and stays: {why}; find out who wrote it."
    for one in chains:
        if one.flaw and one.time not in dropped:
            yield f"chain {one.time} is damaged: {one.flaw}; run a full backup, and see what the store did."
    for one in chains:
        changed, added = written.meddled(one.body)
        if (changed or added) and one.time not in dropped:
            yield (
                f"chain {one.time} was meddled with after it was made ({changed} object(s) written over or hidden, {added} "
                "added), and is judged as it was: find out who did it, and run playbooks/repair.yml."
            )


def _objects(sets: t.Iterable[BackupSet]) -> tuple[StoredObject, ...]:
    """All that goes with these sets, what was added to their names later included."""
    return tuple(item for each in sets for item in (*each.objects, *each.late))


class _Rules:
    """The rules over all chains of a repository."""

    def __init__(self, chains: list[Candidate], policy: Policy, now: datetime, drilled: t.Collection[str]) -> None:
        self.policy = policy
        self.now = now
        self.drilled = drilled
        self.alarms: list[str] = []
        self.chains = sorted((one for one in chains if one.seen), key=lambda one: (one.born, one.time))
        newest = max((point.moment for one in self.chains for point in one.sure), default=None)
        self.cutoff = None if newest is None else min(newest, now) - timedelta(days=policy.keep_days)
        settled = now - timedelta(hours=policy.settle_hours)
        self.stand_ins = [one for one in reversed(self.chains) if one.whole and one.sure[0].moment <= settled]
        self.promised: dict[str, str] = {}
        self._promise_drilled(chains)
        self._promise_points()
        self._promise_chains()

    def _promise_drilled(self, chains: list[Candidate]) -> None:
        """The first reason found is told, here and below."""
        passed = [one for one in chains if any(item.time in self.drilled for item in one.body)]
        if passed:  # even if nothing of it can be restored today: junk may make it look so
            self.promised[max(passed, key=lambda one: one.born).time] = "it is the newest chain that passed a drill"
        whole = [one for one in self.chains if one.whole]
        if whole:
            self.promised.setdefault(whole[-1].time, "it is the newest complete chain")
        for points in ([p for one in self.chains for p in one.sure], [p for one in self.chains for p in one.seen]):
            proven = [point for point in sorted(points) if point.time in self.drilled]
            if proven:
                self.promised.setdefault(proven[-1].chain, f"point {proven[-1].time} is the newest that passed a drill")

    def _promise_points(self) -> None:
        """From the newest point on, until there are enough that are sure. All that is passed on the way stays: so whoever
        makes a point look unsure only makes the way longer."""
        keep = self.promised.setdefault
        days, count = f"{self.policy.keep_days:g}", self.policy.keep_points
        sure = {point for one in self.chains for point in one.sure}
        counted, started = 0, False
        for point in sorted((p for one in self.chains for p in one.seen), reverse=True):
            if self.cutoff is None or point.moment > self.cutoff:
                keep(point.chain, f"it holds points of the last {days} days")
            elif not started:
                keep(point.chain, f"point {point.time} is what the window of {days} days starts with")
                started = point in sure
            elif counted < count:
                keep(point.chain, f"it holds one of the newest {count} restorable points")
            else:
                break
            counted += point in sure

    def _promise_chains(self) -> None:
        """The same for chains."""
        count = self.policy.keep_chains
        counted = 0
        for one in reversed(self.chains):
            if counted >= count:
                break
            self.promised.setdefault(
                one.time,
                f"it is one of the newest {count} complete chains"
                if one.whole
                else "too few newer chains are complete",
            )
            counted += one.whole

    def chain(self, one: Candidate) -> list[Item]:
        """The decisions on a chain: its body, its cut off tail, leftovers in its body."""
        items: list[Item] = []
        tail = self._tail(one) if one.tail else None
        if one.body:
            drop, reason = self._body(one)
            items.append(Item("chain", one.time, drop, reason, tuple(one.body), _objects(one.body), len(one.sure)))
            if not drop and not one.doubt:
                items += self._parts(one)
        return items if tail is None else [*items, tail]

    def _body(self, one: Candidate) -> tuple[bool, str]:
        if one.doubt or one.fork:
            return False, f"it is not believed: {one.doubt or one.fork}."
        if one.time in self.promised:
            return False, f"{self.promised[one.time]}."
        newer = self._superseded(one.born, one.body)
        if newer is None or self.cutoff is None:
            hours = f"{self.policy.settle_hours:g}"
            return False, f"no newer complete chain has held a restorable point for {hours} hours."
        if youngest(one.body) > self.cutoff:
            return False, f"something in it is younger than {self.policy.keep_days:g} days."
        if any(not self._old(written.touched([item])) for item in one.cut_off):
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

    def _tail(self, one: Candidate) -> Item:
        drop = self._old(written.touched(one.tail)) and not one.doubt
        if one.doubt:
            reason = f"it is not believed: {one.doubt}."
        elif drop:
            reason = f"it was never finished, and nothing was added for {self.policy.incomplete_days:g} days."
        else:
            reason = f"it is not finished, and younger than {self.policy.incomplete_days:g} days."
        return Item("incomplete", one.tail[0].time, drop, reason, tuple(one.tail), _objects(one.tail))

    def _parts(self, one: Candidate) -> list[Item]:
        items = []
        for each in one.body:
            parts = tuple(item for item in each.objects if (name := parse_name(item.name)) and name.partial)
            if parts and not each.gaps:
                drop = self._old(max(written.touched_one(item) for item in parts))
                reason = "a crash left it beside a set." if drop else "it may be in the making."
                items.append(Item("part", each.time, drop, reason, (), parts))
        return items

    def orphans(self, group: list[BackupSet], claims: Claims, forks: t.Mapping[str, str]) -> Item:
        drop, reason = self._orphans(group, claims, forks.get(candidates.group_key(group)))
        return Item("orphans", group[0].time, drop, reason, tuple(group), _objects(group))

    def unlocked(self, item: Item) -> Item:
        """The decision, unless the store would refuse it."""
        free = self.now - timedelta(days=self.policy.lock_days)
        if item.drop and self.policy.lock_days and max(written.touched_one(one) for one in item.objects) > free:
            return replace(item, drop=False, reason=f"the store locks each version for {self.policy.lock_days:g} days.")
        return item

    def _orphans(self, group: list[BackupSet], claims: Claims, fork: str | None) -> tuple[bool, str]:
        why = doubt(group, self.now) or fork
        if why:
            self.alarms.append(f"orphaned set {group[0].time} is not believed and stays: {why}; find out who wrote it.")
            return False, f"it is not believed: {why}."
        last = youngest(group)
        if not self._old(written.touched(group)):
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

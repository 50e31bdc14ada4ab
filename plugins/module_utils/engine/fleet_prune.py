# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Prune the nodes of a fleet in one bucket, by version, with the pruner's key.

Each node is judged by one listing of its corner's versions, several nodes at a time. Only if that alone says that something could
go, records and drills are read: they only ever keep more. What stays is never touched; of what goes all versions and delete
markers go that the listing showed, the oldest of each object last. A node that fails is named, and the others go on.
"""

from __future__ import annotations

import bisect
import itertools
import typing as t
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import chains, ledger, prune, record, spent
from .candidates import Recorded
from .chains import Collection
from .errors import LifeboatError, Refused
from .profile import check_name
from .prune import Items, Place, Work
from .retention import Policy
from .store import ObjectStore, StoredObject
from .written import Written, fold

WORKERS = 8
# What a hostile node may make this process hold in memory and work on. Beyond it the node is not pruned, and named.
MOST_OBJECTS = 200_000  # about 1.2 KiB each
MOST_SETS = 10_000  # and records; hourly backups for a year are less
MOST_OF_RECORDS = 64 << 20  # bytes
_BATCH = 200  # versions deleted by one call: a busy RGW took 60 ms for each, and an answer is waited for 60 s
_AHEAD = 16  # per worker: so many fates may wait for a slow node before them
_TOLD = 5
_ALARMS = 20


class Bucket(ObjectStore, t.Protocol):
    """A bucket that keeps versions."""

    def folders(self, prefix: str) -> t.Iterator[str]:
        """The names between ``prefix`` and the next slash below which there is any version or delete marker, in order."""


@dataclass(frozen=True)
class Asked:
    """A node, and what is promised for each of its profiles. ``approved`` are the decisions, as (profile, kind, time), that
    someone agreed to: nothing else goes; None if nobody was asked."""

    node: str
    policies: t.Mapping[str, Policy]
    approved: t.Collection[tuple[str, str, str]] | None = None


@dataclass(frozen=True)
class Fate:
    """What came of one node. ``plan`` has a row per decision (``{profile, kind, chain, action, reason, points, stored}``),
    ``dropped`` is in the ledger's form, ``records`` counts records and witnesses that go, ``points`` those that stay;
    ``left`` objects were to go and are still there; ``unknown`` are profiles in the store that are not asked for."""

    node: str
    plan: list[dict[str, t.Any]] = field(default_factory=list)
    dropped: list[dict[str, t.Any]] = field(default_factory=list)
    records: int = 0
    points: int = 0
    left: int = 0
    changed: bool = False
    failure: str | None = None
    alarms: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    diff: str = ""

    @property
    def bytes(self) -> int:
        return sum(item["bytes"] for item in self.dropped)

    @property
    def versions(self) -> int:
        return sum(item["versions"] for item in self.dropped)


@dataclass(frozen=True)
class _Versioned:
    """The pruner's hand: what one listing showed, and deletions by version."""

    store: ObjectStore
    found: list[Written]

    def listing(self, prefix: str) -> list[StoredObject]:
        first = bisect.bisect_left(self.found, prefix, key=lambda item: item.name)
        return list(itertools.takewhile(lambda item: item.name.startswith(prefix), self.found[first:]))

    def record(self, item: StoredObject) -> Recorded:
        return record.fetch(self.store, item.name, version_id=item.version_id), item.modified

    def delete(self, items: Items) -> list[str]:
        pairs = self._pairs(items)
        refused: list[str] = []
        while not refused and (batch := list(itertools.islice(pairs, _BATCH))):
            refused = self.store.delete_versions(batch)
        return refused

    def _pairs(self, items: Items) -> t.Iterator[tuple[str, str]]:
        for item in items:
            for version_id in item.ids if isinstance(item, Written) else ():
                yield item.name, version_id
            if isinstance(item, Written) and not item.ids:  # too many to be kept in memory
                for one in self.store.list_versions(item.name):
                    if one.name == item.name and one.modified <= item.touched:
                        yield one.name, one.version_id

    def left(self, items: Items) -> set[str]:
        """What came since the first listing is not meant."""
        wanted = {item.name: item.touched for item in items if isinstance(item, Written)}
        return {
            one.name
            for prefix in sorted({name.rpartition("/")[0] + "/" for name in wanted})
            for one in self.store.list_versions(prefix)
            if one.name in wanted and one.modified <= wanted[one.name]
        }


@dataclass
class _Corner:
    """A node's corner, sorted: ``found`` are objects of repositories, records and witnesses, in name order."""

    found: list[Written] = field(default_factory=list)
    profiles: set[str] = field(default_factory=set)
    foreign: int = 0
    examples: list[str] = field(default_factory=list)


def unknown_nodes(store: Bucket, known: t.Collection[str]) -> list[str]:
    """The nodes that the store holds and nobody knows: retired ones, or someone's."""
    return [name for name in store.folders("nodes/") if name not in known]


def run(
    store: ObjectStore,
    asked: t.Iterable[Asked],
    moment: datetime,
    *,
    check: bool = False,
    workers: int = WORKERS,
    most_objects: int = MOST_OBJECTS,
) -> t.Iterator[Fate]:
    """Prune these nodes, and tell of each in their order; with ``check`` nothing is written. ``store`` is at the bucket's
    root. No more listings than workers are held in memory, however many nodes there are, and of each not more than
    ``most_objects``."""
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[Fate]] = deque()
        for each in asked:
            under_way.append(pool.submit(_one, _Node(store, each, moment, check, most_objects)))
            if len(under_way) > _AHEAD * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _one(node: _Node) -> Fate:
    try:
        return node.fate()
    except LifeboatError as error:
        return Fate(node.asked.node, failure=str(error))


@dataclass(frozen=True)
class _Node:
    """The prune of one node."""

    store: ObjectStore
    asked: Asked
    moment: datetime
    check: bool
    most_objects: int

    def fate(self) -> Fate:
        root = f"nodes/{self.asked.node}/"
        corner = _look(self.store, root, self.most_objects)
        hand = _Versioned(self.store, corner.found)
        works = {profile: self._prepare(hand, root, profile, policy) for profile, policy in self.asked.policies.items()}
        alarms = [text for profile, work in works.items() for text in _alarms(profile, work)]
        if corner.foreign:
            alarms.append(
                f"{corner.foreign} object(s) in its corner belong to no backup and stay, the first are "
                f"{', '.join(corner.examples)}: find out who wrote them."
            )
        fate = Fate(
            self.asked.node,
            plan=[{"profile": name, **row} for name, work in works.items() for row in prune.described(work.plan)],
            dropped=[row for name, work in works.items() for row in _dropped(name, work)],
            records=sum(len(work.records) for work in works.values()),
            points=sum(item.points for work in works.values() for item in work.plan.items if not item.drop),
            alarms=alarms,
            unknown=sorted(corner.profiles - set(self.asked.policies)),
            diff="".join(prune.difference(work)["before"] for work in works.values()),
        )
        if not any(work.wanted for work in works.values()):
            return fate
        return replace(fate, changed=True) if self.check else self._carry_out(hand, works, fate)

    def _prepare(self, hand: _Versioned, root: str, profile: str, policy: Policy) -> Work:
        place = Place(f"{root}repo/{profile}/", f"{root}records/{profile}/")
        work = prune.prepare_by_listing(hand, place, policy, self.moment)
        if work is not None:
            return work
        records = hand.listing(f"{root}records/{profile}/")
        if sum(item.bytes for item in records) > MOST_OF_RECORDS or len(records) > 2 * MOST_SETS:
            raise LifeboatError(
                f"{root}records/{profile} holds more than {MOST_OF_RECORDS >> 20} MiB or {2 * MOST_SETS} objects: the node is not "
                "pruned; find out who wrote them."
            )
        agreed = self.asked.approved
        approved = None if agreed is None else {(kind, time) for name, kind, time in agreed if name == profile}
        return prune.prepare(hand, place, policy, self.moment, lambda found: self._drilled(profile, found), approved)

    def _drilled(self, profile: str, collection: Collection) -> t.Collection[str]:
        times = {item.time for chain in collection.chains for item in chain.sets}
        return ledger.passed(self.store, self.asked.node, profile, times)

    def _carry_out(self, hand: _Versioned, works: t.Mapping[str, Work], fate: Fate) -> Fate:
        """The ledger tells before and after: nothing goes without a word."""
        told: dict[str, t.Any] = {"dropped": fate.dropped, "points": fate.points, "records": fate.records}
        ledger.add(self.store, ledger.prune(self.moment, fate.node, step="begun", **told))
        try:
            return self._drop(hand, works, fate, told)
        except LifeboatError as error:  # something may have gone all the same
            return replace(fate, changed=True, failure=str(error))

    def _drop(self, hand: _Versioned, works: t.Mapping[str, Work], fate: Fate, told: dict[str, t.Any]) -> Fate:
        failure: str | None = None
        left: set[str] = set()
        wanted = {item.name for work in works.values() for item in work.wanted}
        for work in works.values():
            if failure is None:
                still, failure = prune.carry_out(hand, work)
                left |= still
            else:  # after a refusal nothing more is tried
                left |= {item.name for item in work.wanted}
        done = ledger.prune(self.moment, fate.node, step="done", left=len(left), failure=failure, **told)
        ledger.add(self.store, done)
        return replace(fate, left=len(left), changed=bool(wanted - left), failure=failure)


def _alarms(profile: str, work: Work) -> t.Iterator[str]:
    found = work.plan.alarms + work.complaints
    yield from (f"{profile}: {text}" for text in found[:_ALARMS])
    if len(found) > _ALARMS:
        yield f"{profile}: and {len(found) - _ALARMS} alarms more."


def _dropped(profile: str, work: Work) -> t.Iterator[dict[str, t.Any]]:
    for item in work.plan.dropped:
        yield {
            "profile": profile,
            "kind": item.kind,
            "chain": item.time,
            "reason": item.reason,
            "sets": len(item.sets),
            "objects": len(item.objects),
            "versions": sum(one.count if isinstance(one, Written) else 1 for one in item.objects),
            "bytes": item.stored,
        }


def _look(store: ObjectStore, root: str, most: int) -> _Corner:
    """One listing of all versions of a corner, object by object."""
    corner = _Corner()
    sets: set[str] = set()
    for item in fold(store.list_versions(root)):
        if len(corner.found) >= most or len(sets) > MOST_SETS:
            raise LifeboatError(
                f"{root} holds more than {most} objects or {MOST_SETS} sets: the node is not pruned; find out who wrote them, or "
                "raise most_objects (and volume_mib, for what is to come)."
            )
        profile = _profile_of(item.name.removeprefix(root))
        sets.add(item.name.partition("Z.")[0] if "/repo/" in item.name else "")
        if profile is None:
            corner.foreign += 1
            if corner.foreign <= _TOLD:
                corner.examples.append(repr(item.name))
        else:
            corner.profiles.add(profile)
            corner.found.append(item)
    return corner


def _profile_of(path: str) -> str | None:
    """The profile that an object of a corner belongs to, None for one that is no backup's."""
    kind, _slash, rest = path.partition("/")
    profile, _slash, name = rest.partition("/")
    try:
        check_name(profile)
    except Refused:
        return None
    known = chains.parse_name(name) is not None if kind == "repo" else kind == "records" and spent.is_one("", name)
    return profile if known else None

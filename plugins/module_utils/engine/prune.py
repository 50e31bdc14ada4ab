# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Carry out what ``retention`` decides for one repository, with a key that may delete, and prove it by a listing.

A kill at any moment leaves nothing that looks whole and is not, and the next prune finishes: first the manifests go, the
newest set's first, then the records, then the rest, the newest set's first. So an incremental never outlives its base. If
the store refuses anything, nothing more is tried.

The same steps serve a store with one key (here) and a fleet's bucket, where versions go (``fleet_prune``): they differ in the
:class:`Hand` that lists and deletes.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import chains, record, retention, spent
from .candidates import Recorded
from .chains import Collection
from .errors import LifeboatError
from .record import Record
from .result import Result
from .retention import Item, Plan, Policy
from .store import Location, ObjectStore, StoredObject, open_store
from .times import now, stamp

Items = t.Sequence[StoredObject]


class Hand(t.Protocol):
    """How a prune sees a store, and how it deletes."""

    def listing(self, prefix: str) -> list[StoredObject]:
        """All objects below a prefix, in name order."""

    def record(self, item: StoredObject) -> Recorded:
        """The record in this object, with the moment when the store got it first, where that is known."""

    def delete(self, items: Items) -> list[str]:
        """Delete these objects, in this order. Returns a sentence for each refusal."""

    def left(self, items: Items) -> set[str]:
        """The names of those that a new listing still shows."""


@dataclass(frozen=True)
class Place:
    """Where a repository lies: ``objects`` and ``records`` are prefixes in the store, the latter None outside any corner."""

    objects: str
    records: str | None


@dataclass(frozen=True)
class Plain:
    """The hand of whoever holds the one key of a store; versions are not looked at."""

    store: ObjectStore

    def listing(self, prefix: str) -> list[StoredObject]:
        return self.store.list(prefix)

    def record(self, item: StoredObject) -> Recorded:
        return record.fetch(self.store, item.name)

    def delete(self, items: Items) -> list[str]:
        return self.store.delete([item.name for item in items])

    def left(self, items: Items) -> set[str]:
        names = [item.name for item in items]
        return {item.name for prefix in _folders(names) for item in self.store.list(prefix)} & set(names)


def _folders(names: t.Iterable[str]) -> set[str]:
    return {name.rpartition("/")[0] + "/" if "/" in name else "" for name in names}


@dataclass(frozen=True)
class Work:
    """What is to be done: the plan, and the objects that go in their order: manifests, records of points, the other
    objects of sets, what is old or a leftover. ``complaints`` are sentences about records that cannot be read."""

    plan: Plan
    phases: list[list[StoredObject]]
    complaints: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> list[StoredObject]:
        return [item for items in self.phases for item in items]

    @property
    def records(self) -> list[StoredObject]:
        return [*self.phases[1], *self.phases[3]]


def prepare(
    hand: Hand,
    place: Place,
    policy: Policy,
    moment: datetime,
    drilled: t.Callable[[Collection], t.Collection[str]],
    approved: t.Collection[tuple[str, str]] | None = None,
) -> Work:
    """Judge a repository. ``drilled`` gives the times of the collection's points that passed a drill; what is not among
    ``approved``, as (kind, time), stays."""
    listing = hand.listing(place.records) if place.records else []
    collection = chains.collect(hand.listing(place.objects), place.objects)
    recorded, complaints = _read(hand, listing)
    plan = retention.decide(collection, recorded.values(), policy, moment, drilled(collection))
    if approved is not None:
        plan = Plan([_held_back(item, approved) for item in plan.items], plan.alarms)
    if place.records is None:
        return _work(place, plan, [], [], complaints)
    records = {name: one[0] if isinstance(one, tuple) else one for name, one in recorded.items()}
    points = spent.of_points(place.records, listing, records, plan)
    rest = spent.alone(place.records, listing, policy, moment)
    rest += spent.old(place.records, listing, records, plan, policy, moment)
    going = {item.name for item in points}
    return _work(place, plan, points, [item for item in rest if item.name not in going], complaints)


def _held_back(item: Item, approved: t.Collection[tuple[str, str]]) -> Item:
    if item.drop and (item.kind, item.time) not in approved:
        return replace(item, drop=False, reason="it was not in the plan that was approved.")
    return item


def prepare_by_listing(hand: Hand, place: Place, policy: Policy, moment: datetime) -> Work | None:
    """The same for a repository from which nothing can go, without reading anything; None if more must be known.
    Records and drills only ever keep more."""
    collection = chains.collect(hand.listing(place.objects), place.objects)
    plan = retention.decide(collection, (), policy, moment)
    if plan.dropped or place.records is None:
        return None
    listing = hand.listing(place.records)
    sets = [item for chain in collection.chains for item in chain.sets] + collection.orphans
    rest = spent.outlived(place.records, listing, sets, policy, moment)
    rest += spent.alone(place.records, listing, policy, moment)
    return _work(place, plan, [], rest, [])


def prepare_cleanup(hand: Hand, place: Place, policy: Policy, moment: datetime) -> Work:
    """What crashes have left, no chain and no restore point."""
    listing = hand.listing(place.records) if place.records else []
    recorded, complaints = _read(hand, listing)
    collection = chains.collect(hand.listing(place.objects), place.objects)
    plan = retention.decide(collection, recorded.values(), policy, moment)
    plan = Plan([item for item in plan.items if item.kind != "chain"], plan.alarms)
    rest = spent.alone(place.records, listing, policy, moment) if place.records else []
    return _work(place, plan, [], rest, complaints)


def _read(hand: Hand, listing: Items) -> tuple[dict[str, Recorded], list[str]]:
    """The records by object name, and a sentence for each that cannot be read."""
    records: dict[str, Recorded] = {}
    complaints: list[str] = []
    for item in listing:
        if item.name.endswith(".json"):
            try:
                records[item.name] = hand.record(item)
            except LifeboatError as error:
                complaints.append(str(error))
    return records, complaints


def order(plan: Plan) -> tuple[list[StoredObject], list[StoredObject]]:
    """The repository's objects that go: manifests, then the rest, both newest set first. Pure."""
    manifests: list[StoredObject] = []
    others: list[StoredObject] = []
    sets = [(each.time, [*each.objects, *each.late]) for item in plan.dropped for each in item.sets]
    sets += [(item.time, list(item.objects)) for item in plan.dropped if not item.sets]
    for _time, objects in sorted(sets, key=lambda pair: pair[0], reverse=True):
        for item in objects:
            name = chains.parse_name(item.name)
            (manifests if name is not None and name.part == "manifest" else others).append(item)
    return manifests, others


def _work(place: Place, plan: Plan, points: Items, rest: Items, complaints: list[str]) -> Work:
    manifests, others = ([replace(item, name=place.objects + item.name) for item in items] for items in order(plan))
    return Work(plan, [manifests, list(points), others, list(dict.fromkeys(rest))], complaints)


def carry_out(hand: Hand, work: Work) -> tuple[set[str], str | None]:
    """Delete, and list again: a store may deny a deletion and say nothing (facts: guard 18). Returns the names that are
    left, and the failure. After a refusal nothing more is tried."""
    wanted = work.wanted
    if not wanted:
        return set(), None
    refused: list[str] = []
    for items in work.phases:
        if items and not refused:
            refused = hand.delete(items)
    left = hand.left(wanted)
    many = f"{len(left)} of {len(wanted)} objects are still there"
    if refused:
        return left, f"{many}: {refused[0]}"
    if left:
        return left, f"{many}, though the store accepted the deletions: check this key's policy and the bucket's locks."
    return left, None


def run(
    repository: Location,
    corner: Location | None,
    profile: str | None,
    node: str | None,
    policy: Policy,
    *,
    drilled: t.Collection[str] = (),
    check: bool = False,
) -> Result:
    """Drop what the policy allows, with the one key of a store. ``corner`` is the node's place in the store if the
    repository lies in one; ``drilled`` are the times of points that passed a drill; with ``check`` nothing is written."""
    job = _Job("prune", node, profile if corner else None, check, now())
    hand, place = _at(repository, corner, profile)
    return job.done(hand, lambda: prepare(hand, place, policy, job.started, lambda _: drilled))


def cleanup(
    repository: Location,
    corner: Location | None,
    profile: str | None,
    node: str | None,
    *,
    incomplete_days: float = 7,
    check: bool = False,
) -> Result:
    """Drop only what crashes have left, no chain and no restore point."""
    job = _Job("cleanup", node, profile if corner else None, check, now())
    hand, place = _at(repository, corner, profile)
    return job.done(hand, lambda: prepare_cleanup(hand, place, Policy(incomplete_days=incomplete_days), job.started))


def _at(repository: Location, corner: Location | None, profile: str | None) -> tuple[Plain, Place]:
    if corner is None or profile is None:
        return Plain(open_store(repository)), Place("", None)
    return Plain(open_store(corner)), Place(f"repo/{profile}/", f"records/{profile}/")


@dataclass
class _Job:
    """One run on one repository, and what it came to."""

    operation: str
    node: str | None
    profile: str | None
    check: bool
    started: datetime

    def done(self, hand: Hand, prepared: t.Callable[[], Work]) -> Result:
        begun = time.monotonic()
        work = prepared()
        left, failure = (set[str](), None) if self.check else carry_out(hand, work)
        warnings = work.plan.alarms + work.complaints
        entry = Record(
            operation=self.operation,
            outcome="failed" if failure else "warning" if warnings else "ok",
            started=stamp(self.started),
            seconds=round(time.monotonic() - begun, 3),
            node=self.node,
            profile=self.profile,
            failure=failure,
        )
        wanted = {item.name for item in work.wanted}
        message = f"The {self.operation} failed: {failure}" if failure else self._message(work)
        extra = {"plan": described(work.plan), "diff": difference(work)}
        return Result(entry, bool(wanted - left), message, warnings=warnings, extra=extra)

    def _message(self, work: Work) -> str:
        if not work.wanted:
            return "There is nothing to drop."
        drop = "would be dropped" if self.check else "dropped"
        dropped = work.plan.dropped
        sets = sum(len(item.sets) for item in dropped)
        chains_gone = sum(item.kind == "chain" for item in dropped)
        size = sum(item.stored for item in dropped)
        points = sum(item.points for item in work.plan.items if not item.drop)
        stay = f"; {points} restore point(s) stay" if self.operation == "prune" else ""
        return f"{chains_gone} chain(s), {sets} set(s) in all, {size} bytes: {drop}{stay}."


def described(plan: Plan) -> list[dict[str, t.Any]]:
    """The plan in its JSON form."""
    return [
        {
            "kind": item.kind,
            "chain": item.time,
            "action": "drop" if item.drop else "keep",
            "reason": item.reason,
            "points": item.points,
            "stored": item.stored,
        }
        for item in plan.items
    ]


def difference(work: Work) -> dict[str, str]:
    """The diff in its JSON form: what goes, line by line."""
    lines = []
    for item in work.plan.dropped:
        lines += [
            f"{item.kind} {item.time}: {each.kind} {each.time}, {len(each.objects)} objects, {each.bytes} bytes"
            for each in item.sets
        ] or [f"{item.kind} {item.time}: {len(item.objects)} objects, {item.stored} bytes"]
    lines += [f"record {item.name}" for item in work.records]
    return {"before": "".join(f"{line}\n" for line in lines), "after": ""}

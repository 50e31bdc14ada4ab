# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Carry out what ``retention`` decides for one repository, with a key that may delete, and prove it by a listing.

A kill at any moment leaves nothing that looks whole and is not, and the next prune finishes: first the manifests go, the
newest set's first, then the records, then the rest, the newest set's first. So an incremental never outlives its base. If
the store refuses anything, nothing more is tried.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from . import chains, record, retention, spent
from .errors import LifeboatError
from .record import Record
from .result import Result
from .retention import Plan, Policy
from .store import Location, ObjectStore, StoredObject, open_store
from .times import now, stamp


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
    """Drop what the policy allows. ``corner`` is the node's place in the store if the repository lies in one; ``drilled``
    are the times of points that passed a drill; with ``check`` nothing is written anywhere."""
    return _Pruning(_Place.of(repository, corner, profile), "prune", node, policy, check).all(drilled)


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
    policy = Policy(incomplete_days=incomplete_days)
    return _Pruning(_Place.of(repository, corner, profile), "cleanup", node, policy, check).all(())


@dataclass(frozen=True)
class _Place:
    """A repository in its store: ``objects`` and ``records`` are prefixes, the latter None outside any corner."""

    store: ObjectStore
    objects: str
    records: str | None
    profile: str | None

    @classmethod
    def of(cls, repository: Location, corner: Location | None, profile: str | None) -> _Place:
        if corner is None or profile is None:
            return cls(open_store(repository), "", None, None)
        return cls(open_store(corner), f"repo/{profile}/", f"records/{profile}/", profile)


def order(plan: Plan) -> tuple[list[str], list[str]]:
    """The names of the repository's objects that go: manifests, then the rest, both newest set first. Pure."""
    manifests: list[str] = []
    others: list[str] = []
    sets = [(each.time, each.objects) for item in plan.dropped for each in item.sets]
    sets += [(item.time, list(item.objects)) for item in plan.dropped if not item.sets]
    for _time, objects in sorted(sets, key=lambda pair: pair[0], reverse=True):
        for item in objects:
            name = chains.parse_name(item.name)
            (manifests if name is not None and name.part == "manifest" else others).append(item.name)
    return manifests, others


@dataclass
class _Pruning:
    """One run."""

    place: _Place
    operation: str
    node: str | None
    policy: Policy
    check: bool

    def all(self, drilled: t.Collection[str]) -> Result:
        started, begun = now(), time.monotonic()
        listing = self.place.store.list(self.place.records) if self.place.records else []
        records, complaints = self._records(listing)
        collection = chains.collect(self.place.store.list(self.place.objects), self.place.objects)
        plan = retention.decide(collection, records.values(), self.policy, started, drilled)
        if self.operation == "cleanup":
            plan = Plan([item for item in plan.items if item.kind != "chain"], plan.alarms)
        phases = self._phases(plan, listing, records, started)
        wanted = {name for names in phases for name in names}
        left, failure = (set[str](), None) if self.check else self._carry_out(phases, wanted)
        warnings = plan.alarms + complaints
        entry = Record(
            operation=self.operation,
            outcome="failed" if failure else "warning" if warnings else "ok",
            started=stamp(started),
            seconds=round(time.monotonic() - begun, 3),
            node=self.node,
            profile=self.place.profile,
            failure=failure,
        )
        message = f"The {self.operation} failed: {failure}" if failure else self._message(plan, wanted)
        extra = _told(plan, phases[1] + phases[3])
        return Result(entry, bool(wanted - left), message, warnings=warnings, extra=extra)

    def _records(self, listing: t.Sequence[StoredObject]) -> tuple[dict[str, Record], list[str]]:
        """The records by object name, and a sentence for each that cannot be read."""
        records: dict[str, Record] = {}
        complaints: list[str] = []
        for item in listing:
            if item.name.endswith(".json"):
                try:
                    records[item.name] = record.parse(self.place.store.read(item.name), item.name)
                except LifeboatError as error:
                    complaints.append(str(error))
        return records, complaints

    def _phases(
        self, plan: Plan, listing: t.Sequence[StoredObject], records: t.Mapping[str, Record], moment: datetime
    ) -> list[list[str]]:
        """What goes, in order: manifests, records of points, the other objects of sets, what is old or a leftover."""
        manifests, others = ([self.place.objects + name for name in names] for names in order(plan))
        prefix = self.place.records
        if prefix is None:
            return [manifests, [], others, []]
        rest = spent.alone(prefix, listing, self.policy, moment)
        if self.operation == "cleanup":
            return [manifests, [], others, rest]
        points = spent.of_points(prefix, listing, records, plan)
        rest += spent.old(prefix, listing, records, plan, self.policy, moment)
        return [manifests, points, others, [name for name in dict.fromkeys(rest) if name not in points]]

    def _carry_out(self, phases: t.Sequence[t.Sequence[str]], wanted: set[str]) -> tuple[set[str], str | None]:
        """Delete, and list again: a store may deny a deletion and say nothing (facts: guard 18). Returns what is left,
        and the failure. After a refusal nothing more is tried."""
        if not wanted:
            return set(), None
        refused: list[str] = []
        for names in phases:
            if names and not refused:
                refused = self.place.store.delete(names)
        prefixes = [self.place.objects] + ([self.place.records] if self.place.records else [])
        left = {item.name for prefix in prefixes for item in self.place.store.list(prefix)} & wanted
        many = f"{len(left)} of {len(wanted)} objects are still there"
        if refused:
            return left, f"{many}: {refused[0]}"
        if left:
            return (
                left,
                f"{many}, though the store accepted the deletions: check this key's policy and the bucket's locks.",
            )
        return left, None

    def _message(self, plan: Plan, wanted: t.Collection[str]) -> str:
        if not wanted:
            return "There is nothing to drop."
        drop = "would be dropped" if self.check else "dropped"
        sets = sum(len(item.sets) for item in plan.dropped)
        chains_gone = sum(item.kind == "chain" for item in plan.dropped)
        size = sum(item.stored for item in plan.dropped)
        points = sum(item.points for item in plan.items if not item.drop)
        stay = f"; {points} restore point(s) stay" if self.operation == "prune" else ""
        return f"{chains_gone} chain(s), {sets} set(s) in all, {size} bytes: {drop}{stay}."


def _told(plan: Plan, records: t.Sequence[str]) -> dict[str, t.Any]:
    """The plan and the diff in their JSON form."""
    described = [
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
    lines = []
    for item in plan.dropped:
        lines += [
            f"{item.kind} {item.time}: {each.kind} {each.time}, {len(each.objects)} objects, {each.bytes} bytes"
            for each in item.sets
        ] or [f"{item.kind} {item.time}: {len(item.objects)} objects, {item.stored} bytes"]
    lines += [f"record {name}" for name in records]
    return {"plan": described, "diff": {"before": "".join(f"{line}\n" for line in lines), "after": ""}}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The fleet as the store shows it, held against the inventory: a node that never backed up is the worst one."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from . import chains, record, tampering
from .errors import LifeboatError
from .record import Record
from .store import Location, ObjectStore, bounded, open_store
from .tampering import Alarm
from .times import parse_stamp

_ALARMS = 20  # that a row shows
_CHANGED = 200  # records of one profile that are read in their first version
_READERS = 16  # requests under way; boto3's pool holds as many connections


@dataclass(frozen=True)
class Wanted:
    """One profile of one node that the inventory says must be backed up."""

    node: str
    profile: str


@dataclass(frozen=True)
class Corner:
    """What the store holds for one profile of a node. ``complaints`` are sentences about what cannot be read; ``alarms``,
    where the history was read, what was done to stored objects afterwards, and ``unjudged`` how many more of them changed."""

    wanted: Wanted
    records: list[Record] = field(default_factory=list)
    collection: chains.Collection = field(default_factory=lambda: chains.Collection([], [], []))
    complaints: list[str] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    unjudged: int = 0


@dataclass(frozen=True)
class Point:
    """A restore point that a drill can prove: ``bytes`` and ``files`` of the tree, ``stored`` bytes of its set."""

    node: str
    profile: str
    time: str
    chain: str
    files: int
    bytes: int
    stored: int
    age_seconds: int


@dataclass(frozen=True)
class Row:
    """One line of the fleet's status. ``state``: ok, stale, growing, failed, tampered, damaged, unreadable or never; ``reason`` is a
    sentence unless it is ok. ``age_hours`` is since the newest point, or since a later run found the source unchanged;
    ``chain_length`` counts the sets to be read for the newest point. ``alarms`` are the first of what was done to stored
    objects, whatever the state."""

    node: str
    profile: str
    state: str
    reason: str = ""
    point: str | None = None
    age_hours: float | None = None
    points: int = 0
    chain_length: int = 0
    files: int = 0
    bytes: int = 0
    stored: int = 0
    drilled: str | None = None
    alarms: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, t.Any]:
        """The row as plain data."""
        return asdict(self)


def read(location: Location, wanted: t.Sequence[Wanted], *, history: bool = False) -> list[Corner]:
    """Read the corners of all wanted profiles, several at a time. ``location`` is the bucket. With ``history`` its versions
    are listed instead of its objects, for alarms."""
    store = open_store(location)
    one = _read_history if history else _read_one
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda item: one(store, item), wanted))


def _read_history(store: ObjectStore, wanted: Wanted) -> Corner:
    try:
        prefix = f"nodes/{wanted.node}/records/{wanted.profile}/"
        kept = tampering.read(bounded(store, prefix), prefix)
        recorded, complaints = record.read_newest(store, [prefix + item.name for item in kept.current], readers=1)
        changed = [name for name in kept.changes if name.endswith(".json")][:_CHANGED]
        versions = {prefix + name: kept.original[name].version_id for name in changed}
        originals = record.read_these(store, versions, readers=1)[0]
        prefix = f"nodes/{wanted.node}/repo/{wanted.profile}/"
        repository = tampering.read(bounded(store, prefix), prefix)
    except LifeboatError as error:
        return Corner(wanted, complaints=[str(error)])
    trusted = {name.rpartition("/")[2]: entry for name, entry in (recorded | originals).items()}
    return Corner(
        wanted,
        sorted((entry for entry in recorded.values() if _is_own(entry, wanted)), key=lambda entry: entry.started),
        chains.collect(repository.current),
        complaints,
        tampering.alarms(repository, kept, trusted),
        kept.omitted + repository.omitted,
    )


def _read_one(store: ObjectStore, wanted: Wanted) -> Corner:
    try:
        records, complaints = record.read_all(store, f"nodes/{wanted.node}/records/{wanted.profile}/", readers=1)
        prefix = f"nodes/{wanted.node}/repo/{wanted.profile}/"
        collection = chains.collect(store.list(prefix), prefix)
    except LifeboatError as error:
        return Corner(wanted, complaints=[str(error)])
    return Corner(wanted, [entry for entry in records if _is_own(entry, wanted)], collection, complaints)


def _is_own(entry: Record, wanted: Wanted) -> bool:
    """A record that names another node or profile is not believed."""
    return entry.node == wanted.node and entry.profile == wanted.profile


def damage(corner: Corner, entry: Record) -> str | None:
    """What the store lacks of a recorded point and of the sets it builds on, or None."""
    stored = {item.name: item.bytes for chain in corner.collection.chains for one in chain.sets for item in one.objects}
    for earlier in record.points(corner.records):
        if earlier.chain == entry.chain and (earlier.set_time or "") <= (entry.set_time or ""):
            for item in earlier.objects:
                if item.name not in stored:
                    return f"{item.name} is missing"
                if stored[item.name] != item.bytes:
                    return f"{item.name} has {stored[item.name]} bytes, recorded were {item.bytes}"
    return None


def points(corner: Corner, count: int, moment: datetime) -> list[Point]:
    """The newest ``count`` recorded restore points, newest first."""
    newest = record.points(corner.records)[-count:]
    return [
        Point(
            node=corner.wanted.node,
            profile=corner.wanted.profile,
            time=entry.set_time or "",
            chain=entry.chain or "",
            files=entry.files,
            bytes=entry.bytes,
            stored=sum(item.bytes for item in entry.objects),
            age_seconds=int((moment - entry.moment).total_seconds()),
        )
        for entry in reversed(newest)
    ]


def why_short(corner: Corner, found: int, count: int) -> str:
    """Why there are fewer restore points to drill than were asked for, as a sentence."""
    if corner.complaints:
        return corner.complaints[0]
    if found:
        return f"it has {found} restore point(s), asked for were {count}."
    return "no backup was ever recorded: is it rolled out, is its timer active?"


def drilled(entries: t.Iterable[t.Mapping[str, t.Any]]) -> dict[Wanted, str]:
    """The newest restore point of each profile that passed a drill, from the ledger's drill entries."""
    newest: dict[Wanted, str] = {}
    for entry in entries:
        if entry["verdict"] == "passed" and entry["point"]:
            key = Wanted(entry["node"], entry["profile"])
            newest[key] = max(entry["point"], newest.get(key, ""))
    return newest


def _covered(records: t.Iterable[Record], newest: Record) -> datetime:
    """Until when a restore of the newest point gives the source's state: a later run may have found it unchanged."""
    looks = (r for r in records if r.operation == "backup" and r.outcome == "ok" and r.mode is None)
    return max([newest.moment, *(parse_stamp(r.started) for r in looks if r.set_time == newest.set_time)])


def status(
    corner: Corner,
    moment: datetime,
    rpo_hours: float,
    drilled: str | None = None,
    accepted: datetime | None = None,
) -> Row:
    """Judge one profile of one node. ``drilled``: time of the newest point that passed a drill. What was done to stored
    objects until ``accepted`` is no alarm any more."""
    row = _judged(corner, moment, rpo_hours, drilled)
    alarms = [item for item in corner.alarms if accepted is None or item.time > accepted]
    if not alarms and not corner.unjudged:
        return row
    row = replace(row, alarms=[item.to_dict() for item in alarms[:_ALARMS]])
    if row.state in ("damaged", "unreadable"):  # says what is lost now
        return row
    return replace(row, state="tampered", reason=tampering.advice(alarms, corner.wanted.node, corner.unjudged))


def _judged(corner: Corner, moment: datetime, rpo_hours: float, drilled: str | None) -> Row:
    wanted = corner.wanted
    recorded = record.points(corner.records)
    row = Row(wanted.node, wanted.profile, "never", drilled=drilled, points=len(recorded))
    if corner.complaints and not recorded:
        return replace(row, state="unreadable", reason=corner.complaints[0])
    last = max((r for r in corner.records if r.operation == "backup"), key=lambda r: r.started, default=None)
    if not recorded:
        why = (
            f"its last run failed: {last.failure or 'the restore point that it names has no record; run a full.'}"
            if last
            else "no backup was ever recorded: is it rolled out, is its timer active?"
        )
        return replace(row, state="failed" if last else "never", reason=why)
    newest = recorded[-1]
    age = (moment - _covered(corner.records, newest)).total_seconds() / 3600
    chain_length = sum(1 for entry in recorded if entry.chain == newest.chain)
    stored = sum(item.bytes for chain in corner.collection.chains for one in chain.sets for item in one.objects)
    row = replace(
        row,
        state="ok",
        point=newest.set_time,
        age_hours=round(age, 2),
        chain_length=chain_length,
        files=newest.files,
        bytes=newest.bytes,
        stored=stored,
    )
    lost = damage(corner, newest)
    if lost:
        return replace(row, state="damaged", reason=f"{lost}: the next run makes a new full; find out who deleted it.")
    if age > rpo_hours:
        return replace(
            row,
            state="stale",
            reason=f"its newest restore point is {age:.0f} h old, allowed are {rpo_hours:g} h.",
        )
    if last is not None and last.outcome == "failed":
        return replace(row, state="failed", reason=f"its last run failed: {last.failure}")
    if age < -1:
        return replace(
            row,
            state="damaged",
            reason=f"its newest restore point lies {-age:.0f} h in the future: check the node's clock.",
        )
    return row

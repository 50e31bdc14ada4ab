# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Object names of a repository -> sets and chains, without decrypting anything. Pure.

Names are those of duplicity 3.2.1's ``file_naming`` (long form, which it has written by default since 0.5).
"""

from __future__ import annotations

import bisect
import itertools
import re
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime

from .errors import LifeboatError
from .store import StoredObject
from .times import parse_stamp

_TIME = r"[0-9]{8}T[0-9]{6}Z"
_NAME = re.compile(
    rf"duplicity-(?:"
    rf"(?P<full>full|full-signatures)\.(?P<time>{_TIME})"
    rf"|(?P<inc>inc|new-signatures)\.(?P<start>{_TIME})\.to\.(?P<end>{_TIME})"
    rf")\.(?:vol(?P<volume>[0-9]+)\.difftar|(?P<manifest>manifest)|(?P<signature>sigtar))(?P<part>\.part)?(?:\.(?:gpg|gz))?"
)


@dataclass(frozen=True)
class ObjectName:
    """What an object's name says: the set it belongs to and which part of it this is."""

    kind: str  # full | incremental
    start: str | None  # the set an incremental builds on
    time: str
    part: str  # volume | manifest | signature
    volume: int = 0
    partial: bool = False


def parse_name(name: str) -> ObjectName | None:
    """The parts of a repository object's name, or None for anything else."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    signature = bool(match["signature"])
    if signature != ((match["full"] or match["inc"]).endswith("signatures")):
        return None
    kind = "full" if match["full"] else "incremental"
    part = "volume" if match["volume"] else "manifest" if match["manifest"] else "signature"
    try:
        for text in (match["time"], match["start"], match["end"]):
            if text:
                parse_stamp(text)
    except ValueError:
        return None
    return ObjectName(
        kind,
        match["start"],
        match["time"] or match["end"],
        part,
        int(match["volume"] or 0),
        bool(match["part"]),
    )


@dataclass
class BackupSet:
    """One full or one incremental, as far as it is stored. ``late`` are objects of its names that came after it was whole:
    no part of it (see ``written``)."""

    kind: str
    start: str | None
    time: str
    volumes: set[int] = field(default_factory=set)
    manifest: bool = False
    signature: bool = False
    objects: list[StoredObject] = field(default_factory=list)
    late: list[StoredObject] = field(default_factory=list)

    def add(self, item: StoredObject, name: ObjectName) -> None:
        """Count an object in. A ``.part`` never completes a set."""
        self.objects.append(item)
        if name.partial:
            return
        if name.part == "volume":
            self.volumes.add(name.volume)
        elif name.part == "manifest":
            self.manifest = True
        else:
            self.signature = True

    @property
    def gaps(self) -> list[str]:
        """What is visibly missing. Volumes lost at the end only show against a record or the manifest."""
        # a name may claim any number: stop at the first few that are missing
        numbers = (n for n in range(1, max(self.volumes, default=0) + 1) if n not in self.volumes)
        missing = [f"volume {n}" for n in itertools.islice(numbers, 5)]
        if not self.volumes:
            missing.append("every volume")
        if not self.manifest:
            missing.append("the manifest")
        if not self.signature:
            missing.append("the signatures")
        return missing

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.objects)

    @property
    def moment(self) -> datetime:
        return parse_stamp(self.time)


@dataclass
class Chain:
    """A full and the incrementals that build on it, oldest first."""

    sets: list[BackupSet]

    @property
    def time(self) -> str:
        return self.sets[0].time

    @property
    def points(self) -> list[BackupSet]:
        """The restore points: sets that are whole, up to the first gap."""
        good: list[BackupSet] = []
        for item in self.sets:
            if item.gaps:
                break
            good.append(item)
        return good


@dataclass
class Collection:
    """All chains of a repository (oldest first), and what belongs to none."""

    chains: list[Chain]
    orphans: list[BackupSet]
    foreign: list[str]

    @property
    def points(self) -> list[BackupSet]:
        return sorted((point for chain in self.chains for point in chain.points), key=lambda item: item.time)


def collect(objects: t.Iterable[StoredObject], prefix: str = "") -> Collection:
    """Sort a listing into chains; ``prefix`` is the part of its names that lies before the repository's own.

    ``.part`` objects mark a set as unfinished: they never complete it.
    """
    sets: dict[tuple[str, str | None, str], BackupSet] = {}
    foreign: list[str] = []
    for listed in objects:
        item = replace(listed, name=listed.name.removeprefix(prefix))
        name = parse_name(item.name)
        if name is None:
            foreign.append(item.name)
            continue
        key = (name.kind, name.start, name.time)
        sets.setdefault(key, BackupSet(name.kind, name.start, name.time)).add(item, name)
    return _link(list(sets.values()), foreign)


def _link(sets: list[BackupSet], foreign: list[str]) -> Collection:
    chains = [Chain([item]) for item in sorted(sets, key=lambda item: item.time) if item.kind == "full"]
    ends = {chain.time: [number] for number, chain in enumerate(chains)}  # last set -> the chains that end with it
    orphans: list[BackupSet] = []
    solid = _solid(sets)
    # what a crash cut off takes no other set's place: where versions are kept, it is seen after its clean-up, too
    increments = (item for item in sets if item.kind == "incremental")
    for item in sorted(increments, key=lambda item: (item.time not in solid, item.start or "", item.time)):
        if homes := ends.get(item.start or ""):
            home = homes.pop(0)
            chains[home].sets.append(item)
            bisect.insort(ends.setdefault(item.time, []), home)
        else:
            orphans.append(item)
    return Collection(chains, orphans, foreign)


def _solid(sets: t.Collection[BackupSet]) -> set[str]:
    """The times of the sets that have a manifest, and of those that such a set builds on."""
    starts: dict[str, list[str]] = {}
    for item in sets:
        starts.setdefault(item.time, []).extend([item.start] if item.start else [])
    solid: set[str] = set()
    pending = [item.time for item in sets if item.manifest]
    while pending:
        time = pending.pop()
        if time not in solid:
            solid.add(time)
            pending += starts.get(time, ())
    return solid


def choose_point(collection: Collection, moment: datetime | None) -> tuple[Chain, BackupSet]:
    """The newest restore point not after ``moment`` (newest of all if None) and its chain.

    A damaged newer set is never passed over in silence: it is an error that names what is missing.
    """
    candidates = [
        (chain, item) for chain in collection.chains for item in chain.sets if moment is None or item.moment <= moment
    ]
    if not candidates:
        first = min((chain.time for chain in collection.chains), default=None)
        if first is None:
            raise LifeboatError("the repository holds no backup: check the target, or run a backup first.")
        raise LifeboatError(f"there is no restore point that old: the oldest is {first}.")
    chain, chosen = max(candidates, key=lambda pair: pair[1].time)
    newer = [one for one in collection.orphans if one.time > chosen.time and (moment is None or one.moment <= moment)]
    if newer:
        raise LifeboatError(
            f"restore point {newer[-1].time} cannot be restored: set {newer[0].start}, which it builds on, is gone; "
            f"ask for a time not after {chosen.time}."
        )
    for item in chain.sets:
        if item.gaps and item.time <= chosen.time:
            older = [point.time for point in collection.points if point.time < item.time]
            advice = f"the newest whole one before it is {older[-1]}" if older else "no older one is whole"
            raise LifeboatError(
                f"restore point {chosen.time} cannot be restored: set {item.time} lacks {', '.join(item.gaps)}; "
                f"{advice}."
            )
    return chain, chosen

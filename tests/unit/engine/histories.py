# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Invented histories of a repository for the tests of retention: what was run each day, and what the store then holds.

Nothing here uses the engine's idea of sets and chains: this is the side of the oracle.
"""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import stamp

START = datetime(2026, 1, 1, 2, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@dataclass
class Made:
    """One set as it was made: ``chain`` is the time of its full, ``lost`` its objects that the store no longer holds."""

    chain: str
    start: str | None
    time: str
    objects: list[StoredObject]
    finished: bool = True
    recorded: bool = True
    lost: set[str] = field(default_factory=set)

    @property
    def moment(self) -> datetime:
        return max(item.modified for item in self.objects)


def make(moment: datetime, base: Made | None = None, *, volumes: int = 2, finished: bool = True) -> Made:
    """A set that began then and took a minute for each object."""
    time, start = stamp(moment), base.time if base else None
    middle = f"inc.{start}.to.{time}" if start else f"full.{time}"
    names = [f"duplicity-{middle}.vol{number}.difftar.gpg" for number in range(1, volumes + 1)]
    if finished:
        names.append(
            f"duplicity-{middle.replace('full.', 'full-signatures.').replace('inc.', 'new-signatures.')}.sigtar.gpg"
        )
        names.append(f"duplicity-{middle}.manifest.gpg")
    objects = [
        StoredObject(name, 100 + number, moment + timedelta(minutes=number)) for number, name in enumerate(names, 1)
    ]
    return Made(base.chain if base else time, start, time, objects, finished, recorded=finished)


@dataclass
class History:
    """All that was made, oldest first, and what else lies there."""

    sets: list[Made] = field(default_factory=list)
    junk: list[StoredObject] = field(default_factory=list)
    now: datetime = START

    @property
    def objects(self) -> list[StoredObject]:
        real = [item for made in self.sets for item in made.objects if item.name not in made.lost]
        return sorted([*real, *self.junk], key=lambda item: item.name)

    @property
    def records(self) -> list[Record]:
        found = []
        for made in self.sets:
            if made.recorded:
                claimed = [Object(item.name, item.bytes, "") for item in made.objects]
                mode = "incremental" if made.start else "full"
                entry = Record("backup", "ok", made.time, 60, "n", "site", mode, made.time, made.chain)
                entry.objects.extend(claimed)
                found.append(entry)
        return found

    def points(self) -> list[Made]:
        """What can be restored: it and all that it builds on is whole."""
        good: dict[str, Made] = {}
        for made in self.sets:  # a base comes before what builds on it
            if made.finished and not made.lost and (made.start is None or made.start in good):
                good[made.time] = made
        return list(good.values())

    def members(self, chain: str) -> list[Made]:
        return [made for made in self.sets if made.chain == chain]

    def without(self, names: t.Collection[str]) -> History:
        """What is left when these objects are gone. A half deleted set is not allowed."""
        left = History(now=self.now, junk=[item for item in self.junk if item.name not in names])
        for made in self.sets:
            present = {item.name for item in made.objects} - made.lost
            assert present <= set(names) or not present & set(names), "a set was cut in two"
            if present - set(names):
                left.sets.append(made)
        return left


@dataclass(frozen=True)
class Luck:
    """How often, of a hundred days, something goes wrong; ``period`` is the days from full to full."""

    period: int = 7
    missed: int = 0
    crashed: int = 0
    damaged: int = 0
    unrecorded: int = 0


def run(days: int, luck: Luck, dice: random.Random) -> History:
    """Nightly backups with jitter; after a crash or a damage that shows, a new full is made, as our engine does."""
    history = History()
    last: Made | None = None
    full_made = START - 1000 * DAY
    for day in range(days):
        moment = START + day * DAY + timedelta(minutes=dice.randrange(0, 90))
        history.now = moment + timedelta(hours=1)
        if dice.randrange(100) < luck.missed:
            continue
        full = last is None or moment - full_made > timedelta(days=luck.period - 0.5)
        finished = dice.randrange(100) >= luck.crashed
        made = make(moment, None if full else last, volumes=dice.randrange(1, 4), finished=finished)
        history.sets.append(made)
        if made.start is None and finished:
            full_made = moment
        if finished and dice.randrange(100) < luck.unrecorded:
            made.recorded = False
        if finished and dice.randrange(100) < luck.damaged:
            # without a record a lost last volume shows nowhere, and a lost manifest looks like a crash
            made.lost.add(dice.choice(made.objects if made.recorded else made.objects[-2:-1]).name)
        last = made if finished and not made.lost else None
    history.now += timedelta(hours=dice.randrange(0, 72))
    return history


def nightly(whole: History, prune: t.Callable[[History], History]) -> t.Iterator[tuple[History, History]]:
    """The same history with a prune at noon of every day: what was ever made by then, and what is left after the prune."""
    made: list[Made] = []
    left: list[Made] = []
    coming = list(whole.sets)
    noon = START + timedelta(hours=10)
    while noon < whole.now:
        new = [one for one in coming if one.moment < noon]
        del coming[: len(new)]
        made += new
        left = prune(History([*left, *new], now=noon)).sets
        yield History(list(made), now=noon), History(left, now=noon)
        noon += DAY

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What root on a node can do to its corner of a bucket, for the tests of retention: put, put over, hide, forge. It can not delete a
version, nor write into the past. Sets that were made before it came are honest; all it does comes later."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import strategies as st
from tests.unit.engine.histories import DAY, History, Made, make

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, written
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import stamp
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version, ordered

HOUR = timedelta(hours=1)
ADDED = ["vol{}.difftar.gpg", "vol{}.difftar.gz", "manifest.gz", "manifest", "vol{}.difftar.part", "sigtar.gz"]


@dataclass
class Bucket:
    """The versions of one repository, and the records as the store got them first."""

    versions: list[Version] = field(default_factory=list)
    records: list[tuple[Record, datetime]] = field(default_factory=list)

    def put(self, name: str, moment: datetime, size: int = 1, *, marker: bool = False) -> None:
        self.versions.append(Version(name, f"v{len(self.versions)}", moment, 0 if marker else size, marker=marker))

    def collection(self) -> chains.Collection:
        return chains.collect(written.fold(ordered(self.versions)))

    def copy(self) -> Bucket:
        return Bucket(list(self.versions), list(self.records))


def honest(history: History) -> Bucket:
    """What an honest node left: what a crash cut off was cleared away by the next run, so it lies below delete markers."""
    bucket = Bucket()
    for made in history.sets:
        for item in made.objects:
            if item.name not in made.lost:
                bucket.put(item.name, item.modified, item.bytes)
                if not made.finished:
                    bucket.put(item.name, made.moment + 20 * HOUR, marker=True)
    for entry in history.records:
        (made,) = (one for one in history.sets if one.time == entry.set_time)
        bucket.records.append((entry, made.moment + HOUR / 4))
    return bucket


@dataclass
class Attack:
    """What is drawn, carried out on a copy of an honest bucket. ``sets`` are the fakes, ``complete`` those that look whole."""

    history: History
    bucket: Bucket
    draw: t.Callable[..., t.Any]
    since: datetime
    sets: list[Made] = field(default_factory=list)
    complete: list[Made] = field(default_factory=list)

    def looks_whole(self) -> bool:
        """Whether there is a set that looks whole and is no honest one."""
        real = {(made.start, made.time) for made in self.history.sets if made.finished}
        found = self.bucket.collection()
        sets = [item for chain in found.chains for item in chain.sets] + found.orphans
        return any(not item.gaps and (item.start, item.time) not in real for item in sets)

    def moment(self) -> datetime:
        """Some time between the break-in and now."""
        span = max(int((self.history.now - self.since) / HOUR), 0)
        return self.since + self.draw(st.integers(0, span)) * HOUR

    def victim(self) -> Made | None:
        """A set that was whole, or cut off, a day before the break-in."""
        known = [made for made in self.history.sets if made.moment + DAY < self.since]
        return self.draw(st.sampled_from(known)) if known else None

    def meddle(self) -> None:
        """Put over an object, hide it, or add a name to its set."""
        made = self.victim()
        if made is None or not made.finished:
            return
        moment, item = self.moment(), self.draw(st.sampled_from(made.objects))
        way = self.draw(st.sampled_from(["over", "same size", "hide", "add"]))
        if way == "add":
            middle = item.name.removeprefix("duplicity-").partition("Z.vol")[0].partition("Z.sigtar")[0]
            middle = middle.partition("Z.manifest")[0] + "Z."
            self.bucket.put(f"duplicity-{middle}{self.draw(st.sampled_from(ADDED)).format(99)}", moment)
        elif way == "hide":
            self.bucket.put(item.name, moment, marker=True)
        elif item.name not in made.lost:  # what never was there would be a piece that completes a set
            self.bucket.put(item.name, moment, item.bytes if way == "same size" else 7)

    def forge_record(self) -> None:
        made = self.victim()
        if made is not None:
            mode = "incremental" if made.start else "full"
            entry = Record("backup", "ok", made.time, 1, "n", "site", mode, made.time, made.chain)
            entry.objects.append(Object(self.draw(st.sampled_from(["never", made.objects[0].name])), 3, ""))
            self.bucket.records.append((entry, self.moment()))

    def fake_set(self, looks_whole: bool) -> None:
        """A full, or an incremental on any set, named for a time that may be anything, even a real set's."""
        moment = self.moment()
        base = self.draw(st.sampled_from([None, *self.history.sets, *self.sets]))
        times = [moment + self.draw(st.sampled_from([-2000, -6, -1, 0, 1500])) * DAY]
        times += [made.moment for made in self.history.sets[-3:]]
        made = make(self.draw(st.sampled_from(times)), base)
        if self.draw(st.booleans()) and self.history.sets:  # its name is another set's
            twin = self.draw(st.sampled_from(self.history.sets))
            for number, item in enumerate(made.objects):
                made.objects[number] = type(item)(item.name.replace(made.time, twin.time), item.bytes, item.modified)
            made.time = twin.time
        if not looks_whole:
            keep = self.draw(st.sets(st.integers(0, 3), min_size=1, max_size=3))
            made.objects = [item for number, item in enumerate(made.objects) if number in keep]
        for number, item in enumerate(made.objects):
            self.bucket.put(item.name, min(moment + number * HOUR / 60, self.history.now), item.bytes)
        self.sets.append(made)
        self.complete += [made] if looks_whole else []
        if self.draw(st.booleans()):
            claimed = [Object(item.name, item.bytes, "") for item in made.objects]
            entry = Record("backup", "ok", stamp(moment), 1, "n", "site", "full", None, made.time, made.chain)
            entry.objects.extend(claimed)
            self.bucket.records.append((Record(**{**entry.__dict__, "set_time": made.time}), moment))


@st.composite
def attacks(draw: t.Any, histories: st.SearchStrategy[History], *, fakes: bool) -> Attack:
    """An honest history and what was done to it. Without ``fakes`` no set is added that looks whole."""
    history: History = draw(histories)
    back = draw(st.integers(0, 60))
    since = max([history.now - back * DAY, *(made.moment for made in history.sets[:1])])
    attack = Attack(history, honest(history), draw, since)
    for _ in range(draw(st.integers(1, 6))):
        way = draw(st.sampled_from(["meddle", "meddle", "record", "pieces", *(["whole"] if fakes else [])]))
        if way == "meddle":
            attack.meddle()
        elif way == "record":
            attack.forge_record()
        else:
            attack.fake_set(way == "whole")
    return attack

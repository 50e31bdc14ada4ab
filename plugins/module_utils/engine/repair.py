# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Make current again what was current at some time: which versions must go for that. Pure; ``repairing`` carries it out.

What was written over the good version, or hides it, is removed by version id: the good one becomes the current one, with the
time at which the store got it, so that retention still believes it. What lies below it is never touched.
"""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from . import chains
from .store_base import StoredObject
from .versions import Version

BACK, NEW = "back", "new"
_MOST = 10_000  # newer versions of one object that are held in memory; the next pass sees the rest


class SetKey(t.NamedTuple):
    """What tells one set from all others; ``start`` is what an incremental builds on."""

    kind: str
    start: str | None
    time: str


@dataclass(frozen=True)
class Step:
    """One object that has changed since: ``back`` (its ``good`` version must become current) or ``new`` (it did not exist
    then, or belonged to a set that was not finished). ``newer`` are the versions and delete markers since then, newest
    first; ``count`` is how many there are, of which ``newer`` may be a part."""

    name: str
    action: str
    good: Version | None
    newer: list[Version] = field(default_factory=list)
    count: int = 0

    @property
    def shows(self) -> Version:
        """What a plain read finds now; perhaps a delete marker."""
        return self.newer[0]

    @property
    def removable(self) -> list[Version]:
        """What may go now. What is current goes last: if a lock holds bad versions below it, a good copy above them, which an
        earlier repair stored, must stay. A delete marker is never one."""
        return self.newer if self.count == 1 or self.shows.marker else self.newer[1:]

    @property
    def lies(self) -> bool:
        """Whether a plain read finds something else than the good version, or than nothing."""
        return not self.shows.same(self.good) if self.good is not None else not self.shows.marker


def finished(view: t.Iterable[StoredObject], prefix: str = "") -> set[SetKey]:
    """The sets whose manifest is in a view of that time."""
    names = (chains.parse_name(item.name.removeprefix(prefix)) for item in view)
    return {_key(name) for name in names if name is not None and name.part == "manifest" and not name.partial}


def steps(
    versions: t.Iterable[Version], moment: datetime, sets: t.Collection[SetKey], prefix: str = ""
) -> t.Iterator[Step]:
    """A listing (by name, newest first) -> what has changed since ``moment``, object by object. ``sets`` were finished then.

    An object of which only equal content was stored again is as it was. One of an unfinished set is none of those that
    come back: when a crashed backup is resumed, what was uploaded first is not what the manifest names later.
    """
    for name, group in itertools.groupby(versions, key=lambda item: item.name):
        newer, count, good = _above(group, moment)
        if not newer:
            continue
        known = chains.parse_name(name.removeprefix(prefix))
        whole = known is None or (not known.partial and _key(known) in sets)
        if good is None or good.marker or not whole:
            yield Step(name, NEW, None if good is None or good.marker else good, newer, count)
        elif count > len(newer) or not all(item.same(good) for item in newer):
            yield Step(name, BACK, good, newer, count)


def _above(group: t.Iterable[Version], moment: datetime) -> tuple[list[Version], int, Version | None]:
    """What lies above the newest version of ``moment`` or before, newest first, and how many these are; and that version."""
    newer: list[Version] = []
    count, good = 0, None
    below: list[Version] = []  # older than it by their time, and perhaps above a better one (see versions.py)
    for item in group:
        if item.modified > moment:
            gone = [item]
        elif good is None:
            good = item
            continue
        elif item.modified > good.modified:
            gone, good, below = [good, *below], item, []
        else:
            below += [item] if len(below) < _MOST else []
            continue
        count += len(gone)
        newer += gone[: max(0, _MOST - len(newer))]
    return newer, count, good


def _key(name: chains.ObjectName) -> SetKey:
    return SetKey(name.kind, name.start, name.time)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What was done to stored objects afterwards, from a listing of versions: overwrites and delete markers. Pure.

A node only ever adds. It may upload again what an unfinished set holds, and take that away after a crash; it may repeat an
upload with the same content. Anything else is an alarm: somebody used its key, or the administrator's, to change the past.
A set is finished when a record first named its object, or, without one, when its manifest was first there.
"""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from . import chains
from .record import Record
from .store_base import StoredObject
from .times import stamp
from .versions import Version

OVERWRITTEN, HIDDEN = "overwritten", "hidden"
_MOST = 50  # changes of one object that are kept, the newest ones
_MOST_OBJECTS = 2000  # objects whose changes are kept


@dataclass(frozen=True)
class Alarm:
    """``name`` was ``overwritten`` by other content, or ``hidden`` by a delete marker, at ``time`` (the store's). ``late``: the
    upload is older by its time than what it lies above; AWS dates an upload in parts by its beginning."""

    name: str
    what: str
    time: datetime
    version_id: str
    late: bool = False

    def to_dict(self) -> dict[str, str]:
        """The alarm as plain data."""
        return {"object": self.name, "what": self.what, "time": stamp(self.time), "version_id": self.version_id}


@dataclass
class History:
    """One listing: ``current`` is what a plain list shows, ``first`` when the store got the manifests and records,
    ``changes`` what was done to each object after its first version, newest first, and ``original`` that first version.
    Names are without the listing's prefix. ``omitted`` objects have changes that were too many to keep."""

    current: list[StoredObject] = field(default_factory=list)
    first: dict[str, datetime] = field(default_factory=dict)
    original: dict[str, Version] = field(default_factory=dict)
    changes: dict[str, list[Alarm]] = field(default_factory=dict)
    omitted: int = 0


def read(versions: t.Iterable[Version], prefix: str = "") -> History:
    """One pass over a listing, newest first within a name. It keeps what is current, and a bounded number of changes."""
    history = History()
    for listed, group in itertools.groupby(versions, key=lambda item: item.name):
        name = listed.removeprefix(prefix)
        changes, first = _changes(name, group, history.current)
        if first is None:
            continue
        if name.endswith(".json") or ".manifest" in name:
            history.first[name] = first.modified
        if changes and len(history.changes) < _MOST_OBJECTS:
            history.changes[name], history.original[name] = changes, first
        elif changes:
            history.omitted += 1
    return history


def _changes(name: str, group: t.Iterable[Version], current: list[StoredObject]) -> tuple[list[Alarm], Version | None]:
    """What was done to one object, newest first, and its first version. Of a row of markers the first one hid it."""
    changes: list[Alarm] = []
    marker: Version | None = None
    newer: Version | None = None

    def note(what: str, item: Version, over: Version) -> None:
        if len(changes) < _MOST:
            late = item.modified < over.modified
            changes.append(Alarm(name, what, max(item.modified, over.modified), item.version_id, late))

    for number, item in enumerate(group):
        if item.marker:
            marker = item
            continue
        if number == 0:
            current.append(StoredObject(name, item.bytes, item.modified, item.checksum))
        if newer is not None and not newer.same(item):
            note(OVERWRITTEN, newer, item)
        if marker is not None:
            note(HIDDEN, marker, item)
        marker, newer = None, item
    return changes, newer


def alarms(repository: History, records: History, recorded: t.Mapping[str, Record]) -> list[Alarm]:
    """The changes that no honest node makes, oldest first. ``recorded``: the records that can be read, in their first
    version, by their names in ``records``. So a forged one can only make a set finished earlier, never later."""
    since = _since(repository, records, recorded)
    bad = [item for changes in records.changes.values() for item in changes]
    for name, changes in records.changes.items():
        bad += _unkept(changes, records.original[name].modified)
    for name, changes in repository.changes.items():
        end = since(name)
        later = [item for item in changes if item.late or (end is not None and item.time > end)]
        bad += later
        if later and end is not None and len(later) == len(changes):
            bad += _unkept(changes, end)
    return sorted(bad, key=lambda item: (item.time, item.name))


def _since(
    repository: History, records: History, recorded: t.Mapping[str, Record]
) -> t.Callable[[str], datetime | None]:
    """A function that says when an object's set was finished; None if it was not."""
    finished: dict[str, datetime] = {}
    for name, entry in recorded.items():
        for item in entry.objects if name in records.first else ():
            finished[item.name] = min(records.first[name], finished.get(item.name, records.first[name]))
    complete: dict[tuple[str, str | None, str], datetime] = {}
    for name, moment in repository.first.items():
        found = chains.parse_name(name)
        if found is not None and found.part == "manifest" and not found.partial:
            key = (found.kind, found.start, found.time)
            complete[key] = min(moment, complete.get(key, moment))

    def since(name: str) -> datetime | None:
        if name in finished:
            return finished[name]
        found = chains.parse_name(name)
        if found is None:
            return repository.original[name].modified
        return complete.get((found.kind, found.start, found.time))

    return since


def _unkept(changes: t.Sequence[Alarm], end: datetime) -> list[Alarm]:
    """Of an object with more changes than are kept, the first is taken to have come as soon as the set was finished."""
    return [replace(changes[-1], time=end + timedelta(seconds=2), late=False)] if len(changes) == _MOST else []


def _good_until(alarm: Alarm) -> datetime:
    """A time at which the object was good. A late upload lies above a good version that is younger than it."""
    return alarm.time + timedelta(seconds=1 if alarm.late else -1)


def advice(found: t.Sequence[Alarm], node: str, more: int = 0) -> str:
    """What a status says of these alarms, and the next step. ``more`` objects changed beside them and were not judged: there
    were too many, which is an alarm too."""
    many = len({item.name for item in found}) + more
    if not found:
        return f"{many} more stored objects were changed than are looked at: list the versions of nodes/{node}/."
    what = f"{many} stored objects were" if many > 1 else "a stored object was"
    before = stamp(min(map(_good_until, found)))
    unseen = f" {more} of them were not looked into: for those the time may be too late." if more else ""
    return (
        f"{what} overwritten or hidden, the first at {stamp(found[0].time)}: find out who did it, take away that key "
        f"(playbooks/rotate.yml), then bring back the good versions: playbooks/repair.yml -e target={node} -e as_of={before}.{unseen}"
    )

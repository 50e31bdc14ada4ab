# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""All versions of an object -> the one thing that retention judges, and a set as it was when it was made. Pure.

A node may put any object, put over any of its own, and hide them behind delete markers. It can not delete a version, nor
write one into the past. So what came first counts: an object is what was stored under its name first, and a delete marker
says nothing. A set is what lay there when its manifest came, since duplicity uploads that last: names that came later are
no part of it. So nothing that is done to a set after it was made changes what it is.
"""

from __future__ import annotations

import itertools
import typing as t
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .chains import BackupSet, parse_name
from .store import StoredObject
from .versions import Version

# How far the clocks of a store's gateways may lie apart.
SKEW = timedelta(minutes=1)
# More of one object are not held in memory: of its writes the oldest are, its version ids are asked for again.
MOST = 32


@dataclass(frozen=True)
class Written(StoredObject):
    """One object as it was written first: ``bytes``, ``modified``, ``checksum`` and ``version_id`` are of that version.

    ``touched`` is the last write or delete marker; ``ids`` are the ids of all versions and markers, newest first, or empty if
    there are more than :data:`MOST`; ``count`` how many there are and ``stored`` their bytes; ``writes`` the oldest writes,
    as (moment, bytes), oldest first; ``changed`` is the last write of other content than lay below it, or the last delete
    marker, None if there was none: an upload may be repeated."""

    touched: datetime = field(kw_only=True)
    ids: tuple[str, ...] = field(kw_only=True)
    count: int = field(kw_only=True)
    stored: int = field(kw_only=True)
    writes: tuple[tuple[datetime, int], ...] = field(kw_only=True)
    changed: datetime | None = field(kw_only=True)


def fold(versions: t.Iterable[Version]) -> t.Iterator[Written]:
    """A listing of versions, as the store gives it (by name, newest first), object by object. A name of which nothing but
    delete markers is left is none: those are for the bucket's lifecycle."""
    for name, found in itertools.groupby(versions, key=lambda item: item.name):
        ids: list[str] = []
        writes: deque[Version] = deque(maxlen=MOST)
        count, stored = 0, 0
        last: datetime | None = None
        changed: datetime | None = None
        above: Version | None = None
        for item in found:
            if above is not None and not above.same(item):
                changed = above.modified if changed is None else max(changed, above.modified)
            above = item
            last = item.modified if last is None else max(last, item.modified)
            count += 1
            stored += item.bytes
            if count <= MOST:
                ids.append(item.version_id)
            if not item.marker:
                writes.append(item)
        if not writes or last is None:
            continue
        first = min(reversed(writes), key=lambda one: one.modified)
        yield Written(
            name,
            first.bytes,
            first.modified,
            first.checksum,
            first.version_id,
            touched=last,
            ids=tuple(ids) if count <= MOST else (),
            count=count,
            stored=stored,
            writes=tuple((one.modified, one.bytes) for one in reversed(writes)),
            changed=changed,
        )


def touched(sets: t.Iterable[BackupSet]) -> datetime:
    """When something was last written or hidden of these sets, what is no part of them included."""
    return max(touched_one(item) for each in sets for item in (*each.objects, *each.late))


def touched_one(item: StoredObject) -> datetime:
    """The same of one object; where no versions are kept, its time."""
    return item.touched if isinstance(item, Written) else item.modified


def stored(item: StoredObject) -> int:
    """What goes with it, in bytes: all its versions."""
    return item.stored if isinstance(item, Written) else item.bytes


def had(item: StoredObject, size: int, moment: datetime) -> bool:
    """Whether a version of that size was there by then; where no versions are kept, whether it has that size."""
    if not isinstance(item, Written):
        return item.bytes == size
    return any(size == written and when <= moment + SKEW for when, written in item.writes)


def as_made(item: BackupSet) -> BackupSet:
    """The set as it was when its manifest came, the rest in ``late``. If it was not whole then and is now (a repository
    that was copied object by object), it is all that is there."""
    moments = [one.modified for one in item.objects if _is_manifest(one)]
    if not moments:
        return item
    until = min(moments) + SKEW
    made = BackupSet(item.kind, item.start, item.time)
    for one in item.objects:
        name = parse_name(one.name)
        if name is not None and one.modified <= until:
            made.add(one, name)
        else:
            made.late.append(one)
    return made if made.late and (item.gaps or not made.gaps) else item


def _is_manifest(item: StoredObject) -> bool:
    name = parse_name(item.name)
    return name is not None and name.part == "manifest" and not name.partial


def meddled(sets: t.Iterable[BackupSet]) -> tuple[int, int]:
    """How many objects of these sets were written over or hidden after their set was whole, and how many names were added
    to them since."""
    changed = added = 0
    for each in sets:
        moments = [one.modified for one in each.objects if _is_manifest(one)]
        if moments:
            whole = min(moments) + SKEW
            changed += sum(
                isinstance(one, Written) and one.changed is not None and one.changed > whole for one in each.objects
            )
            added += len(each.late)
    return changed, added

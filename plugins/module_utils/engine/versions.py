# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The versions that a bucket keeps of each object, and what was current at some time. Pure.

Time is the store's LastModified, which no node chooses; but AWS says of an upload in parts when it was begun. So a version may
lie above one that is younger by its time: such a one was never current at a time before it was completed, and is not believed
to have been.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from .store_base import StoredObject


@dataclass(frozen=True)
class Version:
    """One version of an object, or a delete marker: ``name`` relative to the store's root, ``modified`` is LastModified
    (UTC), ``checksum`` as in a :class:`StoredObject`; ``latest`` is what a plain read finds."""

    name: str
    version_id: str
    modified: datetime
    bytes: int = 0
    checksum: str = ""
    marker: bool = False
    latest: bool = False

    def same(self, other: Version) -> bool:
        """Whether both have the same content, as far as a listing tells."""
        return (self.marker, self.bytes, self.checksum) == (other.marker, other.bytes, other.checksum)

    @property
    def stored(self) -> StoredObject:
        return StoredObject(self.name, self.bytes, self.modified, self.checksum, self.version_id)


def ordered(versions: t.Iterable[Version]) -> list[Version]:
    """Name order, newest first within a name, as a bucket lists them. At the same time the latest is the newer one, and a
    delete marker the older: of what cannot be told, the reading that loses nothing."""
    newest_first = sorted(versions, key=lambda item: (item.latest, item.modified, not item.marker), reverse=True)
    return sorted(newest_first, key=lambda item: item.name)


def as_of(versions: t.Iterable[Version], moment: datetime | None) -> list[StoredObject]:
    """What was current at ``moment`` (None: what is now), in name order, each with its version id.

    What a delete marker hid then is left out. ``versions`` come newest first within a name; only the names that are found
    are kept in memory.
    """

    def rank(item: Version) -> tuple[bool, datetime]:
        return moment is None and item.latest, item.modified

    found: dict[str, Version] = {}
    for item in versions:
        best = found.get(item.name)
        if (moment is None or item.modified <= moment) and (best is None or rank(item) > rank(best)):
            found[item.name] = item
    return [found[name].stored for name in sorted(found) if not found[name].marker]

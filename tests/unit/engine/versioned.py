# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A bucket with versions, in memory: what the engine needs of one, for tests of what it decides."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Sentences, StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version, as_of

MONDAY = datetime(2026, 11, 23, tzinfo=timezone.utc)


def at(hours: float) -> datetime:
    """So many hours after Monday began."""
    return MONDAY + timedelta(hours=hours)


@dataclass
class Bucket:
    """Versions by name, oldest first. ``locked`` are version ids that may not be deleted, ``clock`` the time of the next
    write, in hours."""

    kept: dict[str, list[Version]] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    clock: float = 0
    calls: list[tuple[str, t.Any]] = field(default_factory=list)

    def put(self, name: str, data: bytes, hours: float) -> str:
        return self._add(name, hours, data)

    def hide(self, name: str, hours: float) -> str:
        return self._add(name, hours, None)

    def _add(self, name: str, hours: float, data: bytes | None) -> str:
        version = f"v{sum(len(found) for found in self.kept.values()) + 1}-{len(self.calls)}"
        checksum = "" if data is None else f"etag:{hashlib.md5(data, usedforsecurity=False).hexdigest()}"
        made = Version(name, version, at(hours), len(data or b""), checksum, marker=data is None)
        self.kept.setdefault(name, []).append(made)
        self.data[version] = data or b""
        return version

    def list_versions(self, prefix: str = "") -> t.Iterator[Version]:
        self.calls.append(("list_versions", prefix))
        for name in sorted(self.kept):
            if name.startswith(prefix):
                found = self.kept[name]
                for item in reversed(found):
                    yield replace(item, latest=item is found[-1])

    def list(self, prefix: str = "") -> list[StoredObject]:
        return [replace(item, version_id=None) for item in as_of(self.list_versions(prefix), None)]

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        self.calls.append(("stream", (name, version_id)))
        found = [item for item in self.kept.get(name, []) if version_id in (None, item.version_id)]
        if not found or found[-1].marker:
            raise LifeboatError(f"{name} is not there.")
        yield self.data[found[-1].version_id][start:end]

    def read(self, name: str) -> bytes:
        return b"".join(self.stream(name))

    def stat(self, name: str) -> StoredObject | None:
        found = self.kept.get(name)
        return found[-1].stored if found and not found[-1].marker else None

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        self.calls.append(("write", name))
        self.put(name, data, self.clock)
        return self.kept[name][-1].stored

    def delete(self, names: Sequence[str]) -> Sentences:
        for name in names:
            self.hide(name, self.clock)
        return []

    def copy_version(self, name: str, version_id: str) -> None:
        self.calls.append(("copy_version", (name, version_id)))
        self.put(name, self.data[version_id], self.clock)

    def delete_versions(self, pairs: Sequence[tuple[str, str]]) -> Sentences:
        self.calls.append(("delete_versions", list(pairs)))
        refused = []
        for name, version in pairs:
            if version in self.locked:
                refused.append(f"cannot delete '{name}' (version {version}) in s3://b: Object Lock holds it.")
                continue
            kept = [item for item in self.kept.get(name, []) if item.version_id != version]
            self.kept[name] = kept
            if not kept:
                del self.kept[name]
        return refused

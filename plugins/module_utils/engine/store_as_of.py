# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A store as it was at some time: what was current then is read by its version id, whatever was written over it since."""

from __future__ import annotations

import threading
import typing as t
from datetime import datetime

from . import versions
from .errors import LifeboatError, Refused
from .store_base import ObjectStore, Sentences, StoredObject
from .times import stamp


class AsOf:
    """The view. Each folder is listed once, when something in it is first asked for."""

    def __init__(self, store: ObjectStore, moment: datetime) -> None:
        self.store, self.moment = store, moment
        self._folders: dict[str, dict[str, StoredObject]] = {}
        self._lock = threading.Lock()  # the fetcher's threads share this

    def list(self, prefix: str = "") -> list[StoredObject]:
        return versions.as_of(self.store.list_versions(prefix), self.moment)

    def list_versions(self, prefix: str = "") -> t.Iterator[versions.Version]:
        return (item for item in self.store.list_versions(prefix) if item.modified <= self.moment)

    def read(self, name: str) -> bytes:
        return b"".join(self.stream(name))

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        if version_id is None:
            found = self.stat(name)
            if found is None:
                raise LifeboatError(
                    f"the store held no {name!r} at {stamp(self.moment)}: look at another time (as_of), or at its versions."
                )
            version_id = found.version_id
        return self.store.stream(name, start, end, version_id=version_id)

    def stat(self, name: str) -> StoredObject | None:
        folder = name[: name.rfind("/") + 1]
        with self._lock:
            if folder not in self._folders:
                self._folders[folder] = {item.name: item for item in self.list(folder)}
            return self._folders[folder].get(name)

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        raise self._only_read(f"write {name}")

    def delete(self, names: t.Sequence[str]) -> Sentences:
        raise self._only_read("delete")

    def delete_versions(self, pairs: t.Sequence[tuple[str, str]]) -> Sentences:
        raise self._only_read("delete versions")

    def _only_read(self, doing: str) -> Refused:
        return Refused(f"cannot {doing}: a store as of {stamp(self.moment)} is only read; leave as_of out.")

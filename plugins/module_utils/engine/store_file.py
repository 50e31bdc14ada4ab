# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Objects in a folder on this machine."""

from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from .errors import LifeboatError, Refused
from .store_base import PIECE, Location, Sentences, StoredObject

if t.TYPE_CHECKING:
    from .versions import Version


class FileStore:
    """A folder on this machine."""

    def __init__(self, location: Location) -> None:
        self.root = Path(urlsplit(location.url).path)

    def _object(self, path: Path) -> StoredObject:
        stat = path.stat()
        modified = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
        return StoredObject(path.relative_to(self.root).as_posix(), stat.st_size, modified)

    def list(self, prefix: str = "") -> list[StoredObject]:
        if not self.root.is_dir():
            return []
        found = (self._object(path) for path in self.root.rglob("*") if path.is_file())
        return sorted((item for item in found if item.name.startswith(prefix)), key=lambda item: item.name)

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise LifeboatError(f"cannot read {self.root / name}: {error.strerror}.") from error

    def list_versions(self, prefix: str = "") -> t.Iterator[Version]:
        raise self._keeps_none()

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        if version_id is not None:
            raise self._keeps_none()
        while end is None or start < end:
            try:  # closed while a piece is out: the reader's own errors are not this file's
                with open(self.root / name, "rb", buffering=0) as handle:
                    handle.seek(start)
                    block = handle.read(PIECE if end is None else min(PIECE, end - start))
            except OSError as error:
                raise LifeboatError(f"cannot read {self.root / name}: {error.strerror}.") from error
            if not block:
                return
            start += len(block)
            yield block

    def stat(self, name: str) -> StoredObject | None:
        path = self.root / name
        if not path.is_file():
            return None
        with path.open("rb") as handle:
            digest = hashlib.sha256()
            while block := handle.read(1 << 20):
                digest.update(block)
        return replace(self._object(path), checksum=f"sha256:{digest.hexdigest()}")

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if if_absent and path.exists():
                raise LifeboatError(f"{path} exists and is never overwritten.")
            temporary = path.with_name(path.name + ".new")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            raise LifeboatError(f"cannot write {path}: {error.strerror}.") from error
        return self._object(path)

    def delete(self, names: t.Sequence[str]) -> Sentences:
        refused = []
        for name in names:
            try:
                (self.root / name).unlink(missing_ok=True)
            except OSError as error:
                refused.append(f"cannot delete {self.root / name}: {error.strerror}.")
        return refused

    def delete_versions(self, pairs: t.Sequence[tuple[str, str]]) -> Sentences:
        raise self._keeps_none()

    def _keeps_none(self) -> Refused:
        return Refused(f"{self.root} is a folder, which keeps no earlier versions: leave as_of out, or name a bucket.")

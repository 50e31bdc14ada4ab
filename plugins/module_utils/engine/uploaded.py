# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a run record says of a new set's objects: size, checksum and version id of each.

Nothing is read back for it where somebody knows already: an upload to S3 is noted by the launcher, with its version, and
the volumes of a folder have their SHA-1 in the manifest that duplicity keeps in its cache. The rest (manifest, signatures,
what an earlier, killed run had uploaded) is asked of the store.
"""

from __future__ import annotations

import glob
import json
import os
import typing as t
from concurrent.futures import ThreadPoolExecutor

from . import chains, manifest
from .errors import LifeboatError
from .record import Object
from .store import ObjectStore, StoredObject


def objects(store: ObjectStore, prefix: str, made: chains.BackupSet, journal: str, archive: str) -> list[Object]:
    """One entry per object of the set, in its order. ``journal``: the launcher's file; ``archive``: duplicity's cache of
    this repository."""
    noted = _noted(journal)
    # the launcher notes every upload to S3: without a note this is a folder, and its objects have no versions
    hashes = {} if noted else _hashes(made, archive)

    def one(stored: StoredObject) -> Object | None:
        if stored.name in noted:
            return noted[stored.name]
        name = chains.parse_name(stored.name)
        if name is not None and name.part == "volume" and name.volume in hashes:
            return Object(stored.name, stored.bytes, f"sha1:{hashes[name.volume]}", stored.version_id)
        status = store.stat(prefix + stored.name)
        return Object(stored.name, status.bytes, status.checksum, status.version_id) if status else None

    with ThreadPoolExecutor(4) as pool:  # a folder's objects are hashed, a bucket's are a round trip each
        found = list(pool.map(one, made.objects))
    return [item for item in found if item is not None]


def _noted(journal: str) -> dict[str, Object]:
    if not os.path.exists(journal):
        return {}
    with open(journal, encoding="utf-8") as handle:
        noted = (Object(**json.loads(line)) for line in handle)
        return {item.name: item for item in noted}


def _hashes(made: chains.BackupSet, archive: str) -> t.Mapping[int, str]:
    """SHA-1 by volume number, from the set's manifest in the cache; empty if that is not there or not understood."""
    for path in glob.glob(os.path.join(glob.escape(archive), f"duplicity-*{made.time}.manifest")):
        name = chains.parse_name(os.path.basename(path))
        if name is not None and (name.kind, name.start, name.time) == (made.kind, made.start, made.time):
            try:
                with open(path, "rb") as handle:
                    return {volume.number: volume.sha1 for volume in manifest.parse(handle.read())}
            except (OSError, LifeboatError):
                return {}
    return {}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a record says of a set's objects, and whom it asks."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, uploaded
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)
TIME = "20261124T000000Z"
VOLUME, MANIFEST = f"duplicity-full.{TIME}.vol1.difftar.gpg", f"duplicity-full.{TIME}.manifest.gpg"
TEXT = f"Hostname n1\nLocaldir /srv\nVolume 1:\n    StartingPath   .\n    EndingPath     b\n    Hash SHA1 {'a' * 40}\n"


class Asked:
    """A store that is asked for each object, and remembers which."""

    def __init__(self, gone: tuple[str, ...] = ()) -> None:
        self.names: list[str] = []
        self._gone = gone

    def stat(self, name: str) -> StoredObject | None:
        self.names.append(name)
        return None if name in self._gone else StoredObject(name, 7, NOW, "etag:x", "v7")


def made(*names: str) -> chains.BackupSet:
    return chains.BackupSet("full", None, TIME, objects=[StoredObject(name, 5, NOW) for name in names])


def told(store: Any, tmp_path: Path, journal: list[Object]) -> list[Object]:
    notes = tmp_path / "objects.jsonl"
    if journal:
        notes.write_text("".join(json.dumps(vars(item)) + "\n" for item in journal))
    return uploaded.objects(store, "repo/site/", made(VOLUME, MANIFEST), str(notes), str(tmp_path))


def test_what_the_launcher_noted_is_taken(tmp_path: Path) -> None:
    (tmp_path / f"duplicity-full.{TIME}.manifest").write_text(TEXT)
    noted = Object(MANIFEST, 9, "sha256:1", "v1")
    store = Asked()
    # the volume came from a run that was killed: its version is only known to the store
    assert told(store, tmp_path, [noted]) == [Object(VOLUME, 7, "etag:x", "v7"), noted]
    assert store.names == [f"repo/site/{VOLUME}"]


def test_a_folders_volumes_are_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / f"duplicity-full.{TIME}.manifest").write_text(TEXT)
    store = Asked()
    assert told(store, tmp_path, []) == [
        Object(VOLUME, 5, f"sha1:{'a' * 40}", None),
        Object(MANIFEST, 7, "etag:x", "v7"),
    ]
    assert store.names == [f"repo/site/{MANIFEST}"]


def test_without_a_manifest_the_store_is_asked(tmp_path: Path) -> None:
    for text in (None, "Hostname n1\n", TEXT.replace("Hash SHA1", "Hash MD5")):
        if text is not None:
            (tmp_path / f"duplicity-full.{TIME}.manifest").write_text(text)
        assert told(Asked(), tmp_path, [])[0] == Object(VOLUME, 7, "etag:x", "v7")


def test_the_manifest_of_another_set_does_not_count(tmp_path: Path) -> None:
    (tmp_path / f"duplicity-inc.20261123T000000Z.to.{TIME}.manifest").write_text(TEXT)
    assert told(Asked(), tmp_path, [])[0].checksum == "etag:x"


def test_an_object_that_went_is_not_told(tmp_path: Path) -> None:
    assert told(Asked(gone=(f"repo/site/{MANIFEST}",)), tmp_path, [])[1:] == []

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Fetching many objects at once: in order, within the bound, again when the way here hurt one."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fetch
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fetch import Fetcher
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject

NOW = datetime.now(timezone.utc)


class Store:
    """A store in memory that counts, and fails as often as it is told."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects, self.started = objects, list[str]()
        self.hurt: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.versions: dict[str, str] = {}

    def list(self, prefix: str = "") -> list[StoredObject]:
        return [
            StoredObject(name, len(data), NOW, version_id=self.versions.get(name))
            for name, data in self.objects.items()
        ]

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        assert version_id == self.versions.get(name)
        self.started.append(name)
        if self.broken.get(name, 0) > 0:
            self.broken[name] -= 1
            raise LifeboatError("the store does not answer.")
        data = self.objects[name]
        if self.hurt.get(name, 0) > 0:
            self.hurt[name] -= 1
            data = b"x" + data[1:]
        data = data[start:end]
        for at in range(0, len(data), 7):
            yield data[at : at + 7]


@pytest.fixture
def store() -> Store:
    return Store({f"vol{number}": b"%d" % number * 100 for number in range(10)})


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("part", [None, 7, 40])
@pytest.mark.parametrize("bound", [0, 350, 10_000])
def test_all_come_in_order_within_the_bound(store: Store, tmp_path: Path, bound: int, part: int | None) -> None:
    threads = threading.active_count()
    with Fetcher(store.stream, str(tmp_path), bound, threads=4, part=part) as fetcher:
        fetcher.want(store.list())
        for item in store.list():
            path = fetcher.take(item, sha1(store.objects[item.name]))
            assert path is not None
            assert Path(path).read_bytes() == store.objects[item.name]
            assert used(tmp_path) <= max(bound, 200)  # two always fit
            fetcher.drop(item.name)
            assert not Path(path).exists()
    assert set(store.started) == set(store.objects)
    assert len(store.started) == len(store.objects) * {None: 1, 7: 15, 40: 3}[part]
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("part", [None, 40])
def test_what_was_hurt_on_its_way_is_fetched_again(store: Store, tmp_path: Path, part: int | None) -> None:
    store.hurt["vol0"] = store.broken["vol1"] = 2
    with Fetcher(store.stream, str(tmp_path), 1000, threads=1, part=part) as fetcher:
        fetcher.want(store.list())
        for item in store.list()[:2]:
            path = fetcher.take(item, sha1(store.objects[item.name]))
            assert path is not None
            assert Path(path).read_bytes() == store.objects[item.name]


def test_an_object_that_shrank_is_told(store: Store, tmp_path: Path) -> None:
    listed = store.list()[0]
    store.objects["vol0"] = store.objects["vol0"][:-1]
    with Fetcher(store.stream, str(tmp_path), 1000, part=40) as fetcher:
        fetcher.want([listed])
        with pytest.raises(LifeboatError, match="vol0 is shorter than the store's list says: run again"):
            fetcher.take(listed)


def test_what_stays_hurt_is_told(store: Store, tmp_path: Path) -> None:
    store.hurt["vol0"] = store.broken["vol1"] = 1000
    first, second, *_rest = store.list()
    with Fetcher(store.stream, str(tmp_path), 1000) as fetcher:
        fetcher.want(store.list())
        assert fetcher.take(first, sha1(store.objects["vol0"])) is None
        with pytest.raises(LifeboatError, match="the store does not answer"):
            fetcher.take(second, "")


def test_a_file_that_cannot_be_read_back_is_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fetch, "_hash", broken)
    first, *_rest = store.list()
    with Fetcher(store.stream, str(tmp_path), 1000, part=40) as fetcher:
        fetcher.want([first])
        with pytest.raises(LifeboatError, match=r"cannot write to the spool .*: Input/output error"):
            fetcher.take(first)


def test_whoever_waits_hears_of_the_end(store: Store, tmp_path: Path) -> None:
    heard = []
    with Fetcher(store.stream, str(tmp_path), 0) as fetcher:
        fetcher.want(store.list())

        def wait() -> None:
            try:
                fetcher.take(store.list()[9])  # never comes: nobody takes those before it
            except LifeboatError as error:
                heard.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
    thread.join()
    assert heard == ["the restore was ended."]


def test_each_is_read_by_the_version_that_was_listed(store: Store, tmp_path: Path) -> None:
    store.versions["vol0"] = "v7"
    with Fetcher(store.stream, str(tmp_path), 1000) as fetcher:
        fetcher.want(store.list()[:2])
        for item in store.list()[:2]:
            assert fetcher.take(item, sha1(store.objects[item.name])) is not None

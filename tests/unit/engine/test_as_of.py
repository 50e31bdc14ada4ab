# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A repository that an intruder has overwritten comes back as of the time before, by either reader. The bucket is in
memory; molecule/default does the same against a real one."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.engine.versioned import Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import differences, spooled, store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, ObjectStore, StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import parse_stamp, stamp

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

BEFORE, AFTER = stamp(at(5)), stamp(at(7))


class Below:
    """The part of a bucket below a location's prefix."""

    def __init__(self, bucket: Bucket, location: Location) -> None:
        self.bucket, self.prefix = bucket, location.url.removeprefix("s3://b/") + "/"

    def list(self, prefix: str = "") -> list[StoredObject]:
        short = len(self.prefix)
        found = self.bucket.list(self.prefix + prefix)
        return [StoredObject(i.name[short:], i.bytes, i.modified, i.checksum, i.version_id) for i in found]

    def list_versions(self, prefix: str = "") -> t.Iterator[t.Any]:
        for item in self.bucket.list_versions(self.prefix + prefix):
            yield replace(item, name=item.name[len(self.prefix) :])

    def read(self, name: str) -> bytes:
        return self.bucket.read(self.prefix + name)

    def stream(self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None) -> t.Any:
        return self.bucket.stream(self.prefix + name, start, end, version_id=version_id)


def attack(bucket: Bucket) -> None:
    """Six hours later each third object is garbage, each third one is hidden, and a chain that never was is there."""
    for number, name in enumerate(sorted(bucket.kept)):
        if number % 3 == 0:
            bucket.put(name, b"garbage", 6)
        elif number % 3 == 1:
            bucket.hide(name, 6)
    bucket.put("nodes/node1/repo/site/duplicity-full.20300101T000000Z.vol1.difftar.gz", b"junk", 6)
    bucket.put("nodes/node1/repo/site/duplicity-full.20300101T000000Z.manifest", b"junk", 6)
    bucket.put("nodes/node1/repo/site/duplicity-full-signatures.20300101T000000Z.sigtar.gz", b"junk", 6)


@pytest.fixture
def bucket(odd: Node, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The corner of ``odd`` in a bucket, attacked. Two sets, of which the second came an hour after the first."""
    made = Bucket()
    for path in sorted(odd.corner.rglob("*")):
        if path.is_file():
            made.put(f"nodes/node1/{path.relative_to(odd.corner).as_posix()}", path.read_bytes(), 1)
    attack(made)

    def opened(location: Location) -> ObjectStore:
        return t.cast(ObjectStore, Below(made, location))

    monkeypatch.setattr(store, "S3Store", opened)
    return made


def ask(node: Node, operation: str, **values: t.Any) -> dict[str, t.Any]:
    key = {"access_key": "A", "secret_key": "B"}
    return node.ask(operation, target="s3://b/nodes/node1/repo/site", store=key, **values)


@pytest.mark.parametrize("reader", ["fast", "duplicity"])
def test_the_tree_of_before_comes_back(odd: Node, bucket: Bucket, tmp_path: Path, reader: str) -> None:
    answer = ask(odd, "restore", dest=str(tmp_path / "tree"), as_of=BEFORE, reader=reader)
    assert not answer["failed"], answer
    assert answer["record"]["as_of"] == BEFORE
    assert answer["record"]["engine"] == reader
    assert f" (the store as of {BEFORE}) to {tmp_path}/tree." in answer["msg"]
    there = odd.restore(reader=reader)
    assert differences.between(str(there), str(tmp_path / "tree")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]  # and nothing is left beside it
    proven = ask(odd, "verify", dest=str(tmp_path / "tree"), as_of=BEFORE)
    assert not proven["failed"], proven
    assert proven["record"]["as_of"] == BEFORE


def test_and_not_without_it(odd: Node, bucket: Bucket, tmp_path: Path) -> None:
    for when in ({}, {"as_of": AFTER}):
        with pytest.raises(LifeboatError):
            ask(odd, "restore", dest=str(tmp_path / "tree"), time="20261201T000000Z", **when)
    assert list(tmp_path.iterdir()) == []


def test_all_that_reads_reads_of_then(odd: Node, bucket: Bucket, tmp_path: Path) -> None:
    plain = odd.ask("info")
    known = ask(odd, "info", as_of=BEFORE)
    assert known["msg"] == f"As of {BEFORE}: {plain['msg']}"
    assert [point["time"] for point in known["points"]] == [point["time"] for point in plain["points"]]
    assert all(point["provable"] for point in known["points"])
    assert ask(odd, "info")["newest"] != plain["newest"]
    listed = ask(odd, "info", files=True, as_of=BEFORE)
    assert listed["files"] == odd.ask("info", files=True)["files"]
    scrub = ask(odd, "verify", as_of=BEFORE)
    assert not scrub["failed"], scrub
    live = ask(odd, "verify", as_of=BEFORE, compare_data=True, source=str(odd.source))
    assert live["comparison"] == odd.ask("verify", compare_data=True, source=str(odd.source))["comparison"]


def test_in_place_and_the_referee(odd: Node, bucket: Bucket, tmp_path: Path) -> None:
    answer = ask(odd, "restore", dest=str(tmp_path / "one"), as_of=BEFORE, referee=True)
    assert not answer["failed"], answer
    two = tmp_path / "two"
    two.mkdir()
    (two / "extra").touch()
    answer = ask(odd, "restore", dest=str(two), as_of=BEFORE, replace="in_place")
    assert not answer["failed"], answer
    assert differences.between(str(tmp_path / "one"), str(two)) == []
    again = ask(odd, "restore", dest=str(two), as_of=BEFORE)
    assert (again["changed"], again["failed"]) == (False, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_time_at_which_nothing_was_there(odd: Node, bucket: Bucket, tmp_path: Path) -> None:
    for early in (stamp(at(0)), "2026-11-23T00:30:00Z"):
        with pytest.raises(
            LifeboatError, match=r"the store held no backup here at 20261123T00..00Z: choose a later as_of"
        ):
            ask(odd, "restore", dest=str(tmp_path / "tree"), as_of=early)


def test_what_has_no_past_is_refused(odd: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is a folder, which keeps no earlier versions: leave as_of out"):
        odd.ask("restore", dest=str(tmp_path / "tree"), as_of=BEFORE)
    with pytest.raises(Refused, match=r"as_of 'soon' is not understood: write 20261123T021500Z"):
        odd.ask("info", as_of="soon")
    with pytest.raises(Refused, match=r"as_of 20990101T000000Z lies in the future: give the last time"):
        odd.ask("info", as_of="20990101T000000Z")
    with pytest.raises(Refused, match="operation backup does not know 'as_of'"):
        odd.ask("backup", as_of=BEFORE)


# --- the spool --------------------------------------------------------------------------------------------------------


def spool(odd: Node, room: Path) -> t.ContextManager[Location]:
    point = odd.ask("info")["newest"]
    place = Location("s3://b/nodes/node1/repo/site", as_of=parse_stamp(BEFORE), storage_class="STANDARD_IA")
    return spooled.local(place, point, str(room))


def test_a_spool_is_private_and_gone_afterwards(odd: Node, bucket: Bucket, tmp_path: Path) -> None:
    with spool(odd, tmp_path) as place:
        folder = Path(place.url.removeprefix("file://"))
        assert (place.as_of, place.storage_class) == (None, None)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            path.name: path.read_bytes() for path in odd.repository.iterdir()
        }
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_fit_is_refused_before_it_begins(
    odd: Node, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with (
        pytest.raises(Refused, match=r"fetching the chain of .* for stock duplicity needs \d+ MiB"),
        spool(odd, tmp_path),
    ):
        pass
    assert [call for call in bucket.calls if call[0] == "stream"] == []
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_ends_early_is_a_failure(odd: Node, bucket: Bucket, tmp_path: Path) -> None:
    name = next(name for name in bucket.kept if ".vol1." in name)
    bucket.data[bucket.kept[name][0].version_id] = b"short"
    with (
        pytest.raises(LifeboatError, match=r"vol1.* has 5 bytes, the store's list says \d+: run again"),
        spool(odd, tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []

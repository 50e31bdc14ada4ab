# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What was current at some time: by hand, against a model, and through the view of a store."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.versioned import Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import versions
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, ObjectStore, open_store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store_as_of import AsOf


def bucket_of(names: dict[str, list[str]]) -> Bucket:
    bucket = Bucket()
    for name, history in names.items():
        for line in history:
            hour, content = line.split()
            if content == "-":
                bucket.hide(name, float(hour))
            else:
                bucket.put(name, content.encode(), float(hour))
    return bucket


@pytest.mark.table("versions.yml", "as_of")
def test_as_of(case: dict[str, t.Any]) -> None:
    bucket = bucket_of(case["versions"])
    moment = None if case["at"] is None else at(case["at"])
    found = versions.as_of(bucket.list_versions(), moment)
    assert {item.name: bucket.data[item.version_id or ""].decode() for item in found} == case["found"]
    assert [item.name for item in found] == sorted(case["found"])


# Puts (content) and deletes (None) of three names, each some hours after the last; 0 is the same second.
HISTORIES = st.lists(
    st.tuples(st.sampled_from(["a", "a/b", "b"]), st.sampled_from([b"x", b"y", None]), st.integers(1, 3)), max_size=25
)


@given(HISTORIES, st.integers(0, 60))
def test_a_view_is_what_a_plain_listing_said_then(history: list[tuple[str, bytes | None, int]], hour: int) -> None:
    bucket, plain, now = Bucket(), dict[str, bytes](), 0
    for name, data, later in history:
        now += later
        if data is None:
            bucket.hide(name, now)
        else:
            bucket.put(name, data, now)
        if now <= hour:
            plain = {**plain, name: data} if data is not None else {n: d for n, d in plain.items() if n != name}
    view = AsOf(bucket, at(hour))
    assert {item.name: view.read(item.name) for item in view.list()} == plain
    assert {name for name in ["a", "a/b", "b"] if view.stat(name)} == plain.keys()


@given(st.permutations(range(6)))
def test_an_order_is_the_same_for_any_page(numbers: list[int]) -> None:
    """Two names, of which one was hidden and written again within a second."""
    made = [
        versions.Version("a", "4", at(2), latest=True),
        versions.Version("a", "3", at(1), checksum="etag:x"),
        versions.Version("a", "2", at(1), marker=True),
        versions.Version("a", "1", at(0)),
        versions.Version("b", "2", at(0), marker=True, latest=True),
        versions.Version("b", "1", at(0)),
    ]
    assert versions.ordered(made[number] for number in numbers) == made


# --- the view ---------------------------------------------------------------------------------------------------------


def test_a_view_reads_by_version_id_and_lists_a_folder_once() -> None:
    bucket = bucket_of({"repo/a": ["1 good", "6 bad"], "repo/b": ["1 fine"], "records/r": ["1 x"]})
    good = bucket.kept["repo/a"][0]
    view = AsOf(bucket, at(5))
    assert view.read("repo/a") == b"good"
    assert b"".join(view.stream("repo/a", 1, 3)) == b"oo"
    assert view.stat("repo/a") == good.stored
    assert view.read("repo/b") == b"fine"
    assert [what for name, what in bucket.calls if name == "list_versions"] == ["repo/"]
    assert ("stream", ("repo/a", good.version_id)) in bucket.calls
    assert [item.version_id for item in view.list_versions("repo/a")] == [good.version_id]
    with pytest.raises(LifeboatError, match="the store held no 'repo/c' at 20261123T050000Z: look at another time"):
        view.read("repo/c")
    assert view.stat("repo/c") is None


def test_a_view_is_only_read() -> None:
    bucket = bucket_of({"a": ["1 good"]})
    view: ObjectStore = AsOf(bucket, at(5))
    attempts: list[t.Callable[[], object]] = [
        lambda: view.write("a", b""),
        lambda: view.delete(["a"]),
        lambda: view.delete_versions([("a", "v1")]),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="a store as of 20261123T050000Z is only read"):
            attempt()
    assert bucket.calls == []


def test_a_folder_has_no_past(tmp_path: Path) -> None:
    plain = open_store(Location(f"file://{tmp_path}"))
    view = open_store(Location(f"file://{tmp_path}", as_of=at(0)))
    attempts: list[t.Callable[[], object]] = [
        view.list,
        lambda: view.read("x"),
        lambda: list(plain.list_versions()),
        lambda: list(plain.stream("x", version_id="v")),
        lambda: plain.delete_versions([("x", "v")]),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="is a folder, which keeps no earlier versions: leave as_of out"):
            attempt()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which versions must go so that the good ones are current again."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.test_tampering import NAMES, SHORT
from tests.unit.engine.test_versions import bucket_of
from tests.unit.engine.versioned import MONDAY, Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import repair, versions
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version


def steps(bucket: Bucket, hour: float) -> list[repair.Step]:
    sets = repair.finished(versions.as_of(bucket.list_versions(), at(hour)), "p/")
    return list(repair.steps(bucket.list_versions(), at(hour), sets, "p/"))


@pytest.mark.table("repair.yml", "steps")
def test_steps(case: dict[str, t.Any]) -> None:
    bucket = bucket_of({"p/" + NAMES[short]: lines for short, lines in case["versions"].items()})
    found = {
        SHORT[step.name.removeprefix("p/")]: [
            step.action,
            *((item.modified - MONDAY).total_seconds() / 3600 for item in step.newer),
        ]
        for step in steps(bucket, 5)
    }
    assert found == case["steps"]


HISTORIES = st.dictionaries(
    st.sampled_from(sorted(NAMES.values())), st.lists(st.sampled_from([b"x", b"y", None]), min_size=1, max_size=8)
)


@given(HISTORIES, st.integers(0, 9))
def test_after_all_steps_the_store_is_as_it_was(histories: dict[str, list[bytes | None]], hour: int) -> None:
    bucket = Bucket()
    for name, contents in histories.items():
        for number, data in enumerate(contents):
            bucket.put("p/" + name, data, number) if data is not None else bucket.hide("p/" + name, number)
    then = versions.as_of(bucket.list_versions(), at(hour))
    before = list(bucket.list_versions())
    for step in steps(bucket, hour):
        assert bucket.delete_versions([(step.name, item.version_id) for item in step.newer]) == []
    now = versions.as_of(bucket.list_versions(), None)
    assert [(item.name, item.checksum) for item in now] == [(item.name, item.checksum) for item in then]
    assert steps(bucket, hour) == []
    # nothing of that time is gone
    kept = {item.version_id for item in bucket.list_versions()}
    assert {item.version_id for item in before if item.modified <= at(hour)} <= kept


def test_a_flood_on_one_object_is_done_in_passes() -> None:
    def flood() -> t.Iterator[Version]:
        for number in range(25_000, 0, -1):
            yield Version("junk", str(number), at(6), number, latest=number == 25_000)
        yield Version("junk", "0", at(1), 5)

    (step,) = repair.steps(flood(), at(5), set())
    assert (step.action, step.count, len(step.newer)) == ("back", 25_000, 10_000)
    assert step.good is not None
    assert step.good.version_id == "0"
    assert step.lies

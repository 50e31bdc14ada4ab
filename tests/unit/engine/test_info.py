# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a repository holds, told from names, sizes and records."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, info, schedule
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import stamp

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
FULL, INC, LATER = "20261121T020000Z", "20261122T020000Z", "20261123T020000Z"


def stored(*names: str) -> list[StoredObject]:
    return [StoredObject(name, 100, NOW) for name in names]


def full(time: str, volumes: int = 2) -> list[StoredObject]:
    parts = [f"duplicity-full.{time}.vol{number}.difftar.gpg" for number in range(1, volumes + 1)]
    return stored(*parts, f"duplicity-full.{time}.manifest.gpg", f"duplicity-full-signatures.{time}.sigtar.gpg")


def incremental(start: str, time: str) -> list[StoredObject]:
    span = f"{start}.to.{time}"
    return stored(
        f"duplicity-inc.{span}.vol1.difftar.gpg",
        f"duplicity-inc.{span}.manifest.gpg",
        f"duplicity-new-signatures.{span}.sigtar.gpg",
    )


def recorded(time: str, chain: str, objects: list[StoredObject]) -> Record:
    return Record(
        "backup",
        "ok",
        time,
        1.0,
        mode="full" if time == chain else "incremental",
        set_time=time,
        chain=chain,
        files=7,
        bytes=70,
        objects=[Object(item.name, item.bytes, "sha256:0") for item in objects],
        witness=f"records/site/{time}-backup.witness.gz.gpg",
    )


def describe(objects: list[StoredObject], *records: Record) -> dict[str, t.Any]:
    return info.describe(chains.collect(objects), records, NOW, timedelta(days=7), "node1/site")


def test_an_empty_repository() -> None:
    described = describe([])
    assert (described["points"], described["newest"], described["next_full"], described["stored"]) == (
        [],
        None,
        None,
        0,
    )


def test_points_have_age_size_and_what_their_record_says() -> None:
    first, second = full(FULL), incremental(FULL, INC)
    described = describe(first + second, recorded(FULL, FULL, first))
    assert [(point["time"], point["files"], point["provable"]) for point in described["points"]] == [
        (FULL, 7, True),
        (INC, None, False),
    ]
    assert described["points"][0]["age"] == 58 * 3600
    assert described["stored"] == 700
    assert (described["oldest"], described["newest"]) == (FULL, INC)


def test_a_volume_lost_at_the_end_shows_against_the_record_only() -> None:
    whole = full(FULL, volumes=2)
    cut = [item for item in whole if ".vol2." not in item.name]
    assert describe(cut)["newest"] == FULL
    described = describe(cut + incremental(FULL, INC), recorded(FULL, FULL, whole))
    assert described["points"] == []
    assert described["chains"][0]["sets"][0]["missing"] == [f"duplicity-full.{FULL}.vol2.difftar.gpg"]
    assert described["next_full"] is None


def test_a_short_object_is_missing_too() -> None:
    whole = full(FULL)
    entry = recorded(FULL, FULL, [StoredObject(whole[0].name, 101, NOW), *whole[1:]])
    assert describe(whole, entry)["chains"][0]["sets"][0]["missing"] == [whole[0].name]


def test_orphans_and_foreign_objects_are_named() -> None:
    described = describe([*full(FULL), *incremental(INC, LATER), StoredObject("notes.txt", 1, NOW)])
    assert described["orphans"] == [f"{INC} to {LATER}"]
    assert described["foreign"] == ["notes.txt"]


@pytest.mark.parametrize("days", [1, 6.5, 7, 30])
@given(
    last=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(timezone.utc)),  # noqa: DTZ001 - hypothesis adds the zone
    key=st.text(max_size=20),
)
def test_next_full_is_the_first_moment_at_which_one_is_due(days: float, last: datetime, key: str) -> None:
    period, last = timedelta(days=days), last.replace(microsecond=0)
    due = schedule.next_full(last, period, key)
    assert last < due <= last + period + timedelta(seconds=1)
    assert schedule.full_is_due(due, last, period, key)
    assert not schedule.full_is_due(due - timedelta(seconds=2), last, period, key)


def test_a_long_chain_makes_a_full_due_at_once() -> None:
    chain = chains.collect([*full(FULL), *incremental(FULL, INC)])
    for most, due in ((0, False), (2, False), (1, True)):
        found = info.describe(chain, [], NOW, timedelta(days=3000), "node1/site", most)
        assert (found["next_full"] == stamp(NOW)) == due

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which changes of stored objects are an alarm, and that a listing of any length needs little memory."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.test_versions import bucket_of
from tests.unit.engine.versioned import MONDAY, Bucket, at

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import tampering, versions
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version

T0, T1 = "20261122T020000Z", "20261123T020000Z"
NAMES = {
    "m": f"duplicity-full.{T0}.manifest.gpg",
    "s": f"duplicity-full-signatures.{T0}.sigtar.gpg",
    "v1": f"duplicity-full.{T0}.vol1.difftar.gpg",
    "v2": f"duplicity-full.{T0}.vol2.difftar.gpg",
    "im": f"duplicity-inc.{T0}.to.{T1}.manifest.gpg",
    "is": f"duplicity-new-signatures.{T0}.to.{T1}.sigtar.gpg",
    "iv1": f"duplicity-inc.{T0}.to.{T1}.vol1.difftar.gpg",
    "r": "20261122T015959Z-backup.json",
    "ir": "20261123T015959Z-backup.json",
    "w": "20261122T015959Z-backup.witness.gz.gpg",
    "junk": "notes.txt",
}
SHORT = {name: short for short, name in NAMES.items()}


def history(given: dict[str, list[str]], prefix: str) -> tampering.History:
    bucket = bucket_of({prefix + NAMES[short]: lines for short, lines in given.items()})
    return tampering.read(bucket.list_versions(), prefix)


def entry(short: str, listed: list[str]) -> Record:
    objects = [Object(NAMES[one], 1, "") for one in listed]
    return Record("backup", "ok", T0, 1.0, "node1", "site", "full", T0, T0, objects=objects)


@pytest.mark.table("tampering.yml", "alarms")
def test_alarms(case: dict[str, t.Any]) -> None:
    repository, records = history(case["repo"], "repo/site/"), history(case.get("records", {}), "records/site/")
    recorded = {NAMES[short]: entry(short, listed) for short, listed in case.get("lists", {}).items()}
    found = tampering.alarms(repository, records, recorded)
    hours = [(item.time - MONDAY).total_seconds() / 3600 for item in found]
    assert [f"{SHORT[item.name]} {item.what} {hour:g}" for item, hour in zip(found, hours, strict=True)] == case[
        "alarms"
    ]


CONTENT = st.lists(st.sampled_from([b"x", b"y", None]), min_size=1, max_size=6)


@given(st.dictionaries(st.sampled_from(sorted(NAMES.values())), CONTENT))
def test_current_is_what_a_plain_list_shows(histories: dict[str, list[bytes | None]]) -> None:
    bucket = Bucket()
    for name, contents in histories.items():
        for hour, data in enumerate(contents):
            bucket.put(name, data, hour) if data is not None else bucket.hide(name, hour)
    found = tampering.read(bucket.list_versions())
    shown = [(item.name, item.bytes, item.checksum) for item in found.current]
    assert shown == [(item.name, item.bytes, item.checksum) for item in versions.as_of(bucket.list_versions(), None)]


@given(st.dictionaries(st.sampled_from(sorted(NAMES.values())), CONTENT))
def test_who_only_adds_is_never_accused(histories: dict[str, list[bytes | None]]) -> None:
    """Each object is written once, or again with the same content."""
    bucket = Bucket()
    for name, contents in histories.items():
        for hour in range(len(contents)):
            bucket.put(name, name.encode(), hour)
    found = tampering.read(bucket.list_versions())
    assert tampering.alarms(found, found, {}) == []


def flood(names: int, each: int) -> t.Iterator[Version]:
    for name in range(names):
        for number in range(each, 0, -1):
            yield Version(f"junk{name:06}", str(number), at(number), number)


def test_a_flood_of_versions_is_bounded() -> None:
    found = tampering.read(flood(3, 10_000))
    assert [len(changes) for changes in found.changes.values()] == [50, 50, 50]
    assert found.changes["junk000000"][0].version_id == "10000"
    many = tampering.read(flood(5_000, 2))
    assert (len(many.changes), many.omitted) == (2000, 3000)


def test_what_it_advises_under_a_flood_is_when_the_set_was_finished() -> None:
    """More overwrites of one object than are kept: the first of those that are is not the first of all."""
    flooded = {"m": ["2 a"], "v1": ["1 c", *(f"{3 + number / 100} {number}" for number in range(60))]}
    found = tampering.alarms(history(flooded, ""), tampering.History(), {})
    assert tampering.advice(found, "web1").endswith("-e as_of=20261123T020001Z.")
    assert "3 of them were not looked into" in tampering.advice(found, "web1", 3)


def test_what_it_advises_of_a_late_upload_holds_the_good_version() -> None:
    """Begun before the good version and completed after it, it lies above a younger one (AWS)."""
    found = tampering.alarms(history({"m": ["4 a"], "v1": ["2 c", "1 z"]}, ""), tampering.History(), {})
    assert [item.late for item in found] == [True]
    assert tampering.advice(found, "web1").endswith("-e as_of=20261123T020001Z.")


def test_what_it_advises() -> None:
    found = tampering.alarms(
        history({"m": ["2 a"], "v1": ["1 c", "9 z"], "v2": ["1 c", "9.5 -"]}, ""), tampering.History(), {}
    )
    assert tampering.advice(found, "web1") == (
        "2 stored objects were overwritten or hidden, the first at 20261123T090000Z: find out who did it, take away that "
        "key (playbooks/rotate.yml), then bring back the good versions: playbooks/repair.yml -e target=web1 -e "
        "as_of=20261123T085959Z."
    )
    assert tampering.advice(found[:1], "web1").startswith("a stored object was overwritten or hidden, the first at ")
    assert tampering.advice(found[:1], "web1", 7).startswith("8 stored objects were ")
    assert tampering.advice([], "web1", 3000).startswith(
        "3000 more stored objects were changed than are looked at: list"
    )
    assert found[0].to_dict() == {
        "object": NAMES["v1"],
        "what": "overwritten",
        "time": "20261123T090000Z",
        "version_id": found[0].version_id,
    }

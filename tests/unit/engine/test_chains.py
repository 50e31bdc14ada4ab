# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Names of objects -> sets and chains, against duplicity's own reading of names."""

from __future__ import annotations

import typing as t
from datetime import datetime, timezone
from itertools import pairwise

import pytest
from duplicity import config, dup_time, file_naming
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import parse_stamp, stamp

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
SECONDS = st.integers(1, 4_000_000_000)
CODING = st.sampled_from([{"encrypted": True}, {"gzipped": True}, {}])

for name in (
    "file_prefix",
    "file_prefix_archive",
    "file_prefix_manifest",
    "file_prefix_signature",
    "file_prefix_jsonstat",
):
    setattr(config, name, b"")


@pytest.mark.table("chains.yml", "names")
def test_names(case: dict[str, t.Any]) -> None:
    expected = chains.ObjectName(*case["is"]) if "is" in case else None
    assert chains.parse_name(case["name"]) == expected


@st.composite
def duplicity_names(draw: st.DrawFn) -> str:
    """A name as duplicity writes it."""
    one, two = sorted([draw(SECONDS), draw(SECONDS)])
    dup_time.setprevtime(one)
    dup_time.setcurtime(two)
    kind = draw(st.sampled_from(["full", "inc", "full-sig", "new-sig"]))
    coding = draw(CODING)
    if kind.endswith("-sig"):
        return file_naming.get(kind, partial=draw(st.booleans()), **coding).decode()
    if draw(st.booleans()):
        return file_naming.get(kind, manifest=True, partial=draw(st.booleans()), **coding).decode()
    return file_naming.get(kind, volume_number=draw(st.integers(1, 10**6)), **coding).decode()


@settings(max_examples=300)
@given(duplicity_names())
def test_every_name_is_read_as_duplicity_reads_it(name: str) -> None:
    ours, theirs = chains.parse_name(name), file_naming.parse(name.encode())
    assert ours is not None
    kinds = {"full": "full", "full-sig": "full", "inc": "incremental", "new-sig": "incremental"}
    assert ours.kind == kinds[theirs.type]
    assert parse_stamp(ours.time).timestamp() == (theirs.time or theirs.end_time)
    assert (parse_stamp(ours.start).timestamp() if ours.start else None) == theirs.start_time
    assert ours.volume == (theirs.volume_number or 0)
    assert (ours.part == "manifest") == bool(theirs.manifest)
    assert (ours.part == "signature") == theirs.type.endswith("-sig")
    assert ours.partial == bool(theirs.partial)


@given(st.text() | st.from_regex(chains._NAME, fullmatch=True).map(lambda name: name[:200]))
def test_what_we_read_duplicity_reads(name: str) -> None:
    ours = chains.parse_name(name)
    # it reads no time before 1970, and none after 2099
    if ours is not None and all("1970" < time[:4] < "2100" for time in (ours.time, ours.start or ours.time)):
        assert file_naming.parse(name.encode()) is not None


# --- sets and chains --------------------------------------------------------------------------------------------------


def at(number: int) -> str:
    return f"202601{number:02}T000000Z"


def objects(sets: t.Iterable[str], lacks: str = "nothing") -> list[StoredObject]:
    """The objects of sets written ``full 1`` or ``inc 1 2``."""
    names = []
    for words in sets:
        kind, *numbers = words.split()
        times = ".to.".join(at(int(number)) for number in numbers)
        signatures = "full-signatures" if kind == "full" else "new-signatures"
        names += [f"duplicity-{kind}.{times}.{part}" for part in ("vol1.difftar.gz", "manifest")]
        names.append(f"duplicity-{signatures}.{times}.sigtar.gz")
    return [StoredObject(name, 10, NOW) for name in names if lacks not in name]


@pytest.mark.table("chains.yml", "choices")
def test_choices(case: dict[str, t.Any]) -> None:
    collection = chains.collect(objects(case["sets"], case.get("lacks", "nothing")))
    moment = parse_stamp(at(case["before"])) if "before" in case else None
    if "says" in case:
        with pytest.raises(LifeboatError) as error:
            chains.choose_point(collection, moment)
        assert str(error.value).endswith(case["says"])
    else:
        chain, point = chains.choose_point(collection, moment)
        assert [chain.time, point.time] == [at(number) for number in case["is"]]


def test_a_newer_point_whose_base_is_gone_is_not_passed_over() -> None:
    collection = chains.collect(objects(["full 1", "inc 2 3"]))
    with pytest.raises(LifeboatError):
        chains.choose_point(collection, None)


@st.composite
def listings(draw: st.DrawFn) -> list[StoredObject]:
    """What a store may hold: names of duplicity's with few times, so that they meet, junk, and pieces that are lost."""
    time = st.integers(1, 6).map(at)
    full = st.builds(
        "duplicity-full.{}.{}".format, time, st.sampled_from(["manifest", "vol1.difftar.gz", "vol3.difftar.gpg"])
    )
    inc = st.builds(
        "duplicity-inc.{}.to.{}.{}".format, time, time, st.sampled_from(["manifest.gpg", "vol1.difftar.gz"])
    )
    signatures = st.builds(
        "duplicity-new-signatures.{}.to.{}.sigtar{}".format, time, time, st.sampled_from(["", ".part"])
    )
    names = draw(st.lists(full | inc | signatures | st.text(max_size=5), unique=True, max_size=30))
    return [StoredObject(name, size, NOW) for size, name in enumerate(names)]


@settings(max_examples=100)
@given(listings(), st.randoms())
def test_nothing_is_lost_and_order_does_not_matter(found: list[StoredObject], random: t.Any) -> None:
    collection = chains.collect(found)
    sets = [one for chain in collection.chains for one in chain.sets] + collection.orphans
    names = [item.name for one in sets for item in one.objects] + collection.foreign
    assert sorted(names) == sorted(item.name for item in found)
    assert sum(one.bytes for one in sets) == sum(o.bytes for o in found if o.name not in collection.foreign)
    shuffled = list(found)
    random.shuffle(shuffled)
    again = chains.collect(shuffled)
    assert [[one.time for one in chain.sets] for chain in again.chains] == [
        [one.time for one in chain.sets] for chain in collection.chains
    ]
    assert sorted(again.foreign) == sorted(collection.foreign)


@given(listings())
def test_chains_are_linked_and_points_are_whole(found: list[StoredObject]) -> None:
    collection = chains.collect(found)
    for chain in collection.chains:
        assert chain.sets[0].kind == "full"
        for one, two in pairwise(chain.sets):
            assert two.start == one.time
    assert all(not point.gaps for point in collection.points)
    assert [point.time for point in collection.points] == sorted(point.time for point in collection.points)


def test_a_partial_object_completes_nothing() -> None:
    names = [item.name for item in objects(["full 1"])]
    found = [StoredObject(name.replace("manifest", "manifest.part"), 1, NOW) for name in names]
    (chain,) = chains.collect(found).chains
    assert chain.sets[0].gaps == ["the manifest"]
    assert chain.points == []
    assert len(chain.sets[0].objects) == 3


def test_gaps_between_volumes() -> None:
    found = objects(["full 1"])
    found.append(StoredObject(f"duplicity-full.{at(1)}.vol4.difftar.gz", 1, NOW))
    assert chains.collect(found).chains[0].sets[0].gaps == ["volume 2", "volume 3"]


def test_a_name_that_claims_a_huge_number_costs_nothing() -> None:
    junk = StoredObject(f"duplicity-full.{at(1)}.vol{10**15}.difftar.gz", 1, NOW)
    (chain,) = chains.collect([*objects(["full 1"]), junk]).chains
    assert chain.sets[0].gaps == [f"volume {number}" for number in range(2, 7)]


def test_a_sets_moment() -> None:
    (chain,) = chains.collect(objects(["full 1"])).chains
    assert stamp(chain.sets[0].moment) == chain.time == at(1)

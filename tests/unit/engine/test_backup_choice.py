# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Full or incremental: the choice alone, without a run."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import backup, chains, choice, profile, witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import now, stamp

T0, T1, T2 = "20261101T021500Z", "20261102T021500Z", "20261103T021500Z"
NOON = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)


def make_profile(**changes: t.Any) -> profile.Profile:
    # so long a period that none ends between the sets of these tests
    data = {"node": "node1", "source": "/srv/www", "store": {"url": "file:///s"}, "fingerprint": None}
    data |= {"full_every_days": 3000, **changes}
    return profile.from_dict("site", data)


def listing(*sets: str, lacking: str = "nothing") -> list[StoredObject]:
    """Objects of sets that are written ``full T0`` or ``inc T0 T1``."""
    found = []
    for words in sets:
        kind, *times = words.split()
        base = f"duplicity-{kind}.{'.to.'.join(times)}"
        signatures = base.replace("full", "full-signatures").replace("inc", "new-signatures")
        found += [f"{base}.vol1.difftar.gz", f"{base}.manifest", f"{signatures}.sigtar.gz"]
    return [StoredObject(name, 10, NOON) for name in found if lacking not in name]


def cached(objects: list[StoredObject]) -> list[str]:
    return [item.name for item in objects if "vol" not in item.name]


def of_set(objects: list[StoredObject], time: str, chain: str) -> Record:
    mine = [
        Object(item.name, item.bytes, "")
        for item in objects
        if f"{time}." in item.name and f"{time}.to" not in item.name
    ]
    return Record("backup", "ok", time, 1.0, "node1", "site", "full", set_time=time, chain=chain, objects=mine)


CHAIN = listing(f"full {T0}", f"inc {T0} {T1}")


@pytest.mark.parametrize(
    ("wish", "objects", "changes", "mode", "reason"),
    [
        ("auto", [], {}, "full", None),
        ("full", CHAIN, {}, "full", None),
        ("auto", CHAIN, {}, "incremental", None),
        ("incremental", CHAIN, {"full_every_days": 0.5}, "incremental", None),
        ("auto", CHAIN, {"full_every_days": 0.5}, "full", None),
        ("auto", listing(f"full {T0}", lacking="manifest"), {}, "full", f"set {T0} lacks the manifest"),
        ("full", listing(f"full {T0}", lacking="manifest"), {}, "full", None),
        (
            "auto",
            listing(f"full {T0}", f"inc {T0} {T1}", lacking=f"{T1}.vol1"),
            {},
            "full",
            f"set {T1} lacks every volume",
        ),
        # what lies beside the newest chain does not matter
        ("auto", [*listing(f"full {T0}", lacking="sigtar"), *listing(f"full {T1}")], {}, "incremental", None),
        ("auto", [*CHAIN, *listing(f"inc {T1} {T2}")[1:]], {}, "full", f"set {T2} lacks every volume"),
    ],
)
def test_choice(
    wish: str, objects: list[StoredObject], changes: dict[str, t.Any], mode: str, reason: str | None
) -> None:
    found = choice.choose(make_profile(**changes), wish, chains.collect(objects), [], [], NOON)
    assert (found.mode, found.reason) == (mode, reason)
    assert (found.chain is None) == (mode == "full")


def test_an_incremental_without_a_full_is_refused() -> None:
    with pytest.raises(Refused, match="an incremental is not possible: there is no full yet; run with mode full"):
        choice.choose(make_profile(), "incremental", chains.collect([]), [], [], NOON)


def test_records_show_what_the_listing_cannot() -> None:
    entry = of_set(CHAIN, T0, T0)
    shrunk = [StoredObject(o.name, 9 if "vol1" in o.name and f"full.{T0}" in o.name else o.bytes, NOON) for o in CHAIN]
    found = choice.choose(make_profile(), "auto", chains.collect(shrunk), [entry], [], NOON)
    assert found.reason == f"set {T0} lost duplicity-full.{T0}.vol1.difftar.gz"
    # an older chain's record does not count against the newest one
    newer = [*listing(f"full {T2}")]
    assert choice.choose(make_profile(), "auto", chains.collect(newer), [entry], [], NOON).mode == "incremental"


@given(st.sets(st.sampled_from(cached(CHAIN))))
def test_an_encrypted_incremental_needs_every_signature_and_manifest_in_the_cache(names: set[str]) -> None:
    settings = make_profile(fingerprint="A" * 40)
    found = choice.choose(settings, "auto", chains.collect(CHAIN), [], names, NOON)
    assert found.mode == ("incremental" if len(names) == 4 else "full")


def test_a_chain_that_is_encrypted_is_not_continued_in_clear() -> None:
    sealed = [StoredObject(item.name.removesuffix(".gz") + ".gpg", item.bytes, NOON) for item in CHAIN]
    found = choice.choose(make_profile(), "auto", chains.collect(sealed), [], [], NOON)
    assert found == choice.Choice("full", None, f"chain {T0} is encrypted and this backup is not")


@pytest.mark.parametrize(
    ("most", "wish", "mode"),
    [(0, "auto", "incremental"), (2, "auto", "incremental"), (1, "auto", "full"), (1, "incremental", "incremental")],
)
def test_a_full_is_due_when_the_chain_is_long(most: int, wish: str, mode: str) -> None:
    settings = make_profile(full_every_incrementals=most)  # the chain has one
    assert choice.choose(settings, wish, chains.collect(CHAIN), [], [], NOON).mode == mode


@given(st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_a_full_is_due_by_whichever_comes_first(incrementals: int, most: int, slot_is_over: bool) -> None:
    start = datetime(2026, 11, 1, tzinfo=timezone.utc)
    days = [stamp(start + timedelta(minutes=number)) for number in range(incrementals + 1)]
    objects = listing(f"full {days[0]}", *(f"inc {one} {two}" for one, two in pairwise(days)))
    settings = make_profile(full_every_incrementals=most, full_every_days=0.5 if slot_is_over else 3000)
    made = choice.choose(settings, "auto", chains.collect(objects), [], [], NOON)
    assert (made.mode == "full") == (slot_is_over or 0 < most <= incrementals)


LAST = witness.Witness({"set_time": T1, "source": "/srv/www"}, {})
STANDS = {"skip_if_unchanged": True}


@pytest.mark.parametrize(
    ("changes", "wish", "header", "objects", "stands"),
    [
        (STANDS, "auto", {}, CHAIN, T1),
        ({}, "auto", {}, CHAIN, None),
        (STANDS, "incremental", {}, CHAIN, None),
        (STANDS, "full", {}, CHAIN, None),
        (STANDS, "auto", {"set_time": T0}, CHAIN, None),  # of an older set
        (STANDS, "auto", {"source": "/srv"}, CHAIN, None),
        (STANDS, "auto", {}, [], None),  # nothing is stored any more
        (STANDS, "auto", {}, listing(f"full {T0}", f"inc {T0} {T1}", lacking=f"{T1}.vol1"), None),  # damage
        (STANDS | {"full_every_days": 0.5}, "auto", {}, CHAIN, None),  # a full is due
        (STANDS | {"full_every_incrementals": 1}, "auto", {}, CHAIN, None),
    ],
)
def test_when_the_newest_set_still_stands(
    changes: dict[str, t.Any],
    wish: str,
    header: dict[str, str],
    objects: list[StoredObject],
    stands: str | None,
) -> None:
    settings, last = make_profile(**changes), witness.Witness(LAST.header | header, {})
    made = choice.choose(settings, wish, chains.collect(objects), [], [], NOON)
    assert choice.still_stands(settings, wish, made, last, {}, 60) == stands
    assert choice.still_stands(settings, wish, made, None, {}, 60) is None


def test_a_full_is_due_by_the_nodes_slot() -> None:
    start = datetime(2026, 11, 1, 2, 15, tzinfo=timezone.utc)
    first = set()
    for number in range(20):
        settings = make_profile(node=f"node{number}", full_every_days=7)
        modes = [
            choice.choose(settings, "auto", chains.collect(CHAIN), [], [], start + timedelta(days=day)).mode
            for day in range(8)
        ]
        assert modes == sorted(modes, reverse=True)  # once due, it stays due
        assert (modes[0], modes[7]) == ("incremental", "full")
        first.add(modes.index("full"))
    assert len(first) > 3


def test_no_run_starts_in_the_second_of_another() -> None:
    """Their records would have one name, and none is written over."""
    nothing = chains.Collection([], [], [])
    run: t.Any = None  # nothing of it is asked for
    other = Record("backup", "failed", stamp(now()), 0.1)
    assert stamp(backup._Run._after(run, nothing, [other])) != other.started

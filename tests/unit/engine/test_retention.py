# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What goes and what stays, for any history and any policy, against a model that only knows what can be restored."""

from __future__ import annotations

import random
import typing as t
from dataclasses import astuple, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.histories import DAY, START, History, Luck, Made, make, run

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, retention
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Plan, Policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import StoredObject
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import stamp

CHANCE = st.sampled_from([0, 0, 5, 25])
PARTS = ["volume", "volume", "part", "manifest", "signature"]


def histories(damaged: st.SearchStrategy[int]) -> st.SearchStrategy[History]:
    luck = st.builds(Luck, st.integers(1, 12), CHANCE, CHANCE, damaged, CHANCE)
    days, seed = st.integers(0, 80), st.integers(0, 10**6)
    return st.tuples(days, luck, seed).map(lambda drawn: run(drawn[0], drawn[1], random.Random(drawn[2])))


HISTORIES, UNDAMAGED = histories(CHANCE), histories(st.just(0))
POLICIES = st.builds(
    Policy,
    st.sampled_from([1, 3, 7, 30]),
    st.integers(1, 5),
    st.sampled_from([1, 2, 10, 50]),
    st.sampled_from([1, 7, 20]),
)


def decide(history: History, policy: Policy, drilled: t.Collection[str] = (), *, records: bool = True) -> Plan:
    claims = history.records if records else []
    return retention.decide(chains.collect(history.objects), claims, policy, history.now, drilled)


def gone(plan: Plan) -> set[str]:
    return {item.name for one in plan.dropped for item in one.objects}


def answers(history: History, policy: Policy, newest: Made | None, drilled: t.Collection[str]) -> list[object]:
    """What is promised, as answers to questions: for each moment of the window that ends with ``newest`` the last point
    before it; the newest points; the newest chain that passed a drill."""
    points = history.points()
    if newest is None:
        return []
    first = newest.moment - timedelta(days=policy.keep_days)
    before = [made.time for made in points if made.moment <= first]
    since = [made.time for made in points if made.moment > first]
    passed = [made.chain for made in points if made.time in drilled]
    return [before[-1:], since, [made.time for made in points][-policy.keep_points :], passed[-1:]]


def complete(history: History) -> list[str]:
    """The chains in which everything that was finished can be restored."""
    points = history.points()
    broken = {made.chain for made in history.sets if made.finished and made not in points}
    return [made.chain for made in points if made.start is None and made.chain not in broken]


def names_of(sets: t.Iterable[Made]) -> set[str]:
    return {item.name for made in sets for item in made.objects if item.name not in made.lost}


def newest(history: History) -> Made | None:
    return history.points()[-1] if history.points() else None


@settings(max_examples=300)
@given(HISTORIES, POLICIES, st.integers(0, 80))
def test_no_promised_point_is_lost(history: History, policy: Policy, drill: int) -> None:
    drilled = [made.time for made in history.sets[drill : drill + 1]]
    last = newest(history)
    left = history.without(gone(decide(history, policy, drilled)))
    assert answers(left, policy, last, drilled) == answers(history, policy, last, drilled)
    assert len(left.points()) >= min(len(history.points()), policy.keep_points)
    assert set(complete(history)[-policy.keep_chains :]) <= set(complete(left))
    # nothing incremental is left without its base
    assert {made.start for made in left.sets if made.start} <= {made.time for made in left.sets}


@settings(max_examples=300)
@given(UNDAMAGED, POLICIES, st.integers(0, 80))
def test_what_no_promise_needs_goes(history: History, policy: Policy, drill: int) -> None:
    """The model: a chain goes if every answer is the same without it, and a newer one has replaced it two days ago."""
    drilled = [made.time for made in history.sets[drill : drill + 1]]
    last = newest(history)
    expected: set[str] = set()
    for full in (made for made in history.sets if made.start is None):
        whole = history.members(full.chain)
        cut = [made for made in whole if not made.finished]
        if any(made.moment > history.now - timedelta(days=policy.incomplete_days) for made in cut):
            continue
        expected |= names_of(cut)
        without = history.without(names_of(whole))
        replaced = any(
            made.start is None and made.time > full.time and made.moment <= history.now - timedelta(hours=48)
            for made in history.points()
        )
        same = answers(without, policy, last, drilled) == answers(history, policy, last, drilled)
        chains_kept = set(complete(history)[-policy.keep_chains :]) <= set(complete(without))
        if replaced and same and chains_kept and all(made.moment < window(last, policy) for made in whole):
            expected |= names_of(whole)
    assert gone(decide(history, policy, drilled)) == expected


def window(last: Made | None, policy: Policy) -> t.Any:
    assert last is not None
    return last.moment - timedelta(days=policy.keep_days)


@settings(max_examples=100)
@given(HISTORIES, POLICIES)
def test_a_second_prune_drops_nothing(history: History, policy: Policy) -> None:
    left = history.without(gone(decide(history, policy)))
    assert gone(decide(left, policy)) == set()


@settings(max_examples=100)
@given(HISTORIES, POLICIES, POLICIES, st.integers(0, 40))
def test_more_promised_is_more_kept(history: History, policy: Policy, other: Policy, later: int) -> None:
    drops = gone(decide(history, policy))
    stronger = Policy(*(max(pair) for pair in zip(astuple(policy), astuple(other), strict=True)))
    assert gone(decide(history, stronger)) <= drops
    drilled = [made.time for made in history.sets[:1]]
    assert gone(decide(history, policy, drilled)) <= drops
    # and time alone takes nothing back
    assert drops <= gone(decide(replace(history, now=history.now + later * DAY), policy))


@settings(max_examples=100)
@given(HISTORIES, POLICIES, st.lists(st.integers(0, 80)), st.booleans())
def test_a_record_never_costs_anything(history: History, policy: Policy, forged: list[int], lies: bool) -> None:
    plain = decide(history, policy, records=False)
    assert gone(decide(history, policy)) <= gone(plain)
    # nor does a forged one: of any set, finished or not, with an object that never was
    records = history.records
    for number in forged:
        for made in history.sets[number : number + 1]:
            claimed = [Object("duplicity-never", 1, "")] if lies else []
            entry = Record("backup", "ok", made.time, 1, "n", "site", "full", None, made.time, objects=claimed)
            records.append(replace(entry, set_time=made.time, chain=made.chain))
    plan = retention.decide(chains.collect(history.objects), records, policy, history.now)
    assert gone(plan) <= gone(plain)


@settings(max_examples=100)
@given(HISTORIES, POLICIES, st.data())
def test_junk_with_impossible_times_costs_nothing(history: History, policy: Policy, data: st.DataObject) -> None:
    """Whole sets named far from when the store got them: full or built on a real set, from any time on (facts: guard 15)."""
    offsets = st.sampled_from([-3000, -40, -8, 2, 40, 1500]).map(lambda days: days * DAY)
    for _ in range(data.draw(st.integers(1, 4))):
        base = data.draw(st.sampled_from([None, *history.sets]))
        got = START + data.draw(st.integers(0, 90)) * DAY
        junk = make(got + data.draw(offsets), base)
        history.junk += [replace(item, modified=got) for item in junk.objects]
    names = {item.name for item in history.junk}
    clean = replace(history, junk=[])
    plan = decide(history, policy)
    assert gone(plan) <= gone(decide(clean, policy))
    assert not gone(plan) & names
    assert plan.alarms


NAMED = st.builds(
    lambda base, at, kind: (base, at, kind), st.integers(0, 5), st.integers(1, 6), st.sampled_from(["full", "inc"])
)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(NAMED, st.sampled_from(PARTS), st.integers(-2, 9)), max_size=40, unique_by=lambda one: one[:2]),
    st.lists(st.integers(1, 6)),
    POLICIES,
    st.integers(0, 60),
)
def test_any_listing(found: list[t.Any], recorded: list[int], policy: Policy, later: int) -> None:
    """Names that collide, forks, pieces: no base goes before what builds on it, each object has at most one fate that
    counts, and pruning comes to rest."""
    objects = [StoredObject(named(*name, part), 5, START + (name[1] + days) * DAY) for name, part, days in found]
    records = [
        Record("backup", "ok", at(number), 1, "n", "site", "full", at(number), at(number), objects=[Object("x", 1, "")])
        for number in recorded
    ]
    now = START + later * DAY
    for _round in range(4):
        collection = chains.collect(objects)
        plan = retention.decide(collection, records, policy, now)
        drops = gone(plan)
        told = {item.name for one in plan.items for item in one.objects}
        assert told == {item.name for item in objects}
        bases = {one.time for chain in collection.chains for one in chain.sets}
        kept = [item for item in objects if item.name not in drops]
        after = chains.collect(kept)
        left = {one.time for chain in after.chains for one in chain.sets} | {one.time for one in after.orphans}
        for one in after.orphans:
            assert one.start not in bases or one.start in left
        if not drops:
            break
        objects = kept
    assert not drops


PARTS_OF = {"volume": "vol1.difftar.gz", "part": "vol2.difftar.part", "manifest": "manifest", "signature": "sigtar.gz"}


def at(number: int) -> str:
    return stamp(START + number * DAY)


def named(base: int, time: int, kind: str, part: str) -> str:
    middle = f"full.{at(time)}" if kind == "full" else f"inc.{at(base)}.to.{at(time)}"
    if part == "signature":
        middle = middle.replace("full.", "full-signatures.").replace("inc.", "new-signatures.")
    return f"duplicity-{middle}.{PARTS_OF[part]}"


@pytest.mark.parametrize(
    "wrong",
    [{"keep_days": 0}, {"keep_days": float("nan")}, {"keep_chains": 0}, {"keep_points": -1}, {"incomplete_days": -1}],
)
def test_a_policy_that_promises_nothing_is_refused(wrong: dict[str, t.Any]) -> None:
    with pytest.raises(Refused, match=f"{next(iter(wrong))} is .*: give a number from [0-9.]+ to 36500"):
        Policy(**wrong)

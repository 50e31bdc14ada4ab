# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Months of nightly backups and prunes: what was promised is there each day, no more is kept than need be, and the table in
docs/retention.md says so."""

from __future__ import annotations

import random
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.histories import DAY, History, Luck, nightly, run
from tests.unit.engine.test_retention import decide, gone

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Policy

PAGE = Path(__file__).parents[3] / "docs" / "retention.md"
TABLE = [
    # days from full to full, of a hundred nights how many crash and are missed, policy
    (7, 0, 0, Policy()),
    (7, 5, 5, Policy()),
    (14, 0, 0, Policy()),
    (30, 0, 0, Policy()),
    (7, 0, 0, Policy(keep_days=7)),
    (7, 0, 0, Policy(keep_days=60)),
    (7, 0, 0, Policy(keep_days=7, keep_chains=5)),
    (7, 0, 0, Policy(keep_days=1, keep_points=30)),
]


def pruned(policy: Policy) -> t.Callable[[History], History]:
    return lambda history: history.without(gone(decide(history, policy)))


@settings(max_examples=15)
@given(st.integers(1, 15), st.sampled_from([0, 10, 40]), st.sampled_from([1, 7, 20]), st.integers(0, 999))
def test_every_night_keeps_the_promise(period: int, trouble: int, keep_days: int, seed: int) -> None:
    """Against all that was ever made: prunes do not add up to a loss."""
    policy = Policy(keep_days=keep_days, keep_points=5)
    whole = run(60, Luck(period, missed=trouble, crashed=trouble), random.Random(seed))
    for ever, left in nightly(whole, pruned(policy)):
        points, kept = ever.points(), {made.time for made in left.points()}
        if points:
            first = points[-1].moment - keep_days * DAY
            promised = [made for made in points if made.moment <= first][-1:]
            promised += [made for made in points if made.moment > first] + points[-5:]
            assert {made.time for made in promised} <= kept


def measured(period: int, crashed: int, missed: int, policy: Policy) -> str:
    """A row of the table: smallest and largest counts of 90 days, once as much is there as the policy keeps."""
    warm = int(max(policy.keep_days, 36)) + 2 * period
    whole = run(warm + 90, Luck(period, missed=missed, crashed=crashed), random.Random(7))
    fulls, points, ages = [], [], []
    for number, (_ever, left) in enumerate(nightly(whole, pruned(policy))):
        if number >= warm:
            kept = left.points()
            fulls.append(sum(made.start is None for made in kept))
            points.append(len(kept))
            ages.append(int((left.now - kept[0].moment) / DAY))
    luck = f"{crashed} % crash, {missed} % missed" if crashed or missed else "none"
    keeps = [f"`keep_days: {policy.keep_days}`"]
    keeps += [f"`keep_chains: {policy.keep_chains}`"] * (policy.keep_chains > 1)
    keeps += [f"`keep_points: {policy.keep_points}`"] * (policy.keep_points > 1)
    ranges = " | ".join(f"{min(found)}-{max(found)}" for found in (fulls, points, ages))
    return f"| {period} | {luck} | {', '.join(keeps)} | {ranges} |"


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_the_table_of_the_page_is_measured(row: tuple[int, int, int, Policy]) -> None:
    assert measured(*row) in PAGE.read_text(encoding="utf-8").splitlines()


# --- what a plan says -------------------------------------------------------------------------------------------------


def weekly() -> History:
    """Five weeks, a full each week at the end of its first night, then two days more."""
    return run(37, Luck(), random.Random(3))


def fates(history: History, policy: Policy, drilled: t.Collection[str] = ()) -> list[tuple[bool, str]]:
    return [(item.drop, item.reason) for item in decide(history, policy, drilled).items]


def test_each_decision_has_its_reason() -> None:
    history = weekly()
    fulls = [made.time for made in history.sets if made.start is None]
    third = history.members(fulls[2])[-1].time
    gone_, drill, starts, recent, newest = range(5)
    told = fates(history, Policy(keep_days=15.5), [history.members(fulls[1])[3].time])[:6]
    assert [drop for drop, _ in told] == [True, False, False, False, False, False]
    assert told[gone_][1] == f"superseded by chain {fulls[5]}; every promised point remains without it."
    assert told[drill][1] == "it is the newest chain that passed a drill."
    assert told[starts][1] == f"point {third} is what the window of 15.5 days starts with."
    assert told[recent][1] == "it holds points of the last 15.5 days."
    assert told[newest + 1][1] == "it is the newest complete chain."


def test_a_drilled_chain_stays_even_if_nothing_of_it_can_be_restored() -> None:
    history = weekly()
    first = history.sets[0]
    junk = first.objects[0]
    history.junk.append(replace(junk, name=junk.name.replace("vol1.", "vol99.")))
    dropped, reason = fates(history, Policy(keep_days=7))[0]
    assert dropped
    assert reason.startswith("nothing in it can be restored, and it is superseded by chain ")
    plan = decide(history, Policy(keep_days=7), [first.time])
    assert not plan.items[0].drop
    (alarm,) = plan.alarms
    assert alarm.startswith(f"chain {first.time} is damaged: set {first.time} lacks volume ")
    assert alarm.endswith("; run a full backup, and see what the store did.")


def test_a_silent_node_and_a_wrong_clock_cost_nothing() -> None:
    history = weekly()
    now = fates(history, Policy())
    history.now += 3650 * DAY
    assert [drop for drop, _ in fates(history, Policy())] == [drop for drop, _ in now]
    history.now -= 7300 * DAY
    plan = decide(history, Policy(keep_days=1))
    assert not plan.dropped
    assert "lies in the future of this host's clock" in plan.alarms[0]


def test_orphans_that_were_recorded_are_damage() -> None:
    history = weekly()
    full, second, *_ = history.sets
    history.junk = []
    history.sets = [made for made in history.sets if made is not full]
    old = replace(history, sets=[second, *history.members(history.sets[-1].chain)])
    plan = decide(old, Policy(keep_days=60))
    assert [(item.kind, item.drop) for item in plan.items] == [("orphans", False), ("chain", False)]
    assert plan.alarms == [
        f"set {second.time} was recorded as whole and lost its base {full.time}: see what the store did."
    ]
    assert decide(old, Policy(keep_days=60), records=False).items[0].drop
    old.now = second.moment + 6 * DAY
    young = decide(old, Policy(), records=False).items[0]
    assert (young.drop, young.reason) == (
        False,
        "nothing can be restored from it, but it is younger than 7 days.",
    )

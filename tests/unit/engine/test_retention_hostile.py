# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a hostile node can make a prune drop: nothing, unless it makes backups that look whole, and then nothing of the last days."""

from __future__ import annotations

import typing as t
from datetime import timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.engine.histories import History
from tests.unit.engine.hostile import Attack, Bucket, attacks, honest
from tests.unit.engine.test_retention import HISTORIES, POLICIES, UNDAMAGED

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import retention
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Plan, Policy


def decide(bucket: Bucket, attack: Attack, policy: Policy, drilled: t.Collection[str] = ()) -> Plan:
    return retention.decide(bucket.collection(), bucket.records, policy, attack.history.now, drilled)


def gone(plan: Plan) -> set[str]:
    return {item.name for one in plan.dropped for item in one.objects}


def kept(attack: Attack, names: set[str]) -> set[str]:
    """The honest points that can be restored still, in some version."""
    points = attack.history.points()
    good: set[str] = set()
    for made in points:
        if not {item.name for item in made.objects} & names and (made.start is None or made.start in good):
            good.add(made.time)
    return good


def drills(attack: Attack, number: int) -> list[str]:
    return [made.time for made in attack.history.points()[number : number + 1]]


@settings(max_examples=600)
@given(attacks(HISTORIES, fakes=False), POLICIES, st.integers(0, 80))
def test_no_point_is_lost_by_what_looks_like_no_backup(attack: Attack, policy: Policy, drill: int) -> None:
    assume(not attack.looks_whole())  # two pieces may have made one
    drilled = drills(attack, drill)
    before = kept(attack, gone(decide(honest(attack.history), attack, policy, drilled)))
    after = kept(attack, gone(decide(attack.bucket, attack, policy, drilled)))
    assert before <= after


@settings(max_examples=600)
@given(attacks(HISTORIES, fakes=True), POLICIES, st.integers(0, 80))
def test_what_fakes_cannot_take(attack: Attack, policy: Policy, drill: int) -> None:
    """Points younger than keep_days; the newest chain that passed a drill; and, until the first fake is keep_days old, the
    newest point, however old."""
    drilled = drills(attack, drill)
    before = kept(attack, gone(decide(honest(attack.history), attack, policy, drilled)))
    after = kept(attack, gone(decide(attack.bucket, attack, policy, drilled)))
    points = {made.time: made for made in attack.history.points()}
    window = attack.history.now - timedelta(days=policy.keep_days)
    young = {time for time, made in points.items() if made.moment > window}
    proven = {points[time].chain for time in drilled}
    drilled_chain = {time for time, made in points.items() if made.chain in proven and made.time <= drilled[0]}
    assert (young | drilled_chain) & before <= after
    if (
        points
        and all(min(item.modified for item in made.objects) > window for made in attack.sets)
        and attack.since > window
    ):
        assert list(points)[-1] in after


@settings(max_examples=200)
@given(attacks(UNDAMAGED, fakes=False), POLICIES)
def test_meddling_with_whole_sets_changes_no_decision_on_chains(attack: Attack, policy: Policy) -> None:
    """Neither more nor less: a chain that was put over, hidden or added to still goes when its time comes."""
    if attack.sets:
        return
    plain, meddled = (decide(bucket, attack, policy) for bucket in (honest(attack.history), attack.bucket))
    assert [(item.time, item.drop) for item in plain.items if item.kind == "chain"] == [
        (item.time, item.drop) for item in meddled.items if item.kind == "chain"
    ]


@given(UNDAMAGED, POLICIES)
def test_delete_markers_say_nothing(history: History, policy: Policy) -> None:
    """As if there were none. Of what may be in the making they are a sign of life."""
    attack = Attack(history, honest(history), lambda _: None, history.now)
    hidden = honest(history)
    for made in history.sets:
        for item in made.objects if made.finished else ():
            hidden.put(item.name, history.now, marker=True)
    one, two = decide(attack.bucket, attack, policy), decide(hidden, attack, policy)
    assert [(item.kind, item.time, item.drop, item.reason) for item in one.items] == [
        (item.kind, item.time, item.drop, item.reason) for item in two.items
    ]
    assert len(two.alarms) == sum(item.kind == "chain" and not item.drop for item in two.items)

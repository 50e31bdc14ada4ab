# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What retention makes of versions, case by case: the ones that random attacks seldom hit."""

from __future__ import annotations

import random
import typing as t
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.unit.engine.histories import DAY, START, History, Luck, Made, make, run
from tests.unit.engine.hostile import HOUR, Bucket, honest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import retention, written
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Object, Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Plan, Policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.times import parse_stamp
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version

WEEK = Policy(keep_days=7)


def weekly() -> History:
    """Five weeks, a full each week, and two days more."""
    return run(37, Luck(), random.Random(3))


def decide(bucket: Bucket, policy: Policy, now: datetime, drilled: t.Collection[str] = ()) -> Plan:
    return retention.decide(bucket.collection(), bucket.records, policy, now, drilled)


def dropped(plan: Plan, kind: str = "chain") -> list[str]:
    return [item.time for item in plan.dropped if item.kind == kind]


def put(bucket: Bucket, made: Made, moment: datetime | None = None) -> None:
    for item in made.objects:
        bucket.put(item.name, moment or item.modified, item.bytes)


# --- versions of one object -------------------------------------------------------------------------------------------


def version(number: int, hours: float, size: int = 1, *, marker: bool = False) -> Version:
    return Version("x", f"v{number}", START + hours * HOUR, size, marker=marker)


def test_what_came_first_counts_and_all_of_it_goes() -> None:
    newest_first = [version(4, 9, marker=True), version(3, 5, 30), version(2, 4, marker=True), version(1, 1, 10)]
    (found,) = written.fold(newest_first)
    assert (found.version_id, found.bytes, found.modified) == ("v1", 10, START + HOUR)
    assert (found.touched, found.changed, found.count) == (START + 9 * HOUR, START + 9 * HOUR, 4)
    assert found.ids == ("v4", "v3", "v2", "v1")
    assert found.writes == ((START + HOUR, 10), (START + 5 * HOUR, 30))


def test_a_repeated_upload_is_touched_and_not_changed() -> None:
    (found,) = written.fold([version(3, 9, 10), version(2, 5, 10), version(1, 1, 10)])
    assert (found.touched, found.changed) == (START + 9 * HOUR, None)
    (found,) = written.fold([version(4, 9, 30), version(3, 5, 30), version(2, 3, 10), version(1, 1, 10)])
    assert (found.touched, found.changed) == (START + 9 * HOUR, START + 5 * HOUR)
    (found,) = written.fold([version(3, 9, 10), version(2, 5, marker=True), version(1, 1, 10)])
    assert found.changed == START + 9 * HOUR


def test_nothing_but_markers_is_no_object() -> None:
    assert list(written.fold([version(2, 4, marker=True), version(1, 1, marker=True)])) == []


def test_of_many_versions_the_oldest_are_known_and_no_ids_are_held() -> None:
    (found,) = written.fold(version(number, number, number) for number in range(1000, -1, -1))
    assert (found.version_id, found.count, found.ids) == ("v0", 1001, ())
    assert [size for _moment, size in found.writes] == list(range(written.MOST))


# --- sets -------------------------------------------------------------------------------------------------------------


def test_a_clean_up_by_the_node_does_not_put_a_chain_in_doubt() -> None:
    """A crash cut an incremental off; the next run cleared it away and made another one on the same base. Without versions the
    first is gone, with them it is seen still."""
    history = weekly()
    last = history.sets[-1]
    crashed = make(last.moment + DAY, last, finished=False)
    after = make(last.moment + 2 * DAY, last)
    history.sets += [crashed, after]
    history.now = after.moment + HOUR
    plan = decide(honest(history), WEEK, history.now)
    assert plan.alarms == []
    (left,) = (item for item in plan.items if item.kind == "orphans")
    assert (left.time, left.drop) == (crashed.time, False)  # not yet: a marker is a sign of life
    later = decide(honest(history), WEEK, history.now + 8 * DAY)
    assert dropped(later, "orphans") == [crashed.time]
    chain = next(item for item in later.items if item.time == last.chain and item.kind == "chain")
    assert [each.time for each in chain.sets][-2:] == [last.time, after.time]


def test_two_sets_of_one_name_put_both_chains_in_doubt() -> None:
    """Root on the node makes a full and an incremental whose name is that of a real one, before the next real one is made. That
    one then builds on either: without doubt the real base could go while what builds on it is promised."""
    history = weekly()
    *_, base, last = history.sets[:12]
    fake = make(base.moment - 5 * DAY)  # older than the real full: what builds on the name goes to it
    twin = make(parse_stamp(base.time), fake)
    bucket = honest(history)
    for made in (fake, twin):
        put(bucket, made, base.moment + 12 * HOUR)
    assert last.start == base.time
    plan = decide(bucket, WEEK, history.now)
    kept = {item.time: item.reason for item in plan.items if item.kind == "chain" and not item.drop}
    assert {fake.time, base.chain} <= set(kept)
    assert f"two sets are named for {base.time}" in kept[base.chain]
    assert any(base.chain in text for text in plan.alarms)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "cut short"])
def test_a_piece_that_came_later_does_not_mend_a_damaged_chain(lost: bool) -> None:
    """Of the newest chain's full a volume is lost or cut short, as the record tells. Root puts something of that name and size:
    the chain must not stand in for the one before it."""
    history = weekly()
    newest = history.members(history.sets[-1].chain)[0]
    volume = newest.objects[-3]  # the last one
    history.now += 20 * DAY
    policy = Policy(keep_days=0.5)
    damaged = honest(history)
    damaged.versions = [item for item in damaged.versions if item.name != volume.name]
    if not lost:
        damaged.put(volume.name, volume.modified, 1)
    plain = decide(damaged, policy, history.now)
    assert any("is damaged" in text for text in plain.alarms)
    damaged.put(volume.name, history.now - 10 * DAY, volume.bytes)
    assert dropped(decide(damaged, policy, history.now)) == dropped(plain) != []
    assert dropped(decide(honest(history), policy, history.now)) != dropped(plain)


def test_a_chain_that_junk_was_hung_on_still_counts() -> None:
    """``keep_chains: 2``; the newest chain is damaged, so the two before it are promised. A junk incremental, with a manifest and
    nothing else, makes the older one look damaged, too."""
    history = run(44, Luck(), random.Random(3))
    fulls = [made.time for made in history.sets if made.start is None]
    newest = history.members(fulls[-1])[-1]
    newest.lost.add(newest.objects[0].name)
    history.now += 60 * DAY
    policy = Policy(keep_days=1, keep_chains=2)
    plain = decide(honest(history), policy, history.now)
    assert not {fulls[-2], fulls[-3]} & set(dropped(plain))
    for victim in fulls[-3:-1]:
        bucket = honest(history)
        last = history.members(victim)[-1]
        junk = make(last.moment + 2 * HOUR, last)
        bucket.put(junk.objects[-1].name, last.moment + 3 * HOUR)
        assert set(dropped(decide(bucket, policy, history.now))) <= set(dropped(plain))


def test_an_honest_resumption_is_no_meddling() -> None:
    """After a crash the last volume is written again, days later, and the set is finished under its first name."""
    history = weekly()
    bucket = honest(history)
    made = make(history.now)
    bucket.put(made.objects[0].name, history.now + HOUR / 60, 3)
    put(bucket, made, history.now + 5 * DAY)
    plan = decide(bucket, WEEK, history.now + 15 * DAY)
    assert plan.alarms == []
    assert (plan.items[-1].time, plan.items[-1].points) == (made.time, 1)
    assert dropped(plan)


def test_what_was_written_over_raises_an_alarm_that_tells_what_to_do() -> None:
    history = weekly()
    newest = history.sets[-1]
    bucket = honest(history)
    bucket.put(newest.objects[0].name, newest.moment + HOUR)
    bucket.put(newest.objects[1].name, newest.moment + HOUR, marker=True)
    bucket.put(newest.objects[0].name.replace("vol1", "vol77"), newest.moment + HOUR)
    (alarm,) = decide(bucket, WEEK, history.now).alarms
    assert alarm == (
        f"chain {newest.chain} was meddled with after it was made (2 object(s) written over or hidden, 1 added), and is "
        "judged as it was: find out who did it, and run playbooks/repair.yml."
    )


def test_sets_in_the_making_stay_though_their_first_piece_is_old() -> None:
    """A run that was broken off is gone on with a week later: it begins by writing its last volume again."""
    history = weekly()
    crashed = make(history.now - 9 * DAY, finished=False)
    history.sets.append(replace(crashed, recorded=False))
    bucket = honest(history)
    assert dropped(decide(bucket, WEEK, history.now), "incomplete") == [crashed.time]
    bucket.put(crashed.objects[-1].name, history.now - HOUR)
    assert dropped(decide(bucket, WEEK, history.now), "incomplete") == []


# --- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("later", "flawed"), [(HOUR, True), (3 * DAY, False)])
def test_a_record_counts_only_if_it_came_with_its_set(later: timedelta, flawed: bool) -> None:
    history = weekly()
    made = history.sets[9]
    bucket = honest(history)
    bucket.records = [one for one in bucket.records if one[0].set_time != made.time]
    lie = Record("backup", "ok", made.time, 1, "n", "site", "incremental", made.time, made.chain)
    lie.objects.append(Object("never", 3, ""))
    bucket.records.append((lie, made.moment + later))
    assert any("is damaged" in text for text in decide(bucket, Policy(), history.now).alarms) is flawed


def test_of_two_records_the_first_counts() -> None:
    history = weekly()
    made = history.sets[9]
    bucket = honest(history)
    lie = Record("backup", "ok", made.time, 1, "n", "site", "incremental", made.time, made.chain)
    lie.objects.append(Object("never", 3, ""))
    bucket.records.insert(0, (lie, made.moment + HOUR))
    assert decide(bucket, Policy(), history.now).alarms == []


# --- the store's lock -------------------------------------------------------------------------------------------------


def test_what_the_store_locks_is_not_tried() -> None:
    history = weekly()
    free = decide(honest(history), WEEK, history.now)
    assert len(dropped(free)) == 4
    locked = decide(honest(history), replace(WEEK, lock_days=30), history.now)
    assert len(dropped(locked)) == 1
    told = [item.reason for item in locked.items if not item.drop][:3]
    assert told == ["the store locks each version for 30 days."] * 3

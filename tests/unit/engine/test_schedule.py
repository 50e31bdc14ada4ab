# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""When fulls fall due: evenly over a fleet, one in each period."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.schedule import full_is_due, slot

START = datetime(2026, 1, 1, 2, 15, tzinfo=timezone.utc)
WEEK = timedelta(days=7)


def test_ten_thousand_nodes_spread_evenly_over_the_week() -> None:
    days: Counter[int] = Counter()
    for number in range(10_000):
        key = f"node{number}/site"
        first = slot(START, WEEK, key)
        days[next(day for day in range(1, 8) if slot(START + timedelta(days=day), WEEK, key) > first)] += 1
    assert set(days) == set(range(1, 8))
    # 1429 each; five standard deviations are 175
    assert all(abs(count - 10_000 / 7) < 175 for count in days.values())


@given(st.text(min_size=1), st.integers(0, 2**32), st.integers(1, 10).map(lambda days: timedelta(days=days)))
def test_daily_runs_with_jitter_make_one_full_in_every_period(key: str, seed: int, period: timedelta) -> None:
    jitter = random.Random(seed)
    fulls: list[datetime] = []
    for day in range(75):
        moment = START + timedelta(days=day, minutes=jitter.uniform(0, 60))
        if full_is_due(moment, fulls[-1] if fulls else None, period, key):
            fulls.append(moment)
    numbers = [slot(moment, period, key) for moment in fulls]
    assert len(numbers) == len(set(numbers))  # no two in one period
    if period > timedelta(days=1):  # a period as short as the runs' own may fall between two
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # and none without one
    assert max((b - a for a, b in pairwise(fulls)), default=period) < period + timedelta(days=1, hours=2)


@given(st.text(), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc)))  # noqa: DTZ001
def test_the_slot_grows_by_one_each_period(key: str, moment: datetime) -> None:
    number = slot(moment, WEEK, key)
    assert slot(moment + WEEK, WEEK, key) == number + 1
    assert slot(moment + timedelta(hours=1), WEEK, key) in (number, number + 1)


def test_without_a_full_one_is_due() -> None:
    assert full_is_due(START, None, WEEK, "node1/site")
    assert not full_is_due(START, START, WEEK, "node1/site")
    assert full_is_due(START + WEEK, START, WEEK, "node1/site")
    assert not full_is_due(START, START + WEEK, WEEK, "node1/site")  # a full of the future is no reason for more

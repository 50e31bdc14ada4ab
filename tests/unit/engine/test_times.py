# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Stamps, and times as people write them."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import times
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused

MOMENTS = st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=st.just(timezone.utc))  # noqa: DTZ001


@pytest.mark.table("times.yml", "parse_time")
def test_parse_time(case: dict[str, t.Any]) -> None:
    if "says" in case:
        with pytest.raises(Refused) as error:
            times.parse_time(case["text"])
        assert case["says"] in str(error.value)
    else:
        assert times.stamp(times.parse_time(case["text"])) == case["is"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("5m", 300), ("12h", 43200), ("1D12h", 129600), ("2W", 1209600), ("1M", 2592000)],
)
def test_spans_are_counted_back_from_now(text: str, seconds: int) -> None:
    before = times.now()
    assert before <= times.parse_time(text) + timedelta(seconds=seconds) <= times.now()


@pytest.mark.table("times.yml", "not_a_stamp")
def test_not_a_stamp(case: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its text is for nobody
        times.parse_stamp(case["text"])


@given(MOMENTS, st.integers(-12, 12))
def test_a_stamp_keeps_the_second(moment: datetime, hours: int) -> None:
    moment = moment.replace(microsecond=0)
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert times.parse_stamp(times.stamp(elsewhere)) == moment
    assert times.parse_time(elsewhere.isoformat()) == moment


@given(MOMENTS, MOMENTS)
def test_stamps_sort_like_moments(one: datetime, two: datetime) -> None:
    assert (times.stamp(one) <= times.stamp(two)) or one.replace(microsecond=0) > two.replace(microsecond=0)


@given(st.text())
def test_any_other_text_is_a_sentence(text: str) -> None:
    try:
        moment = times.parse_time(text)
    except Refused:
        return
    assert moment.tzinfo is not None


def test_now_is_utc_to_the_second() -> None:
    assert times.now().microsecond == 0
    assert times.now().utcoffset() == timedelta(0)

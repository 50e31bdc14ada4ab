# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""When a node's growth raises an alarm."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import growth
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Row
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
MIB = 1 << 20


def arrived(*rows: tuple[float, int]) -> list[Version]:
    """Versions that came so many hours ago, of so many MiB; all of one name, as an overwriting node makes them."""
    return [
        Version("x", str(number), NOW - timedelta(hours=hours), mib * MIB) for number, (hours, mib) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "claimed", "told"),
    [
        ([], 0, False),
        ([(1, 10)], 0, False),  # below the floor, whatever was before
        ([(1, 11)], 0, True),
        ([(1, 300)], 100, False),  # a node's first day: three times what its records name
        ([(1, 301)], 100, True),
        ([(1, 5), (2, 6)], 0, True),  # many small ones are as bad as a large one
        ([(1, 300), (30, 100)], 0, False),
        ([(1, 301), (30, 100)], 0, True),
        ([(1, 301), (30, 100)], 10_000, True),  # once there is a history, a record's claim counts for nothing
        ([(1, 200), (30, 50), (31, 50)], 0, False),  # one day's are counted together
        ([(1, 100), (200, 100), (30, 1)], 0, False),  # a weekly full stands in the history of all days
        ([(-2, 11)], 0, True),  # a clock that is behind the store's
        ([(24.5, 500), (48, 1)], 0, False),  # only the last day is judged: a prune may have emptied the ones before
    ],
)
def test_alarm(rows: list[tuple[float, int]], claimed: int, told: bool) -> None:
    found = growth.alarm(arrived(*rows), claimed * MIB, NOW, 10 * MIB)
    assert (found is not None) == told


def test_the_sentence_has_the_figures() -> None:
    found = growth.alarm(arrived((1, 5000), (30, 100)), 0, NOW, MIB)
    assert found == (
        "4.9 GiB came in the last 24 h, on no earlier day more than 100.0 MiB: find out what writes there before the bucket is full."
    )
    assert "by its records more than 7.0 MiB" in (growth.alarm(arrived((1, 5000)), 7 * MIB, NOW, MIB) or "")


def test_an_alarm_never_hides_another_state() -> None:
    ok, bad = Row("n", "site", "ok"), Row("n", "site", "tampered", reason="somebody overwrote.")
    assert growth._with(ok, None) is ok
    assert growth._with(ok, "much.") == Row("n", "site", "growing", reason="much.")
    assert growth._with(bad, "much.") == Row("n", "site", "tampered", reason="somebody overwrote. much.")

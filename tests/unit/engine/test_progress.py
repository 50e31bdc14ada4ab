# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The line that people see, and what is let through of another machine's file."""

from __future__ import annotations

import re
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import progress
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.progress import PHASES, State

Case = dict[str, t.Any]


@pytest.mark.table("progress.yml", "line")
def test_line(case: Case) -> None:
    started = 1_700_000_000.0
    assert progress.line(State(**case["state"], started=started), started + case["after"]) == case["line"]


@pytest.mark.table("progress.yml", "size")
def test_size(case: Case) -> None:
    assert progress.size(case["number"]) == case["shown"]


@pytest.mark.table("progress.yml", "duration")
def test_duration(case: Case) -> None:
    assert progress.duration(case["seconds"]) == case["shown"]


@pytest.mark.table("progress.yml", "foreign")
def test_what_is_no_state_is_not_let_through(case: Case) -> None:
    assert progress.parse(case["data"].encode()) is None


def test_deep_nesting_is_not_let_through() -> None:
    assert progress.parse(b"[" * 4000) is None


COUNTS = st.integers(0, 2**63 - 1)
TOTALS = st.none() | COUNTS
STATES = st.builds(
    State,
    operation=st.sampled_from(["backup", "restore", "verify", ""]),
    profile=st.none() | st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True),
    phase=st.sampled_from(PHASES),
    files=COUNTS,
    bytes=COUNTS,
    volumes=COUNTS,
    total_files=TOTALS,
    total_bytes=TOTALS,
    total_volumes=TOTALS,
    started=st.floats(0, 2e9),
    updated=st.floats(0, 2e9),
)


@given(STATES)
def test_a_state_survives_its_file(state: State) -> None:
    assert progress.parse(progress.dump(state)) == state


@given(STATES, st.floats(0, 2e9))
def test_a_line_is_short_and_plain(state: State, now: float) -> None:
    """Whatever another machine wrote, one line of plain signs is shown, and no promise that cannot be kept."""
    shown = progress.line(state, now)
    assert re.fullmatch(r"[ -~]{1,400}", shown)
    left = progress.remaining(state, now)
    assert left is None or left > 0


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert progress.parse(data) is None or data.strip() == b"{}"

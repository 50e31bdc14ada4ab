# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""ok, warning or failed."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import outcome
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.execute import Finished
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.machine_log import Event


@pytest.mark.table("outcome.yml", "decide")
def test_decide(case: dict[str, t.Any]) -> None:
    events = [Event(keyword, code, "", text) for keyword, code, text in case.get("events", [])]
    finished = Finished(case.get("exit", 0), events, ended_by=case.get("ended_by"))
    rules = {"missing": case.get("missing", ()), "allowed": case.get("allowed", (0,))}
    verdict = outcome.decide(finished, **rules, last_word=case.get("last_word"))
    assert verdict.outcome.value == case["is"]
    assert (verdict.failure or "").startswith(case.get("says", ""))
    assert (verdict.failure is None) == (case["is"] != "failed")


EVENTS = st.lists(st.builds(Event, st.sampled_from(["ERROR", "WARNING", "INFO"]), st.integers(0, 90)))


@given(
    st.integers(-20, 100),
    EVENTS,
    st.lists(st.just("volume 1"), max_size=1),
    st.sampled_from([None, "stall", "timeout"]),
)
def test_nothing_passes_but_a_clean_end(code: int, events: list[Event], missing: list[str], ended: str | None) -> None:
    verdict = outcome.decide(Finished(code, events, ended_by=ended), missing=missing)
    errors = [event for event in events if event.keyword == "ERROR"]
    if code or errors or missing or ended or outcome.losses(events):
        assert verdict.outcome is outcome.Outcome.FAILED
        assert verdict.failure
        assert verdict.failure.endswith(".")
        assert "\n" not in verdict.failure
    else:
        warned = any(event.keyword == "WARNING" for event in events)
        assert verdict.outcome is (outcome.Outcome.WARNING if warned else outcome.Outcome.OK)


def test_left_behind_is_told_by_its_time() -> None:
    events = [Event("WARNING", 1, "", "x"), Event("WARNING", outcome.LEFT_BEHIND, "20261123T021500Z", "y")]
    (sentence,) = outcome.left_behind(events)
    assert sentence == (
        "the unfinished set of 20261123T021500Z stays in the store, since this key may not delete it: it does no harm; delete it "
        "with a key that may."
    )


def test_detail_is_what_duplicity_said() -> None:
    events = [
        Event("ERROR", 30, "", "boom"),
        Event("WARNING", 10, "", "cannot read /a"),
        Event("WARNING", 1, "", "dull"),
    ]
    assert outcome.detail(Finished(30, events, "output")) == "boom\ncannot read /a"
    assert outcome.detail(Finished(30, [], "  output \n")) == "output"
    assert len(outcome.detail(Finished(30, [], "x" * 5000))) == 1000
    assert outcome.detail(Finished(30, [Event("ERROR", 1, "", str(n)) for n in range(50)])).count("\n") == 19

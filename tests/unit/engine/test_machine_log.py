# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The machine log, against duplicity's own formatter."""

from __future__ import annotations

import logging

from duplicity import log as duplicity_log
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.machine_log import Event, of, parse

EVENTS = st.builds(
    Event,
    st.sampled_from(["ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"]),
    st.integers(0, 200),
    st.text(st.characters(exclude_characters="\n", codec="utf-8")).map(str.strip),
    st.text(st.characters(codec="utf-8")).map(lambda text: text.lstrip("\n")),  # empty lines before a text are dropped
)


def written(events: list[Event]) -> str:
    """What duplicity writes for these events."""
    formatter = duplicity_log.MachineFormatter()
    text = ""
    for event in events:
        record = logging.LogRecord("duplicity", logging.INFO, "", 0, event.text, (), None)
        record.levelName = event.keyword
        record.controlLine = f"{event.code} {event.extra}" if event.extra else f"{event.code}"
        text += formatter.format(record) + "\n"
    return text


@given(st.lists(EVENTS))
def test_what_duplicity_writes_is_read(events: list[Event]) -> None:
    assert parse(written(events)) == events


@given(st.lists(EVENTS, min_size=1), st.data())
def test_a_log_cut_short_is_read_as_far_as_it_goes(events: list[Event], data: st.DataObject) -> None:
    text = written(events)
    cut = parse(text[: data.draw(st.integers(0, len(text)))])
    assert cut[:-1] == events[: max(len(cut) - 1, 0)]


@given(st.text())
def test_anything_is_read_without_a_complaint(text: str) -> None:
    parse(text)


def test_levels_are_duplicitys() -> None:
    assert {duplicity_log.LevelName(level) for level in range(10)} == {"ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"}


def test_a_name_in_a_text_starts_no_event() -> None:
    events = [Event("WARNING", 10, "'/a b'", "Error opening\nERROR 30\n\nNOTICE 1")]
    assert parse(written(events)) == events


def test_of_selects() -> None:
    events = [Event("WARNING", 10), Event("ERROR", 10), Event("WARNING", 1)]
    assert of(events, "WARNING") == [events[0], events[2]]
    assert of(events, "WARNING", (10,)) == [events[0]]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""duplicity's machine log (``--log-file``) as events. Pure.

A stanza is ``KEYWORD code extra``, then lines that start with ``". "``, then a blank line (duplicity 3.2.1, ``log.py``:
MachineFormatter). What a killed process left half-written at the end of the file is read as far as it goes.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

_HEAD = re.compile(r"(ERROR|WARNING|NOTICE|INFO|DEBUG) ([0-9]+)(?: (.*))?")


@dataclass(frozen=True)
class Event:
    """One stanza: keyword, numeric code (0 if none), the rest of the head line, and the text for people."""

    keyword: str
    code: int
    extra: str = ""
    text: str = ""


def parse(log: str) -> list[Event]:
    """All events of a log in order. Lines outside any stanza are ignored."""
    events: list[Event] = []
    # not splitlines(): a file name in an event may hold any other Unicode line separator
    for line in log.split("\n"):
        head = _HEAD.fullmatch(line)
        if head:
            events.append(Event(head[1], int(head[2]), head[3] or ""))
        elif line.startswith(". ") and events:
            last = events[-1]
            text = f"{last.text}\n{line[2:]}" if last.text else line[2:]
            events[-1] = Event(last.keyword, last.code, last.extra, text)
    return events


def of(events: t.Iterable[Event], keyword: str, codes: t.Container[int] | None = None) -> list[Event]:
    """The events with this keyword and, if given, one of these codes."""
    return [event for event in events if event.keyword == keyword and (codes is None or event.code in codes)]

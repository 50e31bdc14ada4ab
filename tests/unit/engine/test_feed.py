# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Volumes that are unpacked side by side, of which the later one may come first."""

from __future__ import annotations

import contextlib
import io
import threading
import types
import typing as t

from tests.unit.engine import forge

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import feed
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.difftar import entries_in
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.unpack import Choice, Summary


class Crew:
    """Two processes, which this one plays: it says what a batch holds, and whether it goes on behind the wanted path."""

    def __len__(self) -> int:
        return 2

    def __init__(self, slots: feed.Slots, seen: list[tuple[int, bytes]]) -> None:
        self._slots, self._seen = slots, seen

    def each(self, tasks: t.Iterator[t.Any], done: t.Callable[..., None], _end: t.Callable[[], None]) -> None:
        choice = Choice(prefix=b"b")
        for task in tasks:
            _set, volume, _count, slot, size = task[1]
            paths = [entry.path for entry in entries_in(self._slots.room(slot, size))]
            self._seen += [(volume, path) for path in paths]
            behind = any(choice.behind(path.replace(b"/", b"\0")) for path in paths)
            first, last = ((path, "snapshot", 0) for path in (paths[0], paths[-1]))
            done(task, (Summary(first, last, False, behind), ""))


def test_a_volume_behind_does_not_end_those_before_it() -> None:
    """A full of two volumes; the second, in which nothing is wanted, is through before the first one is opened."""
    contents = {1: ["b/one", "b/two"], 2: ["d"]}
    through = threading.Event()

    @contextlib.contextmanager
    def opened(part: t.Any) -> t.Iterator[t.Any]:
        if part.volume.number == 1:
            assert through.wait(20)
        items: list[tuple[t.Any, ...]] = [(f"snapshot/{path}", "file", b"x") for path in contents[part.volume.number]]
        plain = types.SimpleNamespace(read=io.BytesIO(forge.tar(items)).read, finish=lambda: None, skip=lambda: None)
        yield plain

    parts: list[t.Any] = [
        types.SimpleNamespace(set=0, volume=types.SimpleNamespace(number=number), named=contextlib.nullcontext)
        for number in (1, 2)
    ]
    slots = feed.Slots(6)
    seen: list[tuple[int, bytes]] = []

    def note(summary: Summary) -> None:
        if summary.behind:
            threading.Timer(0.1, through.set).start()  # when the feed knows, too

    crew: t.Any = Crew(slots, seen)
    feed.Feed(crew, slots, opened, note, lambda: None).run(parts)
    assert seen == [(2, b"d"), (1, b"b/one"), (1, b"b/two")]

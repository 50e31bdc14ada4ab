# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A restore that no longer moves is ended, with all its processes; one that is slow is not."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import decrypt, fast, pulse, store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node


def test_a_forked_process_keeps_it_alive() -> None:
    watched = pulse.Pulse()
    watched.idle()
    time.sleep(0.05)
    before = watched.idle()
    assert before >= 0.05
    child = os.fork()
    if not child:
        watched.beat()
        os._exit(0)
    os.waitpid(child, 0)
    assert watched.idle() < before


def test_a_look_while_it_is_written_sees_nothing_strange() -> None:
    watched = pulse.Pulse()
    child = os.fork()
    if not child:
        while True:
            watched.beat()
    try:
        assert max(watched.idle() for _look in range(100_000)) < 5
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_to_be_stopped_for_a_while_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 5000.0, 5001.0, 5002.0, 5003.0])
    monkeypatch.setattr(pulse.time, "monotonic", lambda: next(clock))
    watched = pulse.Pulse()
    assert [watched.idle() for _look in range(4)] == [0, 1, 3, 4]
    watched.beat()
    assert watched.idle() == 0


def test_slow_is_not_stalled() -> None:
    alive = pulse.Pulse()
    with pulse.watched(alive, 60, 0.3):
        for _step in range(10):
            time.sleep(0.1)
            alive.beat()


def test_the_stall_limit() -> None:
    with pytest.raises(LifeboatError, match="nothing moved for 0 s"), pulse.watched(pulse.Pulse(), 60, 0.2):
        time.sleep(5)


def test_who_tries_again_after_each_error_is_ended_too() -> None:
    def stubborn() -> None:
        for _try in range(3):
            with contextlib.suppress(Exception):
                time.sleep(2)

    with pytest.raises(LifeboatError, match="nothing moved for 0 s"), pulse.watched(pulse.Pulse(), 60, 0.2):
        stubborn()


def test_the_time_limit() -> None:
    with pytest.raises(LifeboatError, match="ran into its time limit"), pulse.watched(pulse.Pulse(), 0.2, 60):
        time.sleep(5)


def test_in_another_thread_nobody_can_be_told() -> None:
    ended: list[bool] = []

    def work() -> None:
        with pulse.watched(pulse.Pulse(), 0.05, 0.05):
            time.sleep(0.2)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


def gone() -> bool:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return not multiprocessing.active_children() and not [
        child for child in children if "gpg" in Path(f"/proc/{child}/comm").read_text()
    ]


def test_a_store_that_hangs_ends_the_restore(odd: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = odd.copy(tmp_path / "node")
    released = threading.Event()
    stream = store.FileStore.stream

    def hang(self: t.Any, name: str, *values: t.Any, **more: t.Any) -> t.Iterator[bytes]:
        if ".vol1." in name and "full" in name:
            released.wait(60)
        return stream(self, name, *values, **more)

    monkeypatch.setattr(store.FileStore, "stream", hang)
    monkeypatch.setattr("ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fetch._PATIENCE", 0.1)
    destination = tmp_path / "restored"
    answer = node.ask("restore", dest=str(destination), reader="fast", stall_timeout=1)
    released.set()
    assert answer["failed"]
    assert "nothing moved for 1 s: check that the store answers" in answer["msg"]
    assert not destination.exists()
    assert gone()


@pytest.mark.parametrize("small", [1 << 40, 0])  # in one process, in several
def test_a_gpg_that_hangs_ends_the_restore(
    small: int, sealed: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "_SMALL", small)

    class Stopped(decrypt._Gpg):
        def __init__(self, path: str, name: str, home: str) -> None:
            super().__init__(path, name, home)
            if "full" in name and ".vol" in name:
                self._gpg.popen.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(decrypt, "_Gpg", Stopped)
    node = sealed.copy(tmp_path / "node")
    answer = node.ask("restore", dest=str(tmp_path / "restored"), reader="fast", stall_timeout=1)
    assert answer["failed"]
    assert "nothing moved for 1 s" in answer["msg"]
    assert gone()

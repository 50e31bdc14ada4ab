# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Progress of operations that really run: seen while they work, gone when they end, and never in their way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    command,
    execute,
    expected,
    reading,
    reporter,
    unit,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.progress import State, dump
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.reading import Origin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

FILES, EACH = 200, 20_000


@pytest.fixture
def many(node: Node) -> Node:
    """A node whose every run takes several looks: a few hundred files, and a look as often as the machine allows."""
    for number in range(FILES):
        (node.source / f"file{number}").write_bytes(os.urandom(EACH))
    return node


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "INTERVAL", 0.01)


def wait_for(condition: t.Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


@contextmanager
def watching(operation: str = "backup") -> t.Iterator[list[State]]:
    """States of the operation in the body: now and then, and surely the last one of each phase."""
    seen: list[State] = []
    enter = reporter.Reporter.phase

    def phase(self: reporter.Reporter, *values: t.Any) -> None:
        seen.append(self.state())
        enter(self, *values)

    with pytest.MonkeyPatch.context() as patch, reporter.reporting(seen.append, operation, "site"):
        patch.setattr(reporter.Reporter, "phase", phase)
        yield seen
        reporter.phase("finishing")


def last_of(seen: list[State], phase: str) -> State:
    found = [state for state in seen if state.phase == phase]
    assert found, [state.phase for state in seen]
    counts = [(state.files, state.bytes, state.volumes) for state in found]
    assert counts == sorted(counts), "counts of one phase only grow"
    return found[-1]


def test_a_full_an_incremental_a_verify_and_a_restore(many: Node, tmp_path: Path) -> None:
    with watching() as seen:
        many.backup(mode="full")
    full = last_of(seen, "backing up")
    assert (full.total_files, full.total_bytes) == (FILES + 2, FILES * EACH + 22)
    assert (full.files, full.bytes) == (FILES + 2, FILES * EACH + 22)
    assert (full.operation, full.profile) == ("backup", "site")

    (many.source / "file7").write_bytes(b"new")
    with watching() as seen:
        many.backup(mode="incremental")
    incremental = last_of(seen, "backing up")
    assert (incremental.total_files, incremental.total_bytes) == (FILES + 2, None)
    assert incremental.files == FILES + 2
    assert 0 < incremental.bytes < FILES * EACH

    size = (FILES - 1) * EACH + 22 + 3
    with watching("verify") as seen:
        assert not many.ask("verify")["failed"]
    verified = last_of(seen, "verifying")
    assert (verified.total_files, verified.total_bytes, verified.total_volumes) == (FILES + 2, None, 2)
    assert verified.volumes > 0

    with watching("restore") as seen:
        tree = many.restore(reader="duplicity")
    restored = last_of(seen, "restoring")
    assert (restored.total_files, restored.total_bytes, restored.total_volumes) == (FILES + 2, size, 2)
    assert restored.volumes > 0

    with watching("verify") as seen:
        many.proven(tree)
    assert last_of(seen, "comparing").total_files == FILES + 2

    with watching("restore") as seen:
        many.restore(path="file3", reader="duplicity")
    assert last_of(seen, "restoring").total_files is None

    (tree / "file3").write_bytes(b"other")
    with watching("restore") as seen:
        assert not many.ask("restore", dest=str(tree), replace="in_place")["failed"]
    again = last_of(seen, "restoring")
    assert (again.total_files, again.total_bytes) == (FILES + 2, size)
    with watching("verify") as seen:
        assert not many.ask("verify", source=str(many.source), compare_data=True)["failed"]
    assert last_of(seen, "comparing").volumes > 0


def test_duplicity_counts_all_that_it_writes(many: Node, tmp_path: Path) -> None:
    """The last figures of a restore and a verify are lost with the second in which they end; here they are asked for."""
    many.backup(mode="full")
    (many.source / "file7").write_bytes(b"new" * EACH)
    many.backup(mode="incremental")
    code = """
import os, runpy, sys
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
import launcher_count
launcher_count.EVERY = 0.0
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    size = (FILES - 1) * EACH + 22 + 3 * EACH
    for verb, target, written in (("restore", tmp_path / "tree", size), ("verify", tmp_path, 0)):
        counts = tmp_path / verb
        argv = ["-c", code, command.LAUNCHER, verb, "--no-encryption", "--archive-dir", str(tmp_path / "cache")]
        environment = {**os.environ, "LIFEBOAT_PROGRESS": str(counts)}
        done = subprocess.run(
            [sys.executable, *argv, f"file://{many.repository}", str(target)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 1), done.stderr
        assert json.loads(counts.read_text()) == {"files": FILES + 2, "bytes": written, "volumes": 2}


def test_nobody_watches(many: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then duplicity counts nothing, and the store is not asked for a record."""
    seen = []
    run = execute.run
    monkeypatch.setattr(execute, "run", lambda argv, env, **more: seen.append(env) or run(argv, env, **more))
    monkeypatch.setattr(expected, "open_store", lambda _: pytest.fail("asked"))
    many.backup()
    many.restore(reader="duplicity")
    assert len(seen) == 2
    assert not any("LIFEBOAT_PROGRESS" in env for env in seen)


def test_the_file_grows_and_goes(many: Node, tmp_path: Path) -> None:
    path = tmp_path / "run" / "site.json"
    seen: list[State] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            if (state := reporter.read(str(path))) is not None:
                assert path.stat().st_mode & 0o777 == 0o644
                seen.append(state)
            time.sleep(0.005)

    thread = threading.Thread(target=look)
    old = os.umask(0o077)
    try:
        with reporter.published(str(path), "backup", "site"):
            thread.start()
            many.backup()
    finally:
        os.umask(old)
        ended.set()
        thread.join()
    assert len({state.files for state in seen}) > 2
    assert os.listdir(path.parent) == []


def test_a_killed_duplicity_leaves_no_file(many: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "site.json"
    popen = subprocess.Popen

    class Killed(popen):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *args: t.Any, **more: t.Any) -> None:
            super().__init__(*args, **more)
            if "launcher.py" in " ".join(args[0]):
                self.send_signal(signal.SIGKILL)

    monkeypatch.setattr(execute.subprocess, "Popen", Killed)
    with reporter.published(str(path), "backup", "site"):
        answer = many.ask("backup")
        wait_for(path.exists)
    assert answer["failed"]
    assert os.listdir(path.parent) == []
    assert list((many.root / "cache").rglob("progress*")) == []


def test_a_place_that_cannot_be_written_hurts_nothing(many: Node, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with reporter.published(str(tmp_path / "file" / "x.json"), "backup"):
        assert not many.backup()["failed"]


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    for name, age in (("old.progress.json", 4000), ("new.progress.json", 5), ("site.request.json", 4000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with reporter.published(reporter.public_path(str(tmp_path), "0" * 32), "backup"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["new.progress.json", "site.request.json"]


@pytest.mark.parametrize("identifier", ["", "../" + "0" * 32, "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n"])
def test_an_id_is_no_path(identifier: str) -> None:
    with pytest.raises(Refused):
        reporter.public_path("/run", identifier)


def test_links_and_fifos_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(dump(State()))
    (tmp_path / "link").symlink_to("state")
    os.mkfifo(tmp_path / "fifo")
    assert reporter.read(str(tmp_path / "state")) == State()
    for name in ("link", "fifo", "none", "."):
        assert reporter.read(str(tmp_path / name)) is None


def test_the_unit_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    with watching() as seen:
        assert reporter.follow(str(path), whole=True) == str(path)
        path.write_bytes(dump(State("other", "other", "hashing", 5, total_files=9, started=50.0)))
        wait_for(lambda: seen[-1].files == 5)
        path.unlink()
        count = len(seen)
        wait_for(lambda: len(seen) > count + 1)
    assert (seen[-1].operation, seen[-1].profile, seen[-1].phase) == ("backup", "site", "hashing")
    assert (seen[-1].files, seen[-1].total_files, seen[-1].started) == (5, 9, 50.0)


def test_the_unit_reports_in_its_folder(many: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"node": "n", "source": str(many.source), "store": {"url": f"file://{many.corner}"}, "fingerprint": None}
    (many.root / "etc" / "site.json").write_text(json.dumps(data))
    folder = tmp_path / "run" / "site"
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    seen = []
    publish = reporter.published

    def published(path: str | None, *values: str) -> t.Any:
        seen.append((path, *values))
        return publish(path, *values)

    monkeypatch.setattr(reporter, "published", published)
    assert unit.run("site", many.layout).record.outcome == "ok"
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert unit.run("site", many.layout).record.outcome == "ok"
    assert seen == [(str(folder / "progress.json"), "backup", "site"), (None, "backup", "site")]
    assert os.listdir(folder) == []


# --- totals of a restore ----------------------------------------------------------------------------------------------


def totals(node: Node, origin: Origin, entry: Record | None = None) -> tuple[int | None, int | None, int | None]:
    chain, point = reading.locate(Location(f"file://{node.repository}"), None)
    with watching() as seen:
        expected.announce("restoring", origin, chain, point, entry)
    state = last_of(seen, "restoring")
    return state.total_files, state.total_bytes, state.total_volumes


def test_where_the_totals_come_from(odd: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = Location(f"file://{odd.repository}"), Location("file:///nowhere/repo/site")
    files, size, volumes = totals(odd, Origin(here, profile="site"))
    assert files is not None
    assert size is not None
    assert (files > 10, size > 2_000_000, volumes) == (True, True, 4)
    for origin in (Origin(here), Origin(here, profile="other"), Origin(elsewhere, profile="site")):
        assert totals(odd, origin) == (None, None, 4)

    def refuse(_location: object) -> t.NoReturn:
        raise LifeboatError("no.")

    monkeypatch.setattr(expected, "open_store", refuse)
    assert totals(odd, Origin(here, profile="site")) == (None, None, 4)
    known = Record("backup", "ok", "20261123T021500Z", 1.0, files=3, bytes=4)
    assert totals(odd, Origin(here, profile="site"), known) == (3, 4, 4)

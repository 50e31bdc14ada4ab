# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Backups through the unit: the wish on the way in, the answer on the way out. systemctl is a mock."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import backup, reporter, unit
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.progress import State, dump
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.result import Result

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair


@pytest.fixture
def layout(node: Node) -> Layout:
    data = {"node": "node1", "source": str(node.source), "store": {"url": f"file://{node.corner}"}, "fingerprint": None}
    (node.root / "etc" / "site.json").write_text(json.dumps(data))
    return node.layout


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


Starts = list[list[str]]


def systemctl(monkeypatch: pytest.MonkeyPatch, *runs: t.Callable[[], object]) -> Starts:
    """Each start of a unit makes the next of these calls."""
    calls: Starts = []

    def start(argv: list[str], **_: t.Any) -> subprocess.CompletedProcess[str]:
        calls.append(argv)
        runs[min(len(calls), len(runs)) - 1]()
        return subprocess.CompletedProcess(argv, 1, "", "Job failed.\nSee the journal.\n")

    monkeypatch.setattr(unit.subprocess, "run", start)
    return calls


def stub_backup(monkeypatch: pytest.MonkeyPatch, wishes: list[str]) -> None:
    def run(settings: t.Any, wish: str, key: t.Any, layout: Layout) -> Result:
        wishes.append(wish)
        return Result(Record("backup", "ok", "20261123T021500Z", 1.0), True, "done.")

    monkeypatch.setattr(backup, "run", run)


def test_a_wish_reaches_the_unit_and_its_answer_comes_back(
    layout: Layout, root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes: list[str] = []
    stub_backup(monkeypatch, wishes)
    calls = systemctl(monkeypatch, lambda: unit.run("site", layout))
    answer = unit.start("site", "full", layout)
    assert calls == [["systemctl", "start", "lifeboat-backup@site.service"]]
    assert wishes == ["full"]
    assert answer["msg"] == "done."
    assert os.listdir(layout.run) == []
    assert unit.last("site", layout) == answer


def test_systemd_makes_the_folder_that_is_looked_into() -> None:
    template = Path(__file__).parents[3] / "roles/schedule/templates/lifeboat-backup@.service.j2"
    assert Layout().run == "/run/lifeboat"
    assert "\nRuntimeDirectory=lifeboat/%i\nRuntimeDirectoryMode=0755\n" in template.read_text()


def test_who_starts_it_sees_how_far_it_is(layout: Layout, root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes in truth: here what the unit has written to its folder is already there."""
    states: list[State] = []
    folder = Path(layout.run) / "site"
    folder.mkdir()
    (folder / "progress.json").write_bytes(dump(State("backup", "site", "hashing", 5, total_files=9)))

    def work() -> None:
        while not states or states[-1].phase != "hashing":
            time.sleep(0.001)

    systemctl(monkeypatch, work)
    monkeypatch.setattr(reporter, "INTERVAL", 0.01)
    with reporter.reporting(states.append, "backup", "site"), pytest.raises(LifeboatError):
        unit.start("site", "full", layout)
    assert (states[-1].files, states[-1].total_files) == (5, 9)


def test_the_units_user_reads_the_wish_whatever_our_umask_is(
    layout: Layout, root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    path = Path(layout.run) / "site.request.json"
    systemctl(monkeypatch, lambda: modes.append(stat.S_IMODE(path.stat().st_mode)))
    mask = os.umask(0o077)
    try:
        with pytest.raises(LifeboatError):
            unit.start("site", "full", layout)
    finally:
        os.umask(mask)
    assert modes == [0o644, 0o644]


def test_a_run_of_the_timer_is_waited_for(layout: Layout, root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: list[str] = []
    stub_backup(monkeypatch, wishes)
    calls = systemctl(monkeypatch, lambda: None, lambda: unit.run("site", layout))
    assert unit.start("site", "incremental", layout)["msg"] == "done."
    assert len(calls) == 2
    assert wishes == ["incremental"]


def test_a_unit_without_an_answer_is_a_sentence(layout: Layout, root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(monkeypatch, lambda: None)
    with pytest.raises(LifeboatError) as error:
        unit.start("site", "auto", layout)
    assert str(error.value) == (
        "lifeboat-backup@site.service left no answer (Job failed.): see journalctl -u lifeboat-backup@site.service."
    )
    assert os.listdir(layout.run) == []


def test_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="mode 'half' is unknown"):
        unit.start("site", "half", layout)
    with pytest.raises(Refused, match="there is no profile 'none' on this node"):
        unit.start("none", "auto", layout)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="starting a backup needs root: use sudo"):
        unit.start("site", "auto", layout)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "5", '{"mode": "full", "id"'])
def test_half_a_wish_is_none(layout: Layout, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    wishes: list[str] = []
    stub_backup(monkeypatch, wishes)
    if text is not None:
        (Path(layout.run) / "site.request.json").write_text(text)
    unit.run("site", layout)
    assert wishes == ["auto"]
    assert unit.last("site", layout)["request"] is None


def test_what_never_started_leaves_an_answer_too(layout: Layout, node: Node) -> None:
    for path in (node.source / "folder" / "old", node.source / "page.php"):
        path.unlink()
    (node.source / "folder").rmdir()
    result = unit.run("site", layout)
    assert result.failed
    answer = unit.last("site", layout)
    assert answer["failed"]
    assert answer["msg"].startswith(f"the source {node.source} is empty")
    assert answer["record"]["failure"] == answer["msg"]


def test_the_stores_key_comes_from_systemd(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def run(settings: t.Any, *_: t.Any) -> Result:
        seen.append(settings.store.credentials_file)
        return Result(Record("backup", "ok", "20261123T021500Z", 1.0), True, "done.")

    monkeypatch.setattr(backup, "run", run)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    unit.run("site", layout)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    unit.run("site", layout)
    assert seen == ["/run/credentials/x/store", None]


def test_a_real_run(layout: Layout, node: Node) -> None:
    result = unit.run("site", layout)
    assert result.record.outcome == "ok"
    assert unit.last("site", layout)["record"] == result.record.to_dict()


def test_no_answer_yet(layout: Layout, node: Node) -> None:
    assert unit.last("site", layout) == {}
    (node.root / "state" / "site").mkdir()
    for text in ("{", "[]"):
        (node.root / "state" / "site" / "last.json").write_text(text)
        assert unit.last("site", layout) == {}


def test_the_public_key(layout: Layout, pair: Pair) -> None:
    assert unit.public_key(layout) is None
    (Path(layout.etc) / "public.asc").write_text(pair.public)
    assert unit.public_key(layout) == pair.public.encode()

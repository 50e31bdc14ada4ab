# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""How a run steps back. What it does to its process lasts, so each test has one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import priority

_RUN = """
import json, os, subprocess, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import priority
said = [warning for nice, ionice in json.loads(sys.argv[1]) for warning in priority.lower(nice, ionice)]
disk = subprocess.run([sys.argv[2], "-p", str(os.getpid())], capture_output=True, text=True).stdout.strip()
child = subprocess.run(["nice"], capture_output=True, text=True, env={"PATH": sys.argv[3]}).stdout.strip()
print(json.dumps([said, disk, os.getpriority(os.PRIO_PROCESS, 0), child]))
"""


def lowered(*wishes: tuple[int, str | None], path: str = os.environ["PATH"]) -> tuple[list[str], str, int]:
    """Sentences, class of disk access, and nice value: that of the process, which its child must share."""
    ionice = subprocess.run(["sh", "-c", "command -v ionice"], capture_output=True, text=True).stdout.strip()
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    argv = [sys.executable, "-c", _RUN, json.dumps(wishes), ionice, os.environ["PATH"]]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, disk, nice, child = json.loads(done.stdout)
    assert child == str(nice)
    return said, disk, nice


OURS = os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.parametrize(
    ("wishes", "disk", "nice"),
    [
        ([(0, None)], None, OURS),
        ([(10, "idle")], "idle", max(10, OURS)),
        ([(19, "best-effort")], "best-effort: prio 7", 19),
        ([(10, None), (5, None)], None, max(10, OURS)),  # never up again
    ],
)
def test_lower(wishes: list[t.Any], disk: str | None, nice: int) -> None:
    said, found, value = lowered(*wishes)
    assert (said, value) == ([], nice)
    assert disk is None or found == disk


def test_without_ionice_there_is_a_warning(tmp_path: t.Any) -> None:
    said, _disk, _nice = lowered((0, "idle"), path=str(tmp_path))
    assert said == ["the disk was not used with 'ionice: idle': there is no ionice here."]


def test_the_commands() -> None:
    assert priority.ionice("idle", 7) == ("ionice", "-c", "3", "-p", "7")
    assert priority.ionice("best-effort", 7) == ("ionice", "-c", "2", "-n", "7", "-p", "7")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("true",), []),
        (("sh", "-c", "echo no; exit 1"), ["the disk was not used with 'ionice: idle': no."]),
        (("/no/such/ionice",), ["the disk was not used with 'ionice: idle': there is no ionice here."]),
    ],
)
def test_what_is_told(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], says: list[str]) -> None:
    """In this process, so nothing is really lowered."""
    set_to: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "getpriority", lambda *_who: 5)
    monkeypatch.setattr(os, "setpriority", lambda *values: set_to.append(values))
    monkeypatch.setattr(priority, "ionice", lambda wish, pid: command)
    assert priority.lower(10, "idle") == says
    assert priority.lower(5, None) == []
    assert set_to == [(os.PRIO_PROCESS, 0, 10)]

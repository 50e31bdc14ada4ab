# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Progress of a real backup, of the unit in its sandbox: in Ansible's output and on a terminal on the node."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

NODE = "node1"
COUNTS = r"[\d,]+ of 2\d,\d{3} files"
TASK = f"""
- hosts: {NODE}
  become: true
  gather_facts: false
  tasks:
    - lifeboat.fleet.duplicity:
        operation: backup
        profile: site
        mode: full
        show_progress: true
"""


def left(fleet: Any) -> str:
    """What is left of progress on the node."""
    out: str = fleet.on(NODE, "sudo ls -A /run/lifeboat")
    return out


def test_ansible_shows_it(fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFEBOAT_PROGRESS_SECONDS", "0.5")
    (tmp_path / "full.yml").write_text(TASK)
    run = fleet.play(str(tmp_path / "full.yml"))
    assert run.rc == 0, run.out
    assert re.search(rf"^{NODE}: .+: {COUNTS}", run.out, re.MULTILINE), run.out
    assert left(fleet) == ""


def test_a_terminal_shows_it(fleet: Any) -> None:
    out = fleet.on(NODE, "script -qec 'sudo lifeboat backup site --mode full' /dev/null")
    assert re.search(COUNTS, out), out
    assert out.count("\x1b[K") > 2, out  # one line, drawn anew
    assert left(fleet) == ""


# A run without a terminal, and how far its duplicity steps back meanwhile.
QUIET = """
(sudo lifeboat backup site --mode full; echo ended $?) 2>&1 &
until pid=$(pgrep -n -f '/launcher.py full ' -u lifeboat); do sleep 0.1; done
echo nice $(ps -o ni= -p $pid), $(ionice -p $pid)
wait
"""


def test_without_a_terminal_it_is_silent_and_steps_back(fleet: Any) -> None:
    out = fleet.on(NODE, f"timeout 120 sh -c {shlex.quote(QUIET)}")
    assert not re.search(COUNTS, out), out
    assert "nice 10, idle" in out
    assert "ended 0" in out

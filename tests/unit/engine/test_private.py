# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Folders for secrets: private, in memory, gone afterwards, also after a process that was killed."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import private


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(private, "_MEMORY", str(tmp_path))
    monkeypatch.setattr(private, "_is_tmpfs", lambda path: True)
    monkeypatch.setattr(private, "_LONGEST", 4096)
    return tmp_path


def test_folder_is_for_its_owner_only(memory: Path) -> None:
    folder = private.make()
    assert os.path.dirname(folder) == str(memory)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    private.remove(folder)
    assert list(memory.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_nothing_else(memory: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, living, foreign = (memory / name for name in (f"lifeboat-{dead.pid}-abc", "lifeboat-1-abc", "lifeboat-notes"))
    for folder in (left, living, foreign):
        folder.mkdir()
        (folder / "secret").write_text("x")
    link = memory / f"lifeboat-{dead.pid}-link"
    link.symlink_to(foreign)
    folder = private.make()
    assert not left.exists()
    assert (living / "secret").exists()
    assert (foreign / "secret").exists()
    private.remove(folder)


def test_it_lies_in_memory_on_a_machine_that_has_a_tmpfs() -> None:
    if not private._is_tmpfs("/dev/shm"):
        pytest.skip("this machine has no tmpfs at /dev/shm")
    folder = private.make()
    assert folder.startswith(f"/dev/shm/lifeboat-{os.getpid()}-")
    private.remove(folder)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The lock: held once, freed with its last descriptor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import lock
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError

_PARENT = """
import subprocess, sys, time
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import lock
with lock.held(sys.argv[1]) as descriptor:
    child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor], start_new_session=True)
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    print(child.pid, other.pid, flush=True)
    time.sleep(60)
"""


def is_free(path: Path) -> bool:
    try:
        with lock.held(str(path)):
            return True
    except LifeboatError:
        return False


def test_held_and_freed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.held(str(path)) as descriptor:
        assert not os.get_inheritable(descriptor)
        with pytest.raises(LifeboatError) as error, lock.held(str(path)):
            pass
        assert (
            str(error.value) == f"another run holds {path}: wait for it to end (or see what it does: fuser -v {path})."
        )
    assert is_free(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_error_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock.held(str(tmp_path / "lock")):
        raise KeyError
    assert is_free(tmp_path / "lock")


def test_a_killed_owner_does_not_free_it_under_a_living_child(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(path)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    child, other = map(int, parent.stdout.readline().split())
    try:
        parent.kill()
        parent.wait()
        assert not is_free(path)
    finally:
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not is_free(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_free(path)  # the other child never had it
    os.kill(other, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["missing folder", "link"])
def test_a_lock_that_cannot_be_opened_is_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "no" / "lock"
    if kind == "link":  # somebody else's file must not be opened through it
        path = tmp_path / "lock"
        path.symlink_to("/etc/passwd")
    with pytest.raises(LifeboatError, match=f"cannot open the lock {path}: .*\\."), lock.held(str(path)):
        pass

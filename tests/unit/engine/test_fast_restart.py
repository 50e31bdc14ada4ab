# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A full that was killed and went on later is read like any other: duplicity writes its last volumes twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.engine.tree_histories import History, look

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, fast
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.reading import Origin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, open_store


@pytest.mark.parametrize("volumes", [1, 3, 6])
def test_a_killed_full_that_went_on(tmp_path: Path, volumes: int) -> None:
    history = History(tmp_path, seed=volumes)
    history.compress = False
    for number in range(8):
        (history.source / f"f{number}").write_bytes(os.urandom(300_000 if number % 3 else 2_500_000))
    command = [
        *(os.path.join(os.path.dirname(sys.executable), "duplicity"), "full", "--no-encryption", "--no-compression"),
        *("--volsize", "1", "--archive-dir", str(tmp_path / "cache"), "--current-time", str(history.moment(0))),
        *(str(history.source), f"file://{history.repository}"),
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    history.repository.mkdir()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while len(list(history.repository.glob("*.vol*"))) < volumes and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(history.repository.glob("*.manifest"))  # it was killed before its end
    history.save()
    assert len({path.name.split(".")[1] for path in history.repository.iterdir()}) == 1  # it went on with the same set
    assert history.restore(0, tmp_path / "stock").returncode == 0
    location = Location(f"file://{history.repository}")
    chain = chains.collect(open_store(location).list()).chains[0]
    fast.read(Origin(location), chain, chain.sets[0], str(tmp_path / "ours"), spool=str(tmp_path))
    assert look(tmp_path / "ours") == look(tmp_path / "stock")

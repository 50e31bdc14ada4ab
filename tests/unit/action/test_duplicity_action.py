# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What Ansible shows while the module runs."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.lifeboat.fleet.plugins.action import duplicity
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout

LINE = "node1: backing up: 12,340 of 23,017 files, 120 MiB of 281 MiB"


def test_it_looks_where_the_engine_writes() -> None:
    assert Layout().run == duplicity.FOLDER


def test_progress_is_shown_while_the_module_runs(site: t.Any) -> None:
    site.engine(looks=2)
    done = site.run(show_progress=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(LINE) >= 1, done.stdout
    assert len(site.requests[0]["progress"]) == 32
    assert "changed=1" in done.stdout
    assert os.listdir(site.root / "run") == []
    assert done.stderr == ""


def test_nothing_is_shown_that_was_not_asked_for(site: t.Any) -> None:
    done = site.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backing up" not in done.stdout + done.stderr
    assert "progress" not in site.requests[0]


@pytest.mark.parametrize(
    "keywords", [{"no_log": True}, {"flags": ["--check"]}, {"async": 60, "poll": 1}], ids=["no_log", "check", "async"]
)
def test_where_nothing_can_be_shown_the_task_runs_all_the_same(site: t.Any, keywords: dict[str, t.Any]) -> None:
    done = site.run(show_progress=True, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
    assert "backing up" not in done.stdout + done.stderr
    assert "progress" not in site.requests[0]
    assert site.requests[0]["check"] == ("flags" in keywords)


def test_delegated_and_failed(site: t.Any) -> None:
    hosts = (site.root / "hosts").read_text().replace("node1 ", "helper ")
    (site.root / "hosts").write_text(f"{hosts}node1 ansible_connection=none\n")
    site.engine(looks=2)
    done = site.run(show_progress=True, delegate_to="helper", mode="full")
    assert done.returncode == 2
    assert LINE in done.stdout
    assert "failed=1" in done.stdout
    assert "done." in done.stdout


def test_a_second_connection_that_fails_hurts_nothing(site: t.Any) -> None:
    fails = f"open('{site.root}/looks', 'w').write('x'); raise OSError('no more of them')"
    site.replace(site.action, "found = loader.get(\n", f"{fails}\n        found = loader.get(\n")
    site.engine(looks=1)
    done = site.run(show_progress=True, flags=["-vv"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "node1: no progress can be shown: no more of them" in done.stdout
    assert LINE not in done.stdout


def test_a_look_that_hangs_does_not_hold_the_task(site: t.Any) -> None:
    """It would for ever: what the look waits for comes after the task."""
    os.mkfifo(site.root / "never")
    site.replace(site.action, "; head ", f"; cat {site.root}/never; head ")
    site.replace(site.action, "_PATIENCE = 2.0", "_PATIENCE = 0.1")
    site.engine(looks=1)
    try:
        done = site.run(show_progress=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "changed=1" in done.stdout
    finally:
        os.close(os.open(site.root / "never", os.O_RDWR | os.O_NONBLOCK))  # whoever still waits ends


def test_a_wrong_option_is_told_by_the_module(site: t.Any) -> None:
    done = site.run(show_progress="perhaps")
    assert done.returncode == 2
    assert "argument 'show_progress' is of type" in done.stdout + done.stderr


def test_a_file_that_no_engine_wrote_is_not_shown(site: t.Any) -> None:
    """A node is not trusted: what it wants to draw on the operator's terminal stays there."""
    bad = 'open(path, "w").write(\'{"phase": "\\\\u001b[2Jowned 12340"}\')'
    site.replace(site.engine(looks=2), "with reporter.published(path,", f"{bad}\nwith reporter.published(None,")
    done = site.run(show_progress=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "owned" not in done.stdout + done.stderr
    assert "owned" in "".join(path.read_text() for path in (site.root / "run").iterdir())

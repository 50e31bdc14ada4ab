# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What Ansible shows while the module runs: a real ``ansible-playbook`` over the local connection.

The collection is a copy in which two paths lead into a temporary folder: the engine's command, which is a stand-in that
counts for a while through the real reporter, and the folder of the progress files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ansible_collections.lifeboat.fleet.plugins.action import duplicity
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 0.2  # between two looks

# It works until so many looks at its counts have begun: no clock decides whether a line is seen.
_ENGINE = """#!{python}
import json, os, sys, time
sys.path.insert(0, {collections!r})
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import reporter
request = json.load(sys.stdin)
with open({root!r} + "/requests", "a") as handle:
    handle.write(json.dumps(request) + "\\n")
identifier = request.get("progress")
path = identifier and reporter.public_path({run!r}, identifier)
reporter.INTERVAL = 0.05
with reporter.published(path, request["operation"]):
    reporter.phase("backing up", files=23017, size=281 << 20)
    reporter.add(files=12340, size=120 << 20)
    if {looks} > 1:
        while not os.path.exists(path) or b"12340" not in open(path, "rb").read():
            time.sleep(0.02)
        open({root!r} + "/looks", "w").close()
    while os.path.getsize({root!r} + "/looks") < {looks}:
        time.sleep(0.02)
print(json.dumps({{"failed": request.get("mode") == "full", "changed": True, "msg": "done.", "rc": 0, "record": {{}}}}))
"""
LINE = "node1: backing up: 12,340 of 23,017 files, 120 MiB of 281 MiB"


@dataclass
class Site:
    """The copy, and how to run one task of it."""

    root: Path

    @property
    def action(self) -> Path:
        return self.root / "collections/ansible_collections/lifeboat/fleet/plugins/action/duplicity.py"

    def engine(self, looks: int = 0) -> Path:
        """Install the stand-in. A line is surely shown when the look after it has begun."""
        path = self.root / "engine"
        values = {"python": sys.executable, "collections": str(self.root / "collections"), "root": str(self.root)}
        path.write_text(_ENGINE.format(**values, run=str(self.root / "run"), looks=looks))
        path.chmod(0o755)
        return path

    def run(self, **arguments: t.Any) -> subprocess.CompletedProcess[str]:
        keywords = {key: arguments.pop(key) for key in ("no_log", "async", "poll", "delegate_to") if key in arguments}
        flags = arguments.pop("flags", [])
        task = {"lifeboat.fleet.duplicity": {"operation": "backup", "profile": "site", **arguments}, **keywords}
        play = [{"hosts": "node1", "gather_facts": False, "tasks": [task]}]
        (self.root / "play.yml").write_text(yaml.safe_dump(play))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.root / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "LIFEBOAT_PROGRESS_SECONDS": str(SECONDS),
        }
        program = [sys.executable, "-m", "ansible", "playbook", *flags, "play.yml"]
        return subprocess.run(program, cwd=self.root, env=environment, capture_output=True, text=True)

    @property
    def requests(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in (self.root / "requests").read_text().splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    collection = tmp_path / "collections" / "ansible_collections" / "lifeboat" / "fleet"
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "collections/ansible_collections/lifeboat/fleet/meta", collection / "meta")
    (tmp_path / "run").mkdir()
    replace(collection / "plugins/module_utils/_engine.py", '"/usr/local/bin/lifeboat"', f'"{tmp_path}/engine"')
    action = collection / "plugins/action/duplicity.py"
    replace(action, '"/run/lifeboat"', f'"{tmp_path}/run"')
    replace(action, 'command = f"', f'command = f"printf x >> {tmp_path}/looks; ')
    (tmp_path / "looks").touch()
    (tmp_path / "hosts").write_text(f"node1 ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {tmp_path}/collections\ninventory = {tmp_path}/hosts\n"
        f"remote_tmp = {tmp_path}/remote\n"
    )
    made = Site(tmp_path)
    made.engine()
    return made


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_it_looks_where_the_engine_writes() -> None:
    assert Layout().run == duplicity.FOLDER


def test_progress_is_shown_while_the_module_runs(site: Site) -> None:
    site.engine(looks=2)
    done = site.run(show_progress=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(LINE) >= 1, done.stdout
    assert len(site.requests[0]["progress"]) == 32
    assert "changed=1" in done.stdout
    assert os.listdir(site.root / "run") == []
    assert done.stderr == ""


def test_nothing_is_shown_that_was_not_asked_for(site: Site) -> None:
    done = site.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backing up" not in done.stdout + done.stderr
    assert "progress" not in site.requests[0]


@pytest.mark.parametrize(
    "keywords", [{"no_log": True}, {"flags": ["--check"]}, {"async": 60, "poll": 1}], ids=["no_log", "check", "async"]
)
def test_where_nothing_can_be_shown_the_task_runs_all_the_same(site: Site, keywords: dict[str, t.Any]) -> None:
    done = site.run(show_progress=True, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
    assert "backing up" not in done.stdout + done.stderr
    assert "progress" not in site.requests[0]
    assert site.requests[0]["check"] == ("flags" in keywords)


def test_delegated_and_failed(site: Site) -> None:
    hosts = (site.root / "hosts").read_text().replace("node1 ", "helper ")
    (site.root / "hosts").write_text(f"{hosts}node1 ansible_connection=none\n")
    site.engine(looks=2)
    done = site.run(show_progress=True, delegate_to="helper", mode="full")
    assert done.returncode == 2
    assert LINE in done.stdout
    assert "failed=1" in done.stdout
    assert "done." in done.stdout


def test_a_second_connection_that_fails_hurts_nothing(site: Site) -> None:
    fails = f"open('{site.root}/looks', 'w').write('x'); raise OSError('no more of them')"
    replace(site.action, "found = loader.get(\n", f"{fails}\n        found = loader.get(\n")
    site.engine(looks=1)
    done = site.run(show_progress=True, flags=["-vv"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "node1: no progress can be shown: no more of them" in done.stdout
    assert LINE not in done.stdout


def test_a_look_that_hangs_does_not_hold_the_task(site: Site) -> None:
    """It would for ever: what the look waits for comes after the task."""
    os.mkfifo(site.root / "never")
    replace(site.action, "; head ", f"; cat {site.root}/never; head ")
    replace(site.action, "_PATIENCE = 2.0", "_PATIENCE = 0.1")
    site.engine(looks=1)
    try:
        done = site.run(show_progress=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "changed=1" in done.stdout
    finally:
        os.close(os.open(site.root / "never", os.O_RDWR | os.O_NONBLOCK))  # whoever still waits ends


def test_a_wrong_option_is_told_by_the_module(site: Site) -> None:
    done = site.run(show_progress="perhaps")
    assert done.returncode == 2
    assert "argument 'show_progress' is of type" in done.stdout + done.stderr


def test_a_file_that_no_engine_wrote_is_not_shown(site: Site) -> None:
    """A node is not trusted: what it wants to draw on the operator's terminal stays there."""
    bad = 'open(path, "w").write(\'{"phase": "\\\\u001b[2Jowned 12340"}\')'
    replace(site.engine(looks=2), "with reporter.published(path,", f"{bad}\nwith reporter.published(None,")
    done = site.run(show_progress=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "owned" not in done.stdout + done.stderr
    assert "owned" in "".join(path.read_text() for path in (site.root / "run").iterdir())

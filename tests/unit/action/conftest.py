# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A real ``ansible-playbook`` over the local connection, for the tests of the action plugins.

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


@dataclass
class Site:
    """The copy, and how to run one task of it."""

    root: Path

    @property
    def action(self) -> Path:
        return self.root / "collections/ansible_collections/lifeboat/fleet/plugins/action/duplicity.py"

    @staticmethod
    def replace(path: Path, old: str, new: str) -> None:
        """Change one place of the copy."""
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def engine(self, looks: int = 0) -> Path:
        """Install the stand-in. A line is surely shown when the look after it has begun."""
        path = self.root / "engine"
        values = {"python": sys.executable, "collections": str(self.root / "collections"), "root": str(self.root)}
        path.write_text(_ENGINE.format(**values, run=str(self.root / "run"), looks=looks))
        path.chmod(0o755)
        return path

    def run(self, **arguments: t.Any) -> subprocess.CompletedProcess[str]:
        """One backup of a profile; keywords of the task are told from arguments of the module by their names."""
        keywords = {key: arguments.pop(key) for key in ("no_log", "async", "poll", "delegate_to") if key in arguments}
        flags = arguments.pop("flags", [])
        return self.task("duplicity", {"operation": "backup", "profile": "site", **arguments}, keywords, flags)

    def task(
        self,
        module: str,
        arguments: t.Any,
        keywords: t.Mapping[str, t.Any] | None = None,
        flags: t.Sequence[str] = (),
        **more: t.Any,
    ) -> subprocess.CompletedProcess[str]:
        """One task of a play; ``more`` is the environment."""
        task = {f"lifeboat.fleet.{module}": arguments, **(keywords or {})}
        play = [{"hosts": "node1", "gather_facts": False, "tasks": [task]}]
        (self.root / "play.yml").write_text(yaml.safe_dump(play))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.root / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "LIFEBOAT_PROGRESS_SECONDS": str(SECONDS),
            **more,
        }
        program = [sys.executable, "-m", "ansible", "playbook", *flags, "play.yml"]
        return subprocess.run(program, cwd=self.root, env=environment, capture_output=True, text=True)

    @property
    def requests(self) -> list[dict[str, t.Any]]:
        path = self.root / "requests"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    collection = tmp_path / "collections" / "ansible_collections" / "lifeboat" / "fleet"
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "collections/ansible_collections/lifeboat/fleet/meta", collection / "meta")
    (tmp_path / "run").mkdir()
    Site.replace(collection / "plugins/module_utils/_engine.py", '"/usr/local/bin/lifeboat"', f'"{tmp_path}/engine"')
    action = collection / "plugins/action/duplicity.py"
    Site.replace(action, '"/run/lifeboat"', f'"{tmp_path}/run"')
    Site.replace(action, 'command = f"', f'command = f"printf x >> {tmp_path}/looks; ')
    (tmp_path / "looks").touch()
    (tmp_path / "hosts").write_text(f"node1 ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {tmp_path}/collections\ninventory = {tmp_path}/hosts\n"
        f"remote_tmp = {tmp_path}/remote\n"
    )
    made = Site(tmp_path)
    made.engine()
    return made

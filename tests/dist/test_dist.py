# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball of `make dist`, installed into an empty folder: what works there works without the clone."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv/bin"
VERSION = yaml.safe_load((ROOT / "collections/ansible_collections/lifeboat/fleet/galaxy.yml").read_text())["version"]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(folder.name for folder in (ROOT / "roles").glob("*/") if (folder / "meta/argument_specs.yml").exists())


class Installed:
    """A folder outside the clone that holds the installed collection and nothing else of ours."""

    def __init__(self, folder: Path, tarball: Path) -> None:
        self.folder = folder
        self.tarball = tarball

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an Ansible command that can see this collection only; a failure shows what was printed."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "LIFEBOAT_", "PYTHON"))
        }
        environment = {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
        }
        result = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=300,
        )
        if check:
            assert result.returncode == 0, f"{' '.join(argv)}\n{result.stdout}\n{result.stderr}"
        return result

    def play(self, tasks: list[dict[str, object]], *options: str) -> subprocess.CompletedProcess[str]:
        """Run tasks on localhost, in this interpreter."""
        play = {"name": "Test", "hosts": "localhost", "gather_facts": False, "tasks": tasks}
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
        interpreter = f"ansible_python_interpreter={BIN / 'python'}"
        return self.run(
            "ansible-playbook", "-i", "localhost,", "-c", "local", "-e", interpreter, *options, "play.yml", check=False
        )


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("dist")
    (folder / "ansible.cfg").write_text("[defaults]\nretry_files_enabled = False\n", encoding="utf-8")
    subprocess.run([str(ROOT / "scripts/dist"), str(folder)], check=True, capture_output=True, text=True, timeout=300)
    installed = Installed(folder, folder / f"lifeboat-fleet-{VERSION}.tar.gz")
    installed.run("ansible-galaxy", "collection", "install", "--offline", "-p", "collections", str(installed.tarball))
    return installed


def test_the_tarball_holds_files_and_no_leftovers(installed: Installed) -> None:
    with tarfile.open(installed.tarball) as tar:
        members = tar.getmembers()
    names = {member.name for member in members}
    assert {"MANIFEST.json", "FILES.json", "LICENSE", "README.md", "meta/runtime.yml"} <= names
    assert [member.name for member in members if member.issym() or member.islnk()] == []
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tar.gz"))] == []
    for name in MODULES:
        assert f"plugins/modules/{name}.py" in names
    for name in PLAYBOOKS:
        assert f"playbooks/{name}.yml" in names


def test_it_is_installed_under_its_name(installed: Installed) -> None:
    listing = json.loads(installed.run("ansible-galaxy", "collection", "list", "--format", "json").stdout)
    assert {"lifeboat.fleet": {"version": VERSION}} in listing.values()


# One call for all of them: starting Ansible takes longer than the check.
def test_every_module_is_documented(installed: Installed) -> None:
    names = [f"lifeboat.fleet.{name}" for name in MODULES]
    documents = json.loads(installed.run("ansible-doc", "--json", "-t", "module", *names).stdout)
    assert [name for name in names if not documents[name]["doc"]["short_description"]] == []
    assert [name for name in names if not (documents[name]["examples"] or "").strip()] == []


def test_every_role_is_documented(installed: Installed) -> None:
    names = [f"lifeboat.fleet.{name}" for name in ROLES]
    documents = json.loads(installed.run("ansible-doc", "--json", "-t", "role", *names).stdout)
    assert [name for name in names if "main" not in documents[name]["entry_points"]] == []


def test_every_playbook_is_found_by_its_full_name(installed: Installed) -> None:
    """Everything that a playbook names (roles, modules, other playbooks) must be in the tarball."""
    names = [f"lifeboat.fleet.{name}" for name in PLAYBOOKS]
    installed.run("ansible-playbook", "-i", "localhost,", "--syntax-check", *names)


NODE = Path("/usr/local/bin/lifeboat")
BACKUP = {"operation": "backup", "source": "/etc", "target": "file:///nowhere"}


@pytest.mark.skipif(NODE.exists(), reason="this machine is a node: its engine would answer, and back up /etc")
def test_a_play_runs_the_module_from_the_tarball(installed: Installed) -> None:
    """Module and engine are found, shipped and imported; localhost is no node, and that is what it says."""
    tasks: list[dict[str, object]] = [
        {"name": "Back up", "lifeboat.fleet.duplicity": BACKUP, "register": "result", "ignore_errors": True},
        {
            "name": "Check",
            "ansible.builtin.assert": {"that": ["result is failed", "'engine is not installed here' in result.msg"]},
        },
    ]
    result = installed.play(tasks)
    assert result.returncode == 0, result.stdout + result.stderr


def test_module_defaults_reach_the_module_through_its_group(installed: Installed) -> None:
    """meta/runtime.yml is read from the tarball: without the group the target would be missing."""
    task = {
        "name": "Restore nowhere",
        "module_defaults": {"group/lifeboat.fleet.fleet": {"target": "file:///nowhere"}},
        "lifeboat.fleet.duplicity": {"operation": "restore"},
    }
    result = installed.play([task])
    assert result.returncode == 2
    assert "all of the following are missing: dest" in result.stdout

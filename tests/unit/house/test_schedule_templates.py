# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `schedule` writes on a node, as Ansible renders it: profiles that the engine takes, and a unit for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import profile

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "roles/schedule/templates"
EXAMPLE = yaml.safe_load((ROOT / "inventories/example/group_vars/all.yml").read_text())

PROFILES: dict[str, dict[str, t.Any]] = {
    **EXAMPLE["lifeboat_profiles"],
    "plain": {"source": "/srv/a"},
    "own": {
        "source": "/srv/b",
        "nice": 0,
        "ionice": None,
        "tmpdir": "/srv/my 100% tmp",
        "store": {"storage_class": "GLACIER_IR"},
    },
}
STORE = {
    "bucket": "fleet",
    "endpoint_url": "https://store.example",
    "region": "",
    "ca_bundle": "",
    "storage_class": "STANDARD_IA",
    "sse": "AES256",
    "num_retries": 7,
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the rendered files."""
    here = tmp_path_factory.mktemp("rendered")
    variables = {
        "ansible_python_interpreter": sys.executable,
        "schedule_node_id": "node1",
        "schedule_fingerprint": "A" * 40,
        "schedule_store": STORE,
        "schedule_profiles": PROFILES,
    }
    tasks = [
        {
            "name": "Render the profiles",
            "ansible.builtin.template": {
                "src": f"{TEMPLATES}/profile.json.j2",
                "dest": f"{here}/{{{{ item.key }}}}.json",
            },
            "loop": "{{ schedule_profiles | dict2items }}",
        },
        {
            "name": "Render the unit",
            "ansible.builtin.template": {"src": f"{TEMPLATES}/lifeboat-backup@.service.j2", "dest": f"{here}/service"},
        },
    ]
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}]
    (here / "play.yml").write_text(json.dumps(play))
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", str(here / "play.yml")],
        cwd=here,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(here / "tmp")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return here


def load(rendered: Path, name: str) -> profile.Profile:
    return profile.from_dict(name, json.loads((rendered / f"{name}.json").read_text()))


def test_a_profile_has_the_roles_defaults(rendered: Path) -> None:
    found = load(rendered, "plain")
    assert (found.nice, found.ionice) == (10, "idle")
    assert found.store.url == "s3://fleet/nodes/node1"
    assert (found.store.region, found.store.ca_bundle) == ("us-east-1", None)
    assert found.store.credentials_file == "/etc/lifeboat/store.ini"
    assert (found.store.storage_class, found.store.sse, found.store.num_retries) == ("STANDARD_IA", "AES256", 7)


def test_a_profile_may_say_otherwise(rendered: Path) -> None:
    found = load(rendered, "own")
    assert (found.nice, found.ionice, found.store.storage_class) == (0, None, "GLACIER_IR")
    # the rest of the store is as ever
    assert (found.store.endpoint_url, found.store.sse) == ("https://store.example", "AES256")


def test_the_examples_are_profiles(rendered: Path) -> None:
    for name in EXAMPLE["lifeboat_profiles"]:
        assert load(rendered, name).selection.rules


def test_the_unit_may_write_where_temporary_files_go(rendered: Path) -> None:
    lines = (rendered / "service").read_text().splitlines()
    assert [line for line in lines if line.startswith("ReadWritePaths")] == ['ReadWritePaths="-/srv/my 100%% tmp"']
    assert not [line for line in lines if line.startswith(("Nice", "IOScheduling"))]

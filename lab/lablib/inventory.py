# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""`fleet.json` as an Ansible inventory (pure). Used by `inventories/lab/fleet.py`."""

from __future__ import annotations

import shlex
from typing import Any

EMPTY: dict[str, Any] = {"_meta": {"hostvars": {}}, "all": {"children": ["ungrouped"]}}


def ssh_options(state_dir: str) -> list[str]:
    """Return the ssh options that tie a connection to the lab's own known hosts, and to nothing else."""
    return [
        "-o",
        f"UserKnownHostsFile={state_dir}/ssh/known_hosts",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]


def inventory(fleet: dict[str, Any], controller_python: str) -> dict[str, Any]:
    """Return what an inventory script prints for `--list`: groups, `all` variables and host variables."""
    state_dir = str(fleet["state_dir"])
    groups: dict[str, list[str]] = {}
    hostvars: dict[str, dict[str, Any]] = {}
    for name, host in fleet["hosts"].items():
        hostvars[name] = {"ansible_host": host["address"], "lab_suite": host["suite"]}
        for group in host["groups"]:
            groups.setdefault(group, []).append(name)
    hostvars["localhost"] = {"ansible_connection": "local", "ansible_python_interpreter": controller_python}
    document: dict[str, Any] = {name: {"hosts": sorted(hosts)} for name, hosts in sorted(groups.items())}
    document["all"] = {
        "children": ["ungrouped", *sorted(groups)],
        "vars": {
            "ansible_user": "ops",
            "ansible_ssh_private_key_file": f"{state_dir}/ssh/id_ed25519",
            "ansible_ssh_common_args": shlex.join(ssh_options(state_dir)),
            "ansible_python_interpreter": "/usr/bin/python3",
            "lifeboat_store": fleet["store"],
            "lab_state": state_dir,
        },
    }
    # Listed, and not left implicit: an implicit localhost would see neither its interpreter nor the store.
    document["ungrouped"] = {"hosts": ["localhost"]}
    document["_meta"] = {"hostvars": hostvars}
    return document

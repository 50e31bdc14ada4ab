#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell which machine a node is and which store key it holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_identity_info
short_description: Tell which machine a node is and which store key it holds
version_added: 0.1.0
description:
  - Runs on the node and returns nothing secret. The machine-id stays on the node (only a hash leaves it), and so does
    the secret part of the store key.
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
options:
  path:
    description: Lifeboat's folder on the node.
    type: path
    default: /etc/lifeboat
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  platform:
    platforms: posix
"""

EXAMPLES = r"""
- name: Find out which machine this is
  lifeboat.fleet.node_identity_info:
  register: node
"""

RETURN = r"""
machine:
  description: SHA-256 (hex) of C(lifeboat:) and the machine-id. Empty if the node has none yet.
  returned: success
  type: str
access_key:
  description:
    - The id of the store key in O(path)C(/store.ini). Empty if there is none, or if anyone but its owner may read it.
      Such a key counts as lost and is replaced.
  returned: success
  type: str
folder_exists:
  description: Whether O(path) is there.
  returned: success
  type: bool
running:
  description: Profiles whose backup runs now. It goes on with the store key that it started with.
  returned: success
  type: list
  elements: str
"""

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engine import identities, ledger
from ..module_utils.engine.errors import LifeboatError


def machine(path: str = "/etc/machine-id") -> str:
    """The machine's hash, or nothing while systemd has not written an id ("uninitialized" in images)."""
    try:
        with open(path, encoding="ascii", errors="replace") as handle:
            text = handle.read().strip()
    except OSError:
        return ""
    return ledger.machine_hash(text) if re.fullmatch(r"[0-9a-f]{32}", text) else ""


def access_key(folder: str) -> str:
    """The id of the installed key, if the file is whole and private."""
    try:
        return identities.installed_key(os.path.join(folder, "store.ini")) or ""
    except LifeboatError:
        return ""


def running(module: AnsibleModule) -> list[str]:
    """Profiles whose unit is active; none where no systemd runs. A systemd that does not answer is a failure: a key would be
    ended under a backup that nobody saw."""
    systemctl = module.get_bin_path("systemctl")
    if systemctl is None or not os.path.isdir("/run/systemd/system"):
        return []
    command = [systemctl, "list-units", "--plain", "--no-legend", "--no-pager", "lifeboat-backup@*.service"]
    code, text, error = module.run_command([*command, "--state=active,activating,deactivating,reloading"])
    if code != 0:
        module.fail_json(msg=f"cannot ask systemd which backups run: {error.strip()}; try systemctl on the node.")
    return re.findall(r"^lifeboat-backup@(\S+)\.service", text, re.MULTILINE)


def main() -> t.NoReturn:
    """The module's entry point."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": "/etc/lifeboat"}}, supports_check_mode=True
    )
    folder = module.params["path"]
    module.exit_json(
        changed=False,
        machine=machine(),
        access_key=access_key(folder),
        folder_exists=os.path.isdir(folder),
        running=running(module),
    )


if __name__ == "__main__":
    main()

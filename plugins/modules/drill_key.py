#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make or keep the controller's drill key."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_key
short_description: Make or keep the drill key on the controller
version_added: 0.1.0
description:
  - The drill key opens the private halves of nodes' keys in escrow, so that nightly drills need no recovery key.
  - Made in memory if O(path)C(/drill.key.asc) is missing; an existing key is never replaced.
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
options:
  path:
    description: The controller's folder for credentials. It gets C(drill.key.asc) (0600) and C(drill.pub.asc).
    type: path
    required: true
requirements:
  - gnupg 2.2 or newer
notes:
  - Runs on the controller. Call it with C(delegate_to=localhost).
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
"""

EXAMPLES = r"""
- name: Make the drill key
  lifeboat.fleet.drill_key:
    path: "{{ lifeboat_controller_dir }}"
  delegate_to: localhost
"""

RETURN = r"""
fingerprint:
  description: The key's fingerprint. Empty in check mode when a key would be made.
  returned: success
  type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import run
from ..module_utils.engine import key_files


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    key = key_files.ensure_drill_key(module.params["path"], check=module.check_mode)
    return {"changed": key.changed, "fingerprint": key.fingerprint}


def main() -> t.NoReturn:
    """The module's entry point."""
    options = {"path": {"type": "path", "required": True}}
    run(AnsibleModule(argument_spec=options, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

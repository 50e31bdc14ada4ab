#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: node_bundle
short_description: Make the archive that nodes install
description:
  - Downloads the wheels that nodes need (checked by hash) and packs them with the engine into one archive.
  - Runs on the controller. An archive that exists is not made again.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
options:
  requirements:
    description: Requirements file with hashes.
    type: path
    required: true
  engine:
    description: Folder of the engine's sources (C(plugins/module_utils/engine) of this collection).
    type: path
    required: true
  cache:
    description: Folder on the controller to keep wheels and archives in.
    type: path
    required: true
  architecture:
    description: Architecture of the nodes.
    type: str
    choices: [x86_64, aarch64]
    default: x86_64
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
"""

EXAMPLES = r"""
- name: Make the archive for the nodes
  lifeboat.fleet.node_bundle:
    requirements: "{{ role_path }}/files/node-requirements.txt"
    engine: "{{ role_path }}/../../plugins/module_utils/engine"
    cache: ~/.cache/lifeboat
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The archive on the controller.
  type: str
  returned: always
  sample: /home/ops/.cache/lifeboat/lifeboat-0.1.0-x86_64-0123456789abcdef.tar
digest:
  description: Stands for all that is in it.
  type: str
  returned: always
  sample: 0123456789abcdef
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engine import bundle
from ..module_utils.engine.errors import LifeboatError


def main():
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "path", "required": True},
            "engine": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
            "architecture": {"type": "str", "choices": ["x86_64", "aarch64"], "default": "x86_64"},
        },
        supports_check_mode=True,
    )
    cache = module.params["cache"]
    try:
        recipe = bundle.recipe(module.params["requirements"], module.params["engine"], module.params["architecture"])
        path = os.path.join(cache, recipe.name)
        missing = not os.path.exists(path)
        if missing and not module.check_mode:
            bundle.make(cache, recipe)
    except LifeboatError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"cannot use {error.filename}: {error.strerror}; check 'requirements', 'engine' and 'cache'."
        )
    module.exit_json(changed=missing, path=path, digest=recipe.digest)


if __name__ == "__main__":
    main()

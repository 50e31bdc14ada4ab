#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make or keep an identity whose credentials stay on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_identity
short_description: Make or keep a store user of the controller, with its policy and one key
version_added: 0.1.0
description:
  - Ensures the store user of a power, its inline policy, and its key in the credentials file O(dest).
  - The key in O(dest) is kept if the store knows it, and every other key of the user is removed. Otherwise a new key is
    made and written to O(dest); it is neither returned nor logged.
  - Identities of nodes are made by M(lifeboat.fleet.node_identity).
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.minter
options:
  power:
    description:
      - V(restorer) may read everything and change nothing.
      - V(evidence) may add drill reports and their ledger entries, and nothing else.
      - V(pruner) may read records and the ledger, delete versions of nodes' objects, and add its ledger entries.
    type: str
    choices: [restorer, evidence, pruner]
    required: true
  dest:
    description: The credentials file to keep, mode 0600. Its folder must exist.
    type: path
    required: true
  provider:
    description: How users are made. V(ceph_rgw) uses RGW's admin-ops and IAM APIs.
    type: str
    choices: [ceph_rgw]
    default: ceph_rgw
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Let the controller read backups
  lifeboat.fleet.store_identity:
    store: "{{ lifeboat_store }}"
    minter_credentials: "{{ lifeboat_minter_credentials }}"
    power: restorer
    dest: "{{ lifeboat_controller_dir }}/restorer.ini"
  delegate_to: localhost
"""

RETURN = r"""
user:
  description: The store user's name.
  returned: success
  type: str
  sample: lifeboat_fleet_restorer
access_key:
  description: The id of the key in O(dest); not a secret. V(null) in check mode when a key would be made.
  returned: success
  type: str
changes:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import argument_spec, diff_of, location, run
from ..module_utils.engine import identities
from ..module_utils.engine.rgw_admin import RgwAdmin


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    params = module.params
    admin = RgwAdmin(location(params["store"], params["minter_credentials"]))
    wanted = identities.Wanted(params["store"]["bucket"], params["power"])
    identity = identities.ensure_file(admin, wanted, params["dest"], check=module.check_mode)
    return {
        "changed": bool(identity.changes),
        "user": identity.user,
        "access_key": identity.access_key,
        "changes": list(identity.changes),
        "diff": diff_of(identity.changes),
    }


def main() -> t.NoReturn:
    """The module's entry point."""
    options = argument_spec(
        power={"type": "str", "choices": ["restorer", "evidence", "pruner"], "required": True},
        dest={"type": "path", "required": True},
        provider={"type": "str", "choices": ["ceph_rgw"], "default": "ceph_rgw"},
    )
    run(AnsibleModule(argument_spec=options, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

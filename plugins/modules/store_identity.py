#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make, keep, rotate or revoke an identity whose credentials stay on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_identity
short_description: Make, keep, rotate or revoke a store user of the controller, with its policy and one key
version_added: 0.1.0
description:
  - Ensures the store user of a power, its inline policy, and its key in the credentials file O(dest).
  - The key in O(dest) is kept if the store knows it, and every other key of the user is removed. Otherwise a new key is
    made and written to O(dest); it is neither returned nor logged.
  - A new key is tried before it is used. One call must work, and one that the power does not include must be refused.
  - Identities of nodes are made by M(lifeboat.fleet.node_identity) and ended by M(lifeboat.fleet.node_retire).
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.minter
  - lifeboat.fleet.store.provider
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
  rotate:
    description:
      - Replace the key. A second one is made, tried and written to O(dest) before the first one is removed, so that a working
        key is in O(dest) at all times. What an interrupted rotation left behind is removed by the next call.
    type: bool
    default: false
  state:
    description: V(absent) removes the user, its keys and O(dest).
    type: str
    choices: [present, absent]
    default: present
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

- name: Replace its key
  lifeboat.fleet.store_identity:
    store: "{{ lifeboat_store }}"
    minter_credentials: "{{ lifeboat_minter_credentials }}"
    power: restorer
    dest: "{{ lifeboat_controller_dir }}/restorer.ini"
    rotate: true
  delegate_to: localhost
"""

RETURN = r"""
user:
  description: The store user's name.
  returned: success
  type: str
  sample: lifeboat_fleet_restorer
access_key:
  description: The id of the key in O(dest); not a secret. V(null) in check mode when a key would be made, and with O(state=absent).
  returned: success
  type: str
changes:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import diff_of, location, provider_spec, run, users
from ..module_utils.engine import identities, providers


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    params, check = module.params, module.check_mode
    wanted = identities.Wanted(params["store"]["bucket"], params["power"])
    admin = users(params, wanted)
    if params["state"] == "absent":
        changes = list(identities.revoke(admin, wanted, check=check))
        if os.path.exists(params["dest"]):
            changes.append(f"remove {params['dest']}")
            if not check:
                os.unlink(params["dest"])
        return _result(wanted.user, None, changes)
    prove = providers.prover(admin, location(params["store"], params["minter_credentials"]))
    identity = identities.ensure_file(admin, wanted, params["dest"], renew=params["rotate"], prove=prove, check=check)
    return _result(identity.user, identity.access_key, identity.changes)


def _result(user: str, access_key: str | None, changes: t.Sequence[str]) -> dict[str, t.Any]:
    return {
        "changed": bool(changes),
        "user": user,
        "access_key": access_key,
        "changes": list(changes),
        "diff": diff_of(changes),
    }


def main() -> t.NoReturn:
    """The module's entry point."""
    options = provider_spec(
        power={"type": "str", "choices": ["restorer", "evidence", "pruner"], "required": True},
        dest={"type": "path", "required": True},
        rotate={"type": "bool", "default": False},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    )
    run(AnsibleModule(argument_spec=options, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

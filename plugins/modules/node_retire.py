#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""End a node's access to the store for ever."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_retire
short_description: End a node's access to the store for ever
version_added: 0.1.0
description:
  - Removes the node's store user with all its keys, first of all. The node itself is not needed, and may be gone.
  - Writes a ledger entry C(retire). The id is spent then. M(lifeboat.fleet.node_identity) refuses it for ever.
  - Keeps or drops the backups. Dropping deletes every version and delete marker below C(nodes/<id>/) and the node's escrow
    entries, by version id, and lists again to see that nothing is left. The ledger says what went.
  - What the fleet knows of the node otherwise (ledger entries, evidence of drills) stays. It holds no data of the node.
  - Calling it again does what is left to do, or nothing.
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.minter
  - lifeboat.fleet.store.provider
options:
  node_id:
    description: The node's id.
    type: str
    required: true
  backups:
    description:
      - V(keep) leaves backups and escrow as they are. They can be restored, and dropped later.
      - V(drop) deletes them. Nothing brings them back. Under Object Lock the store refuses that until the lock ends, and the
        module fails and says so; the node is revoked nevertheless.
    type: str
    choices: [keep, drop]
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Retire a node and keep what it stored
  lifeboat.fleet.node_retire:
    store: "{{ lifeboat_store }}"
    minter_credentials: "{{ lifeboat_minter_credentials }}"
    node_id: node1
    backups: keep
  delegate_to: localhost
"""

RETURN = r"""
node_id:
  description: The node's id.
  returned: success
  type: str
changes:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: str
gone:
  description: What was deleted (in check mode, would be).
  returned: success
  type: dict
  contains:
    versions:
      description: Versions and delete markers below C(nodes/<id>/).
      type: int
    bytes:
      description: Their size.
      type: int
    escrow:
      description: Versions of escrow entries.
      type: int
kept:
  description: What is still there, in the same shape.
  returned: success
  type: dict
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import diff_of, location, provider_spec, run, users
from ..module_utils.engine import times
from ..module_utils.engine.identities import Wanted
from ..module_utils.engine.retire import retire
from ..module_utils.engine.store import S3Store


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    params = module.params
    wanted = Wanted(params["store"]["bucket"], "node", params["node_id"])
    minter = S3Store(location(params["store"], params["minter_credentials"]))
    drop = params["backups"] == "drop"
    done = retire(users(params, wanted), minter, wanted, times.now(), drop=drop, check=module.check_mode)
    return {
        "changed": bool(done.changes),
        "node_id": params["node_id"],
        "changes": list(done.changes),
        "gone": asdict(done.gone),
        "kept": asdict(done.kept),
        "diff": diff_of(done.changes),
    }


def main() -> t.NoReturn:
    """The module's entry point."""
    options = provider_spec(
        node_id={"type": "str", "required": True},
        backups={"type": "str", "choices": ["keep", "drop"], "required": True},
    )
    run(AnsibleModule(argument_spec=options, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

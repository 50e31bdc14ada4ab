#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make or keep everything that the store knows of one node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_identity
short_description: Make or keep a node's id, its key pair in escrow and its store user
version_added: 0.1.0
description:
  - Checks the node's id and that it belongs to this machine (ledger entry C(identity), written at first rollout).
  - Makes the node's OpenPGP key pair in memory, stores its private half in escrow, encrypted to the recovery key and the
    drill key, reads it back with the restorer's power and opens it. Only then the public half is returned.
  - Ensures the store user with its policy for C(nodes/<id>/) and one key. The key named by O(access_key) is kept if the
    store knows it. Otherwise the node has no working key, so all keys of the user are removed and a new one is made.
  - A new store key is tried before it is returned. It must list the node's prefix, and must be refused its neighbours'.
  - An id that M(lifeboat.fleet.node_retire) has retired is refused.
  - One call per node, because each call costs a second of the controller.
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.minter
  - lifeboat.fleet.store.provider
options:
  node_id:
    description: The node's id, chosen once and never reused.
    type: str
    required: true
  machine:
    description: SHA-256 (hex) of C(lifeboat:) and the node's machine-id.
    type: str
    required: true
  access_key:
    description: The id of the store key that the node has installed; empty if it has none.
    type: str
    default: ''
  controller_dir:
    description: The controller's folder for credentials, with C(restorer.ini) and C(drill.key.asc).
    type: path
    required: true
  recovery_public_key:
    description: The public half of the offline recovery key.
    type: path
    required: true
  rotate:
    description:
      - Make a second store key, which must prove itself, and keep the one named by O(access_key) working. Install the new
        one, then call the module again with O(end_others) and the new key as O(access_key); that removes the first.
      - What an interrupted rotation left behind is removed by the next call of any kind.
    type: bool
    default: false
  end_others:
    description:
      - End every store key of the node but the one named by O(access_key), and make none. If the store does not know that key,
        nothing is ended and the module fails.
    type: bool
    default: false
  write_once:
    description:
      - The node's policy refuses every upload that could write over an object. For stores that enforce the condition
        C(s3:if-none-match), as AWS documents it. V(ceph_rgw) takes no notice of it, so this is refused there.
    type: bool
    default: false
requirements:
  - gnupg 2.2 or newer
notes:
  - Set C(no_log=true) on the task. The result holds a secret when a key was made.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Enrol the node
  lifeboat.fleet.node_identity:
    store: "{{ lifeboat_store }}"
    minter_credentials: "{{ lifeboat_minter_credentials }}"
    controller_dir: "{{ lifeboat_controller_dir }}"
    recovery_public_key: "{{ lifeboat_recovery_public_key }}"
    node_id: node1
    machine: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  delegate_to: localhost
  no_log: true
  register: enrolled
"""

RETURN = r"""
node_id:
  description: The node's id.
  returned: success
  type: str
fingerprint:
  description: The fingerprint of the node's key. Empty in check mode when a pair would be made.
  returned: success
  type: str
public_key:
  description: The armored public half, to be installed on the node. Empty in check mode when a pair would be made.
  returned: success
  type: str
store_user:
  description: The store user's name.
  returned: success
  type: str
access_key:
  description: The id of the node's store key. V(null) in check mode when a key would be made.
  returned: success
  type: str
credentials:
  description: A credentials file with the new key, to be installed on the node. It is a secret.
  returned: when a key was made
  type: str
secret_key:
  description: The secret part of the new key alone, to try it on the node. It is a secret.
  returned: when a key was made
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
from ..module_utils.engine import bucket, enrol, providers, times
from ..module_utils.engine.escrow import Escrow
from ..module_utils.engine.identities import Wanted, credentials
from ..module_utils.engine.key_files import DRILL_KEY, read_key_file
from ..module_utils.engine.store import open_store


def desk(params: dict[str, t.Any], check: bool) -> enrol.Desk:
    """What the enrolment works with. In check mode bucket, restorer and drill key may still be missing."""
    place = location(params["store"], params["minter_credentials"])
    name = params["store"]["bucket"]
    providers.check_write_once(params["provider"], params["write_once"])
    admin = users(params, Wanted(name, "node", params["node_id"]))
    recovery = read_key_file(params["recovery_public_key"])
    restorer = os.path.join(params["controller_dir"], "restorer.ini")
    drill_key = os.path.join(params["controller_dir"], DRILL_KEY)
    if check and not bucket.exists(place):
        return enrol.Desk(name, admin, None, None)
    minter = open_store(place)
    if check and not (os.path.exists(restorer) and os.path.exists(drill_key)):
        return enrol.Desk(name, admin, minter, None)
    reader = open_store(location(params["store"], restorer))
    escrow = Escrow(minter, reader, recovery, read_key_file(drill_key))
    return enrol.Desk(name, admin, minter, escrow, providers.prover(admin, place))


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    params = module.params
    node = enrol.Node(params["node_id"], params["machine"], params["access_key"] or None, params["write_once"])
    place = desk(params, module.check_mode)
    step: enrol.Step = "rotate" if params["rotate"] else "end_others" if params["end_others"] else "enrol"
    enrolled = enrol.enrol(place, node, times.now(), step=step, check=module.check_mode)
    result = {
        "changed": bool(enrolled.changes),
        "node_id": node.node_id,
        "fingerprint": enrolled.key.fingerprint,
        "public_key": enrolled.key.armored.decode("ascii"),
        "store_user": enrolled.identity.user,
        "access_key": enrolled.identity.access_key,
        "changes": list(enrolled.changes),
        "diff": diff_of(enrolled.changes),
    }
    if enrolled.identity.key:
        result["credentials"] = credentials(enrolled.identity.key).decode("ascii")
        result["secret_key"] = enrolled.identity.key.secret_key
    return result


def main() -> t.NoReturn:
    """The module's entry point."""
    options = provider_spec(
        node_id={"type": "str", "required": True},
        machine={"type": "str", "required": True},
        access_key={"type": "str", "default": "", "no_log": False},
        controller_dir={"type": "path", "required": True},
        recovery_public_key={"type": "path", "required": True, "no_log": False},
        rotate={"type": "bool", "default": False},
        end_others={"type": "bool", "default": False},
        write_once={"type": "bool", "default": False},
    )
    one_step = [("rotate", "end_others")]
    run(AnsibleModule(argument_spec=options, mutually_exclusive=one_step, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

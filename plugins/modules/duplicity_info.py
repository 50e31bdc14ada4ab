#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: duplicity_info
short_description: What a duplicity repository holds
description:
  - Tells the chains, sets, restore points, gaps, sizes and ages of one repository from its listing and its records.
  - Nothing is decrypted and no key is needed, so a node can ask about its own repository.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.repository
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
seealso:
  - module: lifeboat.fleet.duplicity
  - module: lifeboat.fleet.fleet_info
"""

EXAMPLES = r"""
- name: Look at what this node has stored
  lifeboat.fleet.duplicity_info:
    profile: site
  register: stored

- name: Insist on a restore point of the last day
  ansible.builtin.assert:
    that: stored.points[-1].age < 86400

- name: Look at a folder of backups
  lifeboat.fleet.duplicity_info:
    target: file:///mnt/backup/www
"""

RETURN = r"""
chains:
  description: All chains, oldest first, each with its sets. C(missing) names what a set lacks.
  type: list
  elements: dict
  returned: success
  sample:
    - time: 20261122T021500Z
      stored: 71000000
      sets:
        - {"kind": "full", "time": "20261122T021500Z", "volumes": 1, "stored": 70000000, "recorded": true, "missing": []}
points:
  description:
    - The restore points, oldest first, with their age in seconds. Those behind a gap do not count.
    - C(provable) tells whether a drill can compare it with a witness.
  type: list
  elements: dict
  returned: success
  sample:
    - {"time": "20261122T021500Z", "kind": "full", "chain": "20261122T021500Z", "age": 86400, "stored": 70000000,
       "files": 23017, "bytes": 230000000, "provable": true}
newest:
  description: Time of the newest restore point.
  type: str
  returned: success
  sample: 20261122T021500Z
oldest:
  description: Time of the oldest restore point.
  type: str
  returned: success
  sample: 20261122T021500Z
next_full:
  description: From when on the next run makes a full. Known with O(profile) only.
  type: str
  returned: success
  sample: 20261126T110000Z
stored:
  description: Bytes of all sets.
  type: int
  returned: success
  sample: 71000000
orphans:
  description: Sets whose chain is not there.
  type: list
  elements: str
  returned: success
  sample: []
foreign:
  description: Objects that belong to no set (at most 50).
  type: list
  elements: str
  returned: success
  sample: []
msg:
  description: One sentence.
  type: str
  returned: always
  sample: 30 restore point(s), the newest of 20261122T021500Z.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._engine import STORE, ask, request


def main():
    module = AnsibleModule(
        argument_spec={"profile": {"type": "str"}, "target": {"type": "str"}, "store": STORE},
        supports_check_mode=True,
        required_one_of=[("profile", "target")],
        mutually_exclusive=[("profile", "target")],
    )
    ask(module, request(module.params, ("profile", "target", "store"), operation="info"))


if __name__ == "__main__":
    main()

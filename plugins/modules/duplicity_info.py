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
  - Nothing is decrypted and no key is needed, so a node can ask about its own repository. Only the list of O(files) needs it.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - lifeboat.fleet.repository
options:
  files:
    description: List the files of one restore point instead. It reads the signatures of the chain, not its volumes.
    type: bool
    default: false
  time:
    description: With O(files), the newest point not after this time, in the forms of M(lifeboat.fleet.duplicity).
    type: str
  as_of:
    description:
      - Tell what the store held at this time, by the versions that were current then. Takes the forms of O(time).
      - For an V(s3://) bucket that keeps versions, and a key that may see them, such as the restorer's.
    type: str
  path:
    description: With O(files), only what is at or below this path of the source.
    type: str
  encryption:
    description: OpenPGP key for the list of O(files) of an encrypted repository.
    type: dict
    suboptions:
      private_key:
        description: Armored private key. It is kept in memory for this one operation.
        type: str
      passphrase:
        description:
          - Opens what is sealed with a passphrase and no key, as duplicity's sets are by default, or a protected O(encryption.private_key).
          - It is for reading, and kept in memory for this one operation.
        type: str
attributes:
  action:
    support: full
    details:
      - It refuses what O(store.secret_key), O(encryption.private_key) and O(encryption.passphrase) rule out.
  async:
    support: partial
    details:
      - Not with O(store.secret_key), O(encryption.private_key) or O(encryption.passphrase), since Ansible writes the arguments of
        such a task to the host's disk. With a profile, or O(store.credentials_file), it works.
  bypass_host_loop:
    support: none
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
notes:
  - A task with O(store.secret_key), O(encryption.private_key) or O(encryption.passphrase) needs pipelining
    (C(pipelining = true) in C([connection]) of ansible.cfg), without which Ansible writes its arguments to the host's disk. It is
    refused before anything is sent.
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

- name: List the uploads of yesterday
  lifeboat.fleet.duplicity_info:
    target: file:///mnt/backup/www
    files: true
    path: wp-content/uploads
    time: 1D

- name: Look at a folder of backups
  lifeboat.fleet.duplicity_info:
    target: file:///mnt/backup/www
"""

RETURN = r"""
point:
  description: Time of the point whose files are listed.
  type: str
  returned: with O(files)
  sample: 20261122T021500Z
files:
  description:
    - Its paths, relative to the source (C(.)), with type (f d l p c b) and mtime. Names that are no UTF-8 are escaped, with
      C(path_base64) beside.
  type: list
  elements: dict
  returned: with O(files)
  sample: [{"path": "page.php", "type": "f", "mtime": "20261122T010203Z"}]
chains:
  description: All chains, oldest first, each with its sets. C(missing) names what a set lacks.
  type: list
  elements: dict
  returned: without O(files)
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
  returned: without O(files)
  sample:
    - {"time": "20261122T021500Z", "kind": "full", "chain": "20261122T021500Z", "age": 86400, "stored": 70000000,
       "files": 23017, "bytes": 230000000, "provable": true}
newest:
  description: Time of the newest restore point.
  type: str
  returned: without O(files)
  sample: 20261122T021500Z
oldest:
  description: Time of the oldest restore point.
  type: str
  returned: without O(files)
  sample: 20261122T021500Z
next_full:
  description: From when on the next run makes a full. Known with O(profile) only.
  type: str
  returned: without O(files)
  sample: 20261126T110000Z
stored:
  description: Bytes of all sets.
  type: int
  returned: without O(files)
  sample: 71000000
orphans:
  description: Sets whose chain is not there.
  type: list
  elements: str
  returned: without O(files)
  sample: []
foreign:
  description: Objects that belong to no set (at most 50).
  type: list
  elements: str
  returned: without O(files)
  sample: []
as_of:
  description: The time as of which the store was read.
  type: str
  returned: with O(as_of), without O(files)
  sample: 20261123T120000Z
msg:
  description: One sentence.
  type: str
  returned: always
  sample: 30 restore point(s), the newest of 20261122T021500Z.
"""

from ..module_utils._engine import STORE, EngineModule, ask, request


def argument_spec():
    return {
        "profile": {"type": "str"},
        "target": {"type": "str"},
        "store": STORE,
        "files": {"type": "bool", "default": False},
        "time": {"type": "str"},
        "as_of": {"type": "str"},
        "path": {"type": "str"},
        "encryption": {
            "type": "dict",
            "options": {"private_key": {"type": "str", "no_log": True}, "passphrase": {"type": "str", "no_log": True}},
        },
    }


def main():
    module = EngineModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_one_of=[("profile", "target")],
        mutually_exclusive=[("profile", "target")],
    )
    keys = ("profile", "target", "store", "files", "time", "as_of", "path", "encryption")
    ask(module, request(module.params, keys, operation="info"))


if __name__ == "__main__":
    main()

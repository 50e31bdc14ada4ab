#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_info
short_description: State of a fleet's backups, read from the store
description:
  - Reads the records and listings of all wanted profiles from the store, holds them against the inventory, and judges each.
  - Runs on the controller with a read-only key. No node is contacted, nothing is decrypted.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
options:
  store:
    description: The bucket's place and the restorer's credentials.
    type: dict
    required: true
    suboptions: &store
      bucket:
        description: Bucket name.
        type: str
        required: true
      endpoint_url:
        description: Endpoint of a store that is not AWS.
        type: str
      region:
        description: Region.
        type: str
        default: us-east-1
      ca_bundle:
        description: Certificates to trust (PEM), for a store with a private CA.
        type: path
      credentials_file:
        description: Credentials file in AWS form, profile C(default).
        type: path
        required: true
  wanted:
    description: What the inventory says must be backed up.
    type: list
    elements: dict
    required: true
    suboptions:
      node:
        description: Node id.
        type: str
        required: true
      profile:
        description: Profile name.
        type: str
        required: true
  rpo_hours:
    description: Age in hours that the newest restore point may have.
    type: float
    default: 26
attributes:
  check_mode:
    description: Can run in check mode without changing anything.
    support: full
  diff_mode:
    description: Shows what would change.
    support: none
"""

EXAMPLES = r"""
- name: Judge the whole fleet
  lifeboat.fleet.fleet_info:
    store:
      bucket: lifeboat
      credentials_file: /etc/lifeboat-controller/restorer.ini
    wanted:
      - {node: web1, profile: site}
  delegate_to: localhost
"""

RETURN = r"""
rows:
  description: One entry per wanted profile.
  type: list
  elements: dict
  returned: always
  sample: [{"node": "web1", "profile": "site", "state": "ok", "point": "20261123T021500Z", "age_hours": 3.5, "points": 30}]
behind:
  description: How many of them are not C(ok).
  type: int
  returned: always
  sample: 0
table:
  description: The rows as lines of text, worst first.
  type: list
  elements: str
  returned: always
  sample: ["node  profile  state"]
"""

from ..module_utils._controller import engine_module, store_location
from ..module_utils.engine import fleet, ledger, report, times
from ..module_utils.engine.store import open_store

WANTED = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {"node": {"type": "str", "required": True}, "profile": {"type": "str", "required": True}},
}

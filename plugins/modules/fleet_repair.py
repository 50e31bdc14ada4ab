#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_repair
short_description: Make the good versions of backups current again
description:
  - Brings the repository, records and witnesses of each wanted profile back to what was current at O(as_of), whatever was
    written over them or deleted since, by a hostile node or by accident.
  - The newer versions and delete markers are removed by version id. So the good version becomes the current one and keeps the
    time at which the store got it. What lay below it is never touched.
  - What is about to go is written to C(ledger/repair/<node>/) first, with size, checksum, time and version id. Afterwards the
    bucket is listed again, and only that listing counts.
  - Sets that came later are named and left alone (but see O(remove_new)), as are sets that were unfinished at O(as_of).
  - Runs on the controller. No node is contacted, nothing is decrypted. First take the key away from whoever did it.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.reader
options:
  credentials:
    description: Credentials of the pruner (lists and deletes versions, adds to the ledger), a file in AWS form with a profile C(default).
  profiles:
    description: What is to be repaired. For each host its profiles by name (C(lifeboat_profiles)).
  as_of:
    description:
      - The last time at which the store was good. UTC stamp (V(20261123T021500Z)), ISO 8601, seconds since 1970, or how long
        ago (V(3D), V(12h)).
      - The store must have held a whole restore point of the profile at that time. Otherwise nothing of it is touched.
    type: str
    required: true
  remove_new:
    description:
      - Remove as well what did not exist at O(as_of), such as junk. Backups that were made since then go with it, good ones too.
        Let no backup run meanwhile.
    type: bool
    default: false
  copy_credentials:
    description:
      - Credentials of the store's administrator. Where Object Lock holds the bad versions, the good ones are then stored once
        more above them, and are current so. To the store they are as young as that.
    type: path
attributes:
  check_mode:
    support: full
    details: Tells what would come back and go.
  diff_mode:
    support: full
    details: For at most 200 objects of each profile and kind, what a reader finds now and what he will find.
seealso:
  - module: lifeboat.fleet.fleet_info
    description: Finds what was overwritten or hidden, and when it began.
  - module: lifeboat.fleet.duplicity
    description: Restores as of any time (O(lifeboat.fleet.duplicity#module:as_of)) without a repair.
"""

EXAMPLES = r"""
- name: Undo what was done to a node's backups since Monday noon
  lifeboat.fleet.fleet_repair:
    store: {bucket: lifeboat}
    credentials: /etc/lifeboat-controller/pruner.ini
    profiles:
      web1: {site: {}}
    as_of: "2026-11-23T12:00:00Z"
  delegate_to: localhost
"""

RETURN = r"""
rows:
  description:
    - One entry per wanted profile of a node. C(state) is C(good) (nothing to do), C(repaired), C(would be repaired) or
      C(failed), for which C(reason) is a sentence.
    - C(back) names objects whose good version is current again, C(new) objects that did not exist at O(as_of) (at most 200
      each; C(back_count) and C(new_count) count all). C(removed) and C(copied) count versions.
  type: list
  elements: dict
  returned: always
  sample:
    - node: web1
      profile: site
      state: repaired
      back: [repo/site/duplicity-full.20261122T021500Z.vol1.difftar.gpg]
      back_count: 1
      new: []
      new_count: 0
      removed: 2
      copied: 0
      reason: ""
table:
  description: The rows as text, failures first.
  type: str
  returned: always
  sample: "node  profile  state"
msg:
  description: One sentence.
  type: str
  returned: always
  sample: 2 versions removed; the good versions of 1 object(s) are current again.
"""

import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import Arguments, location, reader_spec, run, wanted
from ..module_utils.engine import repairing, target
from ..module_utils.engine.errors import Refused
from ..module_utils.engine.store import S3Store

_PROFILES = 8  # repaired at a time


def work(module: AnsibleModule) -> Arguments:
    """Repair each profile, tell of all."""
    params = module.params
    moment = target.as_of(params)
    if moment is None:
        raise Refused("as_of is empty: give the last time at which the store was good.")
    profiles = wanted(params)
    if not profiles:
        raise Refused("these hosts have no profiles (lifeboat_profiles): name hosts that are backed up.")
    pruner = S3Store(location(params["store"], params["credentials"]))
    copier = S3Store(location(params["store"], params["copy_credentials"])) if params["copy_credentials"] else None
    wish = repairing.Wish(moment, remove_new=params["remove_new"], check=module.check_mode)
    keys = repairing.Keys(pruner, pruner, copier)
    with ThreadPoolExecutor(_PROFILES) as pool:
        outcomes = list(pool.map(lambda item: repairing.run(keys, item, wish), profiles))
    for warning in (text for outcome in outcomes for text in outcome.warnings):
        module.warn(warning)
    rows = [outcome.to_dict() for outcome in outcomes]
    return {
        "changed": any(outcome.changed for outcome in outcomes),
        "failed": any(outcome.failure for outcome in outcomes),
        "msg": repairing.summary(outcomes),
        "rows": rows,
        "table": repairing.table(rows),
        "diff": repairing.diff(outcomes),
    }


def main() -> t.NoReturn:
    """The module's entry point."""
    spec = reader_spec(
        as_of={"type": "str", "required": True},
        remove_new={"type": "bool", "default": False},
        copy_credentials={"type": "path"},
    )
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_info
short_description: State of a fleet's backups, read from the store
description:
  - Reads the records and listings of all wanted profiles from the store, holds them against the inventory, and judges
    each of them.
  - It reads the versions that the bucket keeps as well. A stored object that was overwritten by other content, or hidden by
    a delete marker, is an alarm, unless a crashed backup had left its set unfinished.
  - Runs on the controller with a read-only key. No node is contacted, nothing is decrypted.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.reader
options:
  rpo_hours:
    description: Age in hours that the newest restore point of a profile may have.
    type: float
    default: 26
  accepted:
    description:
      - What was done to stored objects until this time is no alarm any more. Forms as O(lifeboat.fleet.duplicity#module:time).
      - Better bring back the good versions (M(lifeboat.fleet.fleet_repair)), which ends the alarm too.
    type: str
  as_of:
    description:
      - Judge the fleet as the store held it at this time, by the versions that were current then. Ages are counted from it.
        Forms as O(accepted).
    type: str
  growth_mib:
    description:
      - A node that wrote more in the last 24 hours than three times its largest earlier day is C(growing), an alarm before the bucket
        is full. Not below this many MiB.
    type: int
    default: 1024
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Judge two nodes
  lifeboat.fleet.fleet_info:
    store: {bucket: lifeboat}
    credentials: /etc/lifeboat-controller/restorer.ini
    profiles:
      web1: {site: {}}
      web2: {site: {}}
  delegate_to: localhost
"""

RETURN = r"""
rows:
  description:
    - One entry per wanted profile of a node. C(state) is C(ok), C(stale), C(growing), C(failed), C(tampered), C(damaged), C(unreadable) or
      C(never), C(reason) a sentence unless it is C(ok).
    - C(alarms) are the first 20 changes of stored objects, each with C(object), C(what) (C(overwritten) or C(hidden)), C(time)
      and C(version_id).
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
  description: The rows as text, worst first.
  type: str
  returned: always
  sample: "node  profile  state"
"""

import typing as t
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import Arguments, location, reader_spec, run, wanted
from ..module_utils.engine import fleet, growth, ledger, report, target, times
from ..module_utils.engine.store import open_store


def work(module: AnsibleModule) -> Arguments:
    """Read, judge, show."""
    then = target.as_of(module.params)
    place = replace(location(module.params["store"], module.params["credentials"]), as_of=then)
    drilled = fleet.drilled(ledger.read_all(open_store(place), "drill"))
    now = then or times.now()
    accepted = times.parse_time(module.params["accepted"], "accepted") if module.params["accepted"] else None
    corners = fleet.read(place, wanted(module.params), history=True)
    judged = [
        fleet.status(corner, now, module.params["rpo_hours"], drilled.get(corner.wanted), accepted)
        for corner in corners
    ]
    floor = module.params["growth_mib"] << 20
    rows = [row.to_dict() for row in growth.told(place, corners, judged, now, floor)]
    behind = sum(1 for row in rows if row["state"] != "ok")
    return {"changed": False, "rows": rows, "behind": behind, "table": report.status_table(rows)}


def main() -> t.NoReturn:
    """The module's entry point."""
    spec = reader_spec(
        rpo_hours={"type": "float", "default": 26.0},
        accepted={"type": "str"},
        as_of={"type": "str"},
        growth_mib={"type": "int", "default": 1024},
    )
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_plan
short_description: Choose restore points to drill and place them on drill hosts
description:
  - Takes the newest recorded restore points of every wanted profile and deals them out to the drill hosts in turn.
  - Runs on the controller with a read-only key.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.reader
options:
  points:
    description: How many restore points of each profile to drill, newest first.
    type: int
    default: 1
  drill_hosts:
    description: Names of the drill hosts in the inventory.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Plan a drill of the two newest points
  lifeboat.fleet.drill_plan:
    store: {bucket: lifeboat}
    credentials: /etc/lifeboat-controller/restorer.ini
    profiles:
      web1: {site: {}}
    points: 2
    drill_hosts: [harbour]
  delegate_to: localhost
"""

RETURN = r"""
restores:
  description: The planned restores.
  type: list
  elements: dict
  returned: always
  sample:
    - {"name": "drill-web1-site-20261123T021500Z", "node": "web1", "profile": "site", "time": "20261123T021500Z",
       "drill_host": "harbour"}
missing:
  description: Profiles without any restore point, each with its reason.
  type: list
  elements: dict
  returned: always
  sample: [{"node": "web2", "profile": "site", "reason": "no backup was ever recorded."}]
time:
  description: When the drill began; the name of its evidence.
  type: str
  returned: always
  sample: 20261123T040000Z
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import Arguments, location, reader_spec, run, wanted
from ..module_utils.engine import fleet, times
from ..module_utils.engine.errors import Refused


def work(module: AnsibleModule) -> Arguments:
    """Read the store, choose, place."""
    hosts, count = module.params["drill_hosts"], module.params["points"]
    if not hosts:
        raise Refused("there is no drill host: put one into the inventory's group lifeboat_drill_hosts.")
    if count < 1:
        raise Refused(f"points is {count}: drill at least one restore point.")
    now = times.now()
    corners = fleet.read(location(module.params["store"], module.params["credentials"]), wanted(module.params))
    restores: list[Arguments] = []
    missing = []
    for corner in corners:
        chosen = fleet.points(corner, count, now)
        for point in chosen:
            host = hosts[len(restores) % len(hosts)]
            name = f"drill-{point.node}-{point.profile}-{point.time}"
            restores.append({"name": name, "drill_host": host, **asdict(point)})
        if len(chosen) < count:
            reason = fleet.why_short(corner, len(chosen), count)
            missing.append({"node": corner.wanted.node, "profile": corner.wanted.profile, "reason": reason})
    return {"changed": False, "restores": restores, "missing": missing, "time": times.stamp(now)}


def main() -> t.NoReturn:
    """The module's entry point."""
    spec = reader_spec(
        points={"type": "int", "default": 1},
        drill_hosts={"type": "list", "elements": "str", "required": True},
    )
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

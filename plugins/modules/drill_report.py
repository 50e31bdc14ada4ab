#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_report
short_description: Judge a drill and leave its evidence
description:
  - Judges every planned restore by what came back of it; nothing came back means failed.
  - Writes the report to a folder on the controller, and to C(drills/<time>/report.json) in the store with a key that can
    do nothing else, together with one ledger entry per restore.
  - A failed drill is a result, not a failure of this module; the playbook ends non-zero by it.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
options:
  credentials:
    description: Credentials of the evidence power (drills/ and ledger/drill/, put only), a file in AWS form.
    type: path
    required: true
  plan:
    description: What M(lifeboat.fleet.drill_plan) returned.
    type: dict
    required: true
  results:
    description: The fact C(drill_result) of every planned host that has one, by the name in the plan.
    type: dict
    required: true
  unreachable:
    description: Nodes that did not answer.
    type: list
    elements: str
    default: []
  dest:
    description: Folder on the controller for reports; each drill has its own folder in it.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    details: The drill is judged, no evidence is written.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Judge the drill
  lifeboat.fleet.drill_report:
    store: {bucket: lifeboat}
    credentials: /etc/lifeboat-controller/evidence.ini
    plan: "{{ plan }}"
    results: {}
    dest: drills
  delegate_to: localhost
"""

RETURN = r"""
verdict:
  description: V(passed) only if every restore passed, none is missing and every node answered.
  type: str
  returned: always
  sample: passed
report:
  description: The whole report (schemas/drill_report.schema.json).
  type: dict
  returned: always
  sample: {"verdict": "passed", "restores": []}
path:
  description: The report on the controller.
  type: str
  returned: always
  sample: /srv/lifeboat/drills/20261123T040000Z/report.json
table:
  description: The report as a table.
  type: str
  returned: always
  sample: "node  restore point  age"
"""

import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import STORE, Arguments, location, run
from ..module_utils.engine import ledger, report, times
from ..module_utils.engine.errors import LifeboatError
from ..module_utils.engine.store import ObjectStore, open_store


def work(module: AnsibleModule) -> Arguments:
    """Judge, write here, write there."""
    plan, results = module.params["plan"], module.params["results"]
    restores = [report.judge(planned, results.get(planned["name"])) for planned in plan["restores"]]
    built = report.build(plan["time"], restores, plan["missing"], module.params["unreachable"])
    folder = os.path.join(os.path.abspath(module.params["dest"]), plan["time"])
    path = os.path.join(folder, "report.json")
    text = json.dumps(built, indent=1, sort_keys=True) + "\n"
    if not module.check_mode:
        _keep(path, text)
        _publish(open_store(location(module.params["store"], module.params["credentials"])), built, text)
    table = report.table(built)
    return {"changed": True, "verdict": built["verdict"], "report": built, "path": path, "table": table}


def _keep(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as handle:
            handle.write(text)
        os.replace(path + ".new", path)
    except OSError as error:
        raise LifeboatError(f"cannot write the report {path}: {error.strerror}; set lifeboat_drills_dir.") from error


def _publish(store: ObjectStore, built: Arguments, text: str) -> None:
    """The report first, then what refers to it. This key cannot look whether a name is taken; an overwrite would only
    add a version, and the time in the name makes it this drill's own."""
    name = f"drills/{built['time']}/report.json"
    store.write(name, text.encode(), if_absent=True)
    moment = times.parse_stamp(built["time"])
    for line in built["restores"]:
        entry = ledger.drill(
            moment,
            line["node"],
            report=name,
            profile=line["profile"],
            point=line["point"],
            chain=line["chain"],
            level=line["level"],
            verdict=line["verdict"],
        )
        store.write(ledger.name(entry), ledger.encode(entry), if_absent=True)


def main() -> t.NoReturn:
    """The module's entry point."""
    spec = {
        "store": STORE,
        "credentials": {"type": "path", "required": True},
        "plan": {"type": "dict", "required": True},
        "results": {"type": "dict", "required": True},
        "unreachable": {"type": "list", "elements": "str", "default": []},
        "dest": {"type": "path", "required": True},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

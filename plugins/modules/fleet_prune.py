#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_prune
short_description: Drop what a fleet's retention no longer needs
description:
  - Judges every chain of the wanted profiles by the store's own times, and deletes those that nothing promised needs, all versions
    and delete markers of them. docs/retention.md tells the rules, and what a hostile node can and cannot do to them.
  - Runs on the controller with the pruner's key. No node is contacted, nothing is decrypted.
  - Nodes and profiles that the store holds and the inventory does not are kept, and named.
  - A node that fails is named at the end; the others are pruned. Running it again finishes what was broken off.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.reader
options:
  credentials:
    description: Credentials of the pruner, a file in AWS form with a profile C(default).
  keep_days:
    description:
      - Every restore point of this many days before the newest one stays, and the newest one that is older.
      - This and the next five are what holds unless O(policies) or a profile says otherwise.
    type: float
    default: 30
  keep_chains:
    description: At least this many complete chains stay.
    type: int
    default: 1
  keep_points:
    description: At least this many restore points stay.
    type: int
    default: 1
  incomplete_days:
    description: Days without a write after which an unfinished set is a crash's leftover.
    type: float
    default: 7
  settle_hours:
    description:
      - Hours for which a newer complete chain must have been restorable before an older one goes.
      - It must be longer than the longest run of a backup, which may still build on the older chain.
    type: float
    default: 48
  lock_days:
    description: Days for which the bucket's Object Lock holds each version. What is younger is not tried.
    type: float
    default: 0
  policies:
    description:
      - Settings of single hosts. For each of the options above the hosts' values by their names; an empty one counts as not given.
      - Those of a profile in O(profiles) (C(keep_days), C(keep_chains), C(keep_points)) come before them.
    type: dict
    default: {}
  approved:
    description:
      - The RV(plan) of an earlier run in check mode. Given, nothing is dropped that this plan did not drop.
      - Old records and witnesses that belong to no restore point go all the same.
    type: list
    elements: dict
  known:
    description:
      - Ids of all nodes that the inventory knows. Others that the store holds are named in RV(unknown).
      - Left out, nobody looks for others.
    type: list
    elements: str
  workers:
    description: How many nodes are worked on at a time. Each takes the memory of its own listing.
    type: int
    default: 8
  most_objects:
    description:
      - How many objects a node's corner may hold. A node with more is not pruned, and named, so that a hostile one cannot
        exhaust the memory of the controller. Each takes about 1.2 KiB.
    type: int
    default: 200000
  show:
    description:
      - V(all) tells of every chain in RV(plan) and RV(table), V(changes) only of nodes where something goes, fails or raises an
        alarm. V(auto) is V(all) for up to 100 nodes.
    type: str
    choices: [auto, all, changes]
    default: auto
attributes:
  check_mode:
    support: full
    details:
      - Makes the plan. Nothing is written or deleted.
  diff_mode:
    support: full
    details:
      - Sets and records that go.
"""

EXAMPLES = r"""
- name: Prune two nodes, one of which keeps more
  lifeboat.fleet.fleet_prune:
    store: {bucket: lifeboat}
    credentials: /etc/lifeboat-controller/pruner.ini
    profiles:
      web1: {site: {}}
      web2: {site: {keep_days: 90}}
    keep_days: 30
    policies:
      keep_chains: {web1: 2}
  delegate_to: localhost
"""

RETURN = r"""
plan:
  description: The decisions, see O(show).
  type: list
  elements: dict
  returned: always
  sample:
    - {"node": "web1", "profile": "site", "kind": "chain", "chain": "20261001T021500Z", "action": "drop", "points": 7,
       "stored": 52428800, "reason": "superseded by chain 20261119T021500Z; every promised point remains without it."}
table:
  description: The same as text.
  type: str
  returned: always
  sample: "node  profile  chain  kind"
nodes:
  description: How many nodes were looked at.
  type: int
  returned: always
  sample: 2
dropped:
  description: What went, or would go in check mode, in all.
  type: dict
  returned: always
  sample: {"chains": 1, "objects": 28, "versions": 31, "bytes": 52428800, "nodes": 1}
alarms:
  description: What someone should look at. Each begins with the node and the profile.
  type: list
  elements: str
  returned: always
  sample: []
unknown:
  description: Nodes, and profiles of known nodes, that the store holds and the inventory does not. They are kept.
  type: list
  elements: str
  returned: always
  sample: ["web0"]
failures:
  description: Nodes that could not be pruned, each with the reason.
  type: dict
  returned: always
  sample: {}
time:
  description: The moment that ages are counted from; also the name of the ledger's entries C(ledger/prune/<node>/<time>-done.json).
  type: str
  returned: always
  sample: 20261123T040000Z
"""

import typing as t
from dataclasses import fields

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import Arguments, location, reader_spec, run
from ..module_utils.engine import fleet_prune, report, times
from ..module_utils.engine.errors import Refused
from ..module_utils.engine.fleet_prune import Asked, Bucket, Fate
from ..module_utils.engine.policies import check_node_id
from ..module_utils.engine.profile import KEEPING, check_name
from ..module_utils.engine.retention import Policy
from ..module_utils.engine.store import open_store

KEYS = tuple(item.name for item in fields(Policy))
FEW = 100


def number(value: t.Any) -> t.Any:
    """What ``-e lifeboat_keep_days=60`` gives as text."""
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def asked(params: t.Mapping[str, t.Any]) -> list[Asked]:
    """Every node with its policies: the fleet's, then the host's, then the profile's."""
    found: list[Asked] = []
    general = {key: params[key] for key in KEYS}
    given, agreed = params["policies"], approved(params["approved"])
    if unknown := set(given) - set(KEYS):
        raise Refused(f"policies know no '{min(unknown)}': use {', '.join(KEYS)}.")
    for host, profiles in params["profiles"].items():
        own = {key: number(values[host]) for key, values in given.items() if values.get(host) not in (None, "")}
        policies = {}
        for name, settings in (profiles or {}).items():
            special = {key: number(settings[key]) for key in KEEPING if (settings or {}).get(key) is not None}
            try:
                policies[check_name(name)] = Policy(**{**general, **own, **special})
            except Refused as error:
                raise Refused(f"{host}, profile {name}: {error}") from None
        node = check_node_id(params["ids"].get(host) or host)
        found.append(Asked(node, policies, None if agreed is None else agreed.get(node, set())))
    return found


def approved(rows: t.Sequence[t.Mapping[str, str]] | None) -> dict[str, set[tuple[str, str, str]]] | None:
    """Node -> what an earlier plan drops of it."""
    if rows is None:
        return None
    found: dict[str, set[tuple[str, str, str]]] = {}
    for row in rows:
        try:
            if row["action"] == "drop":
                found.setdefault(row["node"], set()).add((row["profile"], row["kind"], row["chain"]))
        except KeyError as error:
            raise Refused(f"a row of approved has no {error}: give the plan of a run in check mode as it is.") from None
    return found


def collect(fates: t.Iterable[Fate], show_all: bool) -> Arguments:
    """What the nodes' fates come to; of those where nothing happens no more is kept than a count."""
    plan: list[Arguments] = []
    dropped = {"chains": 0, "objects": 0, "versions": 0, "bytes": 0, "nodes": 0}
    answer: Arguments = {"plan": plan, "dropped": dropped, "alarms": [], "unknown": [], "failures": {}, "nodes": 0}
    answer |= {"changed": False, "diff": ""}
    for fate in fates:
        answer["nodes"] += 1
        answer["changed"] |= fate.changed
        answer["alarms"] += [f"{fate.node}, {text}" for text in fate.alarms]
        answer["unknown"] += [f"{fate.node}/{name}" for name in fate.unknown]
        if fate.failure:
            answer["failures"][fate.node] = fate.failure
        if show_all or fate.changed or fate.alarms or fate.failure:
            plan += [{"node": fate.node, **row} for row in fate.plan]
            answer["diff"] += "".join(f"{fate.node}: {line}\n" for line in fate.diff.splitlines())
        if fate.changed:
            dropped["nodes"] += 1
            dropped["chains"] += sum(item["kind"] == "chain" for item in fate.dropped)
            for key in ("objects", "versions", "bytes"):
                dropped[key] += sum(item[key] for item in fate.dropped)
    return answer


def work(module: AnsibleModule) -> Arguments:
    """Judge, delete, tell; what failed is told at the end."""
    params, check = module.params, module.check_mode
    if params["workers"] < 1:
        raise Refused(f"workers is {params['workers']}: let at least one work.")
    wanted = asked(params)
    store = t.cast(Bucket, open_store(location(params["store"], params["credentials"])))
    moment = times.now()
    limits = {"workers": params["workers"], "most_objects": params["most_objects"]}
    fates = fleet_prune.run(store, wanted, moment, check=check, **limits)
    show_all = params["show"] == "all" or (params["show"] == "auto" and len(wanted) <= FEW)
    answer = collect(fates, show_all)
    if params["known"] is not None:
        answer["unknown"] += fleet_prune.unknown_nodes(store, {*params["known"], *(one.node for one in wanted)})
    answer |= {"time": times.stamp(moment), "table": report.prune_table(answer["plan"])}
    diff = answer.pop("diff")
    if module._diff:
        answer["diff"] = {"before": diff, "after": ""}
    for text in answer["alarms"]:
        module.warn(text)
    if answer["failures"]:
        node, why = next(iter(answer["failures"].items()))
        module.fail_json(
            msg=f"{len(answer['failures'])} of {len(wanted)} node(s) could not be pruned; {node}: {why}", **answer
        )
    return answer


def main() -> t.NoReturn:
    """The module's entry point."""
    standard = {item.name: item.default for item in fields(Policy)}
    spec = reader_spec(
        **{
            key: {"type": "int" if key in ("keep_chains", "keep_points") else "float", "default": value}
            for key, value in standard.items()
        },
        policies={"type": "dict", "default": {}},
        approved={"type": "list", "elements": "dict"},
        known={"type": "list", "elements": "str"},
        workers={"type": "int", "default": fleet_prune.WORKERS},
        most_objects={"type": "int", "default": fleet_prune.MOST_OBJECTS},
        show={"type": "str", "choices": ["auto", "all", "changes"], "default": "auto"},
    )
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

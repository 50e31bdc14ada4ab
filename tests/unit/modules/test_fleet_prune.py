# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the module makes of its options, and of what came of each node."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet_prune import Fate
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.retention import Policy
from ansible_collections.lifeboat.fleet.plugins.modules import fleet_prune

GENERAL = {"keep_days": 30.0, "keep_chains": 1, "keep_points": 1, "incomplete_days": 7.0, "settle_hours": 48.0}


def params(**changes: t.Any) -> dict[str, t.Any]:
    return {
        **GENERAL,
        "lock_days": 0.0,
        "policies": {},
        "ids": {},
        "approved": None,
        "profiles": {"web1": {"site": {}}},
        **changes,
    }


def test_a_profile_comes_before_its_host_and_a_host_before_the_fleet() -> None:
    profiles = {
        "web1": {"site": {"source": "/srv", "keep_days": 90}, "mail": {"keep_days": None}},
        "web2": {"site": None},
        "web3": None,
    }
    policies = {"keep_days": {"web1": "60", "web2": ""}, "keep_chains": {"web1": 3, "other": 9}}
    found = fleet_prune.asked(
        params(profiles=profiles, policies=policies, ids={"web1": "shop", "web2": ""}, lock_days=5.0)
    )
    assert [(one.node, one.policies) for one in found] == [
        ("shop", {"site": Policy(90, 3, lock_days=5.0), "mail": Policy(60, 3, lock_days=5.0)}),
        ("web2", {"site": Policy(lock_days=5.0)}),
        ("web3", {}),
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policies": {"keep_weeks": {}}}, "policies know no 'keep_weeks': use keep_days, "),
        ({"policies": {"keep_days": {"web1": 0}}}, "web1, profile site: keep_days is 0: give a number"),
        ({"policies": {"keep_days": {"web1": "many"}}}, "web1, profile site: keep_days is 'many': give a number"),
        ({"profiles": {"web1": {"site": {"keep_points": 0}}}}, "web1, profile site: keep_points is 0: give"),
        ({"approved": [{"action": "drop"}]}, "a row of approved has no 'node': give the plan"),
        ({"profiles": {"ledger": {"site": {}}}}, "node id 'ledger' is a reserved word"),
        ({"profiles": {"web1": {"../up": {}}}}, "profile name '../up' is not usable"),
    ],
)
def test_refused_before_anything_is_asked_of_the_store(changes: dict[str, t.Any], says: str) -> None:
    with pytest.raises(Refused) as error:
        fleet_prune.asked(params(**changes))
    assert says in str(error.value)


def row(kind: str, action: str) -> dict[str, t.Any]:
    return {
        "profile": "site",
        "kind": kind,
        "chain": "20260101T000000Z",
        "action": action,
        "reason": "so.",
        "points": 1,
    }


def test_of_an_approved_plan_what_it_drops_is_taken() -> None:
    rows = [row("chain", "drop") | {"node": "web1"}, row("orphans", "keep") | {"node": "web1"}]
    found = fleet_prune.asked(params(profiles={"web1": {"site": {}}, "web2": {"site": {}}}, approved=rows))
    assert [one.approved for one in found] == [{("site", "chain", "20260101T000000Z")}, set()]


DROPPED = {"profile": "site", "kind": "chain", "objects": 3, "versions": 5, "bytes": 70}
FATES = [
    Fate("quiet", plan=[row("chain", "keep")], points=9),
    Fate(
        "busy",
        plan=[row("chain", "drop")],
        dropped=[DROPPED, DROPPED | {"kind": "orphans"}],
        changed=True,
        diff="a\nb\n",
    ),
    Fate("odd", plan=[row("chain", "keep")], alarms=["site: junk."], unknown=["old"]),
    Fate("bad", failure="cannot list it."),
]


def test_of_a_fleet_only_what_happened_is_told() -> None:
    told = fleet_prune.collect(FATES, show_all=False)
    assert [item["node"] for item in told["plan"]] == ["busy", "odd"]
    assert told["dropped"] == {"chains": 1, "objects": 6, "versions": 10, "bytes": 140, "nodes": 1}
    assert (told["alarms"], told["unknown"], told["nodes"]) == (["odd, site: junk."], ["odd/old"], 4)
    assert (told["failures"], told["changed"], told["diff"]) == ({"bad": "cannot list it."}, True, "busy: a\nbusy: b\n")
    assert [item["node"] for item in fleet_prune.collect(FATES, show_all=True)["plan"]] == ["quiet", "busy", "odd"]

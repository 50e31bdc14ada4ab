# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The module ``fleet_repair``: what it refuses before it asks the store anything, and what its answer looks like."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

_RUN = """
import sys
from ansible_collections.lifeboat.fleet.plugins.modules import fleet_repair
sys.path.insert(0, sys.argv.pop(1))
from tests.unit.engine.test_repairing import attack, corner
bucket = corner()
attack(bucket)
fleet_repair.S3Store = lambda location: bucket
fleet_repair.main()
"""


def run(tmp_path: Path, **options: t.Any) -> dict[str, t.Any]:
    """The module as Ansible runs it, over a bucket in memory that was attacked."""
    path = tmp_path / "options.json"
    given = {"store": {"bucket": "b"}, "credentials": "/x", "profiles": {"node1": {"site": {}}}, **options}
    modes = {
        "_ansible_check_mode": given.pop("check", False),
        "_ansible_diff": True,
        "_ansible_remote_tmp": str(tmp_path),
    }
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {**given, **modes}}))
    top = str(Path(__file__).parents[3])
    env = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", _RUN, top, str(path)], capture_output=True, text=True, env=env)
    answer: dict[str, t.Any] = json.loads(done.stdout)
    return answer


def test_it_tells_repairs_and_tells_again(tmp_path: Path) -> None:
    would = run(tmp_path, as_of="2026-11-23T05:00:00Z", check=True)
    assert (would["changed"], would["rows"][0]["state"]) == (True, "would be repaired")
    assert would["msg"].startswith(
        "6 version(s) would be removed, so that the good versions of 4 object(s) are current"
    )
    done = run(tmp_path, as_of="2026-11-23T05:00:00Z")
    assert (done["changed"], done["failed"], done["rows"][0]["state"]) == (True, False, "repaired")
    assert done["msg"] == "6 version(s) removed; the good versions of 4 object(s) are current again."
    assert done["diff"] == would["diff"]
    assert len(done["diff"]["before"].splitlines()) == len(done["diff"]["after"].splitlines()) == 4
    assert done["table"].splitlines()[2].split()[:3] == ["node1", "site", "repaired"]


def test_one_node_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    done = run(tmp_path, as_of="2026-11-23T05:00:00Z", profiles={"empty": {"site": {}}, "node1": {"site": {}}})
    assert done["failed"]
    assert [row["state"] for row in done["rows"]] == ["failed", "repaired"]
    assert done["msg"].startswith(
        "1 of 2 profile(s) are not repaired: the store held no whole restore point of empty/site"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"as_of": ""}, "as_of is empty: give the last time at which the store was good."),
        ({"as_of": "soon"}, "as_of 'soon' is not understood"),
        ({"as_of": "2099-01-01"}, "as_of 20990101T000000Z lies in the future"),
        ({"as_of": "3D", "profiles": {"node1": {}}}, "these hosts have no profiles (lifeboat_profiles)"),
        ({"as_of": "3D", "profiles": {"ledger": {"site": {}}}}, "node id 'ledger' is a reserved word"),
    ],
)
def test_what_is_refused(tmp_path: Path, options: dict[str, t.Any], says: str) -> None:
    answer = run(tmp_path, **options)
    assert answer["failed"]
    assert says in answer["msg"]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Names, addresses and the description of the fleet."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.lablib import inventory, topology, up
from lab.lablib.errors import LabError
from lab.lablib.state import State

SUBNET = "10.197.7.0/24"
STATE = Path("/clone/lab/.state/demo")


@pytest.mark.parametrize("name", ["demo", "a", "0", "molecule-2", "a" * 30])
def test_good_names(name: str) -> None:
    assert topology.check_name(name) == name


@pytest.mark.parametrize("name", ["", "Demo", "a b", "-a", "a-", "a_b", "../x", "a" * 31, "é", "a\n"])
def test_bad_names_are_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(LabError, match="cannot name a lab"):
        topology.check_name(name)


def test_unknown_host_names_the_known_ones() -> None:
    with pytest.raises(LabError, match="node1"):
        topology.machine("node9")


def test_a_larger_fleet_keeps_the_usual_hosts() -> None:
    names = [each.name for each in topology.fleet(6)]
    assert names == ["store", *(f"node{number}" for number in range(1, 7)), "harbour"]
    assert set(topology.FLEET) < set(topology.fleet(6))
    assert len({each.last_byte for each in topology.fleet(6)}) == len(names)
    assert topology.machine("node6", topology.fleet(6)).suite == "trixie"
    document = topology.fleet_document("demo", SUBNET, STATE, topology.fleet(6))
    assert list(document["hosts"]) == names


@pytest.mark.parametrize("nodes", [-1, 0, 7])
def test_a_fleet_of_no_such_size(nodes: int) -> None:
    with pytest.raises(LabError, match="choose 1 to 6"):
        topology.fleet(nodes)


def test_a_lab_remembers_its_size_and_never_shrinks(tmp_path: Path) -> None:
    state = State(tmp_path / "demo")
    assert up.members(state, None) == topology.FLEET
    state.folder.mkdir()
    (state.folder / "nodes").write_text("6", encoding="ascii")
    assert up.members(state, None) == topology.fleet(6)
    with pytest.raises(LabError, match="has 6 nodes, and `up` takes none away"):
        up.members(state, 3)


@pytest.mark.parametrize(
    ("taken", "start", "chosen"),
    [
        ([], 0, "10.197.0.0/24"),
        (["10.197.0.0/24"], 0, "10.197.1.0/24"),
        (["10.197.0.0/20", "default", "fd00::/64"], 3, "10.197.16.0/24"),
        (["10.197.255.7"], 255, "10.197.0.0/24"),
        (["0.0.0.0/0"], 5, "10.197.5.0/24"),
        ([], 300, "10.197.44.0/24"),
    ],
)
def test_subnet(taken: list[str], start: int, chosen: str) -> None:
    assert topology.choose_subnet(taken, start) == chosen


def test_no_subnet_left() -> None:
    with pytest.raises(LabError, match="No free network"):
        topology.choose_subnet(["10.0.0.0/8"], 0)


def test_hardware_addresses_are_local_and_distinct() -> None:
    found = {topology.hardware_address(topology.address(SUBNET, each)) for each in topology.FLEET}
    assert len(found) == len(topology.FLEET)
    assert topology.hardware_address("10.197.7.11") == "02:4c:0a:c5:07:0b"


def test_fleet_document() -> None:
    fleet = topology.fleet_document("demo", SUBNET, STATE)
    assert fleet["hosts"]["node1"] == {
        "address": "10.197.7.11",
        "groups": ["lifeboat_nodes"],
        "suite": "bookworm",
    }
    assert fleet["store"] == {
        "endpoint_url": "https://10.197.7.10:7443",
        "region": "us-east-1",
        "bucket": "lifeboat",
        "ca_bundle": "/clone/lab/.state/demo/ca.pem",
        "node_ca_bundle": "/etc/ssl/certs/ca-certificates.crt",
    }
    assert (fleet["name"], fleet["state_dir"]) == ("demo", str(STATE))


def test_inventory() -> None:
    document = inventory.inventory(topology.fleet_document("demo", SUBNET, STATE), "/clone/.venv/bin/python")
    assert document["lifeboat_nodes"] == {"hosts": ["node1", "node2", "node3"]}
    assert document["lifeboat_drill_hosts"] == {"hosts": ["harbour"]}
    assert document["lab_store"] == {"hosts": ["store"]}
    assert document["ungrouped"] == {"hosts": ["localhost"]}
    hostvars = document["_meta"]["hostvars"]
    assert hostvars["harbour"]["ansible_host"] == "10.197.7.20"
    assert hostvars["localhost"] == {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/clone/.venv/bin/python",
    }
    shared = document["all"]["vars"]
    assert shared["ansible_user"] == "ops"
    assert shared["lab_state"] == str(STATE)
    assert shared["lifeboat_store"]["bucket"] == "lifeboat"
    assert "StrictHostKeyChecking=yes" in shared["ansible_ssh_common_args"]
    assert f"UserKnownHostsFile={STATE}/ssh/known_hosts" in shared["ansible_ssh_common_args"]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Who is in the fleet, what everything is called, and which addresses it gets (pure)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

LABEL_NAME = "lifeboat.lab"
LABEL_STATE = "lifeboat.lab.state"
LABEL_HOST = "lifeboat.lab.host"
STORE_PORT = 7443
STORE_NAMES = ("store", "store.lifeboat.test")

# A corner of 10/8 that neither podman's default network (10.88/16) nor its pool (10.89/16 and up) starts with.
LAB_RANGE = ipaddress.IPv4Network("10.197.0.0/16")


@dataclass(frozen=True)
class Machine:
    """One host of the fleet: its last address byte, image, suite, inventory group and application tree."""

    name: str
    last_byte: int
    image: str
    suite: str
    group: str
    app: str = ""
    big_file: bool = False

    @property
    def seeded(self) -> bool:
        """Whether this host carries data to back up."""
        return bool(self.app)


# The store first: it takes longest until it answers.
STORE = Machine("store", 10, "store", "trixie", "lab_store")
NODES: tuple[Machine, ...] = (
    Machine("node1", 11, "node-bookworm", "bookworm", "lifeboat_nodes", app="mediawiki"),
    Machine("node2", 12, "node-bookworm", "bookworm", "lifeboat_nodes", app="wordpress", big_file=True),
    Machine("node3", 13, "node-trixie", "trixie", "lifeboat_nodes", app="docs"),
    # those that only a larger lab has
    Machine("node4", 14, "node-bookworm", "bookworm", "lifeboat_nodes", app="wordpress"),
    Machine("node5", 15, "node-trixie", "trixie", "lifeboat_nodes", app="docs"),
    Machine("node6", 16, "node-trixie", "trixie", "lifeboat_nodes", app="docs"),
)
HARBOUR = Machine("harbour", 20, "node-trixie", "trixie", "lifeboat_drill_hosts")
USUAL = 3


def fleet(nodes: int = USUAL) -> tuple[Machine, ...]:
    """Return the hosts of a lab with so many nodes. Raises LabError when there can't be so many."""
    if not 1 <= nodes <= len(NODES):
        raise LabError(f"A lab can't have {nodes} nodes: choose 1 to {len(NODES)}.")
    return (STORE, *NODES[:nodes], HARBOUR)


FLEET = fleet()


def machine(name: str, machines: Iterable[Machine] = FLEET) -> Machine:
    """Return the host called `name`. Raises LabError for a name that is not among `machines`."""
    found = {each.name: each for each in machines}
    if name not in found:
        raise LabError(f"There is no host '{name}' in the lab: choose one of {', '.join(found)}.")
    return found[name]


def check_name(name: str) -> str:
    """Return `name` if it can name a lab, else raise LabError."""
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?", name):
        raise LabError(
            f"'{name}' cannot name a lab: use up to 30 of a-z, 0-9 and '-', with a letter or digit at both ends."
        )
    return name


def network_name(lab: str) -> str:
    """Return the name of a lab's network."""
    return f"lifeboat-{lab}"


def container_name(lab: str, host: str) -> str:
    """Return the name of a lab's container for `host`."""
    return f"lifeboat-{lab}-{host}"


def address(subnet: str, host: Machine) -> str:
    """Return the fixed address of `host` in `subnet`."""
    return str(ipaddress.IPv4Network(subnet)[host.last_byte])


def hardware_address(ip: str) -> str:
    """Return a locally administered MAC address that belongs to an IPv4 address.

    A host that comes back with a new one is out of reach for half a minute, until its neighbours forget the old one.
    """
    return "02:4c:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(ip).packed)


def choose_subnet(taken: Iterable[str], start: int) -> str:
    """Return a free /24 for a lab, the first one from number `start` on.

    `taken` are networks in use on this machine in any spelling that `ipaddress` reads; others are ignored.
    Raises LabError when the whole range is in use.
    """
    used: list[ipaddress.IPv4Network] = []
    for text in taken:
        try:
            used.append(ipaddress.IPv4Network(text, strict=False))
        except ValueError:
            continue  # "default", IPv6
    used = [each for each in used if each.prefixlen > 0]
    candidates = list(LAB_RANGE.subnets(new_prefix=24))
    start %= len(candidates)
    for candidate in candidates[start:] + candidates[:start]:
        if not any(candidate.overlaps(each) for each in used):
            return str(candidate)
    raise LabError(f"No free network is left in {LAB_RANGE}: remove a lab with `lab/lab down --name NAME` first.")


def fleet_document(lab: str, subnet: str, state_dir: Path, machines: Iterable[Machine] = FLEET) -> dict[str, object]:
    """Return the content of `fleet.json`: hosts with address, groups and suite; the store; the state folder."""
    store = address(subnet, STORE)
    return {
        "name": lab,
        "subnet": subnet,
        "hosts": {
            each.name: {"address": address(subnet, each), "groups": [each.group], "suite": each.suite}
            for each in machines
        },
        "store": {
            "endpoint_url": f"https://{store}:{STORE_PORT}",
            "region": "us-east-1",
            "bucket": "lifeboat",
            "ca_bundle": str(state_dir / "ca.pem"),
            "node_ca_bundle": "/etc/ssl/certs/ca-certificates.crt",
        },
        "state_dir": str(state_dir),
    }

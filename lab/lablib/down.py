# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""`lab down`: take a lab away, by the ids of what carries its label and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from . import containers, images
from .errors import LabError
from .host import Host
from .process import run
from .state import State, remove
from .topology import LABEL_STATE
from .up import Say


def down(host: Host, name: str, state: State, say: Say) -> None:
    """Remove containers, network and state of the lab `name`, also when another clone started it."""
    start = time.monotonic()
    found = containers.listed(host, name)
    network = containers.network_of(containers.networks(host), name)
    folders = {state.folder, *(Path(each.state_dir) for each in found if each.state_dir)}
    if found:
        run(host.podman("rm", "--force", "--volumes", "--time", "0", *(each.id for each in found)))
    if network is not None:
        folders.add(Path((network.get("labels") or {}).get(LABEL_STATE) or state.folder))
        run(host.podman("network", "rm", str(network["id"])))
    left = containers.listed(host, name)
    if left:
        raise LabError(f"podman did not remove {', '.join(each.name for each in left)}: run `lab/lab down` again.")
    for folder in folders:
        remove(folder, name)
    say(f"{len(found)} containers removed", time.monotonic() - start)


def remove_images(host: Host, say: Say) -> None:
    """Remove the images of labs. Raises LabError when another lab uses some of them."""
    start = time.monotonic()
    kept = images.remove_all(host)
    if kept:
        raise LabError(f"Images in use stay ({', '.join(kept)}): take the other labs down first, see `lab/lab list`.")
    say("images removed", time.monotonic() - start)

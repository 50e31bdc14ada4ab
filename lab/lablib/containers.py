# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Containers and networks of one lab: command lines are pure, and everything is found by its labels."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import topology
from .errors import LabError
from .host import Host
from .process import Result, run
from .topology import LABEL_HOST, LABEL_NAME, LABEL_STATE, Machine

# Ours, from lab/images/rootfs/common: it prepares the mount tree and becomes systemd.
INIT = "/usr/local/lib/lifeboat-lab/init"


@dataclass(frozen=True)
class Container:
    """One container as podman lists it. `state` is podman's word: running, exited, created, ..."""

    id: str
    name: str
    host: str
    state: str
    lab: str
    state_dir: str
    image: str


def parse_list(text: str) -> tuple[Container, ...]:
    """Return the containers in the output of `podman ps --format json`."""
    found = []
    for entry in json.loads(text or "[]") or []:
        labels: dict[str, str] = entry.get("Labels") or {}
        found.append(
            Container(
                id=entry["Id"],
                name=entry["Names"][0],
                host=labels.get(LABEL_HOST, ""),
                state=entry["State"],
                lab=labels.get(LABEL_NAME, ""),
                state_dir=labels.get(LABEL_STATE, ""),
                image=entry.get("Image", ""),
            )
        )
    return tuple(found)


def listed(host: Host, lab: str = "") -> tuple[Container, ...]:
    """Return the containers of one lab, or of all labs on this machine."""
    label = f"{LABEL_NAME}={lab}" if lab else LABEL_NAME
    return parse_list(run(host.podman("ps", "--all", "--filter", f"label={label}", "--format", "json")).out)


def networks(host: Host) -> list[dict[str, Any]]:
    """Return every network that podman knows, as podman describes it."""
    names = run(host.podman("network", "ls", "--quiet")).out.split()
    found: list[dict[str, Any]] = json.loads(run(host.podman("network", "inspect", *names)).out) if names else []
    return found


def network_of(known: Iterable[Mapping[str, Any]], lab: str) -> Mapping[str, Any] | None:
    """Return the network that carries a lab's label."""
    for each in known:
        if (each.get("labels") or {}).get(LABEL_NAME) == lab:
            return each
    return None


def subnet_of(network: Mapping[str, Any]) -> str:
    """Return the IPv4 subnet of a network of the lab."""
    return str(network["subnets"][0]["subnet"])


def taken_subnets(known: Iterable[Mapping[str, Any]], routes: str) -> list[str]:
    """Return what is in use: podman's networks and this machine's routes (`ip -json route`)."""
    used = [str(subnet["subnet"]) for each in known for subnet in each.get("subnets") or []]
    return used + [str(route["dst"]) for route in json.loads(routes or "[]")]


def labels(lab: str, state_dir: Path) -> list[str]:
    """Return the arguments that mark a thing as part of this lab."""
    return ["--label", f"{LABEL_NAME}={lab}", "--label", f"{LABEL_STATE}={state_dir}"]


def network_argv(lab: str, state_dir: Path, subnet: str) -> list[str]:
    """Return podman's arguments that create the lab's network."""
    return ["network", "create", *labels(lab, state_dir), "--subnet", subnet, topology.network_name(lab)]


def create_argv(
    lab: str, state_dir: Path, machine: Machine, subnet: str, image: str, ulimits: Sequence[str]
) -> list[str]:
    """Return podman's arguments that create one host of the fleet.

    SYS_ADMIN: without it no unit can sandbox itself (226/NAMESPACE) and trixie's journald fails.
    DAC_READ_SEARCH: podman's bounding set lacks it, and a unit that asks for it would start without.
    AUDIT_WRITE: without it every sudo complains on stderr.
    """
    names = topology.STORE_NAMES if machine.name == "store" else (machine.name,)
    ip = topology.address(subnet, machine)
    network = [f"ip={ip}", f"mac={topology.hardware_address(ip)}", *(f"alias={name}" for name in names)]
    return [
        "create",
        *labels(lab, state_dir),
        *("--label", f"{LABEL_HOST}={machine.name}"),
        *("--name", topology.container_name(lab, machine.name)),
        *("--hostname", machine.name),
        *("--network", f"{topology.network_name(lab)}:{','.join(network)}"),
        "--systemd=always",
        "--cgroupns=private",
        "--stop-signal=SIGRTMIN+3",
        *("--cap-add", "SYS_ADMIN", "--cap-add", "DAC_READ_SEARCH", "--cap-add", "AUDIT_WRITE"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *(word for limit in ulimits for word in ("--ulimit", limit)),
        "--pull=never",
        image,
        INIT,
    ]


@dataclass(frozen=True)
class File:
    """A file, or with content None a folder, to put into a container: path, content, mode, owner (uid and gid)."""

    path: str
    content: bytes | None
    mode: int = 0o644
    owner: int = 0


def files_tar(files: Iterable[File]) -> bytes:
    """Return `files` as a tar for `podman cp`; missing folders are made by podman as root's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for each in files:
            entry = tarfile.TarInfo(each.path.lstrip("/"))
            entry.mode, entry.uid, entry.gid, entry.mtime = (
                each.mode,
                each.owner,
                each.owner,
                int(time.time()),
            )
            if each.content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(each.content)
            tar.addfile(entry, io.BytesIO(each.content or b""))
    return buffer.getvalue()


def put(host: Host, container: str, files: Iterable[File]) -> None:
    """Write files into a container, running or not; their content travels on stdin."""
    # Without --archive=false podman gives every file to root. It spools its stdin to TMPDIR and leaves that there,
    # keys included: so TMPDIR is a folder that only we can read, and it goes.
    with tempfile.TemporaryDirectory(prefix="lifeboat-lab-") as spool:
        line = host.podman("cp", "--archive=false", "-", f"{container}:/", tmpdir=spool)
        run(line, stdin=files_tar(files))


def execute(host: Host, container: str, argv: Sequence[str], *, stdin: bytes = b"", check: bool = True) -> Result:
    """Run a program in a container as root."""
    return run(host.podman("exec", "--interactive", container, *argv), stdin=stdin, check=check)


def refuse_foreign(found: Iterable[Container], network: Mapping[str, Any] | None, lab: str, state_dir: Path) -> None:
    """Raise LabError when the lab of this name was started from another clone."""
    owners = {each.state_dir for each in found}
    if network is not None:
        owners.add((network.get("labels") or {}).get(LABEL_STATE, ""))
    for owner in sorted(owners - {str(state_dir)}):
        raise LabError(
            f"The lab '{lab}' belongs to the clone with {owner or 'an unknown state folder'}: "
            f"run `lab/lab down --name {lab}` first, or choose another --name."
        )


def refuse_named(all_names: Iterable[str], ours: Iterable[Container], lab: str) -> None:
    """Raise LabError when a container that is not part of this lab has a name that the lab needs."""
    mine = {each.name for each in ours}
    wanted = {topology.container_name(lab, each.name) for each in topology.fleet(len(topology.NODES))}
    for name in sorted((wanted & set(all_names)) - mine):
        raise LabError(f"A container that is not ours is called {name}: rename it, or choose another --name.")

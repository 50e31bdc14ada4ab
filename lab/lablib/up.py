# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""`lab up`: bring a lab up, or repair it. Each step looks first and does only what is missing."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import containers, images, mirror, ssh, store, topology
from .containers import Container, File
from .errors import LabError
from .host import Host, check_disk
from .process import run
from .state import ROOT, State, make_server_certificate, prepare, write
from .topology import STORE, Machine

Say = Callable[[str, float], None]
SEED = Path(__file__).resolve().parent.parent / "seed_node.py"

# Waits for systemd, then tells its state, what failed, and the host's public key.
BOOT = """\
for _ in $(seq 600); do
  state=$(systemctl is-system-running --wait 2>/dev/null)
  case $state in running|degraded) break ;; esac
  sleep 0.1
done
echo "$state"
systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | tr '\\n' ' '
echo
cat /etc/ssh/ssh_host_ed25519_key.pub
"""


@dataclass(frozen=True)
class Booted:
    """What a host said once it was up: systemd's word, failed units, public host key."""

    state: str
    failed: str
    key: str


def parse_boot(host: str, text: str) -> Booted:
    """Read the output of BOOT. Raises LabError when systemd came to no end."""
    lines = [*text.splitlines(), "", "", ""]
    booted = Booted(lines[0].strip(), lines[1].strip(), lines[2].strip())
    if booted.state not in ("running", "degraded") or not booted.key:
        raise LabError(
            f"{host} did not boot (systemd says '{booted.state or 'nothing'}'): see `podman logs` of its container, "
            "then `lab/lab down` and `lab/lab up`."
        )
    return booted


def first_files(state: State, machine: Machine, proxies: str) -> list[File]:
    """Return what makes a container a member of this lab: who may log in, whom it trusts, how it reaches apt's mirror."""
    public = state.key.with_suffix(".pub").read_bytes()
    files = [
        File("/home/ops/.ssh", None, 0o700, 1000),
        File("/home/ops/.ssh/authorized_keys", public, 0o600, 1000),
        File("/usr/local/share/ca-certificates/lifeboat-lab.crt", state.ca.read_bytes()),
    ]
    if proxies:
        files.append(File("/etc/apt/apt.conf.d/90lab-proxy", proxies.encode(), 0o600))
    if machine.name == "store":
        files.append(File("/etc/lifeboat-lab/tls.pem", (state.folder / "tls.pem").read_bytes(), 0o600))
    return files


class Lab:
    """One lab on this machine, being brought up."""

    def __init__(self, host: Host, name: str, state: State, say: Say) -> None:
        self.host, self.name, self.state, self.say = host, name, state, say

    def look(self) -> tuple[list[dict[str, Any]], tuple[Container, ...]]:
        """Return podman's networks and the lab's containers. Raises LabError for a lab that is not ours or damaged."""
        known, found = containers.networks(self.host), containers.listed(self.host, self.name)
        network = containers.network_of(known, self.name)
        containers.refuse_foreign(found, network, self.name, self.state.folder)
        names = run(self.host.podman("ps", "--all", "--format", "{{.Names}}")).out.split()
        containers.refuse_named(names, found, self.name)
        if found and (network is None or not self.state.complete()):
            raise LabError(
                f"The lab '{self.name}' is damaged (its network or its files in {self.state.folder} are gone): "
                f"run `lab/lab down --name {self.name}`, then `up` again."
            )
        return known, found

    def network(self, known: list[dict[str, Any]]) -> str:
        """Return the lab's subnet, making the network if it is missing."""
        network = containers.network_of(known, self.name)
        if network is not None:
            return containers.subnet_of(network)
        routes = run(["ip", "-json", "-4", "route"]).out
        # Another one each time: connections that ansible keeps open to a lab of a minute ago must not meet this one.
        subnet = topology.choose_subnet(containers.taken_subnets(known, routes), secrets.randbelow(256))
        run(self.host.podman(*containers.network_argv(self.name, self.state.folder, subnet)))
        return subnet

    def certificate(self, subnet: str) -> None:
        """Make the store's certificate for its address, unless it was made for this subnet already."""
        marker = self.state.folder / "tls.subnet"
        if (self.state.folder / "tls.pem").exists() and marker.exists() and marker.read_text("ascii") == subnet:
            return
        address = topology.address(subnet, STORE)
        make_server_certificate(self.state, {"IP": [address], "DNS": list(topology.STORE_NAMES)})
        write(marker, subnet)

    def create(self, machine: Machine, subnet: str, image: str, proxies: str) -> str:
        """Create one container with its files and return its id. A half-made one is taken away again."""
        argv = containers.create_argv(self.name, self.state.folder, machine, subnet, image, self.host.ulimits)
        made = run(self.host.podman(*argv)).out.split()[-1]
        try:
            containers.put(self.host, made, first_files(self.state, machine, proxies))
        except BaseException:
            run(self.host.podman("rm", "--force", made), check=False)
            raise
        return made

    def boot(self, machine: Machine, container: str) -> Booted:
        """Wait until systemd of one host has started everything."""
        done = containers.execute(self.host, container, ["sh", "-s"], stdin=BOOT.encode(), check=False)
        return parse_boot(machine.name, done.out)

    def seed(self, machine: Machine, container: str) -> str:
        """Give a node its data, once; return what happened."""
        arguments = ["seed", machine.app or "-", *(["big"] if machine.big_file else [])]
        done = containers.execute(self.host, container, ["python3", "-", *arguments], stdin=SEED.read_bytes())
        return "data made" if json.loads(done.out)["seeded"] else "data present"

    def bring_up(
        self, machine: Machine, subnet: str, container: Container | None, make: Callable[[Machine], str]
    ) -> Booted:
        """Create or start one host as far as it needs that, wait for it, seed it; return what it said."""
        start, done = time.monotonic(), []
        identity = container.id if container else make(machine)
        if container is None:
            done.append("created")
        if container is None or container.state != "running":
            run(self.host.podman("start", identity))
            done.append("started")
        booted = self.boot(machine, identity)
        if machine.name == "store":
            self.serve(identity, subnet, created=container is None)
            done.append("answers over TLS")
        else:
            done.append(self.seed(machine, identity))
        degraded = f", systemd degraded by {booted.failed}" if booted.state == "degraded" else ""
        self.say(f"{machine.name}: {', '.join(done) or 'running'}{degraded}", time.monotonic() - start)
        return booted

    def serve(self, container: str, subnet: str, created: bool) -> None:
        """Wait until the store answers; fetch its administrator's credentials, again when the store is new."""
        store.wait(
            f"https://{topology.address(subnet, topology.machine('store'))}:{topology.STORE_PORT}",
            self.state.ca,
        )
        if created:
            self.state.minter.unlink(missing_ok=True)
        if not self.state.minter.exists():
            write(self.state.minter, store.minter(self.host, container), 0o600)


def needed_images(host: Host, machines: Iterable[Machine], known: Mapping[str, Container], say: Say) -> dict[str, str]:
    """Return the images for the hosts that must be created, building those that are missing."""
    names = {machine.image for machine in machines if machine.name not in known}
    if not names:
        return {}
    start = time.monotonic()
    ready = images.ensure(host, names, ROOT / ".images", say)
    say("images ready", time.monotonic() - start)
    return ready


def members(state: State, nodes: int | None) -> tuple[Machine, ...]:
    """Return the hosts that the lab has, or gets with so many nodes. Raises LabError when it would lose some."""
    machines = topology.fleet(state.nodes if nodes is None else nodes)
    if state.folder.exists() and nodes is not None and nodes < state.nodes:
        raise LabError(
            f"The lab '{state.folder.name}' has {state.nodes} nodes, and `up` takes none away: "
            f"run `lab/lab down --name {state.folder.name}` first."
        )
    return machines


def up(host: Host, name: str, state: State, say: Say, nodes: int | None = None) -> None:
    """Bring the lab up and write its state files; `fleet.json` last. Raises LabError with one sentence.

    `nodes` is how many it has; None: as many as before, or the usual number.
    """
    machines = members(state, nodes)
    lab = Lab(host, name, state, say)
    start = time.monotonic()
    networks, found = lab.look()
    known = {each.host: each for each in found}
    if len(known) < len(machines):
        check_disk(host, [host.graph_root, ROOT, images.SCRATCH])
    prepare(state)
    write(state.folder / "nodes", str(state.nodes if nodes is None else nodes))
    subnet = lab.network(networks)
    lab.certificate(subnet)
    say(f"network {subnet}, keys and certificates", time.monotonic() - start)
    ready = needed_images(host, machines, known, say)
    proxies = mirror.proxy_configuration() if ready else ""

    def make(machine: Machine) -> str:
        return lab.create(machine, subnet, ready[machine.image], proxies)

    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        jobs = {each.name: pool.submit(lab.bring_up, each, subnet, known.get(each.name), make) for each in machines}
        hosts = {each: job.result() for each, job in jobs.items()}
    start = time.monotonic()
    addresses = {each.name: topology.address(subnet, each) for each in machines}
    write(
        state.known_hosts,
        ssh.known_hosts({addresses[each]: booted.key for each, booted in hosts.items()}),
        0o600,
    )
    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        for _none in pool.map(lambda each: ssh.wait(state, each, addresses[each]), addresses):
            pass
    say("ssh answers on every host", time.monotonic() - start)
    write(state.fleet, json.dumps(topology.fleet_document(name, subnet, state.folder, machines), indent=2) + "\n")

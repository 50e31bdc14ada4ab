# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The `lab` command: arguments in, one sentence out when something is wrong."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from . import containers, process, ssh, store, topology
from .containers import Container
from .down import down, remove_images
from .errors import LabError
from .host import Host, inspect
from .process import run
from .state import lock, state_of
from .topology import Machine, check_name, machine
from .up import SEED, up


def say(text: str, seconds: float) -> None:
    """Print one finished step."""
    print(f"{text:<58} {seconds:6.1f} s", flush=True)


def ours(host: Host, name: str) -> dict[str, Container]:
    """Return the containers of this clone's lab by host. Raises LabError when there are none or they are another's."""
    found = containers.listed(host, name)
    containers.refuse_foreign(found, None, name, state_of(name).folder)
    if not found:
        raise LabError(f"No lab '{name}' is up: run `lab/lab up --name {name}`.")
    return {each.host: each for each in found}


def one(host: Host, name: str, which: str) -> Container:
    """Return the container of one host. Raises LabError when it is not there."""
    found = ours(host, name).get(machine(which, topology.fleet(state_of(name).nodes)).name)
    if found is None:
        raise LabError(f"The lab '{name}' has lost its {which}: run `lab/lab up --name {name}`.")
    return found


def command_up(options: argparse.Namespace) -> None:
    """Bring the lab up, or repair it."""
    start = time.monotonic()
    with lock(options.name):
        up(inspect(), options.name, state_of(options.name), say, getattr(options, "nodes", None))
    say(f"the lab '{options.name}' is up", time.monotonic() - start)


def command_down(options: argparse.Namespace) -> None:
    """Take the lab away."""
    host = inspect()
    with lock(options.name):
        down(host, options.name, state_of(options.name), say)
    if options.images:
        remove_images(host, say)


def command_status(options: argparse.Namespace) -> None:
    """Print a line for each host: container, systemd, ssh; and whether the store answers."""
    host, state = inspect(), state_of(options.name)
    found, fleet = ours(host, options.name), state.read_fleet()
    script = "systemctl is-system-running"

    def line(each: Machine) -> str:
        container, address = found.get(each.name), fleet["hosts"][each.name]["address"]
        if container is None or container.state != "running":
            return f"{each.name:<10}{address:<16}{each.suite:<10}{container.state if container else 'missing':<12}"
        word = containers.execute(host, container.id, script.split(), check=False).out.strip()
        login = ssh.argv(state, address, ("true",))
        login[1:1] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        reached = "ssh answers" if run(login, check=False).code == 0 else "no ssh"
        return f"{each.name:<10}{address:<16}{each.suite:<10}{word:<12}{reached}"

    machines = topology.fleet(state.nodes)
    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        for text in pool.map(line, machines):
            print(text)
    endpoint = fleet["store"]["endpoint_url"]
    print(f"{endpoint}  {store.answers(endpoint, state.ca) or 'answers'}")


def command_list(_options: argparse.Namespace) -> None:
    """Print every lab on this machine with its state folder."""
    labs: dict[tuple[str, str], list[str]] = {}
    for each in containers.listed(inspect()):
        labs.setdefault((each.lab, each.state_dir), []).append(each.state)
    for (name, folder), states in sorted(labs.items()):
        print(f"{name:<20}{states.count('running')} of {len(states)} running  {folder}")


def command_ssh(options: argparse.Namespace) -> None:
    """Become ssh to one host."""
    state = state_of(options.name)
    name = machine(options.host, topology.fleet(state.nodes)).name
    address = state.read_fleet()["hosts"][name]["address"]
    process.replace(ssh.argv(state, address, tuple(options.command)))


def command_stop(options: argparse.Namespace) -> None:
    """Shut one host down: it can't be reached until it is started."""
    host, start = inspect(), time.monotonic()
    run(host.podman("stop", "--time", "20", one(host, options.name, options.host).id))
    say(f"{options.host} stopped", time.monotonic() - start)


def command_start(options: argparse.Namespace) -> None:
    """Start a stopped host and wait until it (and the store) answers: `up` repairs just what is missing."""
    one(inspect(), options.name, options.host)
    command_up(options)


def command_change(options: argparse.Namespace) -> None:
    """Change the data on every node."""
    host = inspect()
    found = ours(host, options.name)

    def change(each: Machine) -> str:
        container = found.get(each.name)
        if container is None or container.state != "running":
            raise LabError(f"{each.name} is not running: run `lab/lab up --name {options.name}`.")
        start = time.monotonic()
        done = containers.execute(host, container.id, ["python3", "-", "change"], stdin=SEED.read_bytes())
        told = ", ".join(f"{key} {value}" for key, value in json.loads(done.out).items())
        say(f"{each.name}: {told}", time.monotonic() - start)
        return done.out

    machines = [each for each in topology.fleet(state_of(options.name).nodes) if each.seeded]
    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        for _each in pool.map(change, machines):
            pass


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    common = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("LIFEBOAT_LAB") or "demo"
    common.add_argument("--name", default=default, help="which lab (default: $LIFEBOAT_LAB or demo)")
    top = argparse.ArgumentParser(prog="lab", description="A fleet on one machine: nodes, a drill host, an S3 store.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    table = (
        ("up", command_up, "bring the lab up, or repair it"),
        ("down", command_down, "remove the lab and all that it made"),
        ("status", command_status, "show every host and the store"),
        ("list", command_list, "show every lab on this machine"),
        ("ssh", command_ssh, "log in to a host, or run a command there"),
        ("stop", command_stop, "shut a host down"),
        ("start", command_start, "start a host that was stopped"),
        ("change", command_change, "change the data on every node"),
    )
    made = {}
    for word, function, told in table:
        made[word] = commands.add_parser(word, parents=[common], help=told, description=told)
        made[word].set_defaults(function=function)
    most = len(topology.NODES)
    made["up"].add_argument("--nodes", type=int, help=f"how many nodes, 1 to {most} (default: {topology.USUAL})")
    made["down"].add_argument("--images", action="store_true", help="also remove the images")
    hosts = ", ".join(each.name for each in topology.FLEET) + "; more in a larger lab"
    for word in ("ssh", "stop", "start"):
        made[word].add_argument("host", help=hosts)
    made["ssh"].add_argument("command", nargs=argparse.REMAINDER, help="what to run there (default: a shell)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = parser().parse_args(arguments)
    try:
        check_name(options.name)
        options.function(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `lab status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0

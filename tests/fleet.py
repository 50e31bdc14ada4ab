# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A lab in the hands of a test: playbooks, commands on hosts, and an independent look at a tree."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION

TOP = Path(__file__).resolve().parents[1]
STATE = TOP / "lab" / ".state" / os.environ.get("LIFEBOAT_LAB", "molecule")

# Runs on a host under its own Python and knows nothing of the engine: for every path below a folder its type, mode,
# owner, mtime (not of links), size, and what it holds.
LOOK = r"""
import hashlib, json, os, stat, sys
top = os.fsencode(sys.argv[1])
seen = {}
def look(path):
    status = os.lstat(path)
    row = [oct(status.st_mode), status.st_uid, status.st_gid]
    if stat.S_ISLNK(status.st_mode):
        row.append(os.readlink(path).hex())
    else:
        row.append(int(status.st_mtime))
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as handle:
            row += [status.st_size, hashlib.sha256(handle.read()).hexdigest()]
    seen[os.path.relpath(path, top).hex()] = row
look(top)
for folder, folders, files in os.walk(top):
    for name in folders + files:
        look(os.path.join(folder, name))
print(json.dumps(seen))
"""


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    rc: int
    out: str


class Fleet:
    """The lab, as its operator sees it; ``inventories`` are given to playbooks beside the lab's."""

    state = STATE

    def __init__(self, nodes: int = 3, inventories: tuple[str, ...] = ()) -> None:
        self.nodes = tuple(f"node{number}" for number in range(1, nodes + 1))
        self.inventories = [word for name in ("inventories/lab", *inventories) for word in ("-i", str(TOP / name))]

    def play(self, playbook: str, *arguments: str, **extra: Any) -> Run:
        """Run one of the project's playbooks; extra variables go as JSON."""
        command = ["ansible-playbook", *self.inventories, str(TOP / "playbooks" / playbook), *arguments]
        command += [*(("--extra-vars", json.dumps(extra)) if extra else ())]
        return self.run(command)

    def lab(self, *arguments: str) -> Run:
        """Run the lab's own command."""
        verb, *rest = arguments
        return self.run([str(TOP / "lab" / "lab"), verb, "--name", STATE.name, *rest])

    def on(self, host: str, command: str) -> str:
        """What a shell command printed on a host, which must succeed."""
        argv = [str(TOP / "lab" / "lab"), "ssh", "--name", STATE.name, host, command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=True).stdout

    def feed(self, host: str, command: str, data: str) -> Run:
        """Run a shell command on a host as root with ``data`` on its stdin: what is secret is in no argument."""
        argv = [str(TOP / "lab" / "lab"), "ssh", "--name", STATE.name, host, f"sudo sh -c {shlex.quote(command)}"]
        done = subprocess.run(argv, input=data.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        return Run(done.returncode, done.stdout.decode("utf-8", "replace"))

    def ask(self, host: str, **request: Any) -> dict[str, Any]:
        """One request to the engine on a host, through the same door as the module's."""
        run = self.feed(host, "lifeboat --json", json.dumps({"engine": VERSION, **request}))
        answer: dict[str, Any] = json.loads(run.out)
        return answer

    def run(self, command: list[str]) -> Run:
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "LIFEBOAT_LAB": STATE.name}
        environment["ANSIBLE_CONFIG"] = str(TOP / "ansible.cfg")
        # no stdin: several at a time would share it, and ssh makes it non-blocking, which Ansible refuses
        done = subprocess.run(
            command, cwd=TOP, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def look(self, host: str, folder: str) -> dict[str, list[Any]]:
        """Every path below ``folder`` on ``host`` with all that a restore must bring back."""
        command = [str(TOP / "lab" / "lab"), "ssh", "--name", STATE.name, host]
        done = subprocess.run(
            [*command, f"sudo python3 - {folder}"], input=LOOK, capture_output=True, text=True, timeout=300, check=True
        )
        seen: dict[str, list[Any]] = json.loads(done.stdout)
        return seen

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the tests of this scenario share: the lab they run against, playbooks, and an independent look at a tree,
and a bucket of a test's own."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION, bucket, policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import RgwAdmin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, s3_client
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key

TOP = Path(__file__).resolve().parents[3]
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
    """The lab, as its operator sees it."""

    state = STATE
    nodes = ("node1", "node2", "node3")

    def play(self, playbook: str, *arguments: str, **extra: Any) -> Run:
        """Run one of the project's playbooks; extra variables go as JSON."""
        command = ["ansible-playbook", "-i", str(TOP / "inventories" / "lab"), str(TOP / "playbooks" / playbook)]
        command += [*arguments, *(("--extra-vars", json.dumps(extra)) if extra else ())]
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
        done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, timeout=900)
        return Run(done.returncode, done.stdout + done.stderr)

    def look(self, host: str, folder: str) -> dict[str, list[Any]]:
        """Every path below ``folder`` on ``host`` with all that a restore must bring back."""
        command = [str(TOP / "lab" / "lab"), "ssh", "--name", STATE.name, host]
        done = subprocess.run(
            [*command, f"sudo python3 - {folder}"], input=LOOK, capture_output=True, text=True, timeout=300, check=True
        )
        seen: dict[str, list[Any]] = json.loads(done.stdout)
        return seen


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet()


class OwnBucket:
    """A bucket that one test file has for itself, on the lab's store."""

    def __init__(self) -> None:
        store = json.loads((STATE / "fleet.json").read_text())["store"]
        self.name = f"lifeboat-test-{secrets.token_hex(4)}"
        self.endpoint_url, self.region, self.node_ca_bundle = (
            store[key] for key in ("endpoint_url", "region", "node_ca_bundle")
        )
        self.place = Location(
            f"s3://{self.name}", self.endpoint_url, self.region, store["ca_bundle"], str(STATE / "minter.ini")
        )
        self.client = s3_client(self.place)
        self.admin = RgwAdmin(self.place)
        self.users: dict[str, Key] = {}
        bucket.ensure(self.place)

    def user(self, node: str, *, without: str = "") -> Key:
        """The key of a user with a node's policy, less the action ``without``, and with what stock duplicity asks for
        besides: HeadBucket. Asked again, the same user gets the new policy."""
        user = policies.user_name(self.name, "node", node)
        document = policies.node_policy(self.name, node)
        for statement in document["Statement"]:
            statement["Action"] = [action for action in statement["Action"] if action != without]
        arn = f"arn:aws:s3:::{self.name}"
        document["Statement"].append({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [arn]})
        if node not in self.users:
            self.admin.create_user(user, node)
            self.users[node] = self.admin.create_key(user)
        self.admin.put_policy(user, "lifeboat", document)
        return self.users[node]

    def access(self, key: Key) -> dict[str, str]:
        """The ``store`` of a request with this key."""
        place = {"endpoint_url": self.endpoint_url, "region": self.region, "ca_bundle": self.node_ca_bundle}
        return {**place, "access_key": key.access_key, "secret_key": key.secret_key}

    def names(self, prefix: str) -> set[str]:
        """What is there below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"][len(prefix) :] for page in pages for item in page.get("Contents", [])}

    def remove(self) -> None:
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                self.client.delete_object(Bucket=self.name, Key=item["Key"], VersionId=item["VersionId"])
        self.client.delete_bucket(Bucket=self.name)
        for node in self.users:
            self.admin.remove_user(policies.user_name(self.name, "node", node))


@pytest.fixture(scope="module")
def own_bucket() -> Iterator[OwnBucket]:
    made = OwnBucket()
    try:
        yield made
    finally:
        made.remove()

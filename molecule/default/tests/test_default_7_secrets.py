# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Secrets are nowhere: every operation runs by a real ``ansible-playbook -vvv --diff`` over SSH, with secrets made for this
test, while a sampler on the node (and one here) reads all command lines, environments and new files. Then all is searched."""

from __future__ import annotations

import base64
import json
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lab.lablib.host import inspect
from lab.lablib.topology import container_name

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import escrow, policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, s3_client

NODE = "node3"
WORK = "/srv/secrets"
SOURCE, BACK = f"{WORK}/source", f"{WORK}/back"
ON_HOST = Path(__file__).parent / "on_host"
# What must never hold a secret on a disk or in memory, once all is done.
PLACES = [
    *("/var/log", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/home", "/etc", "/srv/secrets"),
    *("/var/lib/lifeboat", "/var/cache/lifeboat"),
]
# And not for a moment. The rest is memory, where the keys of a running operation are.
ALWAYS = ["/tmp", "/var/tmp", "/root", "/home", "/var/lib/lifeboat", "/var/cache/lifeboat", WORK]
# The node's own key to the store is there for root, and nowhere else.
KEPT = {"/etc/lifeboat/store.ini"}


def of_text(secret: str) -> set[bytes]:
    """A secret as it may turn up: as it is, in hex, in a URL, in base64 at each of the three ways to begin there."""
    data = secret.encode()
    forms = {data, data.hex().encode(), data.hex().upper().encode(), quote(secret, safe="").encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).rstrip(b"=")
        forms.add(encoded[-(-before * 8 // 6) : len(encoded) - 1])
    return forms


def of_key(private: str, public: str) -> set[bytes]:
    """The lines of an armored private key, and the bytes that are not in its public half."""
    lines = set(private.splitlines()) - set(public.splitlines())
    forms = {line.encode() for line in lines if len(line) > 30 and not line.startswith("-----")}
    raw, known = dearmored(private), dearmored(public)
    for start in range(0, len(raw) - 16, 8):
        part = raw[start : start + 16]
        if part not in known:
            forms |= {part, part.hex().encode(), part.hex().upper().encode()}
    assert len(forms) > 20
    return forms


def dearmored(text: str) -> bytes:
    body = text.split("\n\n", 1)[1].split("\n=", 1)[0]
    return base64.b64decode(body)


def pair(name: str) -> tuple[str, str]:
    """A new OpenPGP key: private and public half, armored."""
    with Keyring() as ring:
        fingerprint = ring.generate(name)
        return ring.export_secret(fingerprint).decode(), ring.export_public(fingerprint).decode()


@dataclass
class Sampler:
    """What a sampler saw, and where it looked."""

    where: str
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def processes(self) -> dict[bytes, list[bytes]]:
        decode = base64.b64decode
        return {decode(command): [decode(one) for one in every] for command, every in self.seen["processes"]}

    def found(self, needles: list[bytes]) -> set[tuple[str, bytes]]:
        """(place, needle) for every needle that was seen."""
        found = {(f"{self.where}: {path}", needles[number]) for path, number in self.seen["files"]}
        for command, environments in self.processes.items():
            name = command.split(b"\0")[0].decode("utf-8", "replace")
            for needle in needles:
                if needle in command:
                    found.add((f"{self.where}: command line of {name}", needle))
                if any(needle in environment for environment in environments):
                    found.add((f"{self.where}: environment of {name}", needle))
        return found


@contextmanager
def sampling(argv: list[str], where: str, needles: list[bytes], folders: list[str], pause: float) -> Iterator[Sampler]:
    """Sample while the body runs. The program goes as an argument; what is secret, over stdin."""
    wanted = {"needles": [base64.b64encode(one).decode() for one in needles], "folders": folders, "pause": pause}
    program = (ON_HOST / "sampler.py").read_text()
    process = subprocess.Popen([*argv, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    sampler = Sampler(where)
    try:
        process.stdin.write(json.dumps(wanted) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield sampler
        out, _err = process.communicate(timeout=60)
        sampler.seen = json.loads(out)
    finally:
        process.kill()
        process.wait()


def plain(operation: str, **more: Any) -> dict[str, Any]:
    """A task's module with its arguments; what is secret is a variable."""
    target = {} if "profile" in more else {"target": "{{ target }}", "store": "{{ store }}"}
    if operation == "info":
        return {"lifeboat.fleet.duplicity_info": {**target, **more}}
    return {"lifeboat.fleet.duplicity": {"operation": operation, **target, **more}}


KEY = {"encryption": {"private_key": "{{ private_key }}", "passphrase": "{{ passphrase }}"}}
PUBLIC = {"encryption": {"public_key": "{{ public_key }}"}, "source": SOURCE}
ALTER = {"ansible.builtin.shell": f"date +%s%N >> {BACK}/page1"}
GOOD = [
    plain("backup", mode="full", show_progress=True, **PUBLIC),
    {"ansible.builtin.shell": f"date +%s%N >> {SOURCE}/page1"},
    plain("backup", mode="incremental", **PUBLIC),
    plain("info"),
    plain("info", files=True, **KEY),
    plain("verify", **KEY),
    plain("restore", dest=BACK, **KEY),
    plain("restore", dest=f"{BACK}.stock", engine="duplicity", **KEY),
    plain("verify", dest=BACK, **KEY),
    plain("verify", compare_data=True, source=SOURCE, **KEY),
    ALTER,
    plain("restore", dest=BACK, replace="in_place", **KEY),
    ALTER,
    plain("restore", dest=BACK, replace=True, **KEY),
    plain("prune", keep_days=1),
    plain("cleanup"),
    plain("backup", profile="site"),
    plain("info", profile="site"),
    plain(
        "info",
        store="access_key={{ store.access_key }} secret_key={{ store.secret_key }} region={{ store.region }} "
        "endpoint_url={{ store.endpoint_url }} ca_bundle={{ store.ca_bundle }}",
    ),
    ALTER,
]
NEVER = plain("restore", dest=f"{WORK}/never", **KEY)
REPLACE = [plain("restore", dest=BACK, replace=how, **KEY) for how in ("in_place", True)]
CHECK = [
    plain("backup", mode="full", **PUBLIC),
    plain("backup", profile="site"),
    *(NEVER, *REPLACE, plain("prune", keep_days=1), plain("cleanup")),
    *(plain("info"), plain("info", files=True, **KEY), plain("verify", **KEY)),
    plain("verify", compare_data=True, source=SOURCE, **KEY),
]
WRONG_STORE = {"store": "{{ store | combine({'secret_key': wrong_secret}) }}"}
SPACE = {"store": "{{ store | combine({'secret_key': broken ~ ' ' ~ broken}) }}"}
WRONG_KEY = {"encryption": {"private_key": "{{ wrong_private }}"}}
NO_KEY = {"encryption": {"private_key": "{{ broken }}"}}
ODD_KEY = {"encryption": {"private_key": "{{ private_key }}", "password": "{{ broken }}"}}  # no such option
BAD = [
    *(plain(name, **{**PUBLIC, **more}) for name in ("backup",) for more in (WRONG_STORE, SPACE)),
    *(plain(name, **WRONG_STORE) for name in ("info", "verify", "prune", "cleanup")),
    *(plain("info", files=True, **more) for more in (WRONG_KEY, NO_KEY, {**KEY, **WRONG_STORE})),
    *(plain("verify", **more) for more in (WRONG_KEY, NO_KEY, ODD_KEY)),
    plain("verify", dest=BACK, **WRONG_KEY),
    plain("verify", compare_data=True, source=SOURCE, **WRONG_KEY),
    *(plain("restore", dest=f"{WORK}/never", **more) for more in (WRONG_KEY, NO_KEY, {**KEY, **WRONG_STORE})),
    plain("restore", dest=BACK, replace="in_place", **WRONG_KEY),
]


class Scene:
    """The node, a repository that is made for this test, and all secrets."""

    def __init__(self, fleet: Any, bucket: Any, folder: Path) -> None:
        self.fleet, self.bucket, self.folder = fleet, bucket, folder
        self.store = bucket.access(bucket.user("secrets"))
        arn = f"arn:aws:s3:::{bucket.name}"
        every = {"Effect": "Allow", "Action": ["s3:*"], "Resource": [arn, f"{arn}/*"]}  # it prunes, too
        document = {"Version": "2012-10-17", "Statement": [every]}
        bucket.admin.put_policy(policies.user_name(bucket.name, "node", "secrets"), "lifeboat", document)
        self.private, self.public = pair("the sentinel")
        self.wrong_private, wrong_public = pair("another one")
        self.passphrase = secrets.token_urlsafe(30)
        self.wrong_secret, self.broken = secrets.token_urlsafe(30), f"broken{secrets.token_hex(16)}"
        controller = fleet.state / "controller"
        store = json.loads((fleet.state / "fleet.json").read_text())["store"]
        self.main = store["bucket"]
        self.fleet_store = Location(
            f"s3://{self.main}",
            store["endpoint_url"],
            store["region"],
            store["ca_bundle"],
            str(controller / "restorer.ini"),
        )
        node_key = self.key_of_node(str(controller / "drill.key.asc"))
        self.sentinels: dict[str, set[bytes]] = {
            "the store's secret key": of_text(self.store["secret_key"]),
            "the private key": of_key(self.private, self.public),
            "the passphrase": of_text(self.passphrase),
            "a wrong secret key": of_text(self.wrong_secret),
            "a wrong private key": of_key(self.wrong_private, wrong_public),
            "what is no key": of_text(self.broken),
            "the restorer's secret key": of_text(ini_secret((controller / "restorer.ini").read_text())),
            "the node's secret key": of_text(ini_secret(fleet.on(NODE, "sudo cat /etc/lifeboat/store.ini"))),
            "the node's private key": of_key(*node_key),
        }
        self.decoys = {name: f"decoy{secrets.token_hex(12)}".encode() for name in DECOYS}
        self.needles = sorted(set().union(*self.sentinels.values()) | set(self.decoys.values()))

    def key_of_node(self, drill_key: str) -> tuple[str, str]:
        """From escrow, as ``restore.yml`` opens it."""
        private = escrow.open_key(self.fleet_store, NODE, None, drill_key)
        with Keyring() as ring:
            public = ring.export_public(ring.import_keys(private)[0])
        return private.decode(), public.decode()

    def play(self, tasks: list[dict[str, Any]], *flags: str, fail: bool = False) -> Any:
        """All tasks in one play; each must succeed, or with ``fail`` each must fail with a sentence."""
        listed: list[dict[str, Any]] = []
        for number, task in enumerate(tasks):
            listed.append({"name": f"Task {number}", "register": "done", "ignore_errors": fail, **task})
            listed.append({"ansible.builtin.debug": {"var": "done"}})
            if fail:
                listed.append({"ansible.builtin.assert": {"that": ["done is failed", "done.msg | length > 30"]}})
        playbook, variables = self.folder / "play.yml", self.folder / "secrets.json"
        playbook.write_text(json.dumps([{"hosts": NODE, "become": True, "gather_facts": False, "tasks": listed}]))
        variables.touch(0o600)
        values = {
            "target": f"s3://{self.bucket.name}/nodes/secrets/repo/secrets",
            "store": self.store,
            "private_key": self.private,
            "public_key": self.public,
            "passphrase": self.passphrase,
            "wrong_secret": self.wrong_secret,
            "wrong_private": self.wrong_private,
            "broken": self.broken,
        }
        variables.write_text(json.dumps(values))
        run = self.fleet.play(str(playbook), "-vvv", "--diff", *flags, "--extra-vars", f"@{variables}")
        assert run.rc == 0, run.out[-20_000:]
        assert run.out.count("\nTASK [Task ") == len(tasks)
        return run

    def plant(self) -> None:
        """What the samplers and the search must find: each decoy in one place."""
        values = b"".join(self.decoys[name] + b"\n" for name in DECOYS).decode()
        run = self.fleet.feed(NODE, PLANT, values)
        assert run.rc == 0, run.out

    def search(self) -> set[tuple[str, bytes]]:
        """What lies on the node, and in its journal."""
        wanted = {"needles": [base64.b64encode(one).decode() for one in self.needles], "folders": PLACES}
        program = (ON_HOST / "search.py").read_text()
        run = self.fleet.feed(NODE, f"python3 -c {shlex.quote(program)}", json.dumps(wanted))
        assert run.rc == 0, run.out
        return {(f"{NODE}: {path}", self.needles[number]) for path, number in json.loads(run.out)}

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Every version of the repository's objects, and the node's own records."""
        # who uploads an object owns it: the administrator may not read it
        ini = self.folder / "store.ini"
        ini.touch(0o600)
        keys = f"aws_access_key_id = {self.store['access_key']}\naws_secret_access_key = {self.store['secret_key']}\n"
        ini.write_text(f"[default]\n{keys}")
        own = s3_client(replace(self.bucket.place, credentials_file=str(ini)))
        theirs = (s3_client(self.fleet_store), self.main, f"nodes/{NODE}/records/")
        for client, bucket, prefix in ((own, self.bucket.name, ""), theirs):
            for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Versions", []):
                    got = client.get_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])
                    yield f"the store: {item['Key']}", item["Key"].encode() + got["Body"].read()

    def in_texts(self, texts: Iterable[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        return {(place, needle) for place, text in texts for needle in self.needles if needle in text}

    def clean(self) -> None:
        ours = f"{WORK} /var/lib/lifeboat/secrets /var/cache/lifeboat/secrets /var/tmp/planted"
        self.fleet.on(NODE, f"sudo rm -rf {ours}")


DECOYS = ("command", "environment", "file", "left", "log")
PLANT = """
read -r command; read -r environment; read -r file; read -r left; read -r log
sh -c 'sleep 1; :' "$command" &
PLANTED=$environment sleep 1 &
echo "$file" >/tmp/planted; echo "$left" >/var/tmp/planted; echo "$log" | logger
sleep 1; rm /tmp/planted; wait
"""


def ini_secret(text: str) -> str:
    (value,) = re.findall(r"^aws_secret_access_key *= *(\S+)$", text, re.MULTILINE)
    return str(value)


@pytest.fixture(scope="module")
def scene(fleet: Any, own_bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(fleet, own_bucket, tmp_path_factory.mktemp("secrets"))
    fill = f"""
      mkdir -p {SOURCE} && cd {SOURCE}
      for number in $(seq 40); do echo "page $number" > page$number; done
      head -c 3000000 /dev/urandom > image
    """
    assert fleet.feed(NODE, fill, "").rc == 0
    yield made
    made.clean()


@pytest.fixture(scope="module")
def evidence(scene: Scene) -> tuple[dict[str, str], Sampler, Sampler]:
    """All runs, under the eyes of two samplers: what Ansible printed, and what they saw."""
    host = inspect()
    enter = host.podman(
        "exec", "--interactive", "--privileged", container_name(scene.fleet.state.name, NODE), "python3"
    )
    ours = str(Path.home() / ".ansible")
    with (
        sampling([str(word) for word in enter], NODE, scene.needles, ALWAYS, 0.004) as there,
        sampling([sys.executable], "controller", scene.needles, [ours], 0.05) as here,
    ):
        scene.plant()
        out = {"good": scene.play(GOOD).out, "check": scene.play(CHECK, "--check").out}
        out["bad"] = scene.play(BAD, fail=True).out
        run = scene.fleet.play("restore.yml", "-vvv", "--diff", target=NODE, dest=f"{WORK}/site", path="docs")
        assert run.rc == 0, run.out[-20_000:]
        out["restore.yml"] = run.out
    return out, there, here


def test_the_samplers_and_the_search_see_what_is_planted(scene: Scene, evidence: Any) -> None:
    _out, there, here = evidence
    decoys = set(scene.decoys.values())
    found = {place for place in there.found(scene.needles) if place[1] in decoys}
    assert (f"{NODE}: command line of sh", scene.decoys["command"]) in found
    assert (f"{NODE}: environment of sleep", scene.decoys["environment"]) in found
    assert (f"{NODE}: /tmp/planted", scene.decoys["file"]) in found
    assert there.seen["rounds"] > 1000, (there.seen["rounds"], there.seen["longest"])
    lying = scene.search()
    assert {(f"{NODE}: /var/tmp/planted", scene.decoys["left"]), (f"{NODE}: the journal", scene.decoys["log"])} <= lying
    assert here.seen["rounds"] > 100


COMMANDS = [
    *(r"lifeboat --json", r"lifeboat unit site"),
    *(rf"/launcher\.py {verb} " for verb in ("full", "incremental", "restore", "verify", "list-current-files")),
    *(r"gpg-agent --homedir", r"\bgpg --"),
]


def test_the_sampler_saw_every_kind_of_process_with_its_environment(evidence: Any) -> None:
    _out, there, _here = evidence
    assert there.seen["unreadable"] == []
    seen = {command: environments for command, environments in there.processes.items() if any(environments)}
    names = b"\n".join(b" ".join(command.split(b"\0")) for command in seen).decode("utf-8", "replace")
    for what in COMMANDS:
        assert re.search(what, names), f"{what} was not seen"


def test_secrets_are_nowhere(scene: Scene, evidence: Any) -> None:
    out, there, here = evidence
    found = there.found(scene.needles) | here.found(scene.needles) | scene.search()
    found |= scene.in_texts((f"output of {name}", text.encode()) for name, text in out.items())
    found |= scene.in_texts(scene.objects())
    ours = ((str(path), path.read_bytes()) for path in (Path.home() / ".ansible").rglob("*") if path.is_file())
    found |= scene.in_texts(ours)
    names = {needle: name for name, needles in scene.sentinels.items() for needle in needles}
    leaks = {(place, names[needle]) for place, needle in found if needle in names}
    assert leaks == {(f"{NODE}: {path}", "the node's secret key") for path in KEPT}

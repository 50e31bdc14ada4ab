# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A prune on the real store: prune.yml with the pruner's key deletes every version of what goes, leaves what stays restorable,
tells the ledger, and fails by name where its key may not. In a bucket of its own, with a policy of seconds. In this order."""

from __future__ import annotations

import json
import os
import pty
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import Key
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import read_credentials, s3_client

HOST, WORK = "node1", "/root/prune"
SOURCE = f"{WORK}/source"
REPO = "nodes/node1/repo/site/"
TOP = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((TOP / "schemas/ledger_entry.schema.json").read_text())
# 8.6 s: what is older than that before the newest point may go
TIGHT = {"keep_days": 0.0001, "settle_hours": 0}


def write_ini(path: Path, key: Key) -> None:
    path.touch(mode=0o600)
    path.write_text(f"[default]\naws_access_key_id = {key.access_key}\naws_secret_access_key = {key.secret_key}\n")


class Scene:
    """A bucket with one node, its history, and a controller's folder with the pruner's key."""

    def __init__(self, fleet: Any, bucket: Any, folder: Path) -> None:
        self.fleet, self.bucket, self.folder = fleet, bucket, folder
        self.users = {power: policies.user_name(bucket.name, power) for power in ("pruner", "restorer")}
        self.keys: dict[str, Key] = {"owner": Key(*read_credentials(bucket.place.credentials_file))}
        for power, user in self.users.items():
            bucket.admin.create_user(user, power)
            self.keys[power] = bucket.admin.create_key(user)
            write_ini(folder / f"{power}.ini", self.keys[power])
        bucket.admin.put_policy(self.users["restorer"], "lifeboat", policies.restorer_policy(bucket.name))
        self.power()
        write_ini(folder / "node.ini", bucket.user("node1"))
        fleet.on(
            HOST,
            f"sudo sh -c 'mkdir -p {SOURCE}; head -c 3000000 /dev/urandom > {SOURCE}/data; echo 1 > {SOURCE}/page'",
        )
        self.chains: dict[str, list[str]] = {}

    def power(self, *, without: str = "") -> None:
        """Give the pruner its policy, less one action."""
        document = policies.pruner_policy(self.bucket.name)
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow":
                statement["Action"] = [action for action in statement["Action"] if action != without]
        document["Statement"] = [each for each in document["Statement"] if each["Action"]]
        self.bucket.admin.put_policy(self.users["pruner"], "lifeboat", document)

    def client(self, power: str) -> Any:
        """S3 as the holder of this key sees it."""
        return s3_client(replace(self.bucket.place, credentials_file=str(self.folder / f"{power}.ini")))

    def ask(self, operation: str, where: str = REPO, power: str = "", **more: Any) -> dict[str, Any]:
        """With the node's own key, or that of another power."""
        target = f"s3://{self.bucket.name}/{where.rstrip('/')}"
        key = self.keys[power] if power else self.bucket.user(where.split("/")[1])
        answer: dict[str, Any] = self.fleet.ask(
            HOST, operation=operation, target=target, store=self.bucket.access(key), **more
        )
        return answer

    def back_up(self, mode: str, where: str = REPO, power: str = "") -> str:
        self.fleet.on(HOST, f"sudo sh -c 'date +%N >> {SOURCE}/page'")
        answer = self.ask("backup", where, power, source=SOURCE, mode=mode, volume_mib=1)
        assert answer["outcome"] == "ok", answer
        made = answer["record"]
        self.chains.setdefault(made["chain"], []).append(made["set_time"])
        time.sleep(1.1)  # a name is a second
        return str(made["set_time"])

    def variables(self, confirm: bool) -> dict[str, Any]:
        store = {"bucket": self.bucket.name, "endpoint_url": self.bucket.endpoint_url, "region": self.bucket.region}
        return {
            "target": HOST,
            "lifeboat_store": {**store, "ca_bundle": self.bucket.place.ca_bundle},
            "lifeboat_controller_dir": str(self.folder),
            "lifeboat_profiles": {"site": {"source": SOURCE, "keep_days": TIGHT["keep_days"]}},
            "lifeboat_settle_hours": TIGHT["settle_hours"],
            "confirm": confirm,
        }

    def prune(self, *arguments: str, confirm: bool = True) -> Any:
        return self.fleet.play("prune.yml", *arguments, **self.variables(confirm))

    def prune_by_hand(self, answer: str) -> tuple[int, str]:
        """At a terminal, where the question is answered: exit code and output."""
        argv = ["ansible-playbook", "-i", str(TOP / "inventories/lab"), str(TOP / "playbooks/prune.yml")]
        argv += ["--extra-vars", json.dumps(self.variables(confirm=False))]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "LIFEBOAT_LAB": self.fleet.state.name}
        environment |= {"ANSIBLE_CONFIG": str(TOP / "ansible.cfg"), "COLUMNS": "500"}
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(TOP)
            os.execvpe(argv[0], argv, environment)
        seen, answered = b"", False
        while True:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            seen += data
            if b"Type yes" in seen and not answered:
                time.sleep(1)  # what was typed before the question is thrown away
                os.write(terminal, f"{answer}\r".encode())
                answered = True
        _pid, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), seen.decode("utf-8", "replace")

    def versions(self, prefix: str = "nodes/node1/") -> set[tuple[str, str, bool]]:
        """Every version and delete marker below a prefix: (name, version id, marker)."""
        found = set()
        for page in self.bucket.client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket.name, Prefix=prefix
        ):
            found |= {(item["Key"], item["VersionId"], False) for item in page.get("Versions", [])}
            found |= {(item["Key"], item["VersionId"], True) for item in page.get("DeleteMarkers", [])}
        return found

    def ledger(self) -> list[dict[str, Any]]:
        names = sorted(f"ledger/prune/{name}" for name in self.bucket.names("ledger/prune/"))
        client = self.client("restorer")
        entries = [json.loads(client.get_object(Bucket=self.bucket.name, Key=name)["Body"].read()) for name in names]
        for entry in entries:
            jsonschema.validate(entry, SCHEMA)
        return entries


@pytest.fixture(scope="module")
def scene(fleet: Any, own_bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(fleet, own_bucket, tmp_path_factory.mktemp("controller"))
    try:
        yield made
    finally:
        fleet.on(HOST, f"sudo rm -rf {WORK} /srv/prune-back")
        for user in made.users.values():
            own_bucket.admin.remove_user(user)


JUNK = [
    "duplicity-full.20300101T000000Z.vol1.difftar.gz",
    "duplicity-full-signatures.20300101T000000Z.sigtar.gz",
    "duplicity-full.20300101T000000Z.manifest",
]


SINGLE = "nodes/single/repo/site/"


def single_history(scene: Scene) -> tuple[list[str], list[str]]:
    """Two chains of a store with one key."""
    first = [scene.back_up("full", SINGLE, "owner"), scene.back_up("incremental", SINGLE, "owner")]
    second = [scene.back_up("full", SINGLE, "owner")]
    time.sleep(10)
    return first, [*second, scene.back_up("incremental", SINGLE, "owner")]


@pytest.fixture(scope="module")
def history(scene: Scene) -> dict[str, Any]:
    """full, incremental, full, incremental; then, more than a minute later, root on the node strikes with the node's key."""
    first = [scene.back_up("full"), scene.back_up("incremental")]
    second = [scene.back_up("full")]
    time.sleep(10)  # so that the window of 8.6 s starts in the second chain
    second.append(scene.back_up("incremental"))
    assert set(scene.chains) == {first[0], second[0]}
    scene.back_up("full", "nodes/stranger/repo/site/")
    before = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    waiting = time.monotonic()
    single = single_history(scene)
    time.sleep(max(62 - (time.monotonic() - waiting), 0))
    client = scene.client("node")
    bucket = scene.bucket.name
    for _ in range(3):  # over the manifest of what goes
        client.put_object(Bucket=bucket, Key=f"{REPO}duplicity-full.{first[0]}.manifest", Body=secrets.token_bytes(99))
    client.delete_object(Bucket=bucket, Key=f"{REPO}duplicity-full.{first[0]}.vol1.difftar.gz")
    # of what stays: a manifest hidden, another one put over, a volume that never was
    client.delete_object(Bucket=bucket, Key=f"{REPO}duplicity-full.{second[0]}.manifest")
    client.put_object(Bucket=bucket, Key=f"{REPO}duplicity-inc.{second[0]}.to.{second[1]}.manifest", Body=b"garbage")
    client.put_object(Bucket=bucket, Key=f"{REPO}duplicity-full.{second[0]}.vol99.difftar.gz", Body=b"junk")
    for name in JUNK:
        client.put_object(Bucket=bucket, Key=REPO + name, Body=b"")
    client.put_object(Bucket=bucket, Key="nodes/node1/notes", Body=b"?")
    return {"first": first, "second": second, "before": before, "single": single}


def test_a_prune_of_nobody_is_refused(scene: Scene, history: dict[str, Any]) -> None:
    run = scene.fleet.play("prune.yml", confirm=True)
    assert run.rc != 0
    assert "Name the nodes to prune" in run.out


def test_check_mode_and_no_answer_delete_nothing(scene: Scene, history: dict[str, Any]) -> None:
    before = scene.versions("")
    run = scene.prune("--check", "--diff")
    assert run.rc == 0, run.out
    assert f"node1: chain {history['first'][0]}: full {history['first'][0]}, " in run.out
    assert "superseded by chain" in run.out
    code, out = scene.prune_by_hand("no")
    assert code != 0
    assert "Drop 1 chain(s) of 1 node(s)" in out
    assert "Nothing was dropped" in out
    assert scene.versions("") == before


def test_a_key_that_may_not_delete_versions_fails_by_name(scene: Scene, history: dict[str, Any]) -> None:
    before = scene.versions()
    scene.power(without="s3:DeleteObjectVersion")
    run = scene.prune()
    scene.power()
    assert run.rc != 0
    assert "1 of 1 node(s) could not be pruned; node1: " in run.out
    assert f"{REPO}duplicity-" in run.out
    assert "AccessDenied" in run.out
    assert scene.versions() == before
    begun, done = scene.ledger()[-2:]
    assert (begun["step"], done["step"], done["left"] > 0) == ("begun", "done", True)
    assert "AccessDenied" in done["failure"]


def test_a_prune_deletes_every_version_of_what_goes_and_nothing_else(scene: Scene, history: dict[str, Any]) -> None:
    before = scene.versions("")
    code, out = scene.prune_by_hand("yes")
    assert code == 0, out
    told = " ".join(out.split())
    assert "chain 20300101T000000Z is not believed and stays" in told
    assert f"chain {history['second'][0]} was meddled with after it was made" in told
    assert "1 object(s) in its corner belong to no backup and stay" in told
    after = scene.versions("")
    gone = {name for name, _version, _marker in before - after}
    assert not {name for name, _v, _m in after} & gone  # not one version is left of any object that went
    assert {name for name in gone if "/repo/" in name} == {
        name for name, _v, _m in before if any(f"{point}." in name for point in history["first"]) and "/repo/" in name
    }
    assert len([name for name in gone if "/records/" in name]) == 2 * len(history["first"])
    assert {name.split("/")[1] for name in gone} == {"node1"}
    assert {REPO + name for name in JUNK} <= {name for name, _v, _m in after}
    new = {name for name, _v, _m in after - before}
    assert len(new) == 2
    assert all(name.startswith("ledger/prune/node1/") for name in new)
    done = scene.ledger()[-1]
    assert (done["step"], done["failure"], done["left"], done["points"]) == ("done", None, 0, 2)
    assert [item["chain"] for item in done["dropped"]] == [history["first"][0]]
    versions = [one for one in before - after if "/repo/" in one[0]]
    assert done["versions"] == len(versions) >= len({name for name, _v, _m in versions}) + 4
    assert done["records"] == 4


def test_what_stays_restores_as_of_before_the_attack(scene: Scene, history: dict[str, Any]) -> None:
    answer = scene.ask("restore", power="restorer", dest="/srv/prune-back", as_of=history["before"])
    assert not answer["failed"], answer
    assert answer["record"]["set_time"] == history["second"][1]
    digests = scene.fleet.on(HOST, f"sudo sha256sum {SOURCE}/data /srv/prune-back/data").split()
    assert digests[0] == digests[2]


def test_a_second_prune_changes_nothing_and_names_strangers(scene: Scene, history: dict[str, Any]) -> None:
    before = scene.versions("")
    run = scene.prune()
    assert run.rc == 0, run.out
    assert "changed=0" in run.out
    assert scene.versions("") == before
    assert "Kept, though the inventory does not have it: single, stranger" in " ".join(run.out.split())


def test_the_prune_of_a_store_with_one_key_works_on_it_too(scene: Scene, history: dict[str, Any]) -> None:
    """``operation: prune`` of the module: plain deletions, with the key that writes."""
    first, second = history["single"]
    would = scene.ask("prune", SINGLE, "owner", check=True, **TIGHT)
    assert [(item["chain"], item["action"]) for item in would["plan"]] == [(first[0], "drop"), (second[0], "keep")]
    names = scene.bucket.names(SINGLE)
    done = scene.ask("prune", SINGLE, "owner", **TIGHT)
    assert (done["failed"], done["changed"], done["outcome"]) == (False, True, "ok"), done
    assert names - scene.bucket.names(SINGLE) == {name for name in names if any(f"{point}." in name for point in first)}
    assert not scene.ask("prune", SINGLE, "owner", **TIGHT)["changed"]
    assert len(scene.ask("info", SINGLE, "owner")["points"]) == 2

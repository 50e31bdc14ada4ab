# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The attack of ``molecule/isolation``: its scene, the attempts from the hostile node, and the controls by those who may."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

from tests import attacks
from tests.fleet import STATE, TOP, Fleet

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, s3_client, session_client

ATTACKER = TOP / "molecule" / "isolation" / "attacker.py"
# host -> id in the store
IDS = {**{f"node{number}": f"node{number}" for number in range(1, 6)}, "node6": "node10"}
SELF, NEIGHBOUR = "node1", "node10"
HOSTS = {"self": "node1", "neighbour": "node6"}
POWERS = {"minter": STATE / "minter.ini"} | {
    power: STATE / "controller" / f"{power}.ini" for power in ("restorer", "evidence", "pruner")
}
Answers = dict[str, dict[str, t.Any]]


def place(power: str) -> Location:
    """The bucket in the hands of a power of the controller."""
    store = json.loads((STATE / "fleet.json").read_text())["store"]
    url = f"s3://{store['bucket']}"
    return Location(url, store["endpoint_url"], store["region"], store["ca_bundle"], str(POWERS[power]))


def policy(**statement: t.Any) -> str:
    """A document of one statement."""
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(user: str) -> str:
    """A role's document: this user may assume it."""
    return policy(Effect="Allow", Principal={"AWS": [f"arn:aws:iam:::user/{user}"]}, Action=["sts:AssumeRole"])


@dataclass
class Scene:
    """What there is to attack. ``words`` are what attempts call by ``$name``."""

    fleet: Fleet
    words: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[t.Any]] = field(default_factory=dict)

    history: dict[tuple[str, str], str] = field(
        default_factory=dict
    )  # all versions before the attack, with their ETags

    @cached_property
    def minter(self) -> t.Any:
        return s3_client(place("minter"))

    @cached_property
    def restorer(self) -> t.Any:
        return s3_client(place("restorer"))

    @property
    def bucket(self) -> str:
        return self.words["bucket"]

    def call(self, who: str, calls: dict[str, t.Any]) -> Answers:
        """Let somebody make calls: a node on its own host with its own key, a power on the controller."""
        store = json.loads((STATE / "fleet.json").read_text())["store"]
        asked = {"endpoint": store["endpoint_url"], "region": store["region"], "vars": self.words, "calls": calls}
        if who in HOSTS:
            host = HOSTS[who]
            assert self.fleet.feed(host, "cat > /root/attacker.py", ATTACKER.read_text()).rc == 0
            command = (
                "/opt/lifeboat/current/venv/bin/python /root/attacker.py /etc/lifeboat/store.ini 2>/root/attacker.log"
            )
            run = self.fleet.feed(host, command, json.dumps({**asked, "ca": store["node_ca_bundle"]}))
            assert run.rc == 0, run.out + self.fleet.on(host, "sudo tail -n 5 /root/attacker.log")
            return t.cast(Answers, json.loads(run.out))
        done = subprocess.run(
            [sys.executable, str(ATTACKER), str(POWERS[who])],
            input=json.dumps({**asked, "ca": store["ca_bundle"]}),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return t.cast(Answers, json.loads(done.stdout))

    def build(self) -> None:
        """Look up what is there, and put up what attempts need besides."""
        self.words["bucket"] = json.loads((STATE / "fleet.json").read_text())["store"]["bucket"]
        mark = secrets.token_hex(3)
        self.words |= {
            name: f"lifeboat-{name}-{mark}" for name in ("other", "spare", "empty", "new", "nobody", "trusted", "role")
        }
        self.words |= {
            "prefix": f"nodes/{SELF}",
            "their": f"nodes/{NEIGHBOUR}",
            "canary": f"nodes/{SELF}/canary",
            "user": f"lifeboat_{self.bucket}_node_{SELF}",
            "neighbour_user": f"lifeboat_{self.bucket}_node_{NEIGHBOUR}",
            "restorer_user": f"lifeboat_{self.bucket}_restorer",
        }
        self.history = {(item["Key"], item["VersionId"]): item.get("ETag", "") for item in self.versions("nodes/")}
        self._backups()
        self._others()
        self._canaries()
        self._lies()

    def versions(self, prefix: str) -> list[dict[str, t.Any]]:
        """All versions below a prefix, as the minter sees them; delete markers too, without a size."""
        pages = self.minter.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item for page in pages for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]]

    def _first(self, prefix: str, ending: str) -> tuple[str, str]:
        """Name and version of the oldest object there of that kind."""
        found = [item for item in self.versions(prefix) if item["Key"].endswith(ending) and item.get("Size")]
        oldest = min(found, key=lambda item: (item["LastModified"], item["Key"]))
        return oldest["Key"], oldest["VersionId"]

    def _backups(self) -> None:
        for word, node in (("own_", SELF), ("", NEIGHBOUR)):
            for what, folder, ending in (
                ("volume", "repo", ".vol1.difftar.gpg"),
                ("volume_2", "repo", ".vol2.difftar.gpg"),
                ("manifest", "repo", ".manifest.gpg"),
                ("signature", "repo", ".sigtar.gpg"),
                ("record", "records", "-backup.json"),
                ("witness", "records", ".gpg"),
            ):
                name, version = self._first(f"nodes/{node}/{folder}/", ending)
                self.words[word + what], self.words[f"{word}{what}_version"] = name, version
        for word, prefix, ending in (
            ("escrow", f"escrow/{SELF}/", ".gpg"),
            ("escrow_theirs", f"escrow/{NEIGHBOUR}/", ".gpg"),
            ("escrow_public", f"escrow/{NEIGHBOUR}/", ".pub.asc"),
            ("ledger", f"ledger/identity/{SELF}/", ".json"),
        ):
            self.words[word] = self._first(prefix, ending)[0]

    def _others(self) -> None:
        """Buckets, a user, a role and a drill report that attempts and controls need."""
        other, spare, empty = (self.words[name] for name in ("other", "spare", "empty"))
        self.minter.create_bucket(Bucket=other, ObjectLockEnabledForBucket=True)
        for bucket in (spare, empty):
            self.minter.create_bucket(Bucket=bucket)
        until = datetime.now(timezone.utc) + timedelta(days=2)
        for word in ("locked_version", "locked_version_2"):
            lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
            self.words[word] = self.minter.put_object(Bucket=other, Key="locked", Body=b"x", **lock)["VersionId"]
        rule = {"ID": "first", "Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 9}}
        self.minter.put_bucket_lifecycle_configuration(Bucket=other, LifecycleConfiguration={"Rules": [rule]})
        self.words["report"] = "drills/20260101T000000Z/report.json"
        self.minter.put_object(Bucket=self.bucket, Key=self.words["report"], Body=b"{}")
        made = {"steps": [{"raw": {"verb": "PUT", "path": "/admin/user", "query": "display-name=nobody&uid=$nobody"}}]}
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam:::user/lab-minter"]},
            "Action": ["sts:AssumeRole"],
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = {"RoleName": self.words["trusted"], "AssumeRolePolicyDocument": document}
        done = self.call("minter", {"user": made, "role": {"steps": [{"iam.create_role": role}]}})
        assert {one["said"] for one in done.values()} == {"done"}, done

    def _canaries(self) -> None:
        """Objects that may be overwritten and deleted, each by its owner."""
        puts = [
            {"put_object": {"Key": "$canary", "Body": f"{number}"}, "save": {f"v{number}": "VersionId"}}
            for number in range(5)
        ]
        puts += [
            {"put_object": {"Key": f"nodes/{SELF}/canary-{name}", "Body": "x"}} for name in ("2", "gone", "gone-2")
        ]
        puts += [{"delete_object": {"Key": f"nodes/{SELF}/canary-gone-3"}, "save": {"marker": "VersionId"}}]
        mine = self._kept("self", puts)
        self.words["marker"] = mine["marker"]
        self.words |= {"canary_version": mine["v0"], "canary_gone": mine["v1"], "canary_gone_2": mine["v2"]}
        puts = [
            {"put_object": {"Key": f"$their/{name}", "Body": "x"}}
            for name in ("canary-2", "canary-gone", "canary-gone-2")
        ]
        puts += [
            {"put_object": {"Key": "$their/canary", "Body": "theirs"}, "save": {"their_canary_version": "VersionId"}}
        ]
        for number in ("", "_2"):
            puts += [
                {"create_multipart_upload": {"Key": "$their/canary-upload"}, "save": {f"upload{number}": "UploadId"}},
                {
                    "upload_part": {
                        "Key": "$their/canary-upload",
                        "PartNumber": 1,
                        "UploadId": f"$upload{number}",
                        "Body": "x",
                    },
                    "save": {f"upload{number}_etag": "ETag"},
                },
            ]
        self.words |= self._kept("neighbour", puts)

    def _kept(self, who: str, steps: list[t.Any]) -> dict[str, str]:
        answer = self.call(who, {"setup": {"steps": steps, "keep": True}})["setup"]
        assert answer["said"] == "done", answer
        return t.cast(dict[str, str], answer["saved"])

    def _lies(self) -> None:
        """What a hostile node writes about itself and others."""
        own = json.loads(self.restorer.get_object(Bucket=self.bucket, Key=self.words["own_record"])["Body"].read())
        objects = [{**item, "bytes": 1, "checksum": "etag:0"} for item in own["objects"]]
        self.words |= {
            "forged": json.dumps({**own, "files": 1, "objects": objects}),
            "forged_future": json.dumps({**own, "set_time": "20300101T000000Z", "chain": "20300101T000000Z"}),
            "forged_neighbour": json.dumps({**own, "node": NEIGHBOUR}),
            "nested": "[" * 100_000,
            "backwards": f"nodes/{SELF}/repo/site/duplicity-inc.20300101T000000Z.to.20290101T000000Z",
            "tomorrow": (datetime.now(timezone.utc) + timedelta(days=1)).isoformat(),
            "all_policy": policy(Effect="Allow", Action="s3:*", Resource="*"),
            "open_policy": policy(
                Effect="Allow", Principal="*", Action="s3:*", Resource=f"arn:aws:s3:::{self.bucket}/*"
            ),
            "other_policy": policy(
                Effect="Deny", Principal="*", Action="s3:GetBucketCORS", Resource=f"arn:aws:s3:::{self.words['other']}"
            ),
            "trust_policy": trust(self.words["user"]),
        }
        self.lists["chains"] = []
        now = datetime.now(timezone.utc)
        for number in range(20):
            full = f"nodes/{SELF}/repo/site/duplicity-full"
            stamp = (now + timedelta(seconds=number)).strftime("%Y%m%dT%H%M%SZ")
            for name in (
                f"{full}.{stamp}.vol1.difftar.gpg",
                f"{full}-signatures.{stamp}.sigtar.gpg",
                f"{full}.{stamp}.manifest.gpg",
            ):
                self.lists["chains"].append({"put_object": {"Key": name, "Body": {"random": 1000}}})

    def tidy(self) -> None:
        """Take away what is not the nodes': a stray entry in the ledger would hide the fleet's status."""
        for item in self.versions(""):
            if "canary" in item["Key"] and not item["Key"].startswith((f"nodes/{SELF}/", f"nodes/{NEIGHBOUR}/")):
                self.minter.delete_object(Bucket=self.bucket, Key=item["Key"], VersionId=item["VersionId"])
        self.minter.delete_object(Bucket=self.bucket, Key=self.words["report"])
        iam = session_client(place("minter"), "iam")
        iam.delete_role(RoleName=self.words["trusted"])


@dataclass
class Attack:
    """The attempts from the hostile node, and the controls."""

    scene: Scene
    answers: Answers = field(default_factory=dict)
    controls: Answers = field(default_factory=dict)

    def steps(self, name: str) -> list[t.Any]:
        do = attacks.attempts()[name]["do"]
        return self.scene.lists[do[1:]] if isinstance(do, str) else attacks.steps(do)

    def run(self, names: t.Iterable[str]) -> None:
        """Attack, then let everybody make the same calls who may."""
        chosen = {name: attacks.attempts()[name] for name in names}
        calls = {
            name: {
                "steps": self.steps(name),
                "after": attempt.get("after", []),
                "vars": self._words(attempt.get("with", {})),
            }
            for name, attempt in chosen.items()
        }
        self.answers |= self.scene.call("self", calls)
        for who in ("self", "neighbour", "restorer", "evidence", "pruner", "minter"):
            controls = {
                name: self._control(attempt)
                for name, attempt in chosen.items()
                if attempt.get("control", {}).get("as") == who
            }
            if controls:
                self.controls |= self.scene.call(who, controls)

    def _control(self, attempt: attacks.Attempt) -> dict[str, t.Any]:
        control = attempt["control"]
        words = {**attempt.get("with", {}), **control.get("with", {})}
        return {
            "steps": attacks.steps(control.get("do", attempt["do"])),
            "after": control.get("after", attempt.get("after", [])),
            "vars": self._words(words),
        }

    def _words(self, words: t.Mapping[str, str]) -> dict[str, str]:
        """The words of one attempt, with those of the scene in them."""
        found = {}
        for key, value in words.items():
            for name in sorted(self.scene.words, key=len, reverse=True):
                value = value.replace(f"${name}", self.scene.words[name])
            found[key] = value
        return found


def results(attack: Attack) -> dict[str, t.Any]:
    """What docs/attacks.md is made of."""
    known = attacks.attempts()
    return {
        "store": store_version(),
        "attempts": {
            name: {"said": attack.answers[name]["said"], "control": known[name].get("control", {}).get("as")}
            for name in known
        },
    }


def store_version() -> str:
    """Which store the lab has, by its major version."""
    argv = [str(TOP / "lab" / "lab"), "ssh", "--name", STATE.name, "store", "radosgw --version"]
    text = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    return f"Ceph RGW {text.split()[2].split('.')[0]}"


def keep(found: dict[str, t.Any], path: Path = attacks.RESULTS) -> None:
    """Write the results where scripts/attacks finds them."""
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")

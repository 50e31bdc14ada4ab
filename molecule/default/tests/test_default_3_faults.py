# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What goes wrong must end non-zero, with one sentence that helps, and leave nothing half-done."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest


@contextmanager
def stopped(fleet: Any, host: str) -> Iterator[None]:
    assert fleet.lab("stop", host).rc == 0
    try:
        yield
    finally:
        assert fleet.lab("start", host).rc == 0


class Bucket:
    """The bucket in the hands of an accident: the administrator overwrites and deletes, the restorer reads."""

    def __init__(self, state: Path) -> None:
        self.writer, self.reader = (self.client(state, name) for name in ("minter.ini", "controller/restorer.ini"))
        self.name = json.loads((state / "fleet.json").read_text())["store"]["bucket"]

    @staticmethod
    def client(state: Path, credentials: str) -> Any:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(state / credentials)
        store = json.loads((state / "fleet.json").read_text())["store"]
        return boto3.client(
            "s3",
            endpoint_url=store["endpoint_url"],
            region_name=store["region"],
            verify=store["ca_bundle"],
            aws_access_key_id=parser["default"]["aws_access_key_id"],
            aws_secret_access_key=parser["default"]["aws_secret_access_key"],
        )

    def newest_volume(self, node: str) -> str:
        listed = self.reader.list_objects_v2(Bucket=self.name, Prefix=f"nodes/{node}/repo/site/")["Contents"]
        volumes = [item for item in listed if ".vol1.difftar" in item["Key"]]
        key: str = max(volumes, key=lambda item: item["LastModified"])["Key"]
        return key

    def read(self, key: str) -> bytes:
        data: bytes = self.reader.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def write(self, key: str, data: bytes) -> None:
        self.writer.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.writer.delete_object(Bucket=self.name, Key=key)


@pytest.fixture(scope="module")
def bucket(fleet: Any) -> Bucket:
    return Bucket(fleet.state)


def drill(fleet: Any, folder: Path, **extra: Any) -> tuple[int, dict[str, Any]]:
    run = fleet.play("drill.yml", lifeboat_drills_dir=str(folder), **extra)
    reports = list(folder.glob("*/report.json"))
    assert len(reports) == 1, run.out
    report: dict[str, Any] = json.loads(reports[0].read_text())
    return run.rc, report


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {line["node"]: line["verdict"] for line in report["restores"]}


def test_flipped_byte_fails_that_restore_and_no_other(fleet: Any, bucket: Bucket, tmp_path: Path) -> None:
    volume = bucket.newest_volume("node2")
    good = bucket.read(volume)
    middle = len(good) // 2
    bucket.write(volume, good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    try:
        rc, report = drill(fleet, tmp_path)
    finally:
        bucket.write(volume, good)
    assert rc != 0
    assert report["verdict"] == "failed"
    assert verdicts(report) == {"node1": "passed", "node2": "failed", "node3": "passed"}, report
    (reason,) = (line["reason"] for line in report["restores"] if line["node"] == "node2")
    assert "does not match its recorded hash" in reason


def test_lost_volume_is_named_by_drill_and_status(fleet: Any, bucket: Bucket, tmp_path: Path) -> None:
    volume = bucket.newest_volume("node3")
    good = bucket.read(volume)
    bucket.delete(volume)
    try:
        rc, report = drill(fleet, tmp_path, target="node3")
        status = fleet.play("status.yml")
    finally:
        bucket.write(volume, good)
    assert rc != 0
    assert verdicts(report) == {"node3": "failed"}
    assert "lacks every volume" in report["restores"][0]["reason"]
    assert status.rc != 0
    assert f"{volume.rsplit('/', 1)[-1]} is missing" in status.out


def test_altered_tree_is_told_by_the_comparison(fleet: Any) -> None:
    """The comparison itself, on real data: content, mode, a lost file and one too many are each seen."""
    assert fleet.play("restore.yml", target="node3", on="harbour", dest="/srv/altered").rc == 0
    change = """sudo sh -c '
      cd /srv/altered && set -- $(find . -type f -name "*.html" | sort | head -n 3)
      printf x | dd of="$1" conv=notrunc status=none && touch -d @0 "$1" && chmod 4755 "$2" && rm "$3" && touch extra
    '"""
    fleet.on("harbour", change)
    check = TASK.format(top=fleet.state, node="node3", dest="/srv/altered")
    playbook = fleet.state / "compare.yml"
    playbook.write_text(check)
    run = fleet.play(str(playbook))
    fleet.on("harbour", "sudo rm -rf /srv/altered")
    assert run.rc == 0, run.out
    for what in ("mtime", "mode", "missing", "extra"):
        assert f"what: {what}" in run.out


TASK = """
- hosts: harbour
  become: true
  gather_facts: false
  vars_files: [{top}/../../../playbooks/vars/roles.yml]
  vars:
    drill_point: {{node: {node}}}
  tasks:
    - lifeboat.fleet.duplicity:
        operation: verify
        target: "s3://{{{{ lifeboat_store.bucket }}}}/nodes/{node}/repo/site"
        store:
          endpoint_url: "{{{{ drill_store.endpoint_url }}}}"
          ca_bundle: "{{{{ drill_store.ca_bundle }}}}"
          access_key: "{{{{ drill_store.access_key }}}}"
          secret_key: "{{{{ drill_store.secret_key }}}}"
        encryption:
          private_key: "{{{{ drill_private_key }}}}"
        dest: {dest}
      register: compared
      failed_when: compared.outcome != 'failed'
    - ansible.builtin.debug:
        var: compared.comparison
"""


def test_killed_backup_leaves_a_good_chain(fleet: Any, tmp_path: Path) -> None:
    """SIGKILL in the middle of an upload: the next run needs nobody's help, and what it makes is proven."""
    kill = "(sudo lifeboat backup site --mode full; true) & sleep 3; sudo systemctl kill -s KILL lifeboat-backup@site; wait"
    fleet.on("node2", kill)
    assert fleet.play("backup.yml", target="node2").rc == 0
    rc, report = drill(fleet, tmp_path, target="node2", points=2)
    assert (rc, report["verdict"]) == (0, "passed"), report
    assert fleet.on("node2", "sudo find /var/cache/lifeboat/site/tmp /dev/shm -mindepth 1 2>/dev/null || true") == ""


def test_wrong_store_key(fleet: Any) -> None:
    spoil = """sudo sh -c '
      cp -p /etc/lifeboat/store.ini /root/ && sed -i s/secret_access_key.*/secret_access_key=wrong/ /etc/lifeboat/store.ini
    '"""
    fleet.on("node1", spoil)
    try:
        run = fleet.play("backup.yml", target="node1")
    finally:
        fleet.on("node1", "sudo mv /root/store.ini /etc/lifeboat/store.ini")
    assert run.rc != 0
    assert "roll the node out again" in " ".join(run.out.split())
    assert "Traceback" not in run.out
    assert fleet.play("backup.yml", target="node1").rc == 0


def test_wrong_recovery_key(fleet: Any) -> None:
    """Another key pair: here the recovery key of nobody, made for this test."""
    other = fleet.state / "other.key.asc"
    home = fleet.state / "other-gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    gpg = ["gpg", "--batch", "--homedir", str(home), "--pinentry-mode", "loopback", "--passphrase", ""]
    fleet.run([*gpg, "--quick-generate-key", "somebody else", "default", "default", "never"])
    exported = fleet.run([*gpg, "--armor", "--export-secret-keys", "--output", str(other), "somebody else"])
    fleet.run(["gpgconf", "--homedir", str(home), "--kill", "all"])
    assert exported.rc == 0
    other.chmod(0o600)
    run = fleet.play("restore.yml", target="node1", on="harbour", dest="/srv/never", lifeboat_recovery_key=str(other))
    other.unlink()
    assert run.rc != 0
    assert "none of these private keys is at hand" in " ".join(run.out.split())
    assert "never" not in fleet.on("harbour", "ls -A /srv")


def test_recovery_key_restores_without_the_drill_key(fleet: Any) -> None:
    recovery = str(fleet.state / "recovery.key.asc")
    run = fleet.play("restore.yml", target="node3", on="harbour", dest="/srv/saved", lifeboat_recovery_key=recovery)
    files = fleet.on("harbour", "sudo find /srv/saved -type f | wc -l; sudo rm -rf /srv/saved")
    assert run.rc == 0, run.out
    assert int(files.split()[0]) > 1000


@pytest.mark.parametrize(
    ("dest", "sentence"),
    [
        ("/", "is a mount point, which cannot be swapped"),
        ("/etc", "/etc exists and differs from"),
        ("/nowhere/at/all", "/nowhere/at does not exist"),
        ("relative", "is not an absolute path"),
    ],
)
def test_destination_that_is_refused(fleet: Any, dest: str, sentence: str) -> None:
    run = fleet.play("restore.yml", target="node3", on="harbour", dest=dest)
    assert run.rc != 0
    assert sentence in " ".join(run.out.split())
    assert ".lifeboat-" not in fleet.on("harbour", "test -f /etc/passwd && ls -A / /etc")


@pytest.mark.parametrize("target", ["nodes/node1", "s3://", "file://folder", "ftp://host/path"])
def test_target_that_is_no_url(fleet: Any, target: str) -> None:
    arguments = f"operation=restore target={target} dest=/srv/never"
    command = ["ansible", "-i", "inventories/lab", "harbour", "-b", "-m", "lifeboat.fleet.duplicity", "-a", arguments]
    run = fleet.run(command)
    assert run.rc != 0
    text = " ".join(run.out.split())
    assert f"target ''{target}'' is not a URL" in text or f"target ''{target}'' has the scheme" in text
    assert "Traceback" not in text


def test_unreachable_node_fails_the_drill_though_its_backup_is_good(fleet: Any, tmp_path: Path) -> None:
    with stopped(fleet, "node3"):
        backup = fleet.play("backup.yml", target="node3")
        rc, report = drill(fleet, tmp_path, target="node2,node3")
    assert backup.rc != 0
    assert "UNREACHABLE" in backup.out
    assert rc != 0
    assert report["unreachable"] == ["node3"]
    assert report["verdict"] == "failed"
    assert verdicts(report) == {"node2": "passed", "node3": "passed"}


def test_lost_drill_host_never_looks_like_success(fleet: Any, tmp_path: Path) -> None:
    with stopped(fleet, "harbour"):
        rc, report = drill(fleet, tmp_path)
    assert rc != 0
    assert set(verdicts(report).values()) == {"failed"}
    assert len(report["restores"]) == len(fleet.nodes)


def test_store_that_is_down(fleet: Any) -> None:
    with stopped(fleet, "store"):
        backup = fleet.play("backup.yml", target="node3")
        status = fleet.play("status.yml")
    for run in (backup, status):
        assert run.rc != 0
        assert "the store does not answer; check that it is up" in " ".join(run.out.split())
        assert "Traceback" not in run.out
    assert fleet.play("backup.yml", target="node3").rc == 0

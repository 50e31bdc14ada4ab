# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the launcher changes in duplicity. It changes it for its whole process, so each test has one of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, store

_START = """
import importlib.util, json, os, sys, types
spec = importlib.util.spec_from_file_location("launcher", sys.argv[1])
launcher = importlib.util.module_from_spec(spec)
"""


def launched(code: str, *arguments: str, **environment: str) -> t.Any:
    """Run ``code`` with the launcher imported; returns what it prints last, as JSON."""
    program = f"{_START}spec.loader.exec_module(launcher)\n{code}"
    argv = [sys.executable, "-c", program, command.LAUNCHER, *arguments]
    done = subprocess.run(argv, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_access_is_judged_by_the_effective_ids() -> None:
    assert launched("print(json.dumps([os.access.keywords, os.access('/', os.R_OK)]))") == [
        {"effective_ids": True},
        True,
    ]


def test_a_restart_goes_through_the_interpreter() -> None:
    code = """
launcher._execve = lambda *seen: print(json.dumps([seen[0], seen[1], seen[2]]))
os.execve("/x/launcher.py", ["/x/launcher.py", "full"], {"A": "B"})
"""
    assert launched(code) == [sys.executable, [sys.executable, "/x/launcher.py", "full"], {"A": "B"}]


def test_named_files_count_as_changed(tmp_path: Path) -> None:
    listing = tmp_path / "changed"
    listing.write_bytes(b"a/odd \xff\n name\0top\0")
    code = r"""
from duplicity.path import ROPath
def pair(*index):
    one, two = ROPath(index), ROPath(index)
    return one == two
print(json.dumps([pair(b"a", b"odd \xff\n name"), pair(b"top"), pair(b"a"), pair(b"other")]))
"""
    assert launched(code, LIFEBOAT_CHANGED=str(listing)) == [False, False, True, True]
    assert launched(code) == [True, True, True, True]


_BACKEND = """
from duplicity import backend, config
config.s3_region_name, config.s3_endpoint_url, config.s3_unencrypted_connection = "eu-1", "https://store.invalid", False
asked = []
class Client:
    def head_object(self, **where):
        asked.append(where)
        return {"ContentLength": 3, "VersionId": "v1"}
class Object:
    def __init__(self, bucket, key):
        self.key = key
    def upload_file(self, path, ExtraArgs, Config, Callback):
        bandwidth = Config.max_bandwidth
        asked.append(["upload", path, self.key, ExtraArgs, bandwidth, Config.preferred_transfer_client])
resource = types.SimpleNamespace(
    Bucket=lambda name: asked.append(name), Object=Object, meta=types.SimpleNamespace(client=Client())
)
launcher.boto3.resource = lambda *names, **options: asked.append([names, options]) or resource
made = launcher.StrictS3Backend.__new__(launcher.StrictS3Backend)
made.bucket_name, made.key_prefix, made.s3 = "bucket", "nodes/n1/repo/site/", None
made.tracker = types.SimpleNamespace(progress_cb=None)
path = types.SimpleNamespace(name=os.fsencode(sys.argv[2]), uc_name=sys.argv[2])
made._put(path, b"duplicity-full.x.manifest")
made._put(path, "duplicity-full.x.vol1.difftar.gpg")
print(json.dumps([asked, backend._backends["lifeboat"].__name__]))
"""


def test_uploads_are_noted_and_the_bucket_is_not_asked_for(tmp_path: Path) -> None:
    """A mock of boto3; the real store is in tests/live."""
    (tmp_path / "volume").write_bytes(b"one")
    journal = tmp_path / "objects"
    asked, scheme = launched(_BACKEND, str(tmp_path / "volume"), LIFEBOAT_OBJECTS=str(journal))
    assert scheme == "StrictS3Backend"
    key = {"Bucket": "bucket", "Key": "nodes/n1/repo/site/duplicity-full.x.manifest"}
    options = {"region_name": "eu-1", "use_ssl": True, "endpoint_url": "https://store.invalid"}
    upload = ["upload", str(tmp_path / "volume"), key["Key"], {}, None, "classic"]
    assert asked[:4] == [[["s3"], options], "bucket", upload, key]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    checksum = f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    assert lines[0] == {"name": "duplicity-full.x.manifest", "bytes": 3, "checksum": checksum, "version_id": "v1"}
    assert [line["name"] for line in lines] == ["duplicity-full.x.manifest", "duplicity-full.x.vol1.difftar.gpg"]
    assert journal.stat().st_mode & 0o777 == 0o600


def test_without_a_journal_nothing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "volume").write_bytes(b"one")
    asked, _ = launched(_BACKEND, str(tmp_path / "volume"))
    assert [item for item in asked if isinstance(item, dict)] == []
    assert [item[0] for item in asked[2:]] == ["upload", "upload"]
    assert os.listdir(tmp_path) == ["volume"]


def test_only_the_main_process_counts(tmp_path: Path) -> None:
    """Workers import the launcher too, with the same environment."""
    code = """
from duplicity import diffdir, dup_main, patchdir, statistics
names = [diffdir.FileWithReadCounter.read, dup_main.restore_get_enc_fileobj, patchdir.ROPath_IterWriter.fast_process]
print(json.dumps([item.__module__ for item in names]))
"""
    counted = launched(code, LIFEBOAT_PROGRESS=str(tmp_path / "progress"))
    assert counted == ["duplicity.diffdir", "duplicity.dup_main", "duplicity.patchdir"]
    assert os.listdir(tmp_path) == []


def test_counts_that_cannot_be_written_hurt_nothing(tmp_path: Path) -> None:
    code = """
counter = launcher.Counter(sys.argv[2] + "/none/progress")
for _ in range(3):
    counter.add("files")
print(json.dumps(counter.counts["files"]))
"""
    assert launched(code, str(tmp_path)) == 3


def test_uploads_are_made_as_the_profile_says(tmp_path: Path) -> None:
    (tmp_path / "volume").write_bytes(b"one")
    place = store.Location("s3://bucket", storage_class="STANDARD_IA", sse="aws:kms", sse_kms_key_id="k")
    work = command.Workspace("", "", "", "", "")
    how = command.environment(place, work, {}, upload=4096)["LIFEBOAT_UPLOAD"]
    asked, _ = launched(_BACKEND, str(tmp_path / "volume"), LIFEBOAT_UPLOAD=how)
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}
    manifest, volume = asked[2:]
    # a manifest is small and read first: it stays in the bucket's standard class
    assert manifest[3:5] == [encryption, 4096]
    assert volume[3:5] == [encryption | {"StorageClass": "STANDARD_IA"}, 4096]

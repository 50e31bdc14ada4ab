# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the launcher changes in duplicity. It changes it for its whole process, so each test has one of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, store

_START = """
import importlib.util, json, os, sys, types
spec = importlib.util.spec_from_file_location("launcher", sys.argv[1])
launcher = importlib.util.module_from_spec(spec)
"""


def launched(code: str, *arguments: str, **environment: str) -> t.Any:
    """Run ``code`` with the launcher imported; returns what it prints last, as JSON."""
    program = f"{_START}spec.loader.exec_module(launcher)\nimport launcher_s3\n{code}"
    argv = [sys.executable, "-c", program, command.LAUNCHER, *arguments]
    done = subprocess.run(argv, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_access_is_judged_by_the_effective_ids() -> None:
    assert launched("print(json.dumps([os.access.keywords, os.access('/', os.R_OK)]))") == [
        {"effective_ids": True},
        True,
    ]


_ORPHAN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2], sys.argv[3]])
print(child.pid, flush=True)
time.sleep(float(sys.argv[4]))
"""


def gone(pid: int) -> bool:
    """Whether that process has ended, within a minute."""
    for _attempt in range(6000):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("late", [False, True])
def test_it_ends_with_its_parent(tmp_path: Path, late: bool) -> None:
    """``late``: the parent had ended before the launcher asked the kernel to be told."""
    started = tmp_path / "started"
    # it is its parent's name that it looks at, so the parent tells it (as execute.run does)
    wait = "while os.getppid() == int(os.environ['LIFEBOAT_PARENT']): pass\n" if late else ""
    code = f"import os\nos.environ['LIFEBOAT_PARENT'] = str(os.getppid())\n{wait}{_START}spec.loader.exec_module(launcher)\n"
    code += "open(sys.argv[2], 'w').close()\nimport time\ntime.sleep(600)"
    argv = [sys.executable, "-c", _ORPHAN, code, command.LAUNCHER, str(started), "1" if late else "600"]
    parent = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    if not late:
        while not started.exists():
            time.sleep(0.01)
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    parent.wait()
    assert gone(child)
    assert started.exists() != late


def test_a_worker_is_told_who_its_parent_is_and_a_restart_goes_on() -> None:
    code = """
import subprocess
assert os.environ["LIFEBOAT_PARENT"] == str(os.getpid())
if sys.argv[2] == "first":
    os.environ["AGAIN"] = "1"
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[4], sys.argv[1], "second", str(os.getpid()), ""])
print(json.dumps(sys.argv[3] == str(os.getpid())))
"""
    program = f"{_START}spec.loader.exec_module(launcher)\nimport launcher_s3\n{code}"
    assert launched(code, "first", "", program, LIFEBOAT_PARENT=str(os.getpid())) is True


def test_a_copy_to_another_disk_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    code = """
from duplicity import path
from duplicity.backend import ParsedUrl
root = os.fsencode(sys.argv[2])
store = launcher.LocalBackend(ParsedUrl("file://" + sys.argv[2] + "/store"))
seen = []
def rename(one, two, real=os.rename):
    seen.append(sorted(os.listdir(root + b"/store")))
    if not one.endswith(b".new"):
        raise OSError(18, "another disk")
    real(one, two)
os.rename = rename
source = path.Path(root + b"/volume")
print(json.dumps([store._move(source, b"name"), store._put(source, b"name"), [[os.fsdecode(n) for n in s] for s in seen]]))
"""
    (tmp_path / "volume").write_bytes(b"one")
    assert launched(code, str(tmp_path)) == [False, None, [[], ["name.new"]]]
    assert (tmp_path / "store" / "name").read_bytes() == b"one"
    assert os.listdir(tmp_path / "store") == ["name"]


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
    meta = types.SimpleNamespace(events=types.SimpleNamespace(register=lambda *event: None))
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
launcher_s3.boto3.resource = lambda *names, **options: asked.append([names, options]) or resource
made = launcher_s3.StrictS3Backend.__new__(launcher_s3.StrictS3Backend)
made.bucket_name, made.key_prefix, made.s3 = "bucket", "nodes/n1/repo/site/", None
made.tracker = types.SimpleNamespace(progress_cb=None)
path = types.SimpleNamespace(name=os.fsencode(sys.argv[2]), uc_name=sys.argv[2])
made._put(path, b"duplicity-full.x.manifest")
made._put(path, "duplicity-full.x.vol1.difftar.gpg")
print(json.dumps([asked, backend._backends["lifeboat"].__name__]))
"""


def test_uploads_are_noted_and_the_bucket_is_not_asked_for(tmp_path: Path) -> None:
    """A mock of boto3; the real store is in molecule/default."""
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

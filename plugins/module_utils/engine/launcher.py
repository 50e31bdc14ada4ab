# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""duplicity, started with our own S3 backend. Run as a script, never imported: ``python launcher.py <arguments>``.

These things differ from stock duplicity; repositories do not:

* Scheme ``lifeboat://bucket/prefix`` is duplicity's S3 backend without HeadBucket. That call carries no prefix, so a
  policy that limits ListBucket to a node's own prefix refuses it (facts, object stores: the HeadBucket trap).
* Uploads use the storage class, the server-side encryption and the bandwidth that LIFEBOAT_UPLOAD names (JSON, see
  ``command.environment``). duplicity's own options know no intelligent tiering, move manifests too, and set no bandwidth.
  A refused upload is tried again as often as any other call; duplicity's own backend gives up at once.
* What is uploaded is noted, one JSON line per object, in the file that LIFEBOAT_OBJECTS names: these lines become
  ``objects`` of the run record.
* ``os.access`` judges by the effective ids, so that a service user with CAP_DAC_READ_SEARCH may read what it can read;
  duplicity would leave such files out and end with success.
* The machine log takes every name: duplicity's own drops an event, a lost file's too, when a name in it is not UTF-8.
* With LIFEBOAT_ONTO set, a restore goes onto a folder that holds something (see ``in_place``, which prepares it).
* Files named in the file LIFEBOAT_CHANGED (relative, each ended by a NUL) count as changed even if mtime, mode and owner
  are as before: duplicity looks at nothing else (see ``witness.closely``).
* It ends with the engine that started it (LIFEBOAT_PARENT, see ``execute.run``): an orphan would hold the lock, and the
  next run would be refused.
* A copy to another disk gets its name when it is whole: duplicity copies to the name itself, and a kill in between leaves
  half a manifest that looks like a whole set.
* An unfinished set that the store's key may not delete is left where it is, with a warning, and a full is made beside it.
  duplicity would try to delete it for ever (facts: guard 19). Any other verb ends there with an error.

``--concurrency`` spawns workers that import this file anew: all of this therefore happens at module level.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import logging
import os
import re
import signal
import sys
import time
import typing as t

_PR_SET_PDEATHSIG = 1


def _end_with_parent(parent: str) -> None:
    """SIGKILL this process when its parent ends; a worker ends with the process that spawned it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # it had ended before we asked; our own number: duplicity restarted itself, and has its parent still
    if int(parent) not in (os.getppid(), os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ["LIFEBOAT_PARENT"] = str(os.getpid())


if os.environ.get("LIFEBOAT_PARENT"):
    _end_with_parent(os.environ["LIFEBOAT_PARENT"])
os.access = functools.partial(os.access, effective_ids=True)

import boto3  # os.access must be set before duplicity is imported
from boto3.s3.transfer import TransferConfig
from duplicity import backend, config, dup_time, file_naming, log
from duplicity.backends.localbackend import LocalBackend
from duplicity.backends.s3_boto3_backend import S3Boto3Backend
from duplicity.dup_collections import BackupSet
from duplicity.path import Path, ROPath

# A warning of our own, which ``outcome`` knows by this number; duplicity's end at 13.
LEFT_BEHIND = 119
_left: set[bytes] = set()
_VOLUME = re.compile(r"\.vol\d+\.difftar")


class StrictS3Backend(S3Boto3Backend):
    """The S3 backend for a key that may only list, read and write below one prefix."""

    def reset_connection(self) -> None:
        self.s3 = boto3.resource(
            "s3",
            region_name=config.s3_region_name,
            use_ssl=not config.s3_unencrypted_connection,
            endpoint_url=config.s3_endpoint_url,
        )
        self.bucket = self.s3.Bucket(self.bucket_name)

    def _put(self, local_source_path: t.Any, remote_filename: bytes | str) -> None:
        name = os.fsdecode(remote_filename)
        self._upload(local_source_path.uc_name, name)
        journal = os.environ.get("LIFEBOAT_OBJECTS")
        if not journal:
            return
        head = self.s3.meta.client.head_object(Bucket=self.bucket_name, Key=self.key_prefix + name)
        line = {
            "name": name,
            "bytes": head["ContentLength"],
            "checksum": f"sha256:{_sha256(local_source_path.name)}",
            "version_id": head.get("VersionId"),
        }
        # one write of one line: appends of parallel workers do not mix
        descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)

    def _upload(self, path: str, name: str) -> None:
        if not self.s3:
            self.reset_connection()
        how = json.loads(os.environ.get("LIFEBOAT_UPLOAD", "{}"))
        extra = dict(how.get("extra", {}))
        if how.get("storage_class") and _VOLUME.search(name):
            extra["StorageClass"] = how["storage_class"]
        transfer = TransferConfig(
            multipart_chunksize=config.s3_multipart_chunk_size,
            multipart_threshold=config.s3_multipart_chunk_size,
            max_concurrency=config.s3_multipart_max_procs,
            max_bandwidth=how.get("bandwidth") or None,
            preferred_transfer_client="classic",  # the other one knows no bandwidth
        )
        target = self.s3.Object(self.bucket_name, self.key_prefix + name)
        target.upload_file(path, ExtraArgs=extra, Config=transfer, Callback=self.tracker.progress_cb)


def _move(self: t.Any, source_path: t.Any, remote_filename: bytes) -> bool:
    """``LocalBackend._move``, which falls back to copying by itself."""
    try:
        os.rename(source_path.name, self.remote_pathdir.append(remote_filename).name)
        return True
    except OSError:
        return False


def _copy_whole(self: t.Any, source_path: t.Any, remote_filename: bytes) -> None:
    """``LocalBackend._put``, first to a name that counts for nothing. What a kill leaves there goes with the next backup."""
    temporary = remote_filename + b".new"
    _copy(self, source_path, temporary)
    os.rename(self.remote_pathdir.append(temporary).name, self.remote_pathdir.append(remote_filename).name)


def _sha256(path: bytes) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _delete_or_leave(self: t.Any) -> None:
    """Delete a set, and see whether it is gone: duplicity takes no notice of a refusal."""
    # a second try after a pause, for each of hundreds of objects, would not help against a refusal; boto3 has its own
    retries, config.num_retries = config.num_retries, 1
    _delete_set(self)
    config.num_retries = retries
    mine = (self.time, self.start_time, self.end_time)
    named = ((name, file_naming.parse(name)) for name in self.backend.list())
    left = {name for name, seen in named if seen and (seen.time, seen.start_time, seen.end_time) == mine}
    if not left:
        return
    stamp = dup_time.timetostring(self.time or self.end_time)
    text = f"Cannot delete the unfinished set of {stamp} ({len(left)} objects)."
    if config.action != "full":
        log.FatalError(text, log.ErrorCode.backend_permission_denied)
    log.Warn(text, LEFT_BEHIND, stamp)
    _left.update(left)


def _list(self: t.Any) -> list[bytes]:
    """The repository without what could not be deleted, as if that were gone."""
    return [name for name in _list_all(self) if name not in _left]


def _restart(path: str, argv: list[str], env: t.Mapping[str, str]) -> t.NoReturn:
    """duplicity restarts itself by executing ``sys.argv[0]``: this file, which needs its interpreter before it."""
    _execve(sys.executable, [sys.executable, *argv], env)


def _log_every_name(filename: str) -> None:
    """``log.add_file`` (3.2.1), but for the handling of what is not UTF-8."""
    handler = logging.FileHandler(filename, encoding="utf8", errors="surrogateescape")
    handler.setFormatter(log.MachineFormatter())
    handler.addFilter(log.MachineFilter())
    log._logger.addHandler(handler)


def _read_closely(listing: str) -> None:
    with open(listing, "rb") as handle:
        changed = {tuple(path.split(b"/")) for path in handle.read().split(b"\0") if path}
    compare = ROPath.__eq__
    ROPath.__eq__ = lambda mine, other: mine.index not in changed and compare(mine, other)


class Counter:
    """Counts regular files, their bytes and volumes. It writes when it counts: a thread would be one that duplicity forks
    beside, for each gpg."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._due = 0.0
        self.counts = {"files": 0, "bytes": 0, "volumes": 0}

    def add(self, key: str, number: int = 1) -> None:
        self.counts[key] += number
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        self._due = time.monotonic() + 1.0
        try:
            with open(self._path + ".new", "w", encoding="ascii") as handle:
                json.dump(self.counts, handle)
            os.replace(self._path + ".new", self._path)
        except OSError:  # a full disk stops the backup, if it must, and not its progress
            self._due = float("inf")


class CountedFile:
    """A file whose reads are counted."""

    def __init__(self, inner: t.Any, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter

    def read(self, length: int = -1) -> bytes:
        data = t.cast(bytes, self._inner.read(length))
        self._counter.add("bytes", len(data))
        return data

    def close(self) -> t.Any:
        return self._inner.close()


def _before(owner: t.Any, name: str, count: t.Callable[..., None]) -> None:
    """Call ``count`` with the same arguments before each call of ``owner.name``."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def counted(*args: t.Any, **kwargs: t.Any) -> t.Any:
        count(*args)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def count_backup(counter: Counter) -> None:
    """Files that were looked at, bytes that were read of the changed ones."""
    from duplicity import diffdir, statistics

    def file(_stats: t.Any, path: t.Any) -> None:
        if path.isreg():
            counter.add("files")

    for name in ("add_new_file", "add_changed_file", "add_unchanged_file"):
        _before(statistics.StatsDeltaProcess, name, file)
    # what follows the last file are uploads, which may take long
    _before(statistics.StatsDeltaProcess, "close", lambda *_: counter.write())
    read = diffdir.FileWithReadCounter.read

    def counted(self: t.Any, length: int = -1) -> bytes:
        data = t.cast(bytes, read(self, length))
        counter.add("bytes", len(data))
        return data

    diffdir.FileWithReadCounter.read = counted


def count_restore(counter: Counter) -> None:
    """Volumes that were fetched; files and bytes that were written, files that a verify passed by (a
    patched one's size is not known then)."""
    from duplicity import dup_main, patchdir

    def file(_writer: t.Any, _index: t.Any, ropath: t.Any) -> None:
        if ropath.isreg():
            counter.add("files")
            if ropath.fileobj:
                ropath.fileobj = CountedFile(ropath.fileobj, counter)

    def compared(ropath: t.Any, *_: t.Any) -> None:
        if ropath.isreg():
            counter.add("files")

    _before(dup_main, "restore_get_enc_fileobj", lambda *_: counter.add("volumes"))
    _before(patchdir.ROPath_IterWriter, "fast_process", file)
    _before(patchdir.ROPath_IterWriter, "start_process", file)
    _before(ROPath, "compare_verbose", compared)


log.add_file = _log_every_name
if os.environ.get("LIFEBOAT_ONTO"):
    Path.isemptydir = lambda self: True  # all it is asked for: may a restore write here?
if os.environ.get("LIFEBOAT_CHANGED"):
    _read_closely(os.environ["LIFEBOAT_CHANGED"])
_delete_set, BackupSet.delete = BackupSet.delete, _delete_or_leave
_list_all, backend.BackendWrapper.list = backend.BackendWrapper.list, _list
LocalBackend._move = _move
_copy, LocalBackend._put = LocalBackend._put, _copy_whole
_execve = os.execve
os.execve = t.cast(t.Any, _restart)
backend.register_backend("lifeboat", StrictS3Backend)

if __name__ == "__main__":
    from duplicity.__main__ import dup_run

    if os.environ.get("LIFEBOAT_PROGRESS"):
        _counter = Counter(os.environ["LIFEBOAT_PROGRESS"])
        count_backup(_counter)
        count_restore(_counter)
    sys.exit(dup_run())

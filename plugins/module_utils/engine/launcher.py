# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""duplicity, started with our own S3 backend. Run as a script, never imported: ``python launcher.py <arguments>``.

These things differ from stock duplicity; repositories do not:

* Scheme ``lifeboat://bucket/prefix`` is duplicity's S3 backend without HeadBucket. That call carries no prefix, so a
  policy that limits ListBucket to a node's own prefix refuses it (facts, object stores: the HeadBucket trap).
* Uploads use the storage class, the server-side encryption and the bandwidth that LIFEBOAT_UPLOAD names (JSON, see
  ``command.environment``). duplicity's own options know no intelligent tiering, move manifests too, and set no bandwidth.
  A refused upload is tried again as often as any other call; duplicity's own backend gives up at once.
* A restore, a verify and a list of files fetch what they will need next while duplicity works on what it has (``Ahead``).
  duplicity fetches one object at a time and waits for it.
* What is uploaded is noted, one JSON line per object, in the file that LIFEBOAT_OBJECTS names: these lines become
  ``objects`` of the run record.
* ``os.access`` judges by the effective ids, so that a service user with CAP_DAC_READ_SEARCH may read what it can read;
  duplicity would leave such files out and end with success.
* The machine log takes every name: duplicity's own drops an event, a lost file's too, when a name in it is not UTF-8.
* With LIFEBOAT_ONTO set, a restore goes onto a folder that holds something (see ``in_place``, which prepares it).
* Files named in the file LIFEBOAT_CHANGED (relative, each ended by a NUL) count as changed even if mtime, mode and owner
  are as before: duplicity looks at nothing else (see ``witness.closely``).
* An unfinished set that the store's key may not delete is left where it is, with a warning, and a full is made beside it.
  duplicity would try to delete it for ever (facts: guard 19). Any other verb ends there with an error.

``--concurrency`` spawns workers that import this file anew: all of this therefore happens at module level.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import typing as t

os.access = functools.partial(os.access, effective_ids=True)

import boto3  # os.access must be set before duplicity is imported
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from duplicity import backend, config, dup_time, file_naming, log, tempdir
from duplicity.backends.s3_boto3_backend import S3Boto3Backend
from duplicity.dup_collections import BackupSet
from duplicity.manifest import Manifest
from duplicity.path import Path, ROPath

# A warning of our own, which ``outcome`` knows by this number; duplicity's end at 13.
LEFT_BEHIND = 119
_left: set[bytes] = set()
_VOLUME = re.compile(r"\.vol\d+\.difftar")
# What may be on disk or under way before duplicity asks for it: objects, their bytes as listed, and connections.
OBJECTS, SPOOL, CONNECTIONS = 8, 1 << 30, 8
READING = ("restore", "verify", "list-current-files")
# Of each set that a restore will read, in duplicity's order: the last path of each of its volumes.
_ends: list[list[tuple[bytes, ...]]] = []


def opening_order(names: t.Sequence[str], ends: t.Sequence[t.Sequence[tuple[bytes, ...]]]) -> list[str]:
    """The order in which duplicity opens these volumes, which it names set after set. Pure.

    It opens the first of each set, then takes path after path, and opens the next volume of a set when it has taken the
    last path of the one before. ``ends`` has these, per set; if they do not fit, the order is that of the names.
    """
    due = [(path, number) for number, paths in enumerate(ends) for path in [(), *paths][: len(paths)]]
    if len(due) != len(names):
        return list(names)
    return [names[at] for at in sorted(range(len(names)), key=due.__getitem__)]


class Ahead:
    """Objects that are fetched before duplicity asks for them, into a private folder. ``wanted``: names and listed sizes.

    It only spares a wait. For whatever is not here, or not well, ``take`` says False, and who asked fetches it as
    duplicity does, with its errors and its retries. All state belongs to the thread that takes; the transfer manager's
    threads share one client and nothing else.
    """

    def __init__(self, client: t.Any, bucket: str, prefix: str, wanted: t.Mapping[str, int]) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._wanted = dict(wanted)
        self._under_way: dict[str, tuple[t.Any, int]] = {}
        self._folder = tempfile.mkdtemp(prefix="lifeboat-ahead-", dir=os.path.dirname(tempdir.default().dir()))
        self._room = min(SPOOL, shutil.disk_usage(self._folder).free // 2)
        how = TransferConfig(max_concurrency=CONNECTIONS, num_download_attempts=2, preferred_transfer_client="classic")
        self._manager = create_transfer_manager(client, how)
        self._fill()

    def take(self, name: str, path: str) -> bool:
        """Move the object to ``path``, when it has come."""
        self._wanted.pop(name, None)
        transfer, _size = self._under_way.pop(name, (None, 0))
        taken = transfer is not None and self._arrived(transfer, name, path)
        self._fill()
        return taken

    def _arrived(self, transfer: t.Any, name: str, path: str) -> bool:
        try:
            transfer.result()
            os.replace(os.path.join(self._folder, name), path)
        except Exception as error:  # noqa: BLE001 (whatever it is: it happens to who asked, too, or it has passed)
            log.Debug(f"{name} could not be fetched ahead: {error}")
            return False
        return True

    def _fill(self) -> None:
        """Start what has room. One that is larger than all the room is left to who asks for it."""
        while self._wanted and len(self._under_way) < OBJECTS:
            name, size = next(iter(self._wanted.items()))
            if size <= self._room:
                if size + sum(other for _transfer, other in self._under_way.values()) > self._room:
                    return
                path = os.path.join(self._folder, name)
                self._under_way[name] = (self._manager.download(self._bucket, self._prefix + name, path), size)
            del self._wanted[name]

    def stop(self) -> None:
        """End what is under way and remove what nobody took."""
        for transfer, _size in self._under_way.values():
            transfer.cancel()  # the manager's own ``shutdown(cancel=True)`` fails (s3transfer 0.17)
        self._manager.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


class StrictS3Backend(S3Boto3Backend):
    """The S3 backend for a key that may only list, read and write below one prefix."""

    _sizes: t.Mapping[str, int] = {}
    _ahead: Ahead | None = None

    def reset_connection(self) -> None:
        self.s3 = boto3.resource("s3", **self._store())
        self.bucket = self.s3.Bucket(self.bucket_name)

    def _store(self) -> dict[str, t.Any]:
        return {
            "region_name": config.s3_region_name,
            "use_ssl": not config.s3_unencrypted_connection,
            "endpoint_url": config.s3_endpoint_url,
        }

    def _list(self) -> list[bytes]:
        if not self.s3:
            self.reset_connection()
        listed = self.bucket.objects.filter(Prefix=self.key_prefix)
        self._sizes = {item.key[len(self.key_prefix) :]: item.size for item in listed}
        return [os.fsencode(name) for name in self._sizes]

    def pre_process_download_batch(self, remote_filenames: t.Iterable[bytes]) -> None:
        """duplicity's word of what it will get."""
        names = opening_order([os.fsdecode(name) for name in remote_filenames], _ends)
        _ends.clear()
        self._close()
        if config.action not in READING:
            return
        # a client of its own: if it gives up early, the other one still tries as often as it should
        how = Config(max_pool_connections=2 * CONNECTIONS, retries={"total_max_attempts": 2})
        client = boto3.client("s3", config=how, **self._store())
        wanted = {name: self._sizes[name] for name in names if name in self._sizes}
        self._ahead = Ahead(client, self.bucket_name, self.key_prefix, wanted)

    def _get(self, remote_filename: bytes | str, local_path: t.Any) -> None:
        if self._ahead is None or not self._ahead.take(os.fsdecode(remote_filename), local_path.uc_name):
            super()._get(remote_filename, local_path)

    def _close(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.stop()

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


def _note_ends(self: t.Any, index: tuple[bytes, ...]) -> list[int]:
    volumes = t.cast(list[int], _containing(self, index))
    _ends.append([self.volume_info_dict[number].end_index for number in volumes])
    return volumes


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
_containing, Manifest.get_containing_volumes = Manifest.get_containing_volumes, _note_ends
_execve = os.execve
os.execve = t.cast(t.Any, _restart)
backend.register_backend("lifeboat", StrictS3Backend)


def run() -> None:
    """duplicity itself. It closes its backend only when all went well; what was fetched ahead is to go in any case."""
    from duplicity.__main__ import dup_run

    try:
        dup_run()
    finally:
        if config.backend is not None:
            config.backend.close()


if __name__ == "__main__":
    if os.environ.get("LIFEBOAT_PROGRESS"):
        _counter = Counter(os.environ["LIFEBOAT_PROGRESS"])
        count_backup(_counter)
        count_restore(_counter)
    run()

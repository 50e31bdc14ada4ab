# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""duplicity's S3 backend as our keys and policies want it. Imported by the launcher alone, as a script's sibling."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import typing as t

import boto3
import launcher_once
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from duplicity import config, log, tempdir
from duplicity.backends.s3_boto3_backend import S3Boto3Backend
from duplicity.errors import BackendException
from duplicity.manifest import Manifest

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
        launcher_once.ask(self.s3.meta.client)
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
        """Upload, and write over nothing where the store helps. What is there and equal is ours, of a run that broke off or
        whose answer was lost; what differs and belongs to no whole set is what a crash left, and is hidden first."""
        if not self.s3:
            self.reset_connection()
        try:
            self._send(path, name)
        except S3UploadFailedError as error:
            said = launcher_once.code(error)
            if said == launcher_once.UNKNOWN:
                launcher_once.ask_no_more(self.s3.meta.client)
            elif said != launcher_once.REFUSED:
                raise
            elif launcher_once.holds(self.s3.Object(self.bucket_name, self.key_prefix + name), path):
                return
            else:
                self._hide_leftover(name)
            self._send(path, name)

    def _hide_leftover(self, name: str) -> None:
        manifest = self.key_prefix + launcher_once.manifest_of(name)
        if list(self.bucket.objects.filter(Prefix=manifest).limit(1)):
            raise BackendException(
                f"{name} belongs to a backup that is whole, and is not written over: find out who wrote it."
            )
        self.s3.Object(self.bucket_name, self.key_prefix + name).delete()

    def _send(self, path: str, name: str) -> None:
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


def _note_ends(self: t.Any, index: tuple[bytes, ...]) -> list[int]:
    volumes = t.cast(list[int], _containing(self, index))
    _ends.append([self.volume_info_dict[number].end_index for number in volumes])
    return volumes


_containing, Manifest.get_containing_volumes = Manifest.get_containing_volumes, _note_ends

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""duplicity, started with our own S3 backend. Run as a script, never imported: ``python launcher.py <arguments>``.

Seven things differ from stock duplicity; repositories do not:

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

``--concurrency`` spawns workers that import this file anew: all of this therefore happens at module level.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
import sys
import typing as t

os.access = functools.partial(os.access, effective_ids=True)

import boto3  # os.access must be set before duplicity is imported
from boto3.s3.transfer import TransferConfig
from duplicity import backend, config, log
from duplicity.backends.s3_boto3_backend import S3Boto3Backend
from duplicity.path import Path, ROPath

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


def _sha256(path: bytes) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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


log.add_file = _log_every_name
if os.environ.get("LIFEBOAT_ONTO"):
    Path.isemptydir = lambda self: True  # all it is asked for: may a restore write here?
if os.environ.get("LIFEBOAT_CHANGED"):
    _read_closely(os.environ["LIFEBOAT_CHANGED"])
_execve = os.execve
os.execve = t.cast(t.Any, _restart)
backend.register_backend("lifeboat", StrictS3Backend)

if __name__ == "__main__":
    from duplicity.__main__ import dup_run

    sys.exit(dup_run())

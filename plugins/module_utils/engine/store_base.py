# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a store is to the engine: where it lies, what one object of it is, and what can be done with it."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

from .errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from .versions import Version

PIECE = 1 << 20  # bytes that a stream yields at once
Sentences = list[str]
# Those that give an object back at once. From the others (GLACIER, DEEP_ARCHIVE) a restore would wait for hours.
STORAGE_CLASSES = ("STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR")


@dataclass(frozen=True)
class StoredObject:
    """One object: ``name`` relative to the store's root, size in bytes, LastModified (UTC), checksum as
    ``<algorithm>:<value>`` where the store gives one (``etag:`` for S3), version id."""

    name: str
    bytes: int
    modified: datetime
    checksum: str = ""
    version_id: str | None = None


@dataclass(frozen=True)
class Location:
    """Where a store is, without any secret. ``url`` is ``s3://bucket/prefix`` or ``file:///folder``.

    ``credentials_file`` names a file in AWS shared-credentials form (profile ``default``); ``ca_bundle`` a PEM file.
    ``storage_class`` is for volumes only: manifests, signatures and records are small and always in the bucket's
    standard one. ``sse`` (``AES256`` or ``aws:kms``) is asked for with every object. A call is tried ``max_attempts`` times
    by boto3, and what then failed ``num_retries`` times by duplicity, ``retry_delay`` seconds apart. With ``as_of`` the store
    is read as it was at that time (UTC), and cannot be written.
    """

    url: str
    endpoint_url: str | None = None
    region: str = "us-east-1"
    ca_bundle: str | None = None
    credentials_file: str | None = None
    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    num_retries: int = 3
    retry_delay: int = 5
    max_attempts: int = 10
    as_of: datetime | None = None

    def below(self, path: str) -> Location:
        """The location of a folder in this one."""
        return replace(self, url=f"{self.url.rstrip('/')}/{path.strip('/')}")

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def server_side_encryption(self) -> dict[str, str]:
        """What S3 is asked for with every object, in boto3's words."""
        wanted = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.sse_kms_key_id}
        return {key: value for key, value in wanted.items() if value}


def check_url(url: str) -> str:
    """The URL itself, if this engine can use it; otherwise :class:`Refused`."""
    if re.search(r"[\s?#%\[\]]", url.replace(" ", "")):
        # a URL's own signs: duplicity and we would not read the same name out of it
        raise Refused(f"target '{url}' holds one of ? # % [ ] or a line break: use a name without them.")
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        return url
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return url
    if parts.scheme in ("s3", "file") or not parts.scheme:
        raise Refused(f"target '{url}' is not a URL: write it as s3://bucket/prefix or file:///folder.")
    raise Refused(
        f"target '{url}' has the scheme '{parts.scheme}', which this version does not support: use s3:// or file://."
    )


MOST_LISTED = 500_000  # objects or versions below one prefix that a reader takes into its memory


def check_crowd(count: int, prefix: str) -> None:
    """An error if so many objects or versions of ``prefix`` are more than a reader takes."""
    if count > MOST_LISTED:
        raise LifeboatError(
            f"{prefix} holds more than {MOST_LISTED} objects or versions of them: find out who wrote them, or raise volume_mib."
        )


class ObjectStore(t.Protocol):
    """What the engine needs of a store. Names are relative to the location's root and never start with a slash."""

    def list(self, prefix: str = "") -> list[StoredObject]:
        """All current objects whose name starts with ``prefix``, in name order."""

    def read(self, name: str) -> bytes:
        """The whole object."""

    def list_versions(self, prefix: str = "") -> t.Iterator[Version]:
        """All versions and delete markers below ``prefix``, read page by page: in name order, newest first within a
        name. :class:`Refused` by a store that keeps none."""

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        """The object's bytes from ``start`` to before ``end`` in pieces, for what may be larger than memory; of this
        version, or of the current one."""

    def stat(self, name: str) -> StoredObject | None:
        """The object's size, time, checksum and version id, or None if it is not there."""

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        """Store ``data``; with ``if_absent`` an existing object is an error and stays as it is."""

    def delete(self, names: t.Sequence[str]) -> Sentences:
        """Delete these objects, in this order where the store has one; one that is gone is fine. Returns a sentence for
        what was refused. Only a listing proves a deletion."""

    def delete_versions(self, pairs: t.Sequence[tuple[str, str]]) -> Sentences:
        """Delete these versions or delete markers, given as (name, version id), for good. Otherwise as :meth:`delete`."""


def bounded(store: ObjectStore, prefix: str) -> t.Iterator[Version]:
    """All versions below ``prefix``; an error at so many that one node would take the time and the memory of all."""
    for number, item in enumerate(store.list_versions(prefix), 1):
        check_crowd(number, prefix)
        yield item

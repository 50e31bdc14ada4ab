# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Reading and writing objects: an S3 prefix or a local folder behind one small interface.

Every call turns the store's own errors into one :class:`LifeboatError` that says which object, what the store answered
and what to check.
"""

from __future__ import annotations

import configparser
import contextlib
import functools
import hashlib
import os
import re
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from .errors import LifeboatError, Refused

_BATCH = 1000  # what S3 takes in one call
_PIECE = 1 << 20  # bytes that a stream yields at once
# An object of duplicity's, a record or a witness on its way (``FileStore.write``, ``launcher``).
_HALF = re.compile(r"(?:duplicity-|[0-9]{8}T[0-9]{6}Z-).*\.new", re.DOTALL)
Sentences = list[str]
_NEXT_STEP = {
    # Ceph RGW with STS says this of an unknown key and of a wrong secret too
    "AccessDenied": "check that this key is the right one (roll the node out again) and that its policy covers that",
    "InvalidAccessKeyId": "it does not know this access key: roll the node out again, or check the credentials file",
    "SignatureDoesNotMatch": "the secret key is wrong: roll the node out again, or check the credentials file",
    "NoSuchBucket": "run playbooks/store.yml to create the bucket, or correct its name",
    "NoSuchKey": "the object is not there",
    "PreconditionFailed": "an object of that name exists and is never overwritten",
}
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
    by boto3, and what then failed ``num_retries`` times by duplicity, ``retry_delay`` seconds apart.
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


class ObjectStore(t.Protocol):
    """What the engine needs of a store. Names are relative to the location's root and never start with a slash."""

    def list(self, prefix: str = "") -> list[StoredObject]:
        """All current objects whose name starts with ``prefix``, in name order."""

    def read(self, name: str) -> bytes:
        """The whole object."""

    def stream(self, name: str, start: int = 0, end: int | None = None) -> t.Iterator[bytes]:
        """The object's bytes from ``start`` to before ``end`` in pieces, for what may be larger than memory."""

    def stat(self, name: str) -> StoredObject | None:
        """The object's size, time, checksum and version id, or None if it is not there."""

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        """Store ``data``; with ``if_absent`` an existing object is an error and stays as it is."""

    def delete(self, names: t.Sequence[str]) -> Sentences:
        """Delete these objects, in this order where the store has one; one that is gone is fine. Returns a sentence for
        what was refused. Only a listing proves a deletion."""


class FileStore:
    """A folder on this machine."""

    def __init__(self, location: Location) -> None:
        self.root = Path(urlsplit(location.url).path)

    def _object(self, path: Path) -> StoredObject:
        stat = path.stat()
        modified = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
        return StoredObject(path.relative_to(self.root).as_posix(), stat.st_size, modified)

    def list(self, prefix: str = "") -> list[StoredObject]:
        if not self.root.is_dir():
            return []
        found = (self._object(path) for path in self.root.rglob("*") if path.is_file())
        return sorted((item for item in found if item.name.startswith(prefix)), key=lambda item: item.name)

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise LifeboatError(f"cannot read {self.root / name}: {error.strerror}.") from error

    def stream(self, name: str, start: int = 0, end: int | None = None) -> t.Iterator[bytes]:
        while end is None or start < end:
            try:  # closed while a piece is out: the reader's own errors are not this file's
                with open(self.root / name, "rb", buffering=0) as handle:
                    handle.seek(start)
                    block = handle.read(_PIECE if end is None else min(_PIECE, end - start))
            except OSError as error:
                raise LifeboatError(f"cannot read {self.root / name}: {error.strerror}.") from error
            if not block:
                return
            start += len(block)
            yield block

    def stat(self, name: str) -> StoredObject | None:
        path = self.root / name
        if not path.is_file():
            return None
        with path.open("rb") as handle:
            digest = hashlib.sha256()
            while block := handle.read(1 << 20):
                digest.update(block)
        return replace(self._object(path), checksum=f"sha256:{digest.hexdigest()}")

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if if_absent and path.exists():
                raise LifeboatError(f"{path} exists and is never overwritten.")
            temporary = path.with_name(path.name + ".new")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            raise LifeboatError(f"cannot write {path}: {error.strerror}.") from error
        return self._object(path)

    def delete(self, names: t.Sequence[str]) -> Sentences:
        refused = []
        for name in names:
            try:
                (self.root / name).unlink(missing_ok=True)
            except OSError as error:
                refused.append(f"cannot delete {self.root / name}: {error.strerror}.")
        return refused


class S3Store:
    """A prefix in a bucket."""

    def __init__(self, location: Location) -> None:
        parts = urlsplit(location.url)
        self.location = location
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self.client = s3_client(location)

    def _failure(self, doing: str, error: Exception) -> LifeboatError:
        return LifeboatError(explain(f"{doing} in s3://{self.bucket}", error))

    def list(self, prefix: str = "") -> list[StoredObject]:
        from botocore.exceptions import BotoCoreError, ClientError

        found: list[StoredObject] = []
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    name = item["Key"][len(self.prefix) :]
                    found.append(StoredObject(name, item["Size"], item["LastModified"], _etag(item)))
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"list {self.prefix + prefix!r}", error) from error
        return found

    def read(self, name: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return t.cast(bytes, self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read())
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"read {self.prefix + name!r}", error) from error

    def stream(self, name: str, start: int = 0, end: int | None = None) -> t.Iterator[bytes]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            span = {} if not start and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, **span)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(_PIECE)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"read {self.prefix + name!r}", error) from error

    def stat(self, name: str) -> StoredObject | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return None
            raise self._failure(f"look at {self.prefix + name!r}", error) from error
        except BotoCoreError as error:
            raise self._failure(f"look at {self.prefix + name!r}", error) from error
        return StoredObject(name, head["ContentLength"], head["LastModified"], _etag(head), head.get("VersionId"))

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        from botocore.exceptions import BotoCoreError, ClientError

        more: dict[str, t.Any] = {"IfNoneMatch": "*"} if if_absent else {}
        more |= self.location.server_side_encryption
        try:
            answer = self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data, **more)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"write {self.prefix + name!r}", error) from error
        now = datetime.now(timezone.utc)
        return StoredObject(name, len(data), now, _etag(answer), answer.get("VersionId"))

    def delete(self, names: t.Sequence[str]) -> Sentences:
        from botocore.exceptions import BotoCoreError, ClientError

        refused = []
        for first in range(0, len(names), _BATCH):
            keys = [{"Key": self.prefix + name} for name in names[first : first + _BATCH]]
            try:
                answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
            except (BotoCoreError, ClientError) as error:
                refused.append(str(self._failure(f"delete {keys[0]['Key']!r} and what follows", error)))
                continue
            for item in answer.get("Errors", []):
                told = ClientError({"Error": item}, "DeleteObjects")
                refused.append(str(self._failure(f"delete {item.get('Key', '')!r}", told)))
        return refused


def _etag(answer: t.Mapping[str, t.Any]) -> str:
    return f"etag:{answer.get('ETag', '').strip(chr(34))}"


def open_store(location: Location) -> ObjectStore:
    """The store at ``location``. Nothing is contacted yet."""
    check_url(location.url)
    return S3Store(location) if location.scheme == "s3" else FileStore(location)


def sweep(location: Location) -> None:
    """Remove what a killed writer left half-written in this folder (what S3 has of that cannot be seen). Only for whoever
    holds the lock of all that write here."""
    if location.scheme != "file":
        return
    for path in Path(urlsplit(location.url).path).glob("*.new"):
        if _HALF.fullmatch(path.name):
            path.unlink(missing_ok=True)


def s3_client(location: Location) -> t.Any:
    """A boto3 S3 client: see :func:`session_client`."""
    return session_client(location, "s3")


def session_client(location: Location, service: str) -> t.Any:
    """A boto3 client for a service at this location's endpoint (RGW answers ``iam`` there too), with this location's
    own key: it never falls back to other credentials of the machine."""
    try:
        from botocore.config import Config
    except ImportError as error:
        raise LifeboatError(f"this Python lacks {error.name}: install requirements.txt into it.") from error
    session = _session(*read_credentials(location.credentials_file), location.region)
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=16,
    )
    return session.client(service, endpoint_url=location.endpoint_url, verify=location.ca_bundle or True, config=config)


@functools.lru_cache(maxsize=4)
def _session(access_key: str, secret_key: str, region: str) -> t.Any:
    """One session for all clients of a key: each new one reads the descriptions of S3 anew, for 50 ms."""
    try:
        import boto3
    except ImportError as error:
        raise LifeboatError(f"this Python lacks {error.name}: install requirements.txt into it.") from error
    return boto3.session.Session(access_key, secret_key, region_name=region)


def read_credentials(path: str | None) -> tuple[str, str]:
    """Access key and secret key from profile ``default`` of an AWS shared-credentials file."""
    if not path:
        raise Refused("no credentials file was named for the store: set store.credentials_file.")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as handle:
            parser.read_file(handle)
        section = parser["default"]
        return section["aws_access_key_id"], section["aws_secret_access_key"]
    except OSError as error:
        raise LifeboatError(f"cannot read the store credentials {path}: {error.strerror}.") from error
    except (configparser.Error, KeyError, UnicodeDecodeError):
        # the parser's own message quotes the line it tripped over, which may be the secret
        raise LifeboatError(
            f"{path} is not a credentials file: it needs [default] with aws_access_key_id and aws_secret_access_key."
        ) from None


def explain(doing: str, error: Exception) -> str:
    """One sentence for an error of boto3: what was tried, what the store said, what to do next."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", "error"))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        status = f" ({status})" if status else ""
        code = {"403": "AccessDenied", "404": "NoSuchKey", "412": "PreconditionFailed"}.get(code, code)
        step = _NEXT_STEP.get(code, "see the store's log")
        return f"cannot {doing}: the store answered {code}{status}; {step}."
    kind = type(error).__name__
    if kind in (
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionClosedError",
    ):
        return f"cannot {doing}: the store does not answer; check that it is up and reachable from this host."
    if kind == "SSLError":
        return f"cannot {doing}: the store's TLS certificate is not trusted; check ca_bundle."
    return f"cannot {doing}: {kind}: {error}."

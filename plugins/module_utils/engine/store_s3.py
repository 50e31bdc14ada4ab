# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Objects in a bucket. Every error of boto3's becomes one sentence with what the store answered and what to check."""

from __future__ import annotations

import configparser
import contextlib
import functools
import threading
import typing as t
from datetime import datetime, timezone
from urllib.parse import urlsplit

from .errors import LifeboatError, Refused
from .store_base import PIECE, Location, Sentences, StoredObject, check_crowd
from .versions import Version, ordered

_BATCH = 200  # S3 takes 1000; a busy RGW took 60 ms for each, and an answer is waited for 60 s
_NEXT_STEP = {
    # Ceph RGW with STS says this of an unknown key and of a wrong secret too
    "AccessDenied": "check that this key is the right one (roll the node out again) and that its policy covers that",
    "InvalidAccessKeyId": "it does not know this access key: roll the node out again, or check the credentials file",
    "SignatureDoesNotMatch": "the secret key is wrong: roll the node out again, or check the credentials file",
    "NoSuchBucket": "run playbooks/store.yml to create the bucket, or correct its name",
    "NoSuchKey": "the object is not there",
    "PreconditionFailed": "an object of that name exists and is never overwritten",
    # what is left when many tries did not help
    **dict.fromkeys(
        ("Throttling", "SlowDown", "ServiceUnavailable", "503"),
        "it is overloaded: wait some minutes, then run this again, for fewer nodes at once",
    ),
}

_NOT_A_NODES = {
    "AccessDenied": "a node's own key may not see versions: use the restorer's or the pruner's, on the controller"
}

# how urllib3 and OpenSSL say that a certificate is not this host's
OTHER_NAME = ("doesn't match", "no appropriate subjectAltName", "certificate is not valid for")


class S3Store:
    """A prefix in a bucket."""

    def __init__(self, location: Location) -> None:
        parts = urlsplit(location.url)
        self.location = location
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self._making = threading.Lock()  # cached_property has none since Python 3.12, and a session makes one at a time

    @property
    def client(self) -> t.Any:
        """boto3's: it takes a while to make, and who only reads may do without."""
        with self._making:
            return self._client

    @functools.cached_property
    def _client(self) -> t.Any:
        return s3_client(self.location)

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
                    found.append(StoredObject(name, item["Size"], item["LastModified"], etag(item)))
                check_crowd(len(found), self.prefix + prefix)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"list {self.prefix + prefix!r}", error) from error
        return found

    def list_versions(self, prefix: str = "") -> t.Iterator[Version]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                # boto3 tells both kinds apart, and so loses their common order
                found = [self._version(item) for item in page.get("Versions", [])]
                yield from ordered(found + [self._version(item, True) for item in page.get("DeleteMarkers", [])])
        except (BotoCoreError, ClientError) as error:
            doing = f"list the versions of {self.prefix + prefix!r} in s3://{self.bucket}"
            raise LifeboatError(explain(doing, error, _NOT_A_NODES)) from error

    def folders(self, prefix: str) -> t.Iterator[str]:
        """The names between ``prefix`` and the next slash below which there is any version or delete marker, in order."""
        from botocore.exceptions import BotoCoreError, ClientError

        start = self.prefix + prefix
        try:
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=start, Delimiter="/"
            )
            for page in pages:
                for item in page.get("CommonPrefixes", []):
                    yield item["Prefix"].removeprefix(start).rstrip("/")
        except (BotoCoreError, ClientError) as error:
            raise LifeboatError(
                explain(f"list the folders of {start!r} in s3://{self.bucket}", error, _NOT_A_NODES)
            ) from error

    def _version(self, item: t.Mapping[str, t.Any], marker: bool = False) -> Version:
        return Version(
            name=item["Key"][len(self.prefix) :],
            version_id=item["VersionId"],
            modified=item["LastModified"],
            bytes=item.get("Size", 0),
            checksum="" if marker else etag(item),
            marker=marker,
            latest=item.get("IsLatest", False),
        )

    def read(self, name: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return t.cast(bytes, self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read())
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"read {self.prefix + name!r}", error) from error

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            span = {} if not start and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
            if version_id is not None:
                span["VersionId"] = version_id
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, **span)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(PIECE)
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
        return StoredObject(name, head["ContentLength"], head["LastModified"], etag(head), head.get("VersionId"))

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        from botocore.exceptions import BotoCoreError, ClientError

        more: dict[str, t.Any] = {"IfNoneMatch": "*"} if if_absent else {}
        more |= self.location.server_side_encryption
        try:
            answer = self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data, **more)
        except (BotoCoreError, ClientError) as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code")
            if if_absent and code == "NotImplemented":  # a store that knows no such condition
                return self.write(name, data)
            if if_absent and code == "PreconditionFailed" and self.read(name) == data:
                return self.stat(name) or StoredObject(
                    name, len(data), datetime.now(timezone.utc)
                )  # an answer was lost
            raise self._failure(f"write {self.prefix + name!r}", error) from error
        now = datetime.now(timezone.utc)
        return StoredObject(name, len(data), now, etag(answer), answer.get("VersionId"))

    def delete(self, names: t.Sequence[str]) -> Sentences:
        return self._delete([{"Key": self.prefix + name} for name in names])

    def delete_versions(self, pairs: t.Sequence[tuple[str, str]]) -> Sentences:
        return self._delete([{"Key": self.prefix + name, "VersionId": version} for name, version in pairs])

    def copy_version(self, name: str, version_id: str) -> None:
        """Store this version's content as the newest one, without sending it through this host."""
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import BotoCoreError, ClientError

        source = {"Bucket": self.bucket, "Key": self.prefix + name, "VersionId": version_id}
        try:
            self.client.copy(
                source,
                self.bucket,
                self.prefix + name,
                ExtraArgs=self.location.server_side_encryption,
                Config=TransferConfig(multipart_threshold=5 << 30),  # what a store copies at once
            )
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"store {self.prefix + name!r} once more", error) from error

    def _delete(self, items: t.Sequence[dict[str, str]]) -> Sentences:
        from botocore.exceptions import BotoCoreError, ClientError

        refused = []
        for first in range(0, len(items), _BATCH):
            keys = items[first : first + _BATCH]
            try:
                answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
            except (BotoCoreError, ClientError) as error:
                refused.append(str(self._failure(f"delete {keys[0]['Key']!r} and what follows", error)))
                continue
            for number, item in enumerate(answer.get("Errors", [])):
                told = ClientError({"Error": item}, "DeleteObjects")
                why = (self._asked_alone(item) if number == 0 else None) or told
                refused.append(self._refusal(item.get("Key", ""), item.get("VersionId"), why))
        return refused

    def _asked_alone(self, item: t.Mapping[str, str]) -> t.Any:
        """The store's reason why a version was not deleted, if it gives one: RGW says only to one at a time that it is Object
        Lock."""
        from botocore.exceptions import ClientError

        if item.get("Code") != "AccessDenied" or not item.get("VersionId"):
            return None
        try:
            self.client.delete_object(Bucket=self.bucket, Key=item["Key"], VersionId=item["VersionId"])
        except ClientError as error:
            return error
        return None  # it is gone now; whoever counts on that lists again

    def _refusal(self, key: str, version_id: str | None, error: t.Any) -> str:
        """A sentence for one that was not deleted."""
        version = f" (version {version_id})" if version_id else ""
        # both AWS and RGW say so, and AccessDenied beside it
        locked = "object lock" in str(error.response["Error"].get("Message", "")).lower()
        step = {"AccessDenied": "Object Lock holds it until its retention ends"} if locked else {}
        return explain(f"delete {key!r}{version} in s3://{self.bucket}", error, step)


def etag(answer: t.Mapping[str, t.Any]) -> str:
    return f"etag:{answer.get('ETag', '').strip(chr(34))}"


def s3_client(location: Location) -> t.Any:
    """A boto3 S3 client: see :func:`session_client`."""
    return session_client(location, "s3")


def session_client(location: Location, service: str) -> t.Any:
    """A boto3 client for a service at this location's endpoint (RGW answers ``iam`` there too), with this location's
    own key: it never falls back to other credentials of the machine."""
    return key_client(location, service, *read_credentials(location.credentials_file))


def key_client(location: Location, service: str, access_key: str, secret_key: str, attempts: int = 5) -> t.Any:
    """The same with a key that is in no file."""
    try:
        from botocore.config import Config
    except ImportError as error:
        raise LifeboatError(f"this Python lacks {error.name}: install requirements.txt into it.") from error
    session = _session(access_key, secret_key, location.region)
    config = Config(
        retries={"mode": "standard", "max_attempts": attempts},
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


def explain(doing: str, error: Exception, steps: t.Mapping[str, str] | None = None) -> str:
    """One sentence for an error of boto3: what was tried, what the store said, what to do next (by the error's code, where
    ``steps`` knows better than the usual)."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", "error"))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        status = f" ({status})" if status else ""
        code = {"403": "AccessDenied", "404": "NoSuchKey", "412": "PreconditionFailed"}.get(code, code)
        step = (steps or {}).get(code) or _NEXT_STEP.get(code, "see the store's log")
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
        other = any(words in str(error) for words in OTHER_NAME)
        why = "is for another name; check endpoint_url" if other else "is not trusted; check ca_bundle"
        return f"cannot {doing}: the store's TLS certificate {why}."
    return f"cannot {doing}: {kind}: {error}."

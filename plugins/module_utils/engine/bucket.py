# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The bucket as Lifeboat needs it: versioning on, public access blocked, data over TLS only."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from .errors import LifeboatError, Refused
from .policies import TLS_ONLY, Document, check_bucket, tls_only_statement
from .store import Location, explain, s3_client

# Without BlockPublicAcls: on RGW (18.2.7, tried) it refuses every upload, also those that name no ACL. Public ACLs can
# be written there, but IgnorePublicAcls takes their effect away.
_BLOCK = {"IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
_LACKS = {"ceph_rgw": ("block_public_acls",)}
_UNKNOWN_TO_STORE = {"NotImplemented", "MethodNotAllowed", "XNotImplemented", "400", "405", "501"}
_NOT_SET = {"NoSuchPublicAccessBlockConfiguration", "NoSuchBucketPolicy", "NoSuchBucket", "404"}


@dataclass(frozen=True)
class State:
    """A bucket's settings: ``versioning`` is ``Enabled``, ``Suspended`` or ``off``."""

    exists: bool = False
    versioning: str = "off"
    public_access_blocked: bool = False
    tls_only: bool = False


@dataclass(frozen=True)
class Result:
    """What was and what is; ``unsupported`` names settings that this store cannot keep."""

    before: State
    after: State
    unsupported: tuple[str, ...]


def ensure(location: Location, *, provider: str = "ceph_rgw", tls_only: bool = True, check: bool = False) -> Result:
    """Create the bucket if it is missing and make its settings fit; ``location`` has the minter's credentials.

    With ``check`` nothing is written, and ``unsupported`` holds only what a look at the store shows.
    """
    keeper = _Keeper(location)
    keeper.unsupported.extend(_LACKS[provider])
    before = keeper.look()
    wanted = State(True, "Enabled", True, tls_only or before.tls_only)
    unsupported = list(keeper.unsupported)
    if check:
        block = wanted.public_access_blocked and "public_access_block" not in unsupported
        return Result(before, State(True, "Enabled", block, wanted.tls_only), tuple(unsupported))
    if not before.exists:
        keeper.create()
    if before.versioning != "Enabled":
        keeper.enable_versioning()
    if not before.public_access_blocked:
        keeper.block_public_access()
    if wanted.tls_only and not before.tls_only:
        keeper.refuse_plain_http()
    return Result(before, keeper.look(), tuple(dict.fromkeys(keeper.unsupported)))


def exists(location: Location) -> bool:
    """Whether the bucket is there; ``location`` has the minter's credentials."""
    return _Keeper(location).exists()


class _Keeper:
    """The calls, each with its errors turned into a sentence."""

    def __init__(self, location: Location) -> None:
        self.bucket = check_bucket(location.url.removeprefix("s3://").strip("/"))
        if not location.url.startswith("s3://"):
            raise Refused(f"'{location.url}' is not a bucket: write s3://bucket.")
        self.client: t.Any = s3_client(location)
        self.region = location.region
        self.unsupported: list[str] = []

    def look(self) -> State:
        if not self.exists():
            return State()
        versioning = self._call("read the versioning", lambda: self.client.get_bucket_versioning(Bucket=self.bucket))
        return State(
            True,
            (versioning or {}).get("Status", "off"),
            self._public_access_blocked(),
            tls_only_statement(self.bucket) in _statements(self._policy()),
        )

    def create(self) -> None:
        # us-east-1 is the default, and AWS refuses to hear it said
        place: t.Any = (
            {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        )
        self._call("create the bucket", lambda: self.client.create_bucket(Bucket=self.bucket, **place))

    def enable_versioning(self) -> None:
        self._call(
            "enable versioning",
            lambda: self.client.put_bucket_versioning(
                Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
            ),
        )

    def block_public_access(self) -> None:
        self._call(
            "block public access",
            lambda: self.client.put_public_access_block(Bucket=self.bucket, PublicAccessBlockConfiguration=_BLOCK),
            feature="public_access_block",
        )

    def refuse_plain_http(self) -> None:
        """Add our statement to the bucket's policy, and take it back if the store then refuses TLS as well."""
        former = self._policy()
        kept = [item for item in _statements(former) if item.get("Sid") != TLS_ONLY]
        policy = {**former, "Version": "2012-10-17", "Statement": [*kept, tls_only_statement(self.bucket)]}
        self._put_policy(policy)
        try:
            self._call("list over TLS", lambda: self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1))
        except LifeboatError:
            # RGW behind a proxy that ends TLS sees plain http (unless `rgw trust forwarded https` is set)
            self.unsupported.append("tls_only")
            if kept:
                self._put_policy({**policy, "Statement": kept})
            else:
                self._call("remove the policy", lambda: self.client.delete_bucket_policy(Bucket=self.bucket))

    def exists(self) -> bool:
        found = self._call("look at the bucket", lambda: self.client.head_bucket(Bucket=self.bucket), unset=True)
        return found is not None

    def _public_access_blocked(self) -> bool:
        answer = self._call(
            "read the public access block",
            lambda: self.client.get_public_access_block(Bucket=self.bucket),
            feature="public_access_block",
            unset=True,
        )
        found = answer["PublicAccessBlockConfiguration"] if answer else {}
        return all(found.get(name) for name in _BLOCK)

    def _policy(self) -> Document:
        answer = self._call(
            "read the bucket's policy", lambda: self.client.get_bucket_policy(Bucket=self.bucket), unset=True
        )
        return t.cast(Document, json.loads(answer["Policy"])) if answer else {}

    def _put_policy(self, policy: Document) -> None:
        text = json.dumps(policy)
        self._call("write the bucket's policy", lambda: self.client.put_bucket_policy(Bucket=self.bucket, Policy=text))

    def _call(
        self, doing: str, call: t.Callable[[], t.Any], *, feature: str | None = None, unset: bool = False
    ) -> t.Any:
        """One call; None if it asks for something that is not set (``unset``) or that the store lacks (``feature``)."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if unset and code in _NOT_SET:
                return None
            if feature and code in _UNKNOWN_TO_STORE:
                self.unsupported.append(feature)
                return None
            raise LifeboatError(explain(f"{doing} of s3://{self.bucket}", error)) from error
        except BotoCoreError as error:
            raise LifeboatError(explain(f"{doing} of s3://{self.bucket}", error)) from error


def _statements(policy: Document) -> list[Document]:
    found = policy.get("Statement", [])
    return found if isinstance(found, list) else [found]

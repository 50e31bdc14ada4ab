# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The bucket as Lifeboat needs it: versioning on, public access blocked, data over TLS only; lock, encryption and lifecycle
as :mod:`.bucket_rules` says."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from . import bucket_rules
from .bucket_rules import Lock, Rules
from .errors import LifeboatError, Refused
from .policies import TLS_ONLY, Document, check_bucket, tls_only_statement
from .store import Location, explain, s3_client

_BLOCK = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
# On RGW (18.2.7, tried) BlockPublicAcls refuses every upload, also those that name no ACL. Public ACLs can be written there,
# but IgnorePublicAcls takes their effect away.
_LACKS = {"ceph_rgw": {"BlockPublicAcls": "block_public_acls"}}
_UNKNOWN_TO_STORE = {"NotImplemented", "MethodNotAllowed", "XNotImplemented", "400", "405", "501"}
# What stores say of a lifecycle rule whose filter or storage class they do not know
_RULE_NOT_TAKEN = _UNKNOWN_TO_STORE | {"InvalidArgument", "InvalidRequest", "MalformedXML", "InvalidStorageClass"}
_NOT_SET = {
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchBucketPolicy",
    "NoSuchBucket",
    "NoSuchLifecycleConfiguration",
    "ServerSideEncryptionConfigurationNotFoundError",
    "ObjectLockConfigurationNotFoundError",
    "404",
}


@dataclass(frozen=True)
class State:
    """A bucket's settings: ``versioning`` is ``Enabled``, ``Suspended`` or ``off``; ``lock`` is ``off``, ``on`` (without
    a default retention) or the default retention; ``lifecycle`` has a line for each rule of ours."""

    exists: bool = False
    versioning: str = "off"
    public_access_blocked: bool = False
    tls_only: bool = False
    lock: str = "off"
    encryption: str = ""
    lifecycle: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What was and what is; ``unsupported`` names settings that this store cannot keep; ``hazards`` are sentences about
    what others set on the bucket."""

    before: State
    after: State
    unsupported: tuple[str, ...]
    hazards: tuple[str, ...] = ()


def ensure(
    location: Location, *, provider: str = "ceph_rgw", rules: Rules | None = None, check: bool = False
) -> Result:
    """Create the bucket if it is missing and make its settings fit; ``location`` has the minter's credentials.

    With ``check`` nothing is written, and ``unsupported`` holds only what a look at the store shows.
    """
    rules = bucket_rules.check(rules or Rules())
    keeper = Keeper(location, provider)
    before = keeper.look()
    if check:
        after = _wanted(before, rules, keeper.unsupported)
        return Result(before, after, _asked(keeper.unsupported, rules), keeper.hazards())
    if not before.exists:
        keeper.create(locked=rules.lock is not None)
    if before.versioning != "Enabled":
        keeper.enable_versioning()
    if not before.public_access_blocked:
        keeper.block_public_access()
    if rules.lock and before.lock != str(rules.lock):
        keeper.lock(rules.lock)
    if rules.encryption and before.encryption != _encryption(rules):
        keeper.encrypt(rules.encryption, rules.kms_key_id)
    if before.lifecycle != _lines(rules):
        keeper.set_lifecycle(bucket_rules.lifecycle(rules))
    if rules.tls_only and not before.tls_only:
        keeper.refuse_plain_http()
    after = keeper.look()
    return Result(before, after, _asked(keeper.unsupported, rules), keeper.hazards())


def _asked(unsupported: t.Sequence[str], rules: Rules) -> tuple[str, ...]:
    """Each once; what nobody asked for is not missed."""
    unasked = {"object_lock"} if not rules.lock else set()
    unasked |= {"encryption"} if not rules.encryption else set()
    return tuple(name for name in dict.fromkeys(unsupported) if name not in unasked)


def _wanted(before: State, rules: Rules, unsupported: t.Sequence[str]) -> State:
    lines = [
        bucket_rules.describe(rule)
        for rule in bucket_rules.lifecycle(rules)
        if not {"lifecycle", bucket_rules.feature(rule)} & {*unsupported}
    ]
    return State(
        True,
        "Enabled",
        "public_access_block" not in unsupported,
        rules.tls_only or before.tls_only,
        str(rules.lock) if rules.lock and "object_lock" not in unsupported else before.lock,
        _encryption(rules) if rules.encryption and "encryption" not in unsupported else before.encryption,
        tuple(sorted(lines)),
    )


def _lines(rules: Rules) -> tuple[str, ...]:
    return tuple(sorted(bucket_rules.describe(rule) for rule in bucket_rules.lifecycle(rules)))


def _encryption(rules: Rules) -> str:
    return f"{rules.encryption} {rules.kms_key_id or ''}".strip()


def exists(location: Location) -> bool:
    """Whether the bucket is there; ``location`` has the minter's credentials."""
    return Keeper(location).exists()


class Keeper:
    """The calls, each with its errors turned into a sentence."""

    def __init__(self, location: Location, provider: str = "ceph_rgw") -> None:
        self.bucket = check_bucket(location.url.removeprefix("s3://").strip("/"))
        if not location.url.startswith("s3://"):
            raise Refused(f"'{location.url}' is not a bucket: write s3://bucket.")
        self.client: t.Any = s3_client(location)
        self.region = location.region
        lacks = _LACKS.get(provider, {})
        self._block = {name: on for name, on in _BLOCK.items() if name not in lacks}
        self.unsupported: list[str] = list(lacks.values())
        self._rules: list[bucket_rules.Rule] = []

    def look(self) -> State:
        if not self.exists():
            return State()
        versioning = self._call("read the versioning", lambda: self.client.get_bucket_versioning(Bucket=self.bucket))
        return State(
            True,
            (versioning or {}).get("Status", "off"),
            self._public_access_blocked(),
            tls_only_statement(self.bucket) in _statements(self._policy()),
            self._lock(),
            self._encryption(),
            self._lifecycle(),
        )

    def hazards(self) -> tuple[str, ...]:
        """About the lifecycle rules of others, as last seen."""
        return tuple(bucket_rules.hazards(self._rules))

    def create(self, *, locked: bool = False) -> None:
        # us-east-1 is the default, and AWS refuses to hear it said
        place: t.Any = (
            {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        )
        if locked:
            place["ObjectLockEnabledForBucket"] = True
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
            lambda: self.client.put_public_access_block(Bucket=self.bucket, PublicAccessBlockConfiguration=self._block),
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
        except LifeboatError as error:
            if kept:
                self._put_policy({**policy, "Statement": kept})
            else:
                self._call("remove the policy", lambda: self.client.delete_bucket_policy(Bucket=self.bucket))
            if "AccessDenied" not in str(error):
                raise  # that says nothing of TLS
            # RGW behind a proxy that ends TLS sees plain http (unless `rgw trust forwarded https` is set)
            self.unsupported.append("tls_only")

    def lock(self, wanted: Lock) -> None:
        """Set the default retention. A bucket that was made without lock gets it where the store allows that (AWS)."""
        retention = {"Mode": wanted.mode.upper(), "Days": wanted.days}
        settings = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
        try:
            self._call(
                "set the Object Lock",
                lambda: self.client.put_object_lock_configuration(Bucket=self.bucket, ObjectLockConfiguration=settings),
                feature="object_lock",
            )
        except LifeboatError as error:
            if self._lock() != "off":
                raise
            raise Refused(
                f"s3://{self.bucket} was made without Object Lock, and this store gives it to new buckets only: name a new one "
                "in lifeboat_store.bucket, let the fleet back up to it, and keep the old one until its restore points are "
                f"not needed any more (the store's words: {error})"
            ) from error

    def encrypt(self, algorithm: str, key: str | None) -> None:
        default = {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": key} if key else {})
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
        self._call(
            "set the default encryption",
            lambda: self.client.put_bucket_encryption(Bucket=self.bucket, ServerSideEncryptionConfiguration=rules),
            feature="encryption",
        )

    def set_lifecycle(self, wanted: t.Sequence[bucket_rules.Rule]) -> None:
        """Set our rules beside those of others, one after the other: what the store does not take, or keeps otherwise than
        it was said, is taken back and named."""
        self._lifecycle()
        if "lifecycle" in self.unsupported:
            return
        kept = [rule for rule in self._rules if not bucket_rules.is_ours(rule)]
        for rule in wanted:
            if self._put_lifecycle([*kept, rule]) and bucket_rules.describe(rule) in self._lifecycle():
                kept.append(rule)
            else:
                self.unsupported.append(bucket_rules.feature(rule))
        if {*self._lifecycle()} != {bucket_rules.describe(rule) for rule in kept if bucket_rules.is_ours(rule)}:
            self._put_lifecycle(kept)

    def _put_lifecycle(self, rules: t.Sequence[bucket_rules.Rule]) -> bool:
        """Whether the store took the rules."""
        if not rules:
            self._call("remove the lifecycle", lambda: self.client.delete_bucket_lifecycle(Bucket=self.bucket))
            return True
        answer = self._call(
            "set the lifecycle",
            lambda: self.client.put_bucket_lifecycle_configuration(
                Bucket=self.bucket, LifecycleConfiguration={"Rules": list(rules)}
            ),
            lacking=_RULE_NOT_TAKEN,
        )
        return answer is not None

    def _lifecycle(self) -> tuple[str, ...]:
        answer = self._call(
            "read the lifecycle",
            lambda: self.client.get_bucket_lifecycle_configuration(Bucket=self.bucket),
            feature="lifecycle",
            unset=True,
        )
        self._rules = answer.get("Rules", []) if answer else []
        return tuple(sorted(bucket_rules.describe(rule) for rule in self._rules if bucket_rules.is_ours(rule)))

    def _lock(self) -> str:
        answer = self._call(
            "read the Object Lock",
            lambda: self.client.get_object_lock_configuration(Bucket=self.bucket),
            feature="object_lock",
            unset=True,
        )
        found = answer["ObjectLockConfiguration"] if answer else {}
        if found.get("ObjectLockEnabled") != "Enabled":
            return "off"
        retention = found.get("Rule", {}).get("DefaultRetention")
        if not retention:
            return "on"
        days = retention.get("Days") or 365 * retention["Years"]
        return str(Lock(retention["Mode"].lower(), days))

    def _encryption(self) -> str:
        answer = self._call(
            "read the default encryption",
            lambda: self.client.get_bucket_encryption(Bucket=self.bucket),
            feature="encryption",
            unset=True,
        )
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"] if answer else []
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
        return f"{default.get('SSEAlgorithm', '')} {default.get('KMSMasterKeyID', '')}".strip()

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
        return all(found.get(name) for name in self._block)

    def _policy(self) -> Document:
        answer = self._call(
            "read the bucket's policy", lambda: self.client.get_bucket_policy(Bucket=self.bucket), unset=True
        )
        return t.cast(Document, json.loads(answer["Policy"])) if answer else {}

    def _put_policy(self, policy: Document) -> None:
        text = json.dumps(policy)
        self._call("write the bucket's policy", lambda: self.client.put_bucket_policy(Bucket=self.bucket, Policy=text))

    def _call(
        self,
        doing: str,
        call: t.Callable[[], t.Any],
        *,
        feature: str | None = None,
        unset: bool = False,
        lacking: t.Container[str] = (),
    ) -> t.Any:
        """One call; None if it asks for something that is not set (``unset``), that the store lacks (``feature``), or if it
        answers with one of the codes ``lacking``."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if (unset and code in _NOT_SET) or code in lacking:
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

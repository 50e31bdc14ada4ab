# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Who may do what in the bucket: a power -> an S3 policy document, and the names of nodes and store users. Pure.

What a document does not allow is refused. One power would come past it: on RGW whoever uploads an object owns it, and its
access list lets the owner read it, tag it and share it with others. So powers that upload are denied that by name (RGW
18.2.7 takes no notice of ``NotAction`` in a Deny, and knows no bucket that owns all its objects). No policy variables are
used: RGW rejects them all.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t

from .errors import Refused

Document = dict[str, t.Any]

_NODE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# Narrower than S3 allows: without _ and :, so that a user's name can be taken apart in one way only.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_NAME = 64
# Words that stand for something else in patterns, in the store's layout or on a command line.
RESERVED = frozenset(
    {"all", "controller", "drill", "drills", "escrow", "ledger", "localhost", "nodes", "none", "ungrouped"}
)

# What an object's access list would give to its uploader, and what no uploader may do to a version.
_OWNERS_POWERS = (
    "s3:PutObjectAcl",  # share own backups with another user of the store, or with everyone
    "s3:PutObjectVersionAcl",
    "s3:PutObjectTagging",  # tags can steer lifecycle rules
    "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObjectVersion",  # what was stored before is for the restorer
    "s3:DeleteObjectVersion",  # never its own past
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
)


def check_node_id(node_id: str) -> str:
    """The id itself, if it can be part of object names and user names; otherwise :class:`Refused`."""
    if not _NODE_ID.fullmatch(node_id):
        raise Refused(
            f"node id '{node_id}' is not usable: use up to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter "
            "or digit (set lifeboat_node_id)."
        )
    if node_id in RESERVED:
        raise Refused(f"node id '{node_id}' is a reserved word: choose another one (set lifeboat_node_id).")
    return node_id


def check_bucket(bucket: str) -> str:
    """The bucket's name itself, if every S3 store takes it; otherwise :class:`Refused`."""
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise Refused(
            f"bucket name '{bucket}' is not usable: use 3 to 63 of a-z, 0-9, '.' and '-', "
            "with a letter or digit at both ends."
        )
    return bucket


def user_name(bucket: str, power: str, node_id: str | None = None) -> str:
    """The store user of a power, at most 64 characters (AWS). Two different identities never share a name.

    No bucket's name holds a ``_``, so the parts are told apart. A name that would be longer ends in a hash of itself after
    a ``=``, which no other name holds. In small letters: AWS takes names for equal that differ in case only.
    """
    parts = ["lifeboat", check_bucket(bucket), power]
    if node_id is not None:
        parts.append(check_node_id(node_id))
    name = "_".join(parts)
    if len(name) <= _LONGEST_NAME:
        return name
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=").lower()
    return f"{name[:37]}={digest[:26]}"


def node_policy(bucket: str, node_id: str, *, write_once: bool = False) -> Document:
    """What a node may do: keep its own prefix. With ``write_once`` no object that is there may be written over.

    Not among it: HeadBucket and a list without prefix (they would show every node's names), versions of objects
    (DeleteObjectVersion, GetObjectVersion: its past is not its own to change), and every setting of the bucket.
    """
    # the slash at the end matters: without it node1 would see node10
    own = f"nodes/{check_node_id(node_id)}/*"
    return _document(
        _allow(
            bucket,
            own,
            "s3:PutObject",  # volumes, manifests, signatures, records; also starts and completes multipart uploads
            "s3:GetObject",  # HeadObject after each upload (size, checksum, version id); resume; restore on the node
            "s3:DeleteObject",  # duplicity takes away what a crash left; with versioning on it is a delete marker
            "s3:AbortMultipartUpload",  # a broken upload leaves no parts behind that cost money
            "s3:ListMultipartUploadParts",  # which parts of an upload arrived
        ),
        _allow_list(bucket, own, "s3:ListBucket"),  # what is stored: chains, restore points, sync of the cache
        _deny(bucket, *_OWNERS_POWERS),
        *([_write_once(bucket)] if write_once else []),
    )


def _write_once(bucket: str) -> Document:
    """Refuse whatever creates an object without the header ``If-None-Match``: a put, or the end of a multipart upload (its
    beginning and its parts cannot carry the header). AWS has these keys; RGW (18.2.7, tried) takes no notice of the statement.

    It is in the node's policy and not in the bucket's: everybody else names what exists only once anyhow.
    """
    return {
        "Effect": "Deny",
        "Action": ["s3:PutObject"],
        "Resource": [_arn(bucket, "*")],
        "Condition": {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}},
    }


def restorer_policy(bucket: str) -> Document:
    """Read everything, any version of it; change nothing. Decryption needs a key as well, which is not in the store."""
    return _document(
        _allow(
            bucket,
            "*",
            "s3:GetObject",  # repositories, records, escrow entries, the ledger
            "s3:GetObjectVersion",  # the good version below what a hostile node wrote over it
        ),
        {
            "Effect": "Allow",
            "Action": [
                "s3:ListBucket",  # which nodes, chains, records, escrow entries there are
                "s3:ListBucketVersions",  # what a node overwrote or hid behind a delete marker
            ],
            "Resource": [_arn(bucket)],
        },
    )


def evidence_policy(bucket: str) -> Document:
    """Add drill reports and their ledger entries; read, list and delete nothing.

    It cannot be told apart from an overwrite, but that only adds a version: the first one stays.
    """
    return _document(
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject"],  # the report and the ledger entry of a drill
            "Resource": [_arn(bucket, "drills/*"), _arn(bucket, "ledger/drill/*")],
        },
        _deny(bucket, "s3:GetObject", *_OWNERS_POWERS),  # it adds; who wants to read asks the restorer
    )


def pruner_policy(bucket: str) -> Document:
    """Delete versions below ``nodes/``, and add what it did to the ledger; what it reads it cannot decrypt.

    Nothing of the escrow, of drills, or of what the ledger holds.
    """
    given = ("s3:GetObjectVersion", "s3:DeleteObjectVersion")
    return _document(
        {
            "Effect": "Allow",
            "Action": [
                "s3:ListBucket",  # which chains, records and ledger entries there are
                "s3:ListBucketVersions",  # what a deletion must name, and whether it is gone afterwards
            ],
            "Resource": [_arn(bucket)],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],  # records (as first written), and which drills passed
            "Resource": [_arn(bucket, "nodes/*/records/*"), _arn(bucket, "ledger/*")],
        },
        _allow(
            bucket,
            "nodes/*",
            "s3:DeleteObjectVersion",  # what retention allows to drop
            "s3:DeleteObject",  # AWS: a delete of many at once needs it always, also when it names versions
        ),
        {  # RGW: without this on the bucket a delete of many at once is refused; each object is judged by itself as well
            "Effect": "Allow",
            "Action": ["s3:DeleteObject"],
            "Resource": [_arn(bucket)],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject"],  # what was dropped, and why; what a repair removed
            "Resource": [_arn(bucket, "ledger/prune/*"), _arn(bucket, "ledger/repair/*")],
        },
        _deny(bucket, *(action for action in _OWNERS_POWERS if action not in given)),
        {  # RGW: its uploader could otherwise take a ledger entry away again
            "Effect": "Deny",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": [_arn(bucket, "ledger/*")],
        },
    )


_USERS_CHANGES = (
    "iam:CreateUser",  # one per identity
    "iam:DeleteUser",  # retire
    "iam:CreateAccessKey",
    "iam:DeleteAccessKey",  # rotate, retire
    "iam:PutUserPolicy",
    "iam:DeleteUserPolicy",
)
_USERS_LOOKS = (
    "iam:GetUser",  # whether a user of that name is ours
    "iam:ListAccessKeys",
    "iam:GetUserPolicy",  # whether it is what it should be
    "iam:ListUserPolicies",  # retire: a user who has any cannot be deleted
)
_BUCKETS_CARE = (
    "s3:CreateBucket",
    "s3:ListBucket",  # whether it is there; escrow, ledger
    "s3:ListBucketVersions",  # retire: what goes, and whether it is gone
    "s3:GetBucketVersioning",
    "s3:PutBucketVersioning",
    "s3:GetBucketPublicAccessBlock",
    "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketPolicy",  # TLS only; statements of others stay
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:GetBucketObjectLockConfiguration",
    "s3:PutBucketObjectLockConfiguration",
    "s3:GetEncryptionConfiguration",
    "s3:PutEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:PutLifecycleConfiguration",
)


def minter_policy(bucket: str) -> Document:
    """What the minter needs on AWS, for its operator to give: users under our path, the bucket's settings, escrow, ledger,
    and the deletion of what a retired node stored. What it may not do itself, a user that it makes could: guard it."""
    users = f"arn:aws:iam::*:user/lifeboat/{check_bucket(bucket)}/*"
    # AWS judges a question about a user who is not there yet by a name without a path
    pathless = "arn:aws:iam::*:user/lifeboat_*"
    return _document(
        {"Effect": "Allow", "Action": list(_USERS_CHANGES), "Resource": [users]},
        {"Effect": "Allow", "Action": list(_USERS_LOOKS), "Resource": [users, pathless]},
        {"Effect": "Allow", "Action": list(_BUCKETS_CARE), "Resource": [_arn(bucket)]},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],  # private halves in escrow, who is who in the ledger
            "Resource": [_arn(bucket, "escrow/*"), _arn(bucket, "ledger/*")],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],  # retire with backups=drop; see the pruner
            "Resource": [_arn(bucket, "nodes/*"), _arn(bucket, "escrow/*")],
        },
    )


TLS_ONLY = "LifeboatTlsOnly"


def tls_only_statement(bucket: str) -> Document:
    """A statement for the bucket's own policy that refuses plain http for all data, to everyone.

    ``BoolIfExists``, because RGW has no such key in a plain request: ``Bool`` would never match there. Settings of
    the bucket stay reachable, so that a store which is mistaken about TLS (behind a proxy) locks no one out.
    """
    return {
        "Sid": TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": [
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
            "s3:ListBucket",
            "s3:ListBucketVersions",
        ],
        "Resource": [_arn(bucket), _arn(bucket, "*")],
        "Condition": {"BoolIfExists": {"aws:SecureTransport": "false"}},
    }


def _arn(bucket: str, path: str | None = None) -> str:
    return f"arn:aws:s3:::{check_bucket(bucket)}" + (f"/{path}" if path else "")


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(bucket: str, path: str, *actions: str) -> Document:
    return {"Effect": "Allow", "Action": list(actions), "Resource": [_arn(bucket, path)]}


def _deny(bucket: str, *actions: str) -> Document:
    return {"Effect": "Deny", "Action": list(actions), "Resource": [_arn(bucket, "*")]}


def _allow_list(bucket: str, pattern: str, *actions: str) -> Document:
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": [_arn(bucket)],
        "Condition": {"StringLike": {"s3:prefix": [pattern]}},
    }

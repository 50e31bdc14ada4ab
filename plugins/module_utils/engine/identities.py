# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One identity of the store: its user, its policy and its one key, made or kept as they should be."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from .errors import Refused
from .key_files import write_file
from .policies import (
    Document,
    check_node_id,
    evidence_policy,
    node_policy,
    pruner_policy,
    restorer_policy,
    user_name,
)
from .rgw_admin import Key
from .store import read_credentials

_OF_CONTROLLER = {"restorer": restorer_policy, "evidence": evidence_policy, "pruner": pruner_policy}
POWERS = ("node", *_OF_CONTROLLER)
_POLICY = "lifeboat"


class UserAdmin(t.Protocol):
    """What a provider of users must do; :class:`.rgw_admin.RgwAdmin` says what each means."""

    def keys(self, user: str) -> list[str] | None: ...
    def create_user(self, user: str, display_name: str) -> None: ...
    def create_key(self, user: str) -> Key: ...
    def remove_key(self, user: str, access_key: str) -> None: ...
    def policy(self, user: str, name: str) -> Document | None: ...
    def put_policy(self, user: str, name: str, document: Document) -> None: ...


@dataclass(frozen=True)
class Wanted:
    """Which identity: a power in a bucket, for the power ``node`` with the node's id."""

    bucket: str
    power: str
    node_id: str | None = None

    def __post_init__(self) -> None:
        if self.power not in POWERS:
            raise Refused(f"power '{self.power}' is unknown: use one of {', '.join(POWERS)}.")
        if (self.power == "node") != (self.node_id is not None):
            raise Refused("a node id belongs to the power 'node', and only to it.")
        if self.node_id is not None:
            check_node_id(self.node_id)

    @property
    def user(self) -> str:
        return user_name(self.bucket, self.power, self.node_id)

    @property
    def policy(self) -> Document:
        if self.node_id is not None:
            return node_policy(self.bucket, self.node_id)
        return _OF_CONTROLLER[self.power](self.bucket)


@dataclass(frozen=True)
class Identity:
    """How the identity stands: ``key`` only when it was made just now, ``changes`` for people to read."""

    user: str
    access_key: str | None
    key: Key | None
    changes: tuple[str, ...]


def ensure(admin: UserAdmin, wanted: Wanted, holds: str | None, *, check: bool = False) -> Identity:
    """Make the store's side fit ``wanted``.

    ``holds`` is the access key id that its owner has installed (None: none). If the store knows it, it stays and is the
    only one. Otherwise its owner has no working key: all others are taken away and a new one is made. That also mends
    a rollout that broke off between making a key and installing it.
    """
    changes: list[str] = []
    keys = admin.keys(wanted.user)
    if keys is None:
        changes.append(f"make store user {wanted.user}")
        if not check:
            admin.create_user(wanted.user, f"Lifeboat {wanted.power} {wanted.node_id or ''}".strip())
    key: Key | None = None
    stale = [item for item in keys or [] if item != holds]
    works = holds is not None and holds in (keys or [])
    if not works:
        changes.append(f"make a key for {wanted.user}")
        if not check:
            key = admin.create_key(wanted.user)
            stale = [item for item in admin.keys(wanted.user) or [] if item != key.access_key]
    for item in stale:
        changes.append(f"remove key {item} of {wanted.user}")
        if not check:
            admin.remove_key(wanted.user, item)
    # after the keys: RGW 16 drops a user's policies when it makes a key
    if keys is None or not _same(admin.policy(wanted.user, _POLICY), wanted.policy):
        changes.append(f"set the policy of {wanted.user}")
        if not check:
            admin.put_policy(wanted.user, _POLICY, wanted.policy)
    access_key = key.access_key if key else holds if works else None
    return Identity(wanted.user, access_key, key, tuple(changes))


def _same(stored: Document | None, wanted: Document) -> bool:
    return stored is not None and json.dumps(stored, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def ensure_file(admin: UserAdmin, wanted: Wanted, path: str, *, check: bool = False) -> Identity:
    """Like :func:`ensure` for an identity whose credentials file (0600) is on this host, at ``path``."""
    identity = ensure(admin, wanted, installed_key(path), check=check)
    if identity.key:
        write_file(path, credentials(identity.key), 0o600)
    return identity


def installed_key(path: str) -> str | None:
    """The access key id in a credentials file; None if there is no file. One that others may read is refused."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise Refused(f"others may read the store credentials {path}: delete it (a new key is made then).")
    return read_credentials(path)[0]


def credentials(key: Key) -> bytes:
    """A credentials file in AWS shared-credentials form. It is a secret."""
    text = f"[default]\naws_access_key_id = {key.access_key}\naws_secret_access_key = {key.secret_key}\n"
    return text.encode()

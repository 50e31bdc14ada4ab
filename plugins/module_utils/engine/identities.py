# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One identity of the store: its user, its policy and its one key: made, kept, rotated, revoked."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass, replace

from .errors import LifeboatError, Refused
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
from .store import read_credentials
from .users import Key, UserAdmin

_OF_CONTROLLER = {"restorer": restorer_policy, "evidence": evidence_policy, "pruner": pruner_policy}
POWERS = ("node", *_OF_CONTROLLER)
_POLICY = "lifeboat"


@dataclass(frozen=True)
class Wanted:
    """Which identity: a power in a bucket, for the power ``node`` with the node's id. A node with ``write_once`` may not
    write over an object: only where the store enforces that (:mod:`.providers`)."""

    bucket: str
    power: str
    node_id: str | None = None
    write_once: bool = False

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
            return node_policy(self.bucket, self.node_id, write_once=self.write_once)
        return _OF_CONTROLLER[self.power](self.bucket)


@dataclass(frozen=True)
class Identity:
    """How the identity stands: ``key`` only when it was made just now, ``changes`` for people to read."""

    user: str
    access_key: str | None
    key: Key | None
    changes: tuple[str, ...]


# Shows that a new key works, and can do no more than it should; LifeboatError otherwise (see .probe).
Prove = t.Callable[[Wanted, Key], None]


def ensure(
    admin: UserAdmin, wanted: Wanted, holds: str | None, *, prove: Prove | None = None, check: bool = False
) -> Identity:
    """Make the store's side fit ``wanted``.

    ``holds`` is the access key id that its owner has installed (None: none). If the store knows it, it stays and is the
    only one: that also ends a rotation. Otherwise its owner has no working key: all others are taken away and a new one is
    made. That also mends a rollout that broke off between making a key and installing it.
    """
    keys = admin.keys(wanted.user)
    steps = _Steps(admin, wanted, check)
    if keys is None:
        steps.make_user()
    works = holds is not None and holds in (keys or [])
    steps.remove([item for item in keys or [] if item != holds or not works])  # first: AWS has room for two
    key = None if works else steps.make_key()
    steps.fit_policy(fresh=keys is None)
    if prove and not check and (key or not admin.manages):
        _prove_or_remove(admin, wanted, key or admin.create_key(wanted.user), prove)
    return Identity(wanted.user, key.access_key if key else holds if works else None, key, tuple(steps.changes))


def rotate(
    admin: UserAdmin, wanted: Wanted, holds: str | None, *, prove: Prove | None = None, check: bool = False
) -> Identity:
    """Make a second key beside the one that its owner holds, which goes on working until :func:`end_others` is told that the
    new one is installed. Others, which an interrupted rotation may have left, are taken away."""
    keys = admin.keys(wanted.user)
    if keys is None or holds is None or holds not in keys:
        return ensure(admin, wanted, holds, prove=prove, check=check)
    steps = _Steps(admin, wanted, check)
    steps.remove([item for item in keys if item != holds])
    key = steps.make_key()
    steps.fit_policy(fresh=False)
    if key is not None:
        if key.access_key == holds:
            raise Refused(f"there is no new key for {wanted.user}: bring one, in the place of the one that it holds.")
        if prove:
            _prove_or_remove(admin, wanted, key, prove)
    return Identity(wanted.user, key.access_key if key else None, key, tuple(steps.changes))


def end_others(admin: UserAdmin, wanted: Wanted, holds: str | None, *, check: bool = False) -> Identity:
    """The end of a rotation: every key but the one that its owner holds is taken away, and none is ever made. A key that the
    store does not know (a store may list a new one late) ends nothing, since the others may be the only ones that work."""
    keys = admin.keys(wanted.user) or []
    if holds is None or holds not in keys:
        raise LifeboatError(
            f"the store does not know the key {holds or '(none)'} that the owner of {wanted.user} holds, so no other was "
            "ended: run this again."
        )
    steps = _Steps(admin, wanted, check)
    steps.remove([item for item in keys if item != holds])
    return Identity(wanted.user, holds, None, tuple(steps.changes))


def revoke(admin: UserAdmin, wanted: Wanted, *, check: bool = False) -> tuple[str, ...]:
    """Take the identity away: none of its keys works afterwards. Returns what was changed."""
    if admin.keys(wanted.user) is None:
        return ()
    if not check:
        admin.remove_user(wanted.user)
    return (f"remove store user {wanted.user} and its keys",)


def _prove_or_remove(admin: UserAdmin, wanted: Wanted, key: Key, prove: Prove) -> None:
    try:
        prove(wanted, key)
    except LifeboatError:
        if admin.manages:
            admin.remove_key(wanted.user, key.access_key)
        raise


class _Steps:
    """The changes, each done (unless ``check``) and noted for people."""

    def __init__(self, admin: UserAdmin, wanted: Wanted, check: bool) -> None:
        self._admin, self._wanted, self._check = admin, wanted, check
        self.changes: list[str] = []

    def _due(self, change: str) -> bool:
        self.changes.append(change)
        return not self._check

    def make_user(self) -> None:
        wanted = self._wanted
        if self._due(f"make store user {wanted.user}"):
            self._admin.create_user(wanted.user, f"Lifeboat {wanted.power} {wanted.node_id or ''}".strip())

    def make_key(self) -> Key | None:
        verb = "make a" if self._admin.manages else "hand over the operator's"
        if self._due(f"{verb} key for {self._wanted.user}"):
            return self._admin.create_key(self._wanted.user)
        return None

    def remove(self, keys: t.Sequence[str]) -> None:
        for item in keys if self._admin.manages else ():
            if self._due(f"remove key {item} of {self._wanted.user}"):
                self._admin.remove_key(self._wanted.user, item)

    def fit_policy(self, *, fresh: bool) -> None:
        """After the keys: RGW 16 drops a user's policies when it makes a key."""
        user, wanted = self._wanted.user, self._wanted.policy
        if not self._admin.manages or (not fresh and _same(self._admin.policy(user, _POLICY), wanted)):
            return
        if self._due(f"set the policy of {user}"):
            self._admin.put_policy(user, _POLICY, wanted)


def _same(stored: Document | None, wanted: Document) -> bool:
    return stored is not None and json.dumps(stored, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def ensure_file(
    admin: UserAdmin,
    wanted: Wanted,
    path: str,
    *,
    renew: bool = False,
    prove: Prove | None = None,
    check: bool = False,
) -> Identity:
    """Like :func:`ensure` for an identity whose credentials file (0600) is on this host, at ``path``.

    With ``renew`` the key is rotated: the new one is proven and in the file before the old one ends.
    """
    holds = installed_key(path)
    identity = (rotate if renew else ensure)(admin, wanted, holds, prove=prove, check=check)
    if identity.key:
        write_file(path, credentials(identity.key), 0o600)
    if not renew or check:
        return identity
    ended = end_others(admin, wanted, identity.access_key)
    return replace(identity, changes=(*identity.changes, *ended.changes))


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

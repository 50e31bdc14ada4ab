# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Users of a store and their keys: what every provider does (Ceph RGW, AWS IAM, keys that the operator brings)."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .policies import Document


@dataclass(frozen=True)
class Key:
    """A store key. Its secret never shows in a representation."""

    access_key: str
    secret_key: str = field(repr=False)


class UserAdmin(t.Protocol):
    """One provider. A user who is not there is no error for what reads or takes away."""

    @property
    def settles(self) -> float:
        """Seconds after which a key or policy works everywhere, at the latest."""

    @property
    def manages(self) -> bool:
        """False if users, keys and policies are the operator's: then each key must prove what it can do."""

    def keys(self, user: str) -> list[str] | None:
        """The ids of all keys of the user that work, or None if there is no such user."""

    def create_user(self, user: str, display_name: str) -> None:
        """Make a user without a key; an existing one is left as it is."""

    def create_key(self, user: str) -> Key:
        """A new key, beside those that the user has (AWS: at most two)."""

    def remove_key(self, user: str, access_key: str) -> None:
        """Take a key away."""

    def remove_user(self, user: str) -> None:
        """Take a user away, keys first: none works when this returns or fails later."""

    def policy(self, user: str, name: str) -> Document | None:
        """The user's inline policy of that name, or None."""

    def put_policy(self, user: str, name: str, document: Document) -> None:
        """Set the user's inline policy of that name."""

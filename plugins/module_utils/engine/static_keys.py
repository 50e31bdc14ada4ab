# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Store keys that the operator brings, for stores whose users Lifeboat cannot make: a folder with ``<node id>.ini`` per node
and ``restorer.ini``, ``evidence.ini``, ``pruner.ini``, each in AWS shared-credentials form, mode 0600.

Users and policies are the operator's: nothing here can make or end a key. So each key proves what it can do (see
:mod:`.probe`) before it is handed out, and what the operator has to do is said.
"""

from __future__ import annotations

import os

from . import probe
from .errors import LifeboatError, Refused
from .identities import Wanted, installed_key
from .policies import Document
from .store import Location, read_credentials
from .users import Key


class StaticKeys:
    """A provider. ``user`` is the identity's name, whatever the store calls it; ``wanted`` is the one it is asked about."""

    settles = 0.0
    manages = False

    def __init__(self, location: Location, folder: str, wanted: Wanted) -> None:
        if not folder:
            raise Refused("keys that you bring need a folder: set lifeboat_static_keys_dir.")
        self._location = location
        self._wanted = wanted
        self._path = os.path.join(os.path.expanduser(folder), f"{wanted.node_id or wanted.power}.ini")

    def keys(self, user: str) -> list[str] | None:
        """The one in the folder."""
        held = installed_key(self._path)
        return None if held is None else [held]

    def create_user(self, user: str, display_name: str) -> None:
        raise Refused(
            f"there is no key for {user}: make a user with the policy that docs/security.md lists for the power "
            f"'{self._wanted.power}', and put its key into {self._path} (mode 0600)."
        )

    def create_key(self, user: str) -> Key:
        """The one in the folder: it is new to whoever asks."""
        return Key(*read_credentials(self._path))

    def remove_key(self, user: str, access_key: str) -> None:
        """Never asked for: ``manages`` is False."""

    def remove_user(self, user: str) -> None:
        """Refused while the key in the folder still works; a dead one is taken out of the folder."""
        key = self.create_key(user)
        if probe.works(self._location, self._wanted, key):
            raise LifeboatError(
                f"the key {key.access_key} of {user} still works: take it away at the store, and run this again. Lifeboat "
                "cannot do it with keys that you brought."
            )
        os.unlink(self._path)

    def policy(self, user: str, name: str) -> Document | None:
        return None

    def put_policy(self, user: str, name: str, document: Document) -> None:
        """Never asked for: ``manages`` is False."""

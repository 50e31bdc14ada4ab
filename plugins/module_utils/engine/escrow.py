# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Key pairs of nodes, and their private halves in escrow.

``escrow/<id>/<FINGERPRINT>.gpg`` is the private half, encrypted to the offline recovery key and to the drill key on the
controller; ``.pub.asc`` beside it is the public half. Both are written once. A public half is handed out only after its
entry was read back with the restorer's power and opened: a backup that no one can decrypt is none.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from .errors import LifeboatError, Refused
from .key_files import PublicKey, one_key, read_key_file
from .keyring import Keyring, Opened
from .once import write_once
from .policies import check_node_id
from .store import Location, ObjectStore, open_store

_ENTRY = re.compile(r"([0-9A-F]{40}|[0-9A-F]{64})\.gpg")


def entry_name(node_id: str, fingerprint: str) -> str:
    """The escrow entry's object name, from the bucket's root."""
    return f"escrow/{check_node_id(node_id)}/{fingerprint}.gpg"


def public_name(node_id: str, fingerprint: str) -> str:
    """The object name of the public half."""
    return f"escrow/{check_node_id(node_id)}/{fingerprint}.pub.asc"


def newest(store: ObjectStore, node_id: str) -> str | None:
    """The fingerprint of the node's newest key in escrow, or None."""
    folder = f"escrow/{check_node_id(node_id)}/"
    found = [
        (item.modified, match[1])
        for item in store.list(folder)
        if (match := _ENTRY.fullmatch(item.name[len(folder) :]))
    ]
    return max(found)[1] if found else None


@dataclass(frozen=True)
class Escrow:
    """Escrow as a rollout sees it: ``minter`` writes, ``restorer`` reads back, both at the bucket's root.

    ``recovery_public`` is the public half of the offline recovery key, ``drill_key`` the private drill key.
    """

    minter: ObjectStore
    restorer: ObjectStore
    recovery_public: bytes
    drill_key: bytes

    def ensure(self, node_id: str, *, check: bool = False) -> PublicKey:
        """The node's public key, proven to be recoverable; makes and escrows a pair if the node has none.

        With ``check`` nothing is written, and a pair that would be made has an empty fingerprint.
        """
        fingerprint = newest(self.restorer, node_id)
        made = fingerprint is None
        if fingerprint is None:
            if check:
                return PublicKey("", b"", True)
            fingerprint = self._deposit(node_id)
        private = self._open_both_ways(entry_name(node_id, fingerprint))
        armored, completed = self._prove(node_id, fingerprint, private, check)
        return PublicKey(fingerprint, armored, made or completed)

    def _deposit(self, node_id: str) -> str:
        with Keyring() as ring:
            recipients = self._recipients(ring)
            fingerprint = ring.generate(f"Lifeboat node {node_id}")
            sealed = ring.encrypt(ring.export_secret(fingerprint), recipients)
            public = ring.export_public(fingerprint)
        write_once(self.minter, entry_name(node_id, fingerprint), sealed)
        write_once(self.minter, public_name(node_id, fingerprint), public)
        return fingerprint

    def _recipients(self, ring: Keyring) -> list[str]:
        """The fingerprints of recovery key and drill key, both imported."""
        if b"PRIVATE KEY" in self.recovery_public:
            raise Refused(
                "the file given as public recovery key holds its private half: keep that one offline, and give "
                "the public half (lifeboat_recovery_public_key)."
            )
        recovery = one_key(ring, self.recovery_public, "the recovery key")
        drill = one_key(ring, self.drill_key, "the drill key")
        if recovery == drill:
            raise Refused("recovery key and drill key are the same key: make a recovery key of its own, offline.")
        return [recovery, drill]

    def _open_both_ways(self, name: str) -> bytes:
        """Read the entry back and open it with the drill key; the message must name the recovery key as well."""
        sealed = self.restorer.read(name)
        with Keyring() as ring:
            recovery, drill = self._recipients(ring)
            opened = _open(ring, name, sealed, "the drill key", drill)
            if not opened.encrypted_to & ring.encryption_keys(recovery):
                raise LifeboatError(
                    f"{name} is not encrypted to the recovery key {recovery}: give the recovery key that the "
                    "node was rolled out with (lifeboat_recovery_public_key)."
                )
        return opened.data

    def _prove(self, node_id: str, fingerprint: str, private: bytes, check: bool) -> tuple[bytes, bool]:
        """Let the entry's key decrypt what the stored public half encrypts.

        Returns the public half and whether it had to be stored (a rollout broke off between the two writes).
        """
        name = public_name(node_id, fingerprint)
        with Keyring() as ring:  # a new one: nothing but what the entry holds may open the probe
            _expect(ring, private, entry_name(node_id, fingerprint), fingerprint)
            missing = self.restorer.stat(name) is None
            derived = ring.export_public(fingerprint)
            if missing and not check:
                write_once(self.minter, name, derived)
            armored = derived if missing and check else self.restorer.read(name)
            probe = secrets.token_bytes(64)
            with Keyring() as writer:
                _expect(writer, armored, name, fingerprint)
                message = writer.encrypt(probe, [fingerprint])
            if ring.decrypt(message) != probe:
                raise LifeboatError(f"{name} is not the public half of its escrow entry: find out who wrote it.")
        return armored, missing


def open_key(
    location: Location, node_id: str, fingerprint: str | None, key_file: str, passphrase: str | None = None
) -> bytes:
    """The node's private key (armored), for one restore.

    ``location`` is the bucket's root with the restorer's credentials; ``key_file`` the private drill key or recovery
    key; ``fingerprint`` None means the node's newest key. The answer is a secret: keep it in memory and out of logs.
    """
    store = open_store(location)
    chosen = fingerprint or newest(store, node_id)
    if chosen is None:
        raise LifeboatError(f"there is no key of node '{node_id}' in escrow: check the id (ids are lower case).")
    name = entry_name(node_id, chosen)
    sealed = store.read(name)
    key = read_key_file(key_file)
    with Keyring(passphrase) as ring:
        opener = one_key(ring, key, key_file)
        private = _open(ring, name, sealed, key_file, opener).data
    with Keyring() as ring:
        _expect(ring, private, name, chosen)
    return private


def _expect(ring: Keyring, data: bytes, name: str, fingerprint: str) -> None:
    if one_key(ring, data, name) != fingerprint:
        raise LifeboatError(f"{name} holds another key than {fingerprint}: find out who wrote it.")


def _open(ring: Keyring, name: str, sealed: bytes, what: str, fingerprint: str) -> Opened:
    try:
        return ring.open(sealed)
    except LifeboatError as error:
        raise LifeboatError(f"{what} ({fingerprint}) does not open {name}: {error}") from error

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""OpenPGP keys and credentials in files on the controller: read with suspicion, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass

from .errors import LifeboatError, Refused
from .keyring import Keyring

DRILL_KEY = "drill.key.asc"
DRILL_PUBLIC = "drill.pub.asc"


@dataclass(frozen=True)
class PublicKey:
    """The public half of a key pair: fingerprint, armored text, and whether the pair was made just now."""

    fingerprint: str
    armored: bytes
    changed: bool


def ensure_drill_key(folder: str, *, check: bool = False) -> PublicKey:
    """The controller's drill key, made in ``folder`` (``drill.key.asc`` 0600, ``drill.pub.asc``) if it is missing.

    With ``check`` nothing is written, and a key that would be made has an empty fingerprint.
    """
    path = os.path.join(folder, DRILL_KEY)
    if os.path.exists(path):
        key = read_key_file(path)
        with Keyring() as ring:
            fingerprint = one_key(ring, key, path)
            armored = ring.export_public(fingerprint)
    elif check:
        return PublicKey("", b"", True)
    else:
        with Keyring() as ring:
            fingerprint = ring.generate("Lifeboat drill key")
            key, armored = ring.export_secret(fingerprint), ring.export_public(fingerprint)
        write_file(path, key, 0o600)
        return _with_public(folder, PublicKey(fingerprint, armored, True), check=False)
    return _with_public(folder, PublicKey(fingerprint, armored, False), check=check)


def _with_public(folder: str, key: PublicKey, *, check: bool) -> PublicKey:
    path = os.path.join(folder, DRILL_PUBLIC)
    if os.path.exists(path):
        return key
    if not check:
        write_file(path, key.armored, 0o644)
    return PublicKey(key.fingerprint, key.armored, True)


def read_key_file(path: str) -> bytes:
    """A key file's content; a private key that others on this machine may read is refused."""
    try:
        with open(path, "rb") as handle:
            data = handle.read()
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
    except OSError as error:
        raise LifeboatError(
            f"cannot read the key {path}: {error.strerror}; run playbooks/store.yml, or correct the path."
        ) from error
    if b"PRIVATE KEY" in data and mode & 0o077:
        raise Refused(f"{path} holds a private key that others may read (mode {mode:04o}): chmod 600 it.")
    return data


def is_protected(path: str) -> bool:
    """Whether the private key in this file needs a passphrase."""
    data = read_key_file(path)
    with Keyring() as ring:
        try:
            return ring.is_protected(data)
        except LifeboatError as error:
            raise LifeboatError(f"{path} is no OpenPGP key: check the file it came from.") from error


def read_passphrase(path: str) -> str:
    """The first line of a file; one that others may read, or that has no such line, is refused."""
    try:
        with open(path, "rb") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            line = handle.readline().rstrip(b"\r\n")
    except OSError as error:
        raise LifeboatError(f"cannot read the passphrase in {path}: {error.strerror}; correct the path.") from error
    if mode & 0o077:
        raise Refused(f"{path} holds a passphrase that others may read (mode {mode:04o}): chmod 600 it.")
    if not line:
        raise Refused(f"{path} has no passphrase in its first line: write it there, or leave the file out to be asked.")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Refused(f"the passphrase in {path} is not UTF-8: write the file anew.") from None


def write_file(path: str, data: bytes, mode: int) -> None:
    """Write a file of the controller whole or not at all; it never has another mode than ``mode``."""
    temporary = f"{path}.{secrets.token_hex(4)}.new"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                os.fchmod(handle.fileno(), mode)
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise LifeboatError(f"cannot write {path}: {error.strerror}.") from error


def one_key(ring: Keyring, data: bytes, what: str) -> str:
    """Import the one key that ``data`` holds; returns its fingerprint. ``what`` names the data in errors."""
    try:
        found = ring.import_keys(data)
    except LifeboatError as error:
        raise LifeboatError(f"{what} is no OpenPGP key: check the file it came from.") from error
    if len(found) != 1:
        raise Refused(f"{what} holds {len(found)} OpenPGP keys: give a file with exactly one.")
    return found[0]

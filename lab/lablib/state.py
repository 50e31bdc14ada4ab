# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A lab's files on the controller: keys, certificates, known hosts, `fleet.json`. All belong to the calling user."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LabError
from .process import run
from .topology import USUAL

ROOT = Path(__file__).resolve().parent.parent / ".state"


@dataclass(frozen=True)
class State:
    """Where one lab keeps what it must remember."""

    folder: Path

    @property
    def fleet(self) -> Path:
        """The description of the fleet, written last: it says that `up` came through."""
        return self.folder / "fleet.json"

    @property
    def key(self) -> Path:
        """The controller's private ssh key."""
        return self.folder / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The public host keys of the fleet."""
        return self.folder / "ssh" / "known_hosts"

    @property
    def ca(self) -> Path:
        """The certificate of the lab's own authority; its key lies beside it."""
        return self.folder / "ca.pem"

    @property
    def minter(self) -> Path:
        """The store administrator's credentials."""
        return self.folder / "minter.ini"

    @property
    def nodes(self) -> int:
        """How many nodes this lab has, or gets when it is brought up without a word about that."""
        try:
            return int((self.folder / "nodes").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return USUAL

    def complete(self) -> bool:
        """Whether everything that containers were made from is still here."""
        needed = (self.key, self.key.with_suffix(".pub"), self.ca, self.folder / "tls.pem")
        return all(each.exists() for each in needed)

    def read_fleet(self) -> dict[str, Any]:
        """Return the description of the fleet. Raises LabError when there is none."""
        try:
            document: dict[str, Any] = json.loads(self.fleet.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise LabError(
                f"No lab '{self.folder.name}' is up here: run `lab/lab up --name {self.folder.name}`."
            ) from None
        return document


def state_of(name: str) -> State:
    """Return the state of the lab `name` in this clone."""
    return State(ROOT / name)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all, with `mode` from its first byte; leave an equal file alone."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(path)


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lab for one command at a time. Raises LabError when another command works on it."""
    ROOT.mkdir(parents=True, exist_ok=True)
    path = ROOT / f".{name}.lock"
    with open(path, "w", encoding="ascii") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"Another command is working on the lab '{name}': wait for it and try again.") from None
        try:
            yield
        finally:
            if not (ROOT / name).exists():
                path.unlink(missing_ok=True)


def prepare(state: State) -> None:
    """Make the folder, the ssh key, the lab's authority and the recovery key pair, each only if it is missing."""
    state.folder.mkdir(parents=True, exist_ok=True)
    state.folder.chmod(0o700)
    for name in ("ssh", "controller"):
        folder = state.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
    if not state.key.exists():
        run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"lifeboat-lab-{state.folder.name}",
                "-f",
                str(state.key),
            ]
        )
    if not state.ca.exists():
        make_authority(state)
    if not (state.folder / "recovery.key.asc").exists():
        make_recovery_key(state)


CA_CONFIG = """\
[req]
distinguished_name = name
prompt = no
x509_extensions = ca
[name]
CN = Lifeboat lab {lab}
[ca]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
# Every extension that a strict verifier (Python 3.13's default) asks for.
SERVER_CONFIG = """\
[req]
distinguished_name = name
prompt = no
x509_extensions = server
[name]
CN = store
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256", "-days", "800"]


def private(path: Path) -> Path:
    """Make `path` an empty file that only its owner reads, for a program that writes a key."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def make_authority(state: State) -> None:
    """Make the lab's certificate authority: `ca.key` (0600) and `ca.pem`."""
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as config:
        config.write(CA_CONFIG.format(lab=state.folder.name))
        config.flush()
        key, certificate = private(state.folder / "ca.key"), state.folder / ".ca.pem.new"
        argv = ["openssl", "req", "-x509", "-config", config.name, *NEW_KEY]
        run([*argv, "-keyout", str(key), "-out", str(certificate)])
        certificate.replace(state.ca)


def make_server_certificate(state: State, names: Mapping[str, list[str]]) -> None:
    """Make the store's key and certificate in one file `tls.pem` (0600). `names`: kind (IP, DNS) -> values."""
    spelled = ",".join(f"{kind}:{value}" for kind, values in names.items() for value in values)
    with tempfile.TemporaryDirectory() as scratch:
        config, key, certificate = (Path(scratch) / name for name in ("config", "key", "certificate"))
        config.write_text(SERVER_CONFIG.format(names=spelled), encoding="ascii")
        issuer = ["-CA", str(state.ca), "-CAkey", str(state.folder / "ca.key")]
        argv = ["openssl", "req", "-x509", "-config", str(config), *issuer, *NEW_KEY]
        run([*argv, "-keyout", str(key), "-out", str(certificate)])
        write(
            state.folder / "tls.pem",
            key.read_text(encoding="ascii") + certificate.read_text(encoding="ascii"),
            0o600,
        )


def make_recovery_key(state: State) -> None:
    """Make the OpenPGP recovery pair: `recovery.pub.asc` and `recovery.key.asc` (0600), without a passphrase."""
    # A short path of its own: gpg-agent's socket must fit into 108 bytes.
    with tempfile.TemporaryDirectory(prefix="lab-") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-tty"]
        who = f"Lifeboat lab {state.folder.name} recovery <recovery@lifeboat.test>"
        try:
            run([*gpg, "--passphrase", "", "--quick-gen-key", who, "future-default", "default", "never"])
            public = run([*gpg, "--armor", "--export"]).out
            secret = run([*gpg, "--armor", "--export-secret-keys"]).out
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    write(state.folder / "recovery.pub.asc", public)
    write(state.folder / "recovery.key.asc", secret, 0o600)


def remove(folder: Path, name: str) -> None:
    """Remove a lab's state folder, if `folder` is one: never anything that a wrong label points to."""
    if (
        folder.name == name
        and folder.parent.name == ".state"
        and folder.parent.parent.name == "lab"
        and not folder.is_symlink()
    ):
        shutil.rmtree(folder, ignore_errors=True)

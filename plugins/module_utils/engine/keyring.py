# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A private OpenPGP keyring for the length of one operation: in memory where possible, then gone.

Keys and data go over pipes only: nothing secret is in an argument vector, an environment or a file outside
the keyring.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import types
import typing as t
from dataclasses import dataclass

from . import private
from .errors import LifeboatError, Refused

_TIMEOUT = 300.0  # seconds; only a waiting agent takes so long
# With many decryptions at once the agent's locked memory runs out, and gpg says that there is no secret key (2.2.40, tried
# with RSA 4096 and 48 at once: half of them failed).
_AGENT = "auto-expand-secmem 0x40000\n"
_STATUS = re.compile(r"^\[GNUPG:\] (\S+)(?: (.*))?$", re.MULTILINE)

# Curve 25519 is made in milliseconds and known to every gpg since 2.1.17. The preferences are those that 2.2
# writes: left alone, 2.4 asks for its own OCB format, which older programs cannot read.
_PARAMETERS = """\
%no-protection
Key-Type: eddsa
Key-Curve: ed25519
Key-Usage: sign,cert
Subkey-Type: ecdh
Subkey-Curve: cv25519
Subkey-Usage: encrypt
Preferences: AES256 AES192 AES SHA512 SHA384 SHA256 ZLIB ZIP Uncompressed
Name-Real: {name}
Expire-Date: 0
%commit
"""


@dataclass(frozen=True)
class Opened:
    """A decrypted message and the long ids of all keys that it was encrypted to."""

    data: bytes
    encrypted_to: frozenset[str]


def environment(home: str) -> dict[str, str]:
    """What gpg is started with; ``home`` is its GNUPGHOME."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": path, "HOME": home, "GNUPGHOME": home, "LC_ALL": "C.UTF-8"}


def passphrase_file(home: str) -> str:
    """Where a keyring's passphrase is, in its first line: empty if there is none, so that gpg never asks."""
    return os.path.join(home, "passphrase")  # the launcher reads it too


def command(home: str, status: int) -> list[str]:
    """How a gpg begins that speaks to nobody but us; its status lines go to the descriptor ``status``."""
    quiet = ("gpg", "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback")
    return [*quiet, "--status-fd", str(status), "--passphrase-file", passphrase_file(home)]


class Keyring:
    """``with Keyring() as keyring``: ``keyring.home`` is its GNUPGHOME (0700), removed at the end.

    ``passphrase`` opens protected keys that are imported, and messages sealed with it; keys made here have none.
    """

    def __init__(self, passphrase: str | None = None) -> None:
        self.home = ""
        self._passphrase = passphrase or ""

    def __enter__(self) -> Keyring:
        for program in ("gpg", "gpgconf"):
            if shutil.which(program) is None:
                raise LifeboatError(f"this host lacks the program {program}: install gnupg.")
        self.home = private.make()
        for path, text in (
            (os.path.join(self.home, "gpg-agent.conf"), _AGENT),
            (passphrase_file(self.home), self._passphrase),
        ):
            with open(path, "w", encoding="utf-8") as handle:
                handle.write(text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the keyring's agent and remove the keyring; safe to call twice."""
        if not self.home:
            return
        for action in (("--kill", "all"), ("--remove-socketdir",)):
            # without a socket folder under /run/user the second says so: that is no failure
            subprocess.run(
                ["gpgconf", "--homedir", self.home, *action],
                env=environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT,
                check=False,
            )
        private.remove(self.home)
        self.home = ""

    def import_keys(self, data: bytes) -> list[str]:
        """Import public or private keys (armored or not); returns the primary fingerprints, in order."""
        answer = self._gpg(["--import"], data, "import a key")
        found = [words.split()[1] for word, words in answer.status if word == "IMPORT_OK"]
        if not found:
            raise LifeboatError("cannot import a key: the data holds no OpenPGP key; check the file it came from.")
        return list(dict.fromkeys(found))

    def is_protected(self, data: bytes) -> bool:
        """Whether a private key (armored or not; it is not imported) needs a passphrase."""
        told = self._gpg(["--list-packets"], data, "look at a key").output
        return re.search(rb"^\tskey\[\d+\]: \[.* protected\]$", told, re.MULTILINE) is not None

    def generate(self, user_id: str) -> str:
        """Make a key pair without passphrase and expiry; returns its fingerprint."""
        if not user_id.isprintable() or not user_id.strip() or user_id.startswith("%"):
            raise Refused(f"the key's user id {user_id!r} is not one printable line of text.")
        parameters = _PARAMETERS.format(name=user_id).encode()
        answer = self._gpg(["--generate-key"], parameters, "make a key pair")
        for word, words in answer.status:
            if word == "KEY_CREATED":
                return words.split()[1]
        raise LifeboatError("cannot make a key pair: gpg did not name the new key; update gnupg (2.2 or newer).")

    def export_public(self, fingerprint: str) -> bytes:
        """The public half, armored."""
        return self._export("--export", fingerprint)

    def export_secret(self, fingerprint: str) -> bytes:
        """The private half, armored and as protected as it is in the keyring (keys made here: not at all)."""
        return self._export("--export-secret-keys", fingerprint)

    def encryption_keys(self, fingerprint: str) -> frozenset[str]:
        """The long ids (16 hex digits) of that key's parts which may encrypt and are valid today."""
        answer = self._gpg(["--with-colons", "--list-keys", "--", fingerprint], b"", f"look up key {fingerprint}")
        rows = (line.split(":") for line in answer.output.decode("utf-8", "replace").splitlines())
        return frozenset(
            row[4] for row in rows if row[0] in ("pub", "sub") and "e" in row[11] and row[1] not in ("r", "e", "i", "d")
        )

    def encrypt(self, data: bytes, fingerprints: t.Sequence[str]) -> bytes:
        """Encrypt to all these keys (binary, not signed)."""
        if not fingerprints:
            raise Refused("nothing can be encrypted without a key: name at least one recipient.")
        recipients = [word for fingerprint in fingerprints for word in ("--recipient", fingerprint)]
        # who is trusted was decided when the key was imported: there is no web of trust to ask
        return self._gpg(["--trust-model", "always", *recipients, "--encrypt"], data, "encrypt").output

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt with whatever private key the keyring holds; data changed on the way is an error."""
        return self.open(data).data

    def open(self, data: bytes) -> Opened:
        """Like :meth:`decrypt`, and tells to which keys the message was encrypted."""
        answer = self._gpg(["--decrypt"], data, "decrypt")
        words = [word for word, rest in answer.status]
        if "DECRYPTION_OKAY" not in words or "GOODMDC" not in words:
            raise LifeboatError("cannot decrypt: the data is not protected against change; take an undamaged copy.")
        keys = frozenset(words.split()[0] for word, words in answer.status if word == "ENC_TO")
        return Opened(answer.output, keys)

    def _export(self, what: str, fingerprint: str) -> bytes:
        output = self._gpg(["--armor", what, "--", fingerprint], b"", f"export key {fingerprint}").output
        if not output:
            raise LifeboatError(f"cannot export key {fingerprint}: this keyring does not hold it.")
        return output

    def _gpg(self, arguments: t.Sequence[str], data: bytes, doing: str) -> _Answer:
        if not self.home:
            raise RuntimeError("the keyring is not open: use it as a context manager")
        try:
            finished = subprocess.run(
                [*command(self.home, 2), *arguments],
                env=environment(self.home),
                input=data,
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LifeboatError(f"cannot {doing}: gpg did not answer within {_TIMEOUT:.0f} s; try again.") from None
        text = finished.stderr.decode("utf-8", "replace")
        status = statuses(text)
        if finished.returncode != 0:
            raise LifeboatError(f"cannot {doing}: {cause(status, text)}.")
        return _Answer(finished.stdout, status)


@dataclass(frozen=True)
class _Answer:
    output: bytes
    status: list[tuple[str, str]]


def statuses(text: str) -> list[tuple[str, str]]:
    """gpg's status lines in ``text``: each one's word, and what follows it."""
    return [(match[1], match[2] or "") for match in _STATUS.finditer(text)]


def cause(status: t.Sequence[tuple[str, str]], text: str) -> str:
    """Why gpg failed and what to do, from its status lines or, last, from what it printed."""
    words = {word for word, rest in status}
    if "DECRYPTION_FAILED" in words and "DECRYPTION_INFO" not in words:
        keys = [words.split()[0] for word, words in status if word == "ENC_TO"]
        # gpg does not tell the two apart
        lock = " and ".join(keys) or "a passphrase"
        return f"it is encrypted to {lock}: none of these private keys is at hand, or its passphrase is wrong"
    if "BADMDC" in words:
        return "the data was changed since it was encrypted; take an undamaged copy"
    if "NODATA" in words:
        return "the data is not in OpenPGP form; check the file it came from"
    if "INV_RECP" in words:
        return "a recipient's key is missing, expired or unable to encrypt"
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("[GNUPG:]")]
    return f"gpg says '{lines[-1].strip()}'" if lines else "gpg failed without a word"

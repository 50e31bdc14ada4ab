# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The private keyring, with the machine's real gpg."""

from __future__ import annotations

import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import private
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring


@pytest.fixture(scope="module")
def pair() -> t.Iterator[tuple[str, bytes, bytes]]:
    """Fingerprint, public and private half of one key."""
    with Keyring() as ring:
        fingerprint = ring.generate("Lifeboat test pair")
        yield fingerprint, ring.export_public(fingerprint), ring.export_secret(fingerprint)


def processes_naming(path: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if path.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_message_comes_back_and_names_its_keys(pair: tuple[str, bytes, bytes]) -> None:
    fingerprint, public, secret = pair
    data = bytes(range(256)) * 1000
    with Keyring() as ring:
        assert ring.import_keys(public) == [fingerprint]
        other = ring.generate("Lifeboat other")
        sealed = ring.encrypt(data, [fingerprint, other])
        expected = ring.encryption_keys(fingerprint) | ring.encryption_keys(other)
    assert data[:64] not in sealed
    with Keyring() as ring:
        assert ring.import_keys(secret) == [fingerprint]
        opened = ring.open(sealed)
    assert opened.data == data
    assert opened.encrypted_to == expected
    assert len(expected) == 2


def test_halves_hold_what_their_names_say(pair: tuple[str, bytes, bytes]) -> None:
    _, public, secret = pair
    assert public.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert secret.startswith(b"-----BEGIN PGP PRIVATE KEY BLOCK-----")
    with Keyring() as ring:
        fingerprint = ring.import_keys(public)[0]
        sealed = ring.encrypt(b"x", [fingerprint])
        with pytest.raises(LifeboatError, match="none of these private keys is at hand"):
            ring.decrypt(sealed)
        with pytest.raises(LifeboatError, match="cannot export key"):
            ring.export_secret(fingerprint)


def test_keys_have_no_expiry_and_plain_preferences(pair: tuple[str, bytes, bytes]) -> None:
    with Keyring() as ring:
        ring.import_keys(pair[1])
        listing = subprocess.run(
            ["gpg", "--homedir", ring.home, "--batch", "--with-colons", "--list-keys"],
            capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        packets = subprocess.run(["gpg", "--list-packets"], input=pair[1], capture_output=True, check=True).stdout
    rows = [line.split(":") for line in listing.splitlines() if line.startswith(("pub", "sub"))]
    assert [row[6] for row in rows] == ["", ""]
    assert [row[16] for row in rows] == ["ed25519", "cv25519"]
    assert b"pref-sym-algos: 9 8 7" in packets
    assert b"aead" not in packets.lower()


def test_one_decryption_is_fast(pair: tuple[str, bytes, bytes]) -> None:
    with Keyring() as ring:
        ring.import_keys(pair[2])
        sealed = ring.encrypt(b"x" * 1000, [pair[0]])
        ring.decrypt(sealed)
        seconds = []
        for _attempt in range(5):
            started = time.monotonic()
            ring.decrypt(sealed)
            seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.5  # 0.03 here; a key derivation on every volume would show


@pytest.mark.parametrize("failure", [None, KeyError, KeyboardInterrupt])
def test_nothing_is_left_behind(failure: type[BaseException] | None) -> None:
    home = ""

    def work() -> None:
        nonlocal home
        with Keyring() as ring:
            home = ring.home
            assert oct(os.stat(home).st_mode & 0o777) == "0o700"
            ring.generate("Lifeboat leaves nothing")
            assert processes_naming(home)
            if failure:
                raise failure

    if failure:
        with pytest.raises(failure):
            work()
    else:
        work()
    assert not os.path.lexists(home)
    deadline = time.monotonic() + 5
    while processes_naming(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_naming(home)


def test_without_memory_it_uses_the_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(private, "_is_tmpfs", lambda path: False)
    long = tmp_path / ("long" * 40)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Keyring() as ring:
        assert not ring.home.startswith(str(long))  # a socket's path would not fit
        ring.generate("Lifeboat in a folder")


def test_no_gpg_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LifeboatError, match=r"lacks the program gpg: install gnupg\.$"):
        Keyring().__enter__()


def test_a_protected_key_needs_its_passphrase() -> None:
    with Keyring(passphrase="right") as ring:
        subprocess.run(
            ["gpg", "--homedir", ring.home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "right",
             "--quick-generate-key", "Lifeboat protected", "rsa2048", "encr", "never"],
            check=True, capture_output=True,
        )  # fmt: skip
        listing = subprocess.run(
            ["gpg", "--homedir", ring.home, "--with-colons", "--list-keys"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
        secret = ring.export_secret(fingerprint)
        sealed = ring.encrypt(b"data", [fingerprint])
    with Keyring(passphrase="right") as ring:
        ring.import_keys(secret)
        assert ring.decrypt(sealed) == b"data"
    for wrong in ("wrong", None):
        with Keyring(passphrase=wrong) as ring:
            ring.import_keys(secret)
            with pytest.raises(LifeboatError, match="or its passphrase is wrong"):
                ring.decrypt(sealed)


def test_damage_and_nonsense_are_refused(pair: tuple[str, bytes, bytes]) -> None:
    with Keyring() as ring:
        ring.import_keys(pair[2])
        sealed = bytearray(ring.encrypt(b"data" * 5000, [pair[0]]))
        sealed[-200] ^= 1
        with pytest.raises(LifeboatError, match="cannot decrypt"):
            ring.decrypt(bytes(sealed))
        with pytest.raises(LifeboatError, match="cannot decrypt: the data is not in OpenPGP form"):
            ring.decrypt(b"no message at all")
        with pytest.raises(LifeboatError, match="cannot import a key: the data is not in OpenPGP form"):
            ring.import_keys(b"no key at all")
        with pytest.raises(LifeboatError, match="recipient's key is missing"):
            ring.encrypt(b"data", ["0" * 40])
        with pytest.raises(Refused):
            ring.encrypt(b"data", [])


@pytest.mark.parametrize("user_id", ["", "  ", "two\nlines", "%no-protection"])
def test_user_ids_cannot_smuggle_parameters(user_id: str) -> None:
    with Keyring() as ring, pytest.raises(Refused):
        ring.generate(user_id)


def test_many_decrypt_at_once_with_a_large_key() -> None:
    """gpg-agent's locked memory runs out otherwise, and gpg says that there is no secret key."""
    with Keyring() as ring:
        gpg = ["gpg", "--homedir", ring.home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]

        def make(*arguments: str) -> str:
            return subprocess.run([*gpg, *arguments], check=True, capture_output=True, text=True).stdout

        make("--quick-gen-key", "large", "rsa3072", "sign", "never")
        (fingerprint,) = {line.split(":")[9] for line in make("--with-colons", "-K").splitlines() if line[:3] == "fpr"}
        make("--quick-add-key", fingerprint, "rsa4096", "encr", "never")
        sealed = Path(ring.home, "sealed")
        sealed.write_bytes(ring.encrypt(b"x" * 1000, [fingerprint]))
        running = [
            subprocess.Popen([*gpg, "-d", str(sealed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _number in range(48)
        ]
        assert [process.wait() for process in running] == [0] * 48

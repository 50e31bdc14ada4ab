# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Escrow in a folder, with the machine's real gpg."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import escrow, key_files
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import FileStore, Location, StoredObject


class ReadOnly:
    """The restorer: reads the same folder, cannot write."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.list, self.read, self.stat = store.list, store.read, store.stat

    def write(self, name: str, data: bytes, *, if_absent: bool = False) -> StoredObject:
        raise AssertionError(f"the restorer wrote {name}")


class Keys(t.NamedTuple):
    recovery_public: bytes
    recovery_private: bytes
    drill_private: bytes


@pytest.fixture(scope="module")
def keys() -> Keys:
    with Keyring() as ring:
        recovery, drill = ring.generate("Test recovery"), ring.generate("Test drill")
        return Keys(ring.export_public(recovery), ring.export_secret(recovery), ring.export_secret(drill))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(Location(f"file://{tmp_path / 'store'}"))


@pytest.fixture
def desk(store: FileStore, keys: Keys) -> escrow.Escrow:
    return escrow.Escrow(store, ReadOnly(store), keys.recovery_public, keys.drill_private)


def private_file(folder: Path, data: bytes) -> str:
    path = folder / "key.asc"
    path.write_bytes(data)
    path.chmod(0o600)
    return str(path)


def test_a_new_pair_is_escrowed_and_either_key_opens_it(
    desk: escrow.Escrow, store: FileStore, keys: Keys, tmp_path: Path
) -> None:
    made = desk.ensure("node1")
    assert made.changed
    assert sorted(item.name for item in store.list()) == [
        f"escrow/node1/{made.fingerprint}.gpg",
        f"escrow/node1/{made.fingerprint}.pub.asc",
    ]
    with Keyring() as ring:
        ring.import_keys(made.armored)
        message = ring.encrypt(b"backup", [made.fingerprint])
    location = Location(f"file://{store.root}")
    for key in (keys.drill_private, keys.recovery_private):
        private = escrow.open_key(location, "node1", None, private_file(tmp_path, key))
        with Keyring() as ring:
            assert ring.import_keys(private) == [made.fingerprint]
            assert ring.decrypt(message) == b"backup"


def test_a_second_rollout_changes_nothing(desk: escrow.Escrow, store: FileStore) -> None:
    made = desk.ensure("node1")
    before = store.list()
    again = desk.ensure("node1")
    assert again == key_files.PublicKey(made.fingerprint, made.armored, False)
    assert store.list() == before


def test_check_mode_writes_nothing(desk: escrow.Escrow, store: FileStore) -> None:
    assert desk.ensure("node1", check=True) == key_files.PublicKey("", b"", True)
    assert store.list() == []
    made = desk.ensure("node1")
    (store.root / escrow.public_name("node1", made.fingerprint)).unlink()
    looked = desk.ensure("node1", check=True)
    assert (looked.fingerprint, looked.changed) == (made.fingerprint, True)
    assert len(store.list()) == 1


def test_a_rollout_that_broke_off_is_completed(desk: escrow.Escrow, store: FileStore) -> None:
    made = desk.ensure("node1")
    (store.root / escrow.public_name("node1", made.fingerprint)).unlink()
    again = desk.ensure("node1")
    assert (again.fingerprint, again.changed) == (made.fingerprint, True)
    assert not desk.ensure("node1").changed


def test_the_newest_key_counts(desk: escrow.Escrow, store: FileStore) -> None:
    first = desk.ensure("node1").fingerprint
    for item in store.root.rglob("*.*"):
        os.utime(item, (1, 1))
    second = desk._deposit("node1")
    assert first != second
    assert desk.ensure("node1").fingerprint == second


def test_no_public_half_before_the_entry_was_opened(desk: escrow.Escrow, store: FileStore) -> None:
    """Whatever is wrong with what the store gives back, no key is handed out."""
    made = desk.ensure("node1")
    entry = store.root / escrow.entry_name("node1", made.fingerprint)
    public = store.root / escrow.public_name("node1", made.fingerprint)
    good_entry, good_public = entry.read_bytes(), public.read_bytes()
    other = desk.ensure("node2")
    other_entry = store.read(escrow.entry_name("node2", other.fingerprint))
    damaged = bytearray(good_entry)
    damaged[len(damaged) // 2] ^= 1
    for bad, words in (
        (b"", "does not open"),
        (b"nonsense", "does not open"),
        (bytes(damaged), "does not open"),
        (good_entry[:-30], "does not open"),
        (other_entry, "holds another key"),
    ):
        entry.write_bytes(bad)
        with pytest.raises(LifeboatError, match=words):
            desk.ensure("node1")
    entry.write_bytes(good_entry)
    for bad, words in ((other.armored, "holds another key"), (b"nonsense", "is no OpenPGP key")):
        public.write_bytes(bad)
        with pytest.raises(LifeboatError, match=words):
            desk.ensure("node1")
    public.write_bytes(good_public)
    assert not desk.ensure("node1").changed


def test_an_entry_without_the_recovery_key_is_refused(desk: escrow.Escrow, store: FileStore, keys: Keys) -> None:
    with Keyring() as ring:
        other = ring.export_public(ring.generate("Other recovery"))
    escrow.Escrow(store, store, other, keys.drill_private).ensure("node1")
    with pytest.raises(LifeboatError, match="is not encrypted to the recovery key"):
        desk.ensure("node1")


def test_another_drill_key_is_named(desk: escrow.Escrow, store: FileStore, keys: Keys) -> None:
    desk.ensure("node1")
    with Keyring() as ring:
        other = ring.export_secret(ring.generate("Other drill"))
    with pytest.raises(LifeboatError, match=r"the drill key \([0-9A-F]{40}\) does not open escrow/node1/"):
        escrow.Escrow(store, store, keys.recovery_public, other).ensure("node1")


def test_wrong_keys_are_refused_before_anything_is_made(store: FileStore, keys: Keys) -> None:
    for recovery, drill, words in (
        (keys.recovery_private, keys.drill_private, "keep that one offline"),
        (keys.recovery_public, keys.recovery_private, "are the same key"),
        (b"nonsense", keys.drill_private, "the recovery key is no OpenPGP key"),
        (keys.recovery_public, b"nonsense", "the drill key is no OpenPGP key"),
        (keys.recovery_public + keys.drill_private, keys.drill_private, "holds its private half"),
    ):
        with pytest.raises(LifeboatError, match=words):
            escrow.Escrow(store, store, recovery, drill).ensure("node1")
    assert store.list() == []


def test_open_key_says_what_is_wrong(desk: escrow.Escrow, store: FileStore, keys: Keys, tmp_path: Path) -> None:
    location = Location(f"file://{store.root}")
    key = private_file(tmp_path, keys.drill_private)
    with pytest.raises(LifeboatError, match="no key of node 'node1' in escrow"):
        escrow.open_key(location, "node1", None, key)
    desk.ensure("node1")
    with pytest.raises(LifeboatError, match="cannot read"):
        escrow.open_key(location, "node1", "A" * 40, key)
    with pytest.raises(LifeboatError, match="cannot read the key"):
        escrow.open_key(location, "node1", None, str(tmp_path / "missing"))
    os.chmod(key, 0o644)
    with pytest.raises(Refused, match="chmod 600"):
        escrow.open_key(location, "node1", None, key)


def test_the_drill_key_is_made_once(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert key_files.ensure_drill_key(folder, check=True) == key_files.PublicKey("", b"", True)
    assert os.listdir(folder) == []
    made = key_files.ensure_drill_key(folder)
    assert made.changed
    assert {name: oct((tmp_path / name).stat().st_mode & 0o777) for name in os.listdir(folder)} == {
        "drill.key.asc": "0o600",
        "drill.pub.asc": "0o644",
    }
    assert key_files.ensure_drill_key(folder) == key_files.PublicKey(made.fingerprint, made.armored, False)
    (tmp_path / "drill.pub.asc").unlink()
    assert key_files.ensure_drill_key(folder, check=True).changed
    assert key_files.ensure_drill_key(folder).changed
    assert (tmp_path / "drill.pub.asc").read_bytes() == made.armored


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(LifeboatError, match="cannot write"):
        key_files.write_file(str(tmp_path / "missing" / "x"), b"secret", 0o600)
    (tmp_path / "folder").mkdir()
    with pytest.raises(LifeboatError, match="cannot write"):
        key_files.write_file(str(tmp_path / "folder"), b"secret", 0o600)
    assert os.listdir(tmp_path) == ["folder"]

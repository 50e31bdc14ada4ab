# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Keys that the operator brings: handed over only when they prove themselves, ended only by the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    identities,
    key_files,
    probe,
    providers,
    static_keys,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted, credentials
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key

NODE = Wanted("fleet", "node", "node1")
PLACE = Location("s3://fleet", "https://store.invalid")


class Proof:
    """What was proven; ``good`` False: the key may do too much."""

    def __init__(self, good: bool = True) -> None:
        self.good, self.seen = good, list[str]()

    def __call__(self, wanted: Wanted, key: Key) -> None:
        self.seen.append(key.access_key)
        if not self.good:
            raise LifeboatError(f"the key {key.access_key} may do more than the power '{wanted.power}'.")


def bring(folder: Path, name: str, access_key: str) -> None:
    key_files.write_file(str(folder / name), credentials(Key(access_key, "secret")), 0o600)


def admin(folder: Path, wanted: Wanted = NODE) -> static_keys.StaticKeys:
    made = providers.user_admin("static", PLACE, wanted, str(folder))
    assert isinstance(made, static_keys.StaticKeys)
    return made


def test_a_brought_key_is_handed_over_then_nothing(tmp_path: Path) -> None:
    bring(tmp_path, "node1.ini", "ONE")
    proof = Proof()
    told = identities.ensure(admin(tmp_path), NODE, None, prove=proof, check=True)
    assert (told.key, told.changes, proof.seen) == (None, (f"hand over the operator's key for {NODE.user}",), [])
    made = identities.ensure(admin(tmp_path), NODE, None, prove=proof)
    assert made.key == Key("ONE", "secret")
    again = identities.ensure(admin(tmp_path), NODE, "ONE", prove=proof)
    assert (again.changes, again.key, proof.seen) == ((), None, ["ONE", "ONE"])


def test_a_key_that_may_do_too_much_is_not_handed_over_nor_kept(tmp_path: Path) -> None:
    bring(tmp_path, "node1.ini", "WIDE")
    for holds in (None, "WIDE"):
        with pytest.raises(LifeboatError, match="may do more"):
            identities.ensure(admin(tmp_path), NODE, holds, prove=Proof(good=False))


def test_a_missing_key_says_what_to_bring(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"put its key into .*/node1.ini \(mode 0600\)"):
        identities.ensure(admin(tmp_path), NODE, None)
    with pytest.raises(Refused, match="set lifeboat_static_keys_dir"):
        providers.user_admin("static", PLACE, NODE)
    bring(tmp_path, "node1.ini", "ONE")
    (tmp_path / "node1.ini").chmod(0o644)
    with pytest.raises(Refused, match="others may read"):
        identities.ensure(admin(tmp_path), NODE, None)


def test_a_rotation_takes_the_new_key_that_was_brought(tmp_path: Path) -> None:
    bring(tmp_path, "node1.ini", "ONE")
    with pytest.raises(Refused, match=r"there is no new key .* bring one"):
        identities.rotate(admin(tmp_path), NODE, "ONE", prove=Proof())
    bring(tmp_path, "node1.ini", "TWO")
    proof = Proof()
    assert identities.rotate(admin(tmp_path), NODE, "ONE", prove=proof).access_key == "TWO"
    assert proof.seen == ["TWO"]
    assert identities.ensure(admin(tmp_path), NODE, "TWO", prove=proof).changes == ()


def test_the_controllers_keys_are_brought_as_well(tmp_path: Path) -> None:
    keys, mine = tmp_path / "keys", tmp_path / "restorer.ini"
    keys.mkdir()
    wanted = Wanted("fleet", "restorer")
    bring(keys, "restorer.ini", "ONE")
    identities.ensure_file(admin(keys, wanted), wanted, str(mine))
    bring(keys, "restorer.ini", "TWO")
    identities.ensure_file(admin(keys, wanted), wanted, str(mine), renew=True)
    assert identities.installed_key(str(mine)) == "TWO"


def test_to_end_a_key_is_the_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, "node1.ini", "ONE")
    alive = [True]
    monkeypatch.setattr(probe, "works", lambda location, wanted, key: alive[0])
    with pytest.raises(LifeboatError, match="still works: take it away at the store"):
        identities.revoke(admin(tmp_path), NODE)
    assert (tmp_path / "node1.ini").exists()
    alive[0] = False
    assert len(identities.revoke(admin(tmp_path), NODE)) == 1
    assert not (tmp_path / "node1.ini").exists()
    assert identities.revoke(admin(tmp_path), NODE) == ()


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(Refused, match="use ceph_rgw, aws_iam, static"):
        providers.user_admin("gcp", PLACE, NODE)

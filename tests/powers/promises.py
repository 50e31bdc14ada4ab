# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What must hold on every store that enforces policies: tests that the files of each store import, with a fixture ``powers``."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from tests.powers.matrix import CASES, CONTROLLER, Fleet, outcome

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    bucket,
    enrol,
    identities,
    key_files,
    ledger,
    probe,
    retire,
    times,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.escrow import open_key
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.once import write_once
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import S3Store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key

ENDED = r"InvalidAccessKeyId|AccessDenied"  # RGW with `rgw s3 auth use sts` says the latter


@pytest.mark.parametrize(("who", "call", "arguments", "allowed"), CASES)
def test_powers(powers: Fleet, who: str, call: str, arguments: dict[str, t.Any], allowed: bool) -> None:
    powers.furnish()
    assert powers.attempt(who, call, arguments) == ("done" if allowed else "AccessDenied")


@pytest.mark.parametrize("version", ["current", "older"])
def test_a_node_cannot_take_a_version_away(powers: Fleet, version: str) -> None:
    node = powers.client("node1")
    old = node.put_object(Bucket=powers.name, Key="nodes/node1/v", Body=b"1")["VersionId"]
    new = node.put_object(Bucket=powers.name, Key="nodes/node1/v", Body=b"2")["VersionId"]
    chosen = new if version == "current" else old
    call: t.Callable[[], t.Any] = lambda: node.delete_object(  # noqa: E731
        Bucket=powers.name, Key="nodes/node1/v", VersionId=chosen
    )
    assert outcome(call) == "AccessDenied"
    assert outcome(lambda: node.delete_object(Bucket=powers.name, Key="nodes/node1/v")) == "done"
    body = powers.client("restorer").get_object(Bucket=powers.name, Key="nodes/node1/v", VersionId=old)["Body"]
    assert body.read() == b"1"


def test_a_wrong_secret_is_no_power(powers: Fleet) -> None:
    path = Path(powers.file("node1")).with_name("wrong.ini")
    path.write_text(Path(powers.file("node1")).read_text()[:-5] + "AAAA\n")
    with pytest.raises(LifeboatError, match=r"SignatureDoesNotMatch|AccessDenied"):
        S3Store(replace(powers.minter, credentials_file=str(path))).list("nodes/node1/")


def test_escrow_opens_with_either_key(powers: Fleet) -> None:
    for key in (powers.folder / key_files.DRILL_KEY, powers.recovery_key):
        opened = open_key(powers.place("restorer"), "node1", None, str(key))
        assert opened.startswith(b"-----BEGIN PGP PRIVATE KEY")


def test_escrow_and_ledger_are_written_once(powers: Fleet) -> None:
    store = powers.store("minter")
    names = [item.name for item in (*store.list("escrow/node1/"), *store.list("ledger/identity/node1/"))]
    assert len(names) == 3
    for name in names:
        with pytest.raises(LifeboatError, match="never overwritten"):
            write_once(store, name, b"other")


def test_a_second_rollout_changes_nothing(powers: Fleet) -> None:
    first = powers.enrolled["node1"]
    again = powers.enrol("node1", identities.installed_key(powers.file("node1")))
    assert again.changes == ()
    assert again.key.armored == first.key.armored
    settled = bucket.ensure(powers.minter, provider=powers.provider, rules=powers.rules)
    assert settled.before == settled.after == powers.result.after
    for power in CONTROLLER:
        wanted = Wanted(powers.name, power)
        assert identities.ensure_file(powers.admin(wanted), wanted, powers.file(power)).changes == ()


def test_a_clone_is_refused_and_gets_nothing(powers: Fleet) -> None:
    holds = identities.installed_key(powers.file("node1"))
    with pytest.raises(Refused, match="belongs to machine"):
        powers.enrol("node1", None, ledger.machine_hash("clone"))
    wanted = Wanted(powers.name, "node", "node1")
    assert powers.admin(wanted).keys(wanted.user) == [holds]


def test_a_lost_store_key_is_replaced_and_the_old_one_ends(powers: Fleet) -> None:
    powers.enrol("node5")
    old = powers.store("node5")
    old.write("nodes/node5/x", b"1")
    again = powers.enrol("node5", None)
    assert again.identity.key is not None
    with pytest.raises(LifeboatError, match=ENDED):
        old.write("nodes/node5/x", b"2")
    new = powers.store("node5")
    new.write("nodes/node5/x", b"3")
    assert new.read("nodes/node5/x") == b"3"


def test_a_rotation_has_no_gap(powers: Fleet) -> None:
    first = powers.enrol("node7").identity.access_key
    old = powers.store("node7")
    second = powers.enrol("node7", first, rotate=True).identity.access_key
    new = powers.store("node7")
    for number, store in enumerate((old, new, old)):
        store.write("nodes/node7/x", str(number).encode())
    # interrupted here, and asked again: the key that nobody holds ends, the one in use does not
    third = powers.enrol("node7", second, rotate=True).identity.access_key
    with pytest.raises(LifeboatError, match=ENDED):
        old.write("nodes/node7/x", b"late")
    new.write("nodes/node7/x", b"still")
    powers.enrol("node7", third)
    with pytest.raises(LifeboatError, match=ENDED):
        new.write("nodes/node7/x", b"late")
    assert powers.store("node7").read("nodes/node7/x") == b"still"


@pytest.mark.parametrize("power", CONTROLLER)
def test_the_controllers_keys_are_rotated(powers: Fleet, power: str) -> None:
    wanted, path = Wanted(powers.name, power), powers.file(power)
    before = identities.installed_key(path)
    admin = powers.admin(wanted)

    def prove(asked: Wanted, key: Key) -> None:
        assert set(admin.keys(asked.user) or []) == {before, key.access_key}
        probe.prove(powers.minter, asked, key, 5.0)

    renewed = identities.ensure_file(admin, wanted, path, renew=True, prove=prove)
    powers.clients.pop(power, None)
    assert renewed.access_key != before
    assert admin.keys(wanted.user) == [renewed.access_key]


@pytest.mark.parametrize("power", CONTROLLER)
def test_a_key_that_may_do_more_does_not_prove_itself(powers: Fleet, power: str) -> None:
    """The key of whoever may do everything stands for one with too wide a policy; a nonsense one for one that is dead."""
    wide = Key(*identities.read_credentials(powers.file("root")))
    wanted = Wanted(powers.name, power)
    with pytest.raises(LifeboatError, match="may do more than the power"):
        probe.prove(powers.minter, wanted, wide)
    with pytest.raises(LifeboatError, match="cannot use the key NONSENSE"):
        probe.prove(powers.minter, wanted, Key("NONSENSE", "x"))
    assert not probe.works(powers.minter, wanted, Key("NONSENSE", "x"))
    assert powers.store("minter").list("nodes/probe") == powers.store("minter").list("drills/probe") == []


def test_a_retired_node_is_out_and_its_id_is_spent(powers: Fleet) -> None:
    made = powers.enrol("node8")
    node, minter = powers.store("node8"), powers.store("minter")
    for data in (b"1", b"22"):
        node.write("nodes/node8/repo/www/x", data)
    powers.client("node8").delete_object(Bucket=powers.name, Key="nodes/node8/repo/www/x")
    powers.enrol("node80")
    powers.store("node80").write("nodes/node80/x", b"neighbour")
    wanted = Wanted(powers.name, "node", "node8")
    admin = powers.admin(wanted)
    kept = retire.retire(admin, minter, wanted, times.now(), drop=False)
    assert kept.kept == retire.Gone(3, 3, 2)
    with pytest.raises(LifeboatError, match=ENDED):
        node.write("nodes/node8/repo/www/x", b"late")
    with pytest.raises(Refused, match="an id is never used again"):
        powers.enrol("node8", made.identity.access_key)
    dropped = retire.retire(admin, minter, wanted, times.now(), drop=True)
    assert dropped.gone == retire.Gone(3, 3, 2)
    for prefix in ("nodes/node8/", "escrow/node8/"):
        assert list(minter.list_versions(prefix)) == []
    assert {entry["action"] for entry in ledger.read_all(minter, "retire", "node8")} == set(ledger.RETIRED)
    assert retire.retire(admin, minter, wanted, times.now(), drop=True).changes == ()
    assert powers.store("node80").read("nodes/node80/x") == b"neighbour"


def test_check_writes_nothing(powers: Fleet) -> None:
    missing = replace(powers.minter, url=f"s3://{powers.name}-none")
    told = bucket.ensure(missing, provider=powers.provider, check=True)
    assert (told.before.exists, told.after.exists) == (False, True)
    assert not bucket.exists(missing)
    desk = powers.desk("node6")
    node = enrol.Node("node6", ledger.machine_hash("node6"), None)
    assert len(enrol.enrol(desk, node, times.now(), check=True).changes) == 5
    wanted = powers.wanted.pop("node6")
    assert powers.admin(wanted).keys(wanted.user) is None
    assert powers.store("minter").list("escrow/node6/") == []

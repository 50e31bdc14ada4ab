# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Powers against an emulator of AWS that enforces policies, with IAM users made by the provider ``aws_iam``.

It speaks plain http on loopback, so the bucket's own rule about TLS is left out here: `make policies` judges that one.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import replace

import pytest
from tests.powers.matrix import CASES, Case, Fleet, many
from tests.powers.promises import (  # noqa: F401 (pytest runs what it finds here)
    test_a_clone_is_refused_and_gets_nothing,
    test_a_key_that_may_do_more_does_not_prove_itself,
    test_a_lost_store_key_is_replaced_and_the_old_one_ends,
    test_a_node_cannot_take_a_version_away,
    test_a_retired_node_is_out_and_its_id_is_spent,
    test_a_rotation_has_no_gap,
    test_a_second_rollout_changes_nothing,
    test_a_wrong_secret_is_no_power,
    test_check_writes_nothing,
    test_escrow_and_ledger_are_written_once,
    test_escrow_opens_with_either_key,
    test_the_controllers_keys_are_rotated,
)

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import key_files
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.aws_iam import AwsIam
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.bucket_rules import Rules
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import Wanted, credentials
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.policies import minter_policy
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, key_client
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.users import Key

# It takes a DeleteObjects that names versions for s3:DeleteObject alone (1.5.33); AWS documents s3:DeleteObjectVersion beside
# it. So this one goes wrong here; it is right on Ceph RGW, and `make policies` judges the document.
_EMULATOR_IS_WRONG = [("node1", "delete_objects", {"Delete": many("nodes/node1/v", "OLDEST")}, False)]


@pytest.mark.parametrize("case", CASES)
def test_powers(powers: Fleet, case: Case) -> None:
    who, call, arguments, allowed = case
    powers.furnish()
    right = powers.attempt(who, call, arguments) == ("done" if allowed else "AccessDenied")
    assert right is (case not in _EMULATOR_IS_WRONG)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """Its address. It binds every interface unless told otherwise."""
    port = free_port()
    folder = tmp_path_factory.mktemp("emulator")
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "AUTH": "true", "SERVICES": "s3,iam,sts"}
    environment = {**os.environ, **settings, "TMPDIR": str(folder), "LOG_LEVEL": "WARNING"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "ministack"], env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _attempt in range(100):
            if process.poll() is not None:
                break
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        assert process.poll() is None, (folder / "log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def powers(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    """The minter is a user with the actions that docs/security.md lists, and no others. The emulator leaves the path out of
    a user's ARN, so here its users are named without; `make policies` judges the path."""
    folder = tmp_path_factory.mktemp("controller")
    # what the emulator takes for the account's root
    root = Location(f"s3://powers-{secrets.token_hex(4)}", emulator, credentials_file=str(folder / "root.ini"))
    key_files.write_file(str(root.credentials_file), credentials(Key("test", "test")), 0o600)
    iam = key_client(root, "iam", "test", "test")
    bucket = root.url.removeprefix("s3://")
    document = minter_policy(bucket)
    document["Statement"][0]["Resource"].append("arn:aws:iam::*:user/lifeboat_*")
    iam.create_user(UserName="minter")
    iam.put_user_policy(UserName="minter", PolicyName="m", PolicyDocument=json.dumps(document))
    made = iam.create_access_key(UserName="minter")["AccessKey"]
    minter = replace(root, credentials_file=str(folder / "minter.ini"))
    key = Key(made["AccessKeyId"], made["SecretAccessKey"])
    key_files.write_file(str(minter.credentials_file), credentials(key), 0o600)
    fleet = Fleet(folder, minter, "aws_iam", Rules(tls_only=False), root)
    fleet.make()
    yield fleet
    fleet.remove()


@pytest.fixture
def iam(powers: Fleet) -> t.Any:
    return key_client(powers.minter, "iam", "test", "test")


def test_users_lie_under_the_buckets_path_and_nothing_is_left_of_them(powers: Fleet, iam: t.Any) -> None:
    wanted = Wanted(powers.name, "node", "n" * 60)
    admin = powers.admin(wanted)
    made = powers.enrol("n" * 60).identity
    found = iam.get_user(UserName=made.user)["User"]
    assert (found["Path"], len(found["UserName"])) == (f"/lifeboat/{powers.name}/", 64)
    iam.put_user_policy(
        UserName=made.user, PolicyName="another", PolicyDocument=json.dumps(powers.wanted["node1"].policy)
    )
    admin.remove_user(made.user)
    assert admin.keys(made.user) is None
    admin.remove_user(made.user)


def test_a_user_of_that_name_elsewhere_is_not_taken_over(powers: Fleet, iam: t.Any) -> None:
    wanted = Wanted(powers.name, "node", "foreign")
    iam.create_user(UserName=wanted.user, Path="/people/")
    with pytest.raises(Refused, match="exists under the path /people/"):
        powers.admin(wanted).create_user(wanted.user, "x")
    iam.delete_user(UserName=wanted.user)


def test_an_inactive_key_works_no_longer_and_makes_room(powers: Fleet, iam: t.Any) -> None:
    first = powers.enrol("node9").identity
    second = powers.enrol("node9", first.access_key, rotate=True).identity
    iam.update_access_key(UserName=first.user, AccessKeyId=first.access_key, Status="Inactive")
    wanted = powers.wanted["node9"]
    assert powers.admin(wanted).keys(wanted.user) == [second.access_key]
    third = powers.enrol("node9", second.access_key, rotate=True).identity
    left = [row["AccessKeyId"] for row in iam.list_access_keys(UserName=first.user)["AccessKeyMetadata"]]
    assert left == [second.access_key, third.access_key]


def test_a_minter_without_the_right_is_told(powers: Fleet) -> None:
    admin = AwsIam(powers.place("node1"), powers.name)
    with pytest.raises(LifeboatError, match=r"cannot make user .* AccessDenied"):
        admin.create_user("lifeboat_x_node_y", "x")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Argument vectors and environments, word by word."""

from __future__ import annotations

import shlex
import sys
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, profile
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

WORK = command.Workspace("/c/archive", "/c/tmp", "/c/log", "/c/objects", "/dev/shm/keys")


def words(argv: tuple[str, ...]) -> list[str]:
    """The arguments from the verb on."""
    assert argv[:2] == (sys.executable, command.LAUNCHER)
    return list(argv[2:])


@pytest.mark.table("command.yml", "backup")
def test_backup(case: dict[str, t.Any]) -> None:
    data = {"node": "n1", "source": "/srv/www", "store": {"url": "s3://b/nodes/n1"}, "fingerprint": None}
    settings = profile.from_dict("site", data | case.get("profile", {}))
    assert words(command.backup(settings, case["mode"], WORK)) == shlex.split(case["argv"])


@pytest.mark.table("command.yml", "restore")
def test_restore(case: dict[str, t.Any]) -> None:
    place = Location(case["url"])
    argv = command.restore(place, "20261123T021500Z", "/d", WORK, encrypted=case["encrypted"], path=case.get("path"))
    assert words(argv) == shlex.split(case["argv"])


@pytest.mark.table("command.yml", "verify")
def test_verify(case: dict[str, t.Any]) -> None:
    argv = command.verify(Location(case["url"]), "20261123T021500Z", "/d", WORK, encrypted=case["encrypted"])
    assert words(argv) == shlex.split(case["argv"])


@pytest.mark.table("command.yml", "environment")
def test_environment(case: dict[str, t.Any]) -> None:
    work = replace(WORK, changed=case.get("changed"), progress=case.get("progress"))
    caller = {"PATH": "/p", "PASSPHRASE": "x", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/x", "TZ": "Asia/Tokyo"}
    assert command.environment(profile.location(case["store"]), work, caller, upload=case.get("upload", 0)) == {
        "PATH": "/p",
        "HOME": "/c/tmp",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": "/c/tmp",
        "GNUPGHOME": "/dev/shm/keys",
        "PYTHONDONTWRITEBYTECODE": "1",
        **case["has"],
    }


@pytest.mark.table("command.yml", "upload_share")
def test_upload_share(case: dict[str, t.Any]) -> None:
    data = {"node": "n1", "source": "/srv/www", "store": {"url": "s3://b/nodes/n1"}, "fingerprint": None}
    limits = {"upload_kib_per_second": case["kib"], "concurrency": case["concurrency"]}
    assert command.upload_share(profile.from_dict("site", data | limits)) == case["share"]


def test_a_caller_without_a_path_gets_one() -> None:
    assert command.environment(Location("file:///b"), WORK, {})["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"

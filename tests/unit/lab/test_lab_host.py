# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What is detected about the machine, from samples; and the mirror that apt uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lab.lablib import host, mirror, process
from lab.lablib.errors import LabError

V2 = ["cgroup.controllers", "cgroup.procs", "system.slice"]
HYBRID = ["cpu", "memory", "systemd", "unified"]


@pytest.mark.parametrize(("entries", "version"), [(V2, "v2"), (HYBRID, "hybrid"), (["cpu", "systemd"], "v1")])
def test_cgroup_version(entries: list[str], version: str) -> None:
    assert host.cgroup_version(entries) == version


@pytest.mark.parametrize(
    ("cgroups", "default", "runc", "chosen"),
    [
        ("v2", "crun", "/usr/sbin/runc", ""),
        ("v2", "crun", None, ""),
        ("hybrid", "crun", "/usr/sbin/runc", "/usr/sbin/runc"),
        ("hybrid", "runc", "/usr/sbin/runc", ""),
        ("v1", "crun", "/usr/sbin/runc", "/usr/sbin/runc"),
    ],
)
def test_runtime(cgroups: str, default: str, runc: str | None, chosen: str) -> None:
    assert host.choose_runtime(cgroups, default, runc) == chosen


def test_runtime_that_is_missing() -> None:
    with pytest.raises(LabError, match="install the package runc"):
        host.choose_runtime("hybrid", "crun", None)


@pytest.mark.parametrize(
    ("mask", "nofile", "nproc", "limits"),
    [
        (0x1FFFFFFFFFF, 20000, 96365, ()),
        (0x1FFFEFFFFFF, 20000, 96365, ("nofile=4096:4096", "nproc=4096:4096")),
        (0x1FFFEFFFFFF, -1, 1024, ("nofile=4096:4096", "nproc=1024:1024")),
    ],
)
def test_ulimits(mask: int, nofile: int, nproc: int, limits: tuple[str, ...]) -> None:
    assert host.bounding_set(f"Name:\tx\nCapBnd:\t{mask:016x}\n") == mask
    assert host.name_ulimits(mask, nofile, nproc) == limits


def test_missing_commands_come_with_their_packages() -> None:
    absent = {"podman", "gpg"}
    sentence = host.missing_sentence(lambda command: None if command in absent else "/usr/bin/x")
    assert "podman, gpg" in sentence
    assert "apt-get install gnupg podman" in sentence
    assert host.missing_sentence(lambda _command: "/usr/bin/x") == ""


def test_disk() -> None:
    assert host.disk_sentence({"/a": 7.0, "/b": 6.0}, 6.0) == ""
    assert "5.0 GiB are free in /b" in host.disk_sentence({"/a": 7.0, "/b": 5.0}, 6.0)
    assert host.minimum_free({}) == host.MIN_FREE_GIB
    assert host.minimum_free({"LIFEBOAT_LAB_MIN_FREE_GIB": "2.5"}) == 2.5
    with pytest.raises(LabError, match="set it to a number"):
        host.minimum_free({"LIFEBOAT_LAB_MIN_FREE_GIB": "lots"})


def test_command_prefixes() -> None:
    machine = host.Host(("sudo", "-n"), "/usr/sbin/runc", (), Path("/var/lib/containers/storage"))
    assert machine.podman("ps") == ["sudo", "-n", "podman", "--runtime", "/usr/sbin/runc", "ps"]
    root = host.Host((), "", (), Path("/"))
    assert root.podman("ps") == ["podman", "ps"]
    assert root.podman("cp", tmpdir="/t") == ["env", "TMPDIR=/t", "podman", "cp"]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["sudo", "-n", "podman", "--runtime", "/x", "create", "--name"], "podman create"),
        (["podman", "ps", "--all"], "podman ps"),
        (["env", "TMPDIR=/t", "podman", "cp", "-"], "podman cp"),
        (["/usr/bin/openssl", "req"], "openssl"),
    ],
)
def test_commands_are_named_without_operands(argv: list[str], name: str) -> None:
    assert process.what_ran(argv) == name


def test_a_program_that_is_absent_or_fails_is_one_sentence() -> None:
    with pytest.raises(LabError, match="is not installed"):
        process.run(["lifeboat-no-such-command"])
    with pytest.raises(LabError, match=r"`sh` failed \(code 3\): why"):
        process.run(["sh", "-c", "echo first >&2; echo why >&2; exit 3"])
    assert process.run(["cat"], stdin=b"a\xff").out == "a\\xff"
    assert "/usr/sbin" in process.run(["sh", "-c", "echo $PATH"]).out.strip().split(os.pathsep)


TARGETS = """\
http://mirror.test/debian-security|bookworm-security|main|Debian
http://mirror.test/debian|bookworm-updates|main|Debian
http://mirror.test/debian|bookworm|main|Debian
http://mirror.test/debian|bookworm|contrib|Debian
http://other.test/deb|nodistro|main|. nodistro
http://other.test/apt|bookworm|main|Somebody Else
"""


def test_mirror_is_the_machines_own_and_only_debian() -> None:
    archives = mirror.parse_targets(TARGETS)
    assert mirror.source_lines(archives, "trixie") == (
        "deb http://mirror.test/debian trixie main",
        "deb http://mirror.test/debian-security trixie-security main",
        "deb http://mirror.test/debian trixie-updates main",
    )


def test_proxies() -> None:
    assert mirror.parse_proxies("", {}) == {}
    assert mirror.parse_proxies("http='http://a:1'\n", {"http_proxy": "http://b:2"}) == {"http": "http://a:1"}
    assert mirror.parse_proxies("http='DIRECT'\n", {"HTTPS_PROXY": "http://b:2"}) == {"https": "http://b:2"}

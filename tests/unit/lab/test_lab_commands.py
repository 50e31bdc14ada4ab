# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Mistakes at the command line end in one sentence; the inventory script answers without a lab. No container is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab.lablib import host, process
from lab.lablib.errors import LabError

TOP = Path(__file__).resolve().parents[3]
TOOLS = ("podman", "mmdebstrap", "ssh", "ssh-keygen", "openssl", "gpg", "ip", "iptables")


def lab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run lab/lab as a person does."""
    return subprocess.run(
        [sys.executable, str(TOP / "lab" / "lab"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return what was said, having checked that it was one line on stderr and a failure."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_bad_name() -> None:
    assert "cannot name a lab" in sentence(lab("up", "--name", "No_Good"))
    assert "cannot name a lab" in sentence(lab("up", LIFEBOAT_LAB="../x"))


def test_unknown_host() -> None:
    assert "choose one of store, node1" in sentence(lab("ssh", "--name", "unit-none", "node9"))


def test_ssh_without_a_lab() -> None:
    assert "lab/lab up --name unit-none" in sentence(lab("ssh", "--name", "unit-none", "node1"))


def test_nothing_installed(tmp_path: Path) -> None:
    assert "podman" in sentence(lab("up", "--name", "unit-none", PATH=str(tmp_path)))
    assert not (TOP / "lab" / ".state" / "unit-none").exists()


def fake_tools(folder: Path, podman: str = "exit 1") -> None:
    """Put programs of the names that the lab looks for into `folder`."""
    for name in TOOLS:
        script = podman if name == "podman" else "exit 0"
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)


def test_podman_that_does_not_work(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("without root the question of sudo comes first")
    fake_tools(tmp_path, "echo 'Error: no storage' >&2; exit 125")
    assert "podman does not work here (Error: no storage)" in sentence(
        lab("up", "--name", "unit-none", PATH=f"{tmp_path}:/usr/bin:/bin")
    )


def test_neither_root_nor_sudo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="run it as root, or as a user who may use sudo"):
        host.find_sudo()


def test_sudo_without_a_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sudo").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process, "SEARCH_PATH", f"{tmp_path}:/usr/bin:/bin")
    assert host.find_sudo()[:2] == ("sudo", "-n")


def fleet(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the inventory script for a lab that does not exist."""
    return subprocess.run(
        [sys.executable, str(TOP / "inventories" / "lab" / "fleet.py"), *arguments],
        env={**os.environ, "LIFEBOAT_LAB": "unit-none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_inventory_without_a_lab() -> None:
    done = fleet("--list")
    assert done.returncode == 0
    assert json.loads(done.stdout)["_meta"] == {"hostvars": {}}
    assert done.stderr == "no lab 'unit-none' is up: run make lab-up\n"
    assert json.loads(fleet("--host", "node1").stdout) == {}
    assert fleet("--what").returncode == 2

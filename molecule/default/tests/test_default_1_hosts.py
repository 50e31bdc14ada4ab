# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a rollout leaves on every host."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://lifeboat_nodes", "ansible://lifeboat_drill_hosts"]


@pytest.fixture
def is_node(host: Host) -> bool:
    return host.check_output("hostname") != "harbour"


def test_lifeboat_command_answers(host: Host) -> None:
    assert host.check_output("lifeboat --version") == "lifeboat 0.1.0"
    assert "lifeboat restore site" in host.check_output("lifeboat --help")


def test_duplicity_is_the_pinned_one_and_alone(host: Host) -> None:
    with host.sudo():
        listed = host.check_output("/opt/lifeboat/current/venv/bin/python -m pip list --format json")
    versions = {item["name"]: item["version"] for item in json.loads(listed)}
    assert versions["duplicity"] == "3.2.1"
    assert "azure-core" not in versions


def test_service_user_owns_its_state_and_nothing_else(host: Host) -> None:
    user = host.user("lifeboat")
    assert user.shell == "/usr/sbin/nologin"
    with host.sudo():
        assert (host.file("/etc/lifeboat").user, host.file("/etc/lifeboat").mode) == ("root", 0o750)
        assert (host.file("/var/lib/lifeboat").user, host.file("/var/lib/lifeboat").mode) == ("lifeboat", 0o700)


def test_store_key_is_for_root_only_and_private_key_is_nowhere(host: Host, is_node: bool) -> None:
    with host.sudo():
        secret = host.file("/etc/lifeboat/store.ini")
        assert secret.exists == is_node
        if is_node:
            assert (secret.user, secret.group, secret.mode) == ("root", "root", 0o600)
        found = host.run("grep -rlsa 'BEGIN PGP PRIVATE[ ]KEY' /etc /var /opt/lifeboat /run /root /home /dev/shm /tmp")
        assert found.stdout == ""


def test_profile_holds_no_secret(host: Host, is_node: bool) -> None:
    if not is_node:
        pytest.skip("a drill host has no profile")
    with host.sudo():
        profile = json.loads(host.file("/etc/lifeboat/site.json").content_string)
        secret = host.file("/etc/lifeboat/store.ini").content_string
    assert profile["source"] == "/srv/www"
    assert profile["node"] == host.check_output("hostname")
    assert not any(line.split("=", 1)[1].strip() in json.dumps(profile) for line in secret.splitlines() if "=" in line)


def test_timer_waits_and_service_is_sandboxed(host: Host, is_node: bool) -> None:
    if not is_node:
        pytest.skip("a drill host backs nothing up")
    timer = host.service("lifeboat-backup@site.timer")
    assert timer.is_running
    assert timer.is_enabled
    with host.sudo():
        shown = host.check_output(
            "systemctl show lifeboat-backup@site.timer -p Persistent -p FixedRandomDelay -p RandomizedDelayUSec"
        )
        security = host.check_output("systemd-analyze security --no-pager lifeboat-backup@site.service | tail -n 1")
    assert "Persistent=yes" in shown
    assert "RandomizedDelayUSec=4h" in shown
    # "→ Overall exposure level for lifeboat-backup@site.service: 1.8 OK"; what the facts measured is the bound
    assert float(security.split(": ")[1].split()[0]) <= 2.0, security

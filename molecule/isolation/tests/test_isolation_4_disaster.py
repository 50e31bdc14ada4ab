# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""``docs/disaster.md`` is true: a node and the controller's disk are gone, and a clone of the project, a key that reads the store and
the recovery key bring the node's files back onto a host that has nothing of ours. The page's own commands are run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fleet import STATE, TOP

NODE, HOST, DEST = "node5", "node4", "/srv/rescued"
PASSPHRASE = "correct horse\\ battery 'staple'"
PAGE = (TOP / "docs" / "disaster.md").read_text(encoding="utf-8")
NOT_KEPT = ("/opt/lifeboat", "/etc/lifeboat", "/usr/local/bin/lifeboat", "/var/lib/lifeboat", "/var/cache/lifeboat")


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]


def command(number: int, **words: str) -> list[str]:
    """A command of the page with our names in place of its own."""
    argv = shlex.split(block("sh", number))
    return [
        next((f"{key}={value}" for key, value in words.items() if word.startswith(f"{key}=")), word) for word in argv
    ]


class Rescuer:
    """A person on another machine: a clone, an inventory written by hand, and what was in the safe."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.safe = folder / "clone", folder / "safe"
        listed = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"], cwd=TOP, capture_output=True, check=True
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if not name.startswith(("inventories/", "molecule/", "tests/")) and (TOP / name).exists():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TOP / name, self.clone / name, follow_symlinks=False)
        self.safe.mkdir(mode=0o700)
        self.inventory = self.clone / "rescue.yml"

    def bring(self, name: str, data: bytes) -> str:
        path = self.safe / name
        path.write_bytes(data)
        path.chmod(0o600)
        return str(path)

    def write_inventory(self, fleet: dict[str, Any], **settings: str) -> None:
        """The page's inventory, for this lab."""
        document = yaml.safe_load(block("yaml"))
        assert list(document) == ["all"]
        values = document["all"]["vars"]
        store = {key: fleet["store"][key] for key in ("bucket", "endpoint_url")}
        values["lifeboat_store"] |= store | {"ca_bundle": self.bring("ca.pem", (STATE / "ca.pem").read_bytes())}
        assert {"lifeboat_restorer_credentials", "lifeboat_recovery_key"} | {"lifeboat_store"} == set(values)
        values |= settings
        # how this lab is reached, and wheels that were downloaded before
        options = f"-o UserKnownHostsFile={self.bring('known_hosts', (STATE / 'ssh' / 'known_hosts').read_bytes())}"
        key = self.bring("id", (STATE / "ssh" / "id_ed25519").read_bytes())
        reached = {"ansible_host": fleet["hosts"][HOST]["address"], "ansible_user": "ops"}
        reached |= {"ansible_ssh_private_key_file": key, "ansible_ssh_common_args": options}
        document["all"]["hosts"] = {HOST: reached}
        values["lifeboat_cache"] = str(TOP / ".cache" / "bundle")
        self.inventory.write_text(yaml.safe_dump(document), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE", "LIFEBOAT"))}
        return {**kept, "ANSIBLE_CONFIG": str(self.clone / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}

    def run(self, argv: list[str]) -> tuple[int, str]:
        """Without a terminal."""
        done = subprocess.run(
            argv,
            cwd=self.clone,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        return done.returncode, " ".join(done.stdout.split())

    def type(self, argv: list[str], prompt: str, answer: str) -> tuple[int, str]:
        """At a terminal: wait for the prompt, type the answer."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.clone)
            os.execvpe(argv[0], argv, self.environment())
        said, typed, end = "", False, time.monotonic() + 600
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                said += os.read(terminal, 4096).decode("utf-8", "replace")
            except OSError:  # its end
                break
            if not typed and prompt in said:
                time.sleep(0.5)  # it throws away what was typed before it asks
                os.write(terminal, answer.encode() + b"\n")
                typed = True
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def protected(key: Path, folder: Path) -> bytes:
    """The recovery key with a passphrase."""
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    gpg = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--yes",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase-fd",
        "0",
    ]

    def run(*argv: str) -> bytes:
        return subprocess.run([*gpg, *argv], input=PASSPHRASE.encode() + b"\n", capture_output=True, check=True).stdout

    try:
        run("--import", str(key))
        listed = run("--with-colons", "--list-keys").decode()
        fingerprint = re.findall(r"^fpr:+(\w+):", listed, re.MULTILINE)[0]
        run("--passwd", fingerprint)
        return run("--armor", "--export-secret-keys", fingerprint)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.fixture(scope="module")
def rescuer(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rescuer]:
    """The node is off, the controller's folder is elsewhere, and the host has nothing of ours."""
    fleet = json.loads((STATE / "fleet.json").read_text())
    folder = tmp_path_factory.mktemp("rescue")
    made = Rescuer(folder)
    recovery = made.bring("recovery.key.asc", protected(STATE / "recovery.key.asc", folder))
    restorer = made.bring("restorer.ini", (STATE / "controller" / "restorer.ini").read_bytes())
    made.write_inventory(fleet, lifeboat_restorer_credentials=restorer, lifeboat_recovery_key=recovery)
    assert world.fleet.lab("stop", NODE).rc == 0
    hidden = {name: STATE / f".{name}.gone" for name in ("controller", "recovery.key.asc", "minter.ini")}
    for name, elsewhere in hidden.items():
        (STATE / name).rename(elsewhere)
    world.fleet.on(HOST, f"sudo sh -c 'systemctl stop lifeboat-backup@site.timer; rm -rf {' '.join(NOT_KEPT)}'")
    try:
        yield made
    finally:
        for name, elsewhere in hidden.items():
            elsewhere.rename(STATE / name)


def restore(**words: str) -> list[str]:
    return command(0, node=NODE, on=HOST, dest=words.pop("dest", DEST), **words)


def newest(world: Any) -> str:
    return str(max(world.truth[NODE]))


def test_the_page_has_one_command_for_it() -> None:
    assert restore()[:2] == ["ansible-playbook", "-i"]
    assert {"node=" + NODE, "on=" + HOST, "dest=" + DEST} <= set(restore())


def test_no_terminal_and_no_file_for_the_passphrase(world: Any, rescuer: Rescuer) -> None:
    code, said = rescuer.run(restore())
    assert code != 0
    assert "there is no terminal to ask for it: write it into a file (mode 0600)" in said
    assert "Traceback" not in said


def test_a_wrong_passphrase_changes_nothing_on_the_host(world: Any, rescuer: Rescuer) -> None:
    wrong = rescuer.bring("wrong", b"not this one\n")
    code, said = rescuer.run([*restore(), "-e", f"lifeboat_recovery_passphrase_file={wrong}"])
    assert code != 0
    assert "or its passphrase is wrong" in said
    assert world.fleet.on(HOST, f"ls -d {' '.join(NOT_KEPT)} {DEST} 2>/dev/null || true") == ""


def test_an_id_that_is_not_known(rescuer: Rescuer) -> None:
    passphrase = rescuer.bring("passphrase", PASSPHRASE.encode() + b"\n")
    argv = command(0, node="node55", on=HOST, dest=DEST)
    code, said = rescuer.run([*argv, "-e", f"lifeboat_recovery_passphrase_file={passphrase}"])
    assert code != 0
    assert "there is no key of node 'node55' in escrow" in said


def test_one_command_and_a_typed_passphrase(world: Any, rescuer: Rescuer) -> None:
    code, said = rescuer.type(restore(), "Passphrase of", PASSPHRASE)
    assert code == 0, said
    assert newest(world) in said
    assert PASSPHRASE not in said
    world.equals(NODE, newest(world), HOST, DEST)
    left = world.fleet.on(HOST, "sudo find /dev/shm /tmp -mindepth 1 -name 'lifeboat*'; pgrep gpg-agent || true")
    assert left == ""
    assert "restorer" not in world.fleet.on(HOST, "sudo find /etc/lifeboat /root -name '*.ini' -o -name '*.asc'")


def test_the_passphrase_from_a_file_and_an_older_point(world: Any, rescuer: Rescuer) -> None:
    oldest, passphrase = min(world.truth[NODE]), rescuer.bring("passphrase", PASSPHRASE.encode() + b"\n")
    argv = [
        *restore(dest=f"{DEST}-old"),
        "-e",
        f"lifeboat_recovery_passphrase_file={passphrase}",
        "-e",
        f"time={oldest}",
    ]
    code, said = rescuer.run(argv)
    assert code == 0, said
    world.equals(NODE, oldest, HOST, f"{DEST}-old")


def test_no_key_that_reads_the_store(world: Any, rescuer: Rescuer) -> None:
    """The store's administrator makes a new one; the recovery key here has no passphrase, and nobody is asked."""
    folder = rescuer.safe / "controller"
    minter = rescuer.bring("minter.ini", (STATE / ".minter.ini.gone").read_bytes())
    argv = command(1, lifeboat_controller_dir=str(folder), lifeboat_minter_credentials=minter)
    code, said = rescuer.run(argv)
    assert code == 0, said
    recovery = rescuer.bring("plain.key.asc", (STATE / ".recovery.key.asc.gone").read_bytes())
    fleet = json.loads((STATE / "fleet.json").read_text())
    rescuer.write_inventory(
        fleet, lifeboat_restorer_credentials=str(folder / "restorer.ini"), lifeboat_recovery_key=recovery
    )
    code, said = rescuer.run(restore(dest=f"{DEST}-again"))
    assert code == 0, said
    world.equals(NODE, newest(world), HOST, f"{DEST}-again")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The lookups in a real ``ansible`` run on this machine, without and with a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import key_files
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

ROOT = Path(__file__).resolve().parents[3]
SECRET = 'quite "secret" {{ indeed }}'


class Keys(t.NamedTuple):
    plain: str
    protected: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Files with the same key, without and with a passphrase."""
    folder = tmp_path_factory.mktemp("keys")
    found = []
    with Keyring(SECRET) as ring:
        fingerprint = ring.generate("Lookup test")
        for name in ("plain", "protected"):
            key_files.write_file(str(folder / name), ring.export_secret(fingerprint), 0o600)
            found.append(str(folder / name))
            gpg = [
                "gpg",
                "--homedir",
                ring.home,
                "--batch",
                "--yes",
                "--pinentry-mode",
                "loopback",
                "--passphrase-fd",
                "0",
            ]
            subprocess.run([*gpg, "--passwd", fingerprint], input=f"{SECRET}\n".encode(), check=True)
    return Keys(*found)


def command(expression: str) -> tuple[list[str], dict[str, str]]:
    """An ad-hoc task that shows what a lookup gives."""
    argv = [
        str(Path(sys.executable).with_name("ansible")),
        "-i",
        "localhost,",
        "localhost",
        "-c",
        "local",
        "-m",
        "debug",
    ]
    argv += ["-a", json.dumps({"msg": "[{{ " + expression + " }}]"})]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")}
    return argv, {
        **kept,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INVENTORY": "localhost,",
    }


def run(expression: str) -> str:
    argv, environment = command(expression)
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    return " ".join((done.stdout + done.stderr).split())


def lookup(key: str, file: str = "") -> str:
    return f"lookup('lifeboat.fleet.key_passphrase', '{key}', file='{file}')"


def test_a_key_without_one_asks_nobody_and_reads_no_file(keys: Keys) -> None:
    assert "[]" in run(lookup(keys.plain, "/nowhere"))
    assert "[]" in run(lookup(""))


def test_a_key_with_one_reads_the_file(keys: Keys, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    key_files.write_file(str(file), f"{SECRET}\r\nanother line\n".encode(), 0o600)
    assert f"[{SECRET}]" in run(lookup(keys.protected, str(file)))


def test_nobody_to_ask(keys: Keys) -> None:
    said = run(lookup(keys.protected))
    assert f"{keys.protected} has a passphrase, and there is no terminal to ask for it" in said


def test_somebody_to_ask(keys: Keys) -> None:
    argv, environment = command(f"({lookup(keys.protected)}) | length")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(argv[0], argv, environment)
    said, typed, end = "", False, time.monotonic() + 120
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            said += os.read(terminal, 4096).decode("utf-8", "replace")
        except OSError:  # its end
            break
        if not typed and f"Passphrase of {keys.protected}:" in said.replace("\r\n", "\n"):
            time.sleep(0.5)  # it throws away what was typed before it asks
            os.write(terminal, SECRET.encode() + b"\n")
            typed = True
    os.close(terminal)
    os.waitpid(pid, 0)
    assert f"[{len(SECRET)}]" in said, said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (b"secret\n", 0o644, "holds a passphrase that others may read (mode 0644): chmod 600 it"),
        (b"\nsecret\n", 0o600, "has no passphrase in its first line"),
        (b"", 0o600, "has no passphrase in its first line"),
        (b"\xff\xfe\n", 0o600, "is not UTF-8"),
    ],
)
def test_a_file_that_is_refused(tmp_path: Path, content: bytes, mode: int, sentence: str) -> None:
    file = tmp_path / "passphrase"
    key_files.write_file(str(file), content, mode)
    with pytest.raises(Refused) as refused:
        key_files.read_passphrase(str(file))
    assert sentence in str(refused.value)
    assert "secret" not in str(refused.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(LifeboatError, match="cannot read the passphrase in /nowhere"):
        key_files.read_passphrase("/nowhere")
    key_files.write_file(str(tmp_path / "key"), b"no key", 0o600)
    with pytest.raises(LifeboatError, match="is no OpenPGP key"):
        key_files.is_protected(str(tmp_path / "key"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("", "give 'recovery_key', or 'controller_dir' with its drill.key.asc"),
        (", recovery_key='/nowhere'", "give 'credentials', or 'controller_dir' with its restorer.ini"),
    ],
)
def test_a_nodes_key_without_any_controller(options: str, sentence: str) -> None:
    said = run("lookup('lifeboat.fleet.node_private_key', 'node1', store={'bucket': 'b1x'}" + options + ")")
    assert sentence in said

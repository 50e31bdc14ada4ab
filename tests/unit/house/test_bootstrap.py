# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/bootstrap on machines we can't have: the real script, with doubles for what it finds on PATH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# What the script may take from any Linux.
REAL_TOOLS = [
    "bash",
    "cat",
    "cp",
    "cut",
    "df",
    "dirname",
    "env",
    "flock",
    "grep",
    "head",
    "mkdir",
    "rm",
    "sha256sum",
    "tail",
    "tr",
]
LAB_PACKAGES = "aardvark-dns iptables mmdebstrap netavark podman runc uidmap"

# One interpreter for the machine and for the virtualenv: it notes its calls, and fails where it is told to.
PYTHON = """#!/usr/bin/env bash
case "$*" in
    *sys.version_info*) [[ "${FAKE_VERSION:-3.11.2}" != 3.9* ]] ;;
    --version) echo "Python ${FAKE_VERSION:-3.11.2}" ;;
    "-c import pip") ;;
    "-m venv -- "*)
        [[ "${FAKE_VENV:-ok}" == ok ]] || { echo "ensurepip is not available" >&2; exit 1; }
        mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo "#!$PWD/$4/bin/python" >"$4/bin/pip"; echo "venv" >>"$CALLS" ;;
    "-m pip install "*--require-hashes*--no-deps*)
        files=$(printf '%s\n' "$@" | grep txt$ | tr '\n' ' ')
        echo "pip ${files% } env=${VIRTUAL_ENV-}${PYTHONPATH-}${PYTHONHOME-}" >>"$CALLS"
        [[ "${FAKE_PIP:-ok}" == ok ]] || { echo "ERROR: No matching distribution found for boto3"; exit 1; } ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""
DPKG_QUERY = """#!/usr/bin/env bash
shift 3
for package in "$@"; do [[ " ${FAKE_MISSING-} " == *" $package "* ]] || printf 'installed:%s ' "$package"; done
"""
APT_GET = """#!/usr/bin/env bash
echo "apt-get $*" >>"$CALLS"
[[ "${FAKE_APT:-ok}" == ok ]] || { echo "E: no space, no luck"; exit 100; }
"""
ID = '#!/usr/bin/env bash\necho "${FAKE_UID:-0}"\n'
SUDO = '#!/usr/bin/env bash\n[[ "$1" == -n ]] && { shift; }\necho "sudo $1" >>"$CALLS"\nexec "$@"\n'


class Machine:
    """A clone in a folder of its own, on a machine whose commands are links or doubles."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        (self.clone / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts/bootstrap", self.clone / "scripts/bootstrap")
        for name in (
            "requirements.txt",
            "requirements-dev.txt",
            "requirements-duplicity.txt",
            "requirements-emulator.txt",
        ):
            (self.clone / name).write_text(f"# {name}\n", encoding="utf-8")
        for tool in REAL_TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        doubles = {"python3": PYTHON, "dpkg-query": DPKG_QUERY, "apt-get": APT_GET, "id": ID}
        for name, text in doubles.items():
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        """Put a command on the machine's PATH."""
        (self.bin / name).write_text(text, encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def run(self, mode: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
        """Call the script, with nothing of the real environment."""
        base = {
            "PATH": str(self.bin),
            "HOME": str(self.clone),
            "CALLS": str(self.calls_file),
            "LIFEBOAT_PYTHON": "python3",
        }
        return subprocess.run(
            [str(self.bin / "bash"), str(self.clone / "scripts/bootstrap"), *mode.split()],
            env={"LIFEBOAT_MIN_FREE_GIB": "0", **base, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """What was called since the last look."""
        lines = self.calls_file.read_text(encoding="utf-8").splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("bootstrap: ")
    assert lines[0].endswith(".")
    for word in words:
        assert word in lines[0]


def test_a_ready_machine_only_gets_the_virtualenv_and_then_nothing(machine: Machine) -> None:
    first = machine.run()
    assert first.returncode == 0, first.stderr
    assert machine.calls() == ["venv", "pip requirements.txt env="]
    second = machine.run()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert machine.calls() == []


def test_dev_covers_run_and_tools(machine: Machine) -> None:
    assert machine.run("dev").returncode == 0
    assert machine.calls() == [
        "venv",
        "pip requirements.txt requirements-dev.txt requirements-duplicity.txt requirements-emulator.txt env=",
    ]
    assert machine.run("run").returncode == 0
    assert machine.run("tools").returncode == 0
    assert machine.calls() == []


def test_run_then_dev_adds_to_the_same_virtualenv(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    assert machine.run("dev").returncode == 0
    assert machine.calls() == [
        "pip requirements.txt requirements-dev.txt requirements-duplicity.txt requirements-emulator.txt env="
    ]


def test_a_changed_pin_is_installed(machine: Machine) -> None:
    machine.run()
    machine.calls()
    (machine.clone / "requirements.txt").write_text("# another pin\n", encoding="utf-8")
    assert machine.run().returncode == 0
    assert machine.calls() == ["pip requirements.txt env="]


def test_a_clone_that_was_moved_gets_a_new_virtualenv(machine: Machine) -> None:
    machine.run()
    machine.calls()
    machine.clone = machine.clone.rename(machine.clone.with_name("moved"))
    assert machine.run().returncode == 0
    assert machine.calls() == ["venv", "pip requirements.txt env="]


def test_the_callers_own_python_does_not_leak_in(machine: Machine) -> None:
    result = machine.run(VIRTUAL_ENV="/else", PYTHONPATH="/else", PYTHONHOME="/else")
    assert result.returncode == 0
    assert machine.calls()[-1] == "pip requirements.txt env="


def test_only_missing_packages_are_installed_in_one_go(machine: Machine) -> None:
    result = machine.run(FAKE_MISSING="podman runc")
    assert result.returncode == 0, result.stderr
    assert "installing podman runc" in result.stdout
    update, install = (call for call in machine.calls() if call.startswith("apt-get"))
    assert update == "apt-get -q update"
    assert install.endswith("install podman runc")


def test_tools_need_neither_the_lab_nor_root(machine: Machine) -> None:
    assert machine.run("tools", FAKE_MISSING=LAB_PACKAGES, FAKE_UID="1000").returncode == 0
    assert not [call for call in machine.calls() if call.startswith("apt-get")]


def test_sudo_is_used_where_the_caller_is_not_root(machine: Machine) -> None:
    machine.add("sudo", SUDO)
    machine.add("true", "#!/usr/bin/env bash\n")
    assert machine.run(FAKE_UID="1000", FAKE_MISSING="runc").returncode == 0
    assert "sudo apt-get" in machine.calls()


def test_neither_root_nor_sudo(machine: Machine) -> None:
    assert_one_sentence(machine.run(FAKE_UID="1000"), "root is needed", "sudo")
    assert machine.calls() == []


def test_sudo_that_would_ask_without_a_terminal(machine: Machine) -> None:
    machine.add("sudo", "#!/usr/bin/env bash\nexit 1\n")
    assert_one_sentence(machine.run(FAKE_UID="1000"), "root is needed")


def test_not_debian(machine: Machine) -> None:
    (machine.bin / "apt-get").unlink()
    assert_one_sentence(machine.run(), "no Debian machine", "Debian 12")
    assert machine.calls() == []


def test_python_too_old(machine: Machine) -> None:
    assert_one_sentence(machine.run(FAKE_VERSION="3.9.2"), "Python 3.11", "Python 3.9.2", "LIFEBOAT_PYTHON")
    assert machine.calls() == []


def test_no_python_at_all(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    assert_one_sentence(machine.run(), "Python 3.11", "none was found")


def test_no_venv_module(machine: Machine) -> None:
    assert_one_sentence(machine.run(FAKE_VENV="broken"), "python3-venv", ".cache/bootstrap/venv.log")


def test_pip_fails_and_the_next_run_tries_again(machine: Machine) -> None:
    words = ("requirements.txt", "No matching distribution found for boto3", ".cache/bootstrap/pip.log")
    assert_one_sentence(machine.run(FAKE_PIP="broken"), *words)
    machine.calls()
    assert machine.run().returncode == 0
    assert machine.calls() == ["pip requirements.txt env="]


@pytest.mark.parametrize("mode", ["run", "dev", "tools"])
def test_apt_fails(machine: Machine, mode: str) -> None:
    assert_one_sentence(machine.run(mode, FAKE_MISSING="gnupg", FAKE_APT="broken"), "gnupg", ".cache/bootstrap/apt.log")


def test_disk_short(machine: Machine) -> None:
    result = machine.run(LIFEBOAT_MIN_FREE_GIB="900000")
    assert_one_sentence(result, "disk is short", "900000 GiB", "LIFEBOAT_MIN_FREE_GIB")
    assert machine.calls() == []
    assert not (machine.clone / ".venv").exists()


def test_disk_demand_must_be_a_number(machine: Machine) -> None:
    assert_one_sentence(machine.run(LIFEBOAT_MIN_FREE_GIB="much"), "whole number", "much")


@pytest.mark.parametrize("mode", ["", "everything"])
def test_unknown_mode(machine: Machine, mode: str) -> None:
    assert_one_sentence(machine.run(mode), "run, dev or tools")


def test_the_old_virtualenv_is_not_what_a_new_one_is_made_with(machine: Machine) -> None:
    # `make` puts .venv/bin first on PATH; one whose pip is gone must not be asked to make its successor.
    old = machine.clone / ".venv/bin"
    old.mkdir(parents=True)
    (old / "python3").write_text("#!/usr/bin/env bash\nexit 98\n", encoding="utf-8")
    (old / "python3").chmod(0o755)
    result = machine.run(PATH=f"{old}:{machine.bin}")
    assert result.returncode == 0, result.stderr
    assert machine.calls() == ["venv", "pip requirements.txt env="]

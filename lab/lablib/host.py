# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What this machine is and can do: detected, never assumed. Parsing is pure; `inspect` looks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .process import SEARCH_PATH, last_words, run

# command -> Debian package
NEEDED = {
    "podman": "podman",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
    "gpg": "gnupg",
    "ip": "iproute2",
    "iptables": "iptables",
}
# Measured: images 1.9 GiB, their tarballs while building 1.2, containers 0.5, a demo's backups and restores 1.5.
MIN_FREE_GIB = 6.0
CAP_SYS_RESOURCE = 24
# Enough for systemd, Ceph and duplicity. podman lowers its own limits somewhere on the way: asking for exactly our
# hard limit of processes fails.
NAMED_LIMIT = 4096
# Kept by sudo, so that a proxy's address, which may hold a password, stays out of argv.
KEPT_ENVIRONMENT = (
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


@dataclass(frozen=True)
class Host:
    """How to run things here: the sudo prefix (empty for root), the OCI runtime (empty: podman's own choice),
    ulimits to name, podman's storage folder."""

    sudo: tuple[str, ...]
    runtime: str
    ulimits: tuple[str, ...]
    graph_root: Path

    def privileged(self, *argv: str, tmpdir: str = "") -> list[str]:
        """Return `argv` with what it takes to run it as root, and with temporary files below `tmpdir`."""
        # sudo can't be told through the environment: for a setuid program the C library drops TMPDIR.
        temporary = ["env", f"TMPDIR={tmpdir}"] if tmpdir else []
        return [*self.sudo, *temporary, *argv]

    def podman(self, *arguments: str, tmpdir: str = "") -> list[str]:
        """Return a podman command line."""
        runtime = ["--runtime", self.runtime] if self.runtime else []
        return self.privileged("podman", *runtime, *arguments, tmpdir=tmpdir)


def cgroup_version(entries: Iterable[str]) -> str:
    """Tell `v2`, `hybrid` or `v1` from the names in /sys/fs/cgroup."""
    names = set(entries)
    if "cgroup.controllers" in names:
        return "v2"
    return "hybrid" if "unified" in names else "v1"


def choose_runtime(cgroups: str, default: str, runc: str | None) -> str:
    """Return the OCI runtime to name, or "" for podman's default. crun boots no systemd without cgroup v2.

    Raises LabError when this machine needs runc and has none.
    """
    if cgroups == "v2" or default == "runc":
        return ""
    if runc is None:
        raise LabError(
            f"This machine uses cgroups {cgroups}, where {default or 'crun'} fails: install the package runc."
        )
    return runc


def bounding_set(status: str) -> int:
    """Return the capability bounding set (a bit mask) from the text of /proc/self/status."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def name_ulimits(capabilities: int, nofile: int, nproc: int) -> tuple[str, ...]:
    """Return podman's `--ulimit` values, or none where its defaults work.

    Without CAP_SYS_RESOURCE nobody may raise a hard limit, and podman's defaults are higher than most: name ours.
    `nofile` and `nproc` are our hard limits, -1 for none.
    """
    if capabilities & (1 << CAP_SYS_RESOURCE):
        return ()
    files = NAMED_LIMIT if nofile < 0 else min(nofile, NAMED_LIMIT)
    tasks = NAMED_LIMIT if nproc < 0 else min(nproc, NAMED_LIMIT)
    return (f"nofile={files}:{files}", f"nproc={tasks}:{tasks}")


def missing_sentence(which: Callable[[str], str | None], needed: Mapping[str, str] = NEEDED) -> str:
    """Return one sentence about commands that are not installed, or ""."""
    absent = [command for command in needed if which(command) is None]
    if not absent:
        return ""
    packages = sorted({needed[command] for command in absent})
    return f"The lab needs {', '.join(absent)}: install them with `apt-get install {' '.join(packages)}` and try again."


def disk_sentence(free: Mapping[str, float], wanted: float) -> str:
    """Return one sentence about the first folder with less than `wanted` GiB free, or "". `free` maps folder to GiB."""
    for folder, gib in free.items():
        if gib < wanted:
            return (
                f"Only {gib:.1f} GiB are free in {folder} and the lab needs {wanted:g}: free some space, "
                "or set LIFEBOAT_LAB_MIN_FREE_GIB if you know better."
            )
    return ""


def minimum_free(environment: Mapping[str, str]) -> float:
    """Return the bound for free space in GiB. Raises LabError when the environment's one is not a number."""
    text = environment.get("LIFEBOAT_LAB_MIN_FREE_GIB", "")
    try:
        return float(text) if text else MIN_FREE_GIB
    except ValueError:
        raise LabError(f"LIFEBOAT_LAB_MIN_FREE_GIB is '{text}': set it to a number of GiB.") from None


def check_disk(host: Host, folders: Sequence[Path]) -> None:
    """Raise LabError when a filesystem that the lab writes to is short of space."""
    # df as root: podman's storage is closed to others.
    free = {}
    for folder in folders:
        answer = run(host.privileged("df", "--block-size=1", "--output=avail", str(folder)))
        free[str(folder)] = int(answer.out.split()[-1]) / 2**30
    sentence = disk_sentence(free, minimum_free(os.environ))
    if sentence:
        raise LabError(sentence)


def find_sudo() -> tuple[str, ...]:
    """Return the prefix that makes a command run as root: nothing for root. Raises LabError when there is no way."""
    if os.geteuid() == 0:
        return ()
    keep = "--preserve-env=" + ",".join(KEPT_ENVIRONMENT)
    if shutil.which("sudo") is not None:
        if run(["sudo", "-n", "true"], check=False).code == 0:
            return ("sudo", "-n", keep)
        if sys.stdin.isatty():
            return ("sudo", keep)
    raise LabError("The lab starts containers, which takes root: run it as root, or as a user who may use sudo.")


def which(command: str) -> str | None:
    """Find a command, also in the folders that only root's PATH has."""
    return shutil.which(command, path=SEARCH_PATH)


def inspect() -> Host:
    """Look at this machine. Raises LabError with one sentence when something that the lab needs is not there."""
    missing = missing_sentence(which)
    if missing:
        raise LabError(missing)
    sudo = find_sudo()
    answer = run([*sudo, "podman", "info", "--format", "json"], check=False, timeout=120)
    if answer.code != 0:
        raise LabError(f"podman does not work here ({last_words(answer.err)}): repair it and try again.")
    info = json.loads(answer.out)
    default = Path(str(info["host"]["ociRuntime"]["name"])).name
    runtime = choose_runtime(cgroup_version(os.listdir("/sys/fs/cgroup")), default, which("runc"))
    limits = name_ulimits(
        bounding_set(Path("/proc/self/status").read_text(encoding="ascii")),
        resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        resource.getrlimit(resource.RLIMIT_NPROC)[1],
    )
    return Host(sudo, runtime, limits, Path(str(info["store"]["graphRoot"])))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one door through which the lab starts another program."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .errors import LabError

# Longer than any step takes on a slow machine: a hang must end, a slow mirror must not fail.
DEFAULT_TIMEOUT = 900.0
# What root needs lies in folders that a user's PATH, and root's after `su`, may lack.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH") or os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Result:
    """How a program ended: exit code and both outputs, decoded with backslash escapes."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str


def last_words(text: str) -> str:
    """Return the last line of `text` that says something: the cause, in most programs."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def what_ran(argv: Sequence[str]) -> str:
    """Name a command in a sentence without its operands: `podman create`, `mmdebstrap`."""
    words = list(argv)
    if words and Path(words[0]).name == "sudo":
        words = words[1:]
        while words and words[0].startswith("-"):
            words = words[1:]
    if words[:1] == ["env"]:
        words = [word for word in words[1:] if not word.startswith("TMPDIR=")]
    name = Path(words[0]).name if words else "?"
    if name != "podman":
        return name
    rest = words[3:] if words[1:2] == ["--runtime"] else words[1:]
    return " ".join([name, *rest[:1]])


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = DEFAULT_TIMEOUT,
) -> Result:
    """Run `argv` to its end and return what it said.

    `stdin` is written to it (secrets travel here, never in `argv`); `env` is added to our environment.
    Raises LabError when the program is absent, outlives `timeout` seconds, or (with `check`) fails.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            env={**os.environ, "PATH": SEARCH_PATH, **(env or {})},
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"The command {argv[0]} is not installed: install it and try again.") from None
    except subprocess.TimeoutExpired:
        raise LabError(
            f"`{what_ran(argv)}` did not end within {timeout:.0f} s: look at the machine's load and try again."
        ) from None
    result = Result(
        tuple(argv),
        done.returncode,
        done.stdout.decode("utf-8", "backslashreplace"),
        done.stderr.decode("utf-8", "backslashreplace"),
    )
    if check and result.code != 0:
        raise LabError(f"`{what_ran(argv)}` failed (code {result.code}): {last_words(result.err or result.out)}")
    return result


def replace(argv: Sequence[str]) -> NoReturn:
    """Become another program (an interactive ssh): does not return."""
    try:
        os.execvp(argv[0], list(argv))
    except FileNotFoundError:
        raise LabError(f"The command {argv[0]} is not installed: install it and try again.") from None

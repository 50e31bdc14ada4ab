# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A backup that does not slow the host's own work down: this process steps back, and all it starts inherits that.

It is done here for the unit and for direct targets alike, since hashing the source loads a disk as much as duplicity does.
"""

from __future__ import annotations

import os

from . import execute
from .errors import LifeboatError

_CLASSES = {"idle": ("-c", "3"), "best-effort": ("-c", "2", "-n", "7")}


def ionice(wish: str, pid: int) -> tuple[str, ...]:
    """The command that gives a process this class of disk access. Pure."""
    return ("ionice", *_CLASSES[wish], "-p", str(pid))


def lower(nice: int, wish: str | None) -> list[str]:
    """Lower this process for the rest of its life; it is never raised. Returns a sentence for what did not work."""
    current = os.getpriority(os.PRIO_PROCESS, 0)
    if nice > current:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if wish is None:
        return []
    try:
        done = execute.run(ionice(wish, os.getpid()), {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"})
        failure = done.output.strip() if done.exit_code else ""
    except LifeboatError:
        failure = "there is no ionice here"
    return [f"the disk was not used with 'ionice: {wish}': {failure}."] if failure else []

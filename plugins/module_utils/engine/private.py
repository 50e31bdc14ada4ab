# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A private folder for secrets: in memory where the machine allows it, gone when its process is done."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time

from .errors import LifeboatError

_MEMORY = "/dev/shm"  # noqa: S108 - the folder made in it is private (0700)
_NAME = re.compile(r"lifeboat-(\d+)-\w+")
# gpg-agent's sockets may lie in it; a socket's path may have 107 bytes, and the longest name is S.gpg-agent.browser
_LONGEST = 107 - len("/S.gpg-agent.browser")


def make() -> str:
    """A new folder 0700, named after this process. What a killed process of this user had left is removed first."""
    places = [tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp makes it private
    if _is_tmpfs(_MEMORY):
        places.insert(0, _MEMORY)
    prefix = f"lifeboat-{os.getpid()}-"
    for place in places:
        if len(os.fsencode(place)) + len(prefix) + 9 > _LONGEST or not os.access(place, os.W_OK | os.X_OK):
            continue
        _sweep(place)
        try:
            return tempfile.mkdtemp(prefix=prefix, dir=place)
        except OSError:
            continue
    raise LifeboatError(f"cannot make a private folder in any of {', '.join(places)}: free space, or set TMPDIR.")


def remove(folder: str) -> None:
    """Remove a folder made here, with patience for what a dying agent takes away at the same time."""
    for _attempt in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(0.02)
    raise LifeboatError(f"cannot remove {folder}, which holds secrets: remove it by hand.")


def _sweep(place: str) -> None:
    """Remove folders of this user whose process is gone: SIGKILL leaves no time to clean up."""
    for entry in os.scandir(place):
        found = _NAME.fullmatch(entry.name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            try:
                if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    shutil.rmtree(entry.path, ignore_errors=True)
            except OSError:
                continue  # somebody else swept it


def _is_tmpfs(path: str) -> bool:
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as handle:
            mounts = [line.split() for line in handle]
    except OSError:
        return False
    kinds = [mount[2] for mount in mounts if len(mount) > 2 and mount[1] == path]
    return bool(kinds) and kinds[-1] == "tmpfs"

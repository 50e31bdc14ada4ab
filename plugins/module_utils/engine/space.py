# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Is there room for a backup's temporary files? Asked before it starts, so that no run ends half-way for that."""

from __future__ import annotations

import math
import os
import stat
import typing as t
from dataclasses import dataclass

from .errors import LifeboatError
from .profile import Profile
from .witness import Tree

_MIB = 1 << 20
_SUM = 12  # bytes of a block's two sums in a signature
_LEAST_BLOCK = 512


@dataclass(frozen=True)
class Need:
    """Bytes that a run needs in a folder, and what for."""

    folder: str
    bytes: int
    what: str


def needs(profile: Profile, mode: str, tree: Tree, temporary: str, archive: str) -> list[Need]:
    """What a backup of ``tree`` needs, and where. Pure.

    Temporary files: what duplicity itself asks for, and refuses to start without (3.2.1, ``dup_main.py``:
    check_resources). The cache gets the signatures: of a full those of the whole tree, a block's size being the root of
    its file's (``diffdir.py``: get_block_size), and a copy of them is packed among the temporary files.
    """
    volumes = int((profile.concurrency + 2.3) * profile.volume_mib * _MIB)
    if mode != "full":
        return [Need(temporary, volumes, "volumes")]
    sizes = (status.st_size for status in tree.values() if stat.S_ISREG(status.st_mode))
    signatures = 256 * len(tree) + sum(_SUM * (size // max(_LEAST_BLOCK, math.isqrt(size))) for size in sizes)
    return [Need(temporary, volumes + signatures, "volumes"), Need(archive, signatures, "signatures")]


Measure = t.Callable[[str], tuple[int, int]]


def measure(folder: str) -> tuple[int, int]:
    """The device of a folder (of the nearest one that exists), and the bytes that this user may still fill there."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    room = os.statvfs(folder)
    return os.stat(folder).st_dev, room.f_bavail * room.f_frsize


def check(wanted: t.Sequence[Need], measured: Measure = measure) -> None:
    """Refuse a run that lacks room. Needs on one file system add up."""
    sums: dict[int, int] = {}
    for need in wanted:
        device, free = measured(need.folder)
        sums[device] = sums.get(device, 0) + need.bytes
        if free < sums[device]:
            raise LifeboatError(
                f"there is too little room for {need.what} in {need.folder}: needed are about {_mib(sums[device])} MiB, "
                f"free are {free // _MIB}; free some, name another folder in 'tmpdir', or lower 'volume_mib' or 'concurrency'."
            )


def _mib(count: int) -> int:
    return -(-count // _MIB)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Is a source still what the last witness saw? Then no new set is needed. Pure."""

from __future__ import annotations

import os
import stat

from .witness import RENEW_DAYS, TYPES, Entry, Tree, Witness


def same(before: Tree, last: Witness) -> bool:
    """True if the tree is, path by path, what the last witness saw: ctime and inode tell any change, of content too."""
    if before.keys() != last.entries.keys():
        return False
    return all("x" not in entry and _is(entry, before[path]) for path, entry in last.entries.items())


def _is(entry: Entry, status: os.stat_result) -> bool:
    seen = (entry["t"], entry["m"], entry["u"], entry["g"], entry.get("c"), entry.get("i"))
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    now = (kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_ctime_ns, status.st_ino)
    return seen == now and (kind != "f" or entry.get("s") == status.st_size)


def overdue(last: Witness, day: int) -> bool:
    """True if some file's hash was not renewed for twice its days: then a set must be made, though nothing has changed.

    Twice, since a hash is renewed on a day of its own: a run that waits renews all that are due by then at once.
    """
    return any(entry["H"] <= day - 2 * RENEW_DAYS for entry in last.entries.values() if "H" in entry)

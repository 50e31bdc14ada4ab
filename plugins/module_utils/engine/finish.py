# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The last steps of a fast restore: deltas that found no room before, then links, devices and folders."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import typing as t

from .delta import Segment, fold
from .delta_spool import DeltaSpool, Range, Window
from .difftar import PIECE, Entry
from .errors import Damaged, LifeboatError
from .manifest import order
from .tree import Attributes, Tree
from .unpack import Choice, Pending

Again = t.Callable[[int], t.Generator[Entry, None, None]]


def complete(tree: Tree, others: t.Mapping[bytes, Entry], choice: Choice) -> None:
    """Make what is no file, then give the folders their attributes. First it is checked that everything lies in a
    folder: so no link that is made here leads to anything of this restore."""
    paths = sorted(others, key=order)
    wanted = [path for path in paths if others[path].type != "folder"]
    needed: set[bytes] = set()
    for path in [*(_above(path) for path in wanted if path), *tree.folders]:
        while path not in needed:
            needed.add(path)
            path = _above(path)
    lost = sorted(path for path in needed if path not in others or others[path].type != "folder")
    if lost:
        raise LifeboatError(
            f"the repository is damaged: {os.fsdecode(lost[0])!r} has content, but is no folder at this point."
        )
    folders = []
    for path in paths:
        entry = others[path]
        if entry.type != "folder":
            tree.add(entry, path)
        elif not path or path in needed or choice.selected is None or choice.selected(path):
            tree.make_folder(path)
            folders.append(path)
    for path in reversed(folders):
        tree.finish_folder(path, Attributes(others[path].owner, others[path].mtime))


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def patched(tree: Tree, path: bytes, pending: Pending, spool: DeltaSpool) -> int:
    """Bring the base that was written to ``path`` to its last version; returns its size."""
    deltas = spool.view()
    ranges = list(reversed(pending.deltas))
    size = _rewritten(tree, path, deltas, ranges)
    tree.end_parts(path, pending.attributes)
    return size


def deferred(tree: Tree, patch: t.Mapping[bytes, Pending], again: Again, choice: Choice, spool: DeltaSpool) -> int:
    """Apply the deltas that found no room in the spool, oldest set first, then those that did; returns the sizes' sum.

    Each one goes to a file without a name beside the destination, where the restored file needs room too.
    """
    for number in sorted({number for pending in patch.values() for number in pending.deferred}):
        names = {path for path, pending in patch.items() if number in pending.deferred}
        with (
            tempfile.TemporaryFile(dir=os.path.dirname(tree.destination), buffering=0) as file,
            contextlib.closing(again(number)) as entries,
        ):
            for entry in entries:
                path = choice.inside(entry.path)
                if path is None or path not in names:
                    continue
                if entry.part <= 1:
                    file.truncate(0)
                    file.seek(0)
                if file.write(entry.data) != len(entry.data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if not entry.part or len(entry.data) < PIECE:
                    _rewritten(tree, path, Window(file.fileno()), [(0, file.tell())])
    return sum(patched(tree, path, pending, spool) for path, pending in patch.items())


def _rewritten(tree: Tree, path: bytes, deltas: Window, ranges: list[Range]) -> int:
    left = ranges

    def make(base: int) -> list[Segment]:
        nonlocal left
        version, used = fold(base, deltas, left)
        left = left[used:]
        return version

    try:
        size = tree.rewrite(path, make, deltas)
        while left:
            size = tree.rewrite(path, make, deltas)
        return size
    except Damaged as error:
        name = os.fsdecode(path)
        raise LifeboatError(f"the repository is damaged: the changes of {name!r} do not fit it: {error}.") from error

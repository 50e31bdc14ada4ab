# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One volume's entries -> what of them the restore point still holds, written into the tree.

Sets are read newest first. The first word on a path is then its last state: what older sets say of it is passed over,
but for a path that was changed by a delta, whose older deltas and base are still wanted. So nothing is written that a
later set replaces, and each changed file is written once.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .decrypt import Plain
from .delta import fold
from .delta_spool import DeltaSpool, Range
from .difftar import PIECE, Entry, entries
from .errors import Damaged
from .manifest import order
from .tree import Attributes, Tree, join

_IN_MEMORY = 1 << 24  # bytes: small files and their deltas are put together in memory


class Pending(t.NamedTuple):
    """A changed file whose base was not met yet: its newest attributes, its deltas (newest first), and the sets whose
    deltas found no room in the spool; these are older than all that did."""

    attributes: Attributes
    deltas: list[Range]
    deferred: list[int]


Plan = dict[bytes, "Pending | None"]  # what is known of a path; None: its last state


@dataclass(frozen=True)
class Choice:
    """Which paths are restored: one below ``prefix``, and of these what ``selected`` says."""

    prefix: bytes = b""
    selected: t.Callable[[bytes], bool] | None = None

    def behind(self, key: bytes) -> bool:
        """Whether all that is restored comes before the path with this key of :func:`.manifest.order`."""
        mine = order(self.prefix)
        return bool(mine) and key > mine and not key.startswith(mine + b"\0")

    def inside(self, path: bytes) -> bytes | None:
        """The path relative to the destination, or None if it lies elsewhere."""
        if not self.prefix:
            return path
        if path.startswith(self.prefix):
            if len(path) == len(self.prefix):
                return b""
            if path[len(self.prefix)] == 0x2F:
                return path[len(self.prefix) + 1 :]
        return None


@dataclass
class Summary:
    """What a volume held and what is left to do. ``first`` and ``last`` are (path, kind, part), ``open`` tells that the
    last goes on in the next volume, ``behind`` that all that is restored came before the last, where reading has stopped;
    ``loose`` are cut files that are written, but have no attributes yet; ``based`` those whose base was found, of which
    those in ``patch`` are written but for their deltas."""

    first: tuple[bytes, str, int] | None = None
    last: tuple[bytes, str, int] | None = None
    open: bool = False
    behind: bool = False
    files: int = 0
    size: int = 0
    others: list[tuple[bytes, Entry]] = field(default_factory=list)
    loose: dict[bytes, Attributes] = field(default_factory=dict)
    based: list[bytes] = field(default_factory=list)
    patch: list[tuple[bytes, Pending]] = field(default_factory=list)


def check_step(last: tuple[bytes, str, int] | None, open_: bool, entry: tuple[bytes, str, int] | None) -> None:
    """Refuse ``entry`` (None: the end) behind ``last`` unless a set can hold them in that order."""
    if open_ and last is not None and (entry is None or entry != (last[0], last[1], last[2] + 1)):
        raise Damaged(f"file {last[0]!r} is cut short after part {last[2]}")
    if entry is None or open_:
        return
    if entry[2] > 1:
        raise Damaged(f"file {entry[0]!r} lacks the parts before part {entry[2]}")
    if last is not None and order(entry[0]) <= order(last[0]):
        raise Damaged(f"path {entry[0]!r} comes behind {last[0]!r}, out of order or twice")


def unpacked(unpacker: Unpacker, plain: Plain, number: int) -> Summary:
    """Unpack the volume that ``plain`` reads, to its sound end, or as far as anything in it is restored."""
    try:
        summary = unpacker.volume(entries(plain.read), number)
    except Damaged:
        plain.finish()  # when gpg has failed, its own reason is the better one
        raise
    plain.skip() if summary.behind else plain.finish()
    return summary


_SKIP, _WRITE, _BASE, _DELTA, _DEFER = range(5)


class Unpacker:
    """Reads volumes into ``tree``. Incrementals are read in order by one unpacker, which keeps the plan; of the full,
    which comes last, any unpacker with the same plan may read any volume."""

    def __init__(self, tree: Tree, plan: Plan, deltas: DeltaSpool, choice: Choice) -> None:
        self._tree, self.plan, self._deltas, self._choice = tree, plan, deltas, choice
        self._set = 0  # its number in the chain; 0 is the full
        self._path: bytes | None = None  # the file that is being written, when it is cut
        self._action = _SKIP
        self._pending: Pending | None = None
        self._start = 0
        self.summary = Summary()

    def volume(self, found: t.Iterator[Entry], number: int) -> Summary:
        """Unpack one volume of set ``number``."""
        self._set, self.summary = number, Summary()
        last: tuple[bytes, str, int] | None = None
        key, open_ = b"", False
        for entry in found:
            kind, part, path = entry.kind, entry.part, entry.path
            now = path.replace(b"/", b"\0")
            if last is None:
                self.summary.first = (path, kind, part)
            elif open_ or part > 1 or now <= key:
                check_step(last, open_, (path, kind, part))
            last, key = (path, kind, part), now
            open_ = bool(part) and len(entry.data) == PIECE
            if part and len(entry.data) > PIECE:
                raise Damaged(f"file {path!r} is cut in a way that no known duplicity cuts")
            inside = self._choice.inside(path)
            if inside is not None:
                self._take(inside, entry, open_)
            elif self._choice.behind(now):
                self.summary.behind = True
                break
        self.summary.last, self.summary.open = last, open_
        return self.summary

    def _take(self, path: bytes, entry: Entry, open_: bool) -> None:
        part = entry.part
        if part <= 1 or path != self._path:
            self._path = path
            self._action = self._decide(path, entry)
        if self._action == _SKIP:
            return
        if self._action == _WRITE:
            self._write(path, entry, open_)
        elif self._action == _BASE:
            self._base(path, entry)
        else:
            self._delta(entry, open_)

    def _decide(self, path: bytes, entry: Entry) -> int:
        selected = self._choice.selected
        if selected is not None and entry.type != "folder" and not selected(path):
            return _SKIP
        if path in self.plan:
            known = self.plan[path]
            return _SKIP if known is None else self._decide_changed(path, entry, known)
        if entry.kind == "diff":
            if not self._set or entry.type != "file":
                raise Damaged(f"it holds a change of {path!r}, of which there is no older version")
            self.plan[path] = known = Pending(Attributes(entry.owner, entry.mtime), [], [])
            return self._begin_delta(known)
        if self._set:
            self.plan[path] = None
        if entry.kind == "deleted":
            return _SKIP
        if entry.type != "file":
            self.summary.others.append((path, entry))
            return _SKIP
        return _WRITE

    def _decide_changed(self, path: bytes, entry: Entry, pending: Pending) -> int:
        """What an older set holds of a file that later ones have deltas of."""
        if entry.kind == "deleted" or entry.type != "file" or (entry.kind == "diff" and not self._set):
            raise Damaged(f"file {path!r} was changed later, but its older version is not there")
        if entry.kind == "diff":
            return self._begin_delta(pending)
        self._pending = pending
        if self._set:
            self.plan[path] = None
        return _BASE

    def _write(self, path: bytes, entry: Entry, open_: bool) -> None:
        summary = self.summary
        summary.size += len(entry.data)
        summary.files += entry.part <= 1
        attributes = Attributes(entry.owner, entry.mtime)
        if not entry.part:
            self._tree.write(path, entry.data, attributes)
            return
        self._tree.write_part(path, entry.part, entry.data)
        if entry.part == 1:  # the parts' headers agree but after a restart; the first one's counts
            summary.loose[path] = attributes
        elif not open_ and path in summary.loose:
            self._tree.end_parts(path, summary.loose.pop(path))

    def _base(self, path: bytes, entry: Entry) -> None:
        pending = t.cast(Pending, self._pending)  # set by the decision
        summary = self.summary
        if entry.part <= 1:
            summary.based.append(path)
            summary.files += 1
        size = sum(end - start for start, end in pending.deltas)
        if not entry.part and not pending.deferred and size <= _IN_MEMORY:
            deltas, ranges = self._deltas.gather(reversed(pending.deltas))
            version, used = fold(len(entry.data), deltas, ranges)
            if used == len(ranges) and sum(segment.length for segment in version) <= _IN_MEMORY:
                data = join(version, entry.data, deltas)
                self._tree.write(path, data, pending.attributes)
                summary.size += len(data)
                return
        if entry.part <= 1:
            summary.patch.append((path, pending))
        self._tree.write_part(path, max(entry.part, 1), entry.data)

    def _begin_delta(self, pending: Pending) -> int:
        self._pending, self._start = pending, self._deltas.end
        if pending.deferred:
            pending.deferred.append(self._set)
            return _DEFER
        return _DELTA

    def _delta(self, entry: Entry, open_: bool) -> None:
        pending = t.cast(Pending, self._pending)  # set by the decision
        if self._action == _DEFER:
            return
        if not self._deltas.append(entry.data):
            self._deltas.truncate(self._start)
            pending.deferred.append(self._set)
            self._action = _DEFER
        elif not open_:
            pending.deltas.append((self._start, self._deltas.end))

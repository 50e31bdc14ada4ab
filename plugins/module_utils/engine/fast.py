# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The fast reader: a restore point straight from the repository's objects, without duplicity.

Order of work: list, then fetch everything at once within a bound; check each volume's SHA-1 before a byte of it is
used; incrementals from the newest to the oldest (``unpack`` says why), then the full, whose volumes several processes
read side by side; changed large files; links, devices and folders' attributes last. Whatever is missing, short, double
or out of order is an error that names the files lost. The destination is never complete until :func:`read` returns.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import typing as t

from . import chains, difftar, finish
from .crew import Crew, Task
from .delta_spool import DeltaSpool
from .errors import Damaged, LifeboatError, Refused
from .feed import Feed, Slots
from .fetch import Fetcher
from .keyring import Keyring
from .opening import GROUPED, Opener
from .parts import ADVICE, Part, Stored, chosen_volumes, stored
from .pulse import Pulse
from .store import open_store
from .tree import Attributes, Tree, failure
from .unpack import Choice, Pending, Plan, Summary, Unpacker, check_step, unpacked
from .worker import Worker

if t.TYPE_CHECKING:
    from .reading import Origin

_PART = 8 << 20  # bytes of an object that one connection fetches
_MOST = 8  # processes, unless more are asked for
_SMALL = 4 << 20  # bytes of volumes that one process unpacks sooner than two are started


class Progress(t.Protocol):
    """What was done since it was last told."""

    def __call__(self, *, files: int = 0, size: int = 0, volumes: int = 0) -> None: ...


class Counted(t.NamedTuple):
    """What was restored."""

    files: int
    bytes: int


def read(
    origin: Origin,
    chain: chains.Chain,
    point: chains.BackupSet,
    destination: str,
    *,
    path: str | None = None,
    selected: t.Callable[[bytes], bool] | None = None,
    spool: str,
    spool_bytes: int = 1 << 30,
    workers: int | None = None,
    progress: Progress | None = None,
    pulse: Pulse | None = None,
) -> Counted:
    """Restore ``point`` of ``chain`` to ``destination``, which does not exist, or its ``path`` alone.

    Of what is inside, only paths for which ``selected`` (relative to the destination) is true are restored, with the
    folders that lead to them. ``spool`` is a folder for at most ``spool_bytes`` of volumes on their way and deltas
    that wait for their file; two volumes always fit. ``progress`` is told of all that is done, ``pulse`` of all that moves.
    """
    if os.path.lexists(destination):
        raise Refused(f"{destination} exists: the fast reader writes a new tree only.")
    sets = [stored(item, number) for number, item in enumerate(chain.sets) if item.time <= point.time]
    choice = Choice(os.fsencode(path.strip("/")) if path else b"", selected)
    count = workers if workers is not None else min(_MOST, len(os.sched_getaffinity(0)))
    if workers is None and sum(volume.bytes for volume in sets[0].volumes.values()) < _SMALL:
        count = 0
    members = count if count > 1 else 0
    beat = (pulse or Pulse()).beat
    # one connection to a distant store may be slow, where a disk is not
    part = _PART if origin.repository.scheme == "s3" else None
    try:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lifeboat-spool-", dir=spool))
            # before any thread: a process forked beside one may inherit a lock that nobody frees
            slots = Slots(3 * members)
            crew = Crew(members, lambda: Worker(destination, choice, slots, beat))
            stack.callback(crew.close)
            bound = max(spool_bytes - spool_bytes // 3 - 3 * GROUPED, 0)
            fetcher = stack.enter_context(
                Fetcher(open_store(origin.repository).stream, folder, bound, part=part, alive=beat)
            )
            reader = _Reader(crew, slots, fetcher, sets, choice)
            reader.tree = Tree(destination, beat)
            stack.callback(reader.tree.close)
            reader.progress, reader.beat = progress or reader.progress, beat
            reader.deltas = DeltaSpool(os.path.join(folder, "deltas"), spool_bytes // 3)
            stack.callback(reader.deltas.close)
            ring = stack.enter_context(Keyring(origin.passphrase))
            return reader.run(ring, origin.private_key, stack)
    except Damaged as error:
        raise LifeboatError(f"the repository is damaged: {error}.") from error
    except OSError as error:
        raise failure(error, destination) from error


class _Reader:
    """One restore, step by step."""

    deltas: DeltaSpool
    opener: Opener
    tree: Tree
    beat: t.Callable[[], None]

    def __init__(
        self,
        crew: Crew,
        slots: Slots,
        fetcher: Fetcher,
        sets: list[Stored],
        choice: Choice,
    ) -> None:
        self.crew, self.slots = crew, slots
        self.fetcher, self.sets, self.choice = fetcher, sets, choice
        self.plan: Plan = {}
        self.files = self.bytes = 0
        self.progress: Progress = _untold
        self.others: dict[bytes, difftar.Entry] = {}
        self.loose: dict[bytes, Attributes] = {}
        self.patch: dict[bytes, Pending] = {}
        self.waiting: set[bytes] = set()  # changed files whose base was not met

    def run(self, ring: Keyring, key: bytes | None, stack: contextlib.ExitStack) -> Counted:
        self.fetcher.want(one.index for one in self.sets)
        if not self.choice.prefix:  # which volumes are needed is known already
            self.fetcher.want(one.volumes[number] for one in self._backwards() for number in sorted(one.volumes))
        if key is not None:
            ring.import_keys(key)
        self.opener = Opener(self.fetcher, ring.home, self._used)
        parts = [chosen_volumes(one, found, self.choice.prefix) for one, found in self.opener.manifests(self.sets)]
        if self.choice.prefix:
            self.fetcher.want(part.object for volumes in [*parts[:0:-1], parts[0]] for part in volumes)
        self._incrementals(parts)
        self._full(parts[0])
        if not any(pending.deferred for pending in self.patch.values()):  # all is decrypted
            ending = threading.Thread(target=ring.close)
            ending.start()
            stack.callback(ending.join)
        self._patch()
        self._wrote(0, finish.deferred(self.tree, self.patch, self._again(parts), self.choice, self.deltas))
        return self._finish()

    def _backwards(self) -> list[Stored]:
        """The order of reading: incrementals from the newest, then the full."""
        return [*self.sets[:0:-1], self.sets[0]]

    # --- volumes ------------------------------------------------------------------------------------------------------

    def _incrementals(self, parts: list[list[Part]]) -> None:
        unpacker = Unpacker(self.tree, self.plan, self.deltas, self.choice)
        before: dict[int, Summary] = {}
        wanted = [part for volumes in parts[:0:-1] for part in volumes]
        with contextlib.closing(self.opener.in_turn(wanted)) as opened:
            for part, plain in opened:
                with part.named():
                    summary = unpacked(unpacker, plain, part.set)
                    self._check_step(before.get(part.set), summary)
                before[part.set] = summary
                self._note(summary)
        for volumes in parts[1:]:
            if volumes:
                with volumes[-1].named():
                    self._check_end(before[volumes[-1].set])
        self.waiting |= {path for path, known in self.plan.items() if known is not None}

    def _used(self, _part: Part) -> None:
        """The volume is read."""
        self.progress(volumes=1)
        self.beat()

    def _wrote(self, files: int, size: int) -> None:
        self.files += files
        self.bytes += size
        self.progress(files=files, size=size)
        self.beat()

    def _full(self, volumes: list[Part]) -> None:
        self.deltas.flush()
        self.crew.all(("begin", (self.plan, self.deltas.path)))
        found = self._fed(volumes) if len(self.crew) else [[summary] for summary in self._in_turn(volumes)]
        before: Summary | None = None
        for part, summaries in zip(volumes, found, strict=True):
            with part.named():
                for summary in summaries:
                    self._check_step(before, summary)
                    before = summary
        if before is not None:
            with volumes[-1].named():
                self._check_end(before)
        if self.waiting:
            lost = sorted(self.waiting)
            raise LifeboatError(
                f"the repository is damaged: of {_names(lost)} there are changes, but no version that they build on."
            )

    def _fed(self, volumes: list[Part]) -> list[list[Summary]]:
        """Unpack the full's volumes in several processes."""
        return Feed(self.crew, self.slots, self.opener.one, self._note, self.fetcher.stop).run(volumes)

    def _in_turn(self, volumes: list[Part]) -> t.Iterator[Summary]:
        """Unpack them in this process."""
        unpacker = Unpacker(self.tree, self.plan, self.deltas, self.choice)
        with contextlib.closing(self.opener.in_turn(volumes)) as opened:
            for part, plain in opened:
                with part.named():
                    summary = unpacked(unpacker, plain, part.set)
                self._note(summary)
                yield summary

    def _note(self, summary: Summary) -> None:
        """Add up what some entries brought."""
        self._wrote(summary.files, summary.size)
        for path, attributes in summary.loose.items():
            self.loose.setdefault(path, attributes)
        self.others.update(summary.others)
        self.patch.update(summary.patch)
        self.waiting.difference_update(summary.based)

    def _check_step(self, before: Summary | None, summary: Summary) -> None:
        """Whether ``summary``'s volume follows the one before; of a part of a set, only what is restored matters."""
        first = summary.first
        if before is None:
            if first is not None and self.choice.inside(first[0]) is not None:
                check_step(None, False, first)
        elif before.behind or first is None:  # nothing of this is restored, or it is empty
            if first is not None and self.choice.inside(first[0]) is not None:
                raise Damaged(f"path {first[0]!r} comes behind {before.last and before.last[0]!r}, out of order")
            summary.last, summary.open, summary.behind = before.last, before.open, before.behind
        else:
            check_step(before.last, before.open, first)

    def _check_end(self, last: Summary) -> None:
        if last.last is not None and self.choice.inside(last.last[0]) is not None:
            check_step(last.last, last.open, None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _patch(self) -> None:
        """Give large changed files their last version."""

        def done(_task: Task, size: int) -> None:
            self._wrote(0, size)

        ready = [pair for pair in self.patch.items() if not pair[1].deferred]
        self.crew.each((("patch", pair) for pair in ready), done, self.fetcher.stop)
        for path, _pending in ready:
            del self.patch[path]

    def _again(self, parts: list[list[Part]]) -> finish.Again:
        """A function that reads a whole set's entries once more."""

        def entries(number: int) -> t.Generator[difftar.Entry, None, None]:
            self.fetcher.want(part.object for part in parts[number])
            with contextlib.closing(self.opener.in_turn(parts[number], again=True)) as opened:
                for part, plain in opened:
                    with part.named():
                        yield from difftar.entries(plain.read)
                        plain.finish()

        return entries

    def _finish(self) -> Counted:
        for path, attributes in self.loose.items():
            self.tree.end_parts(path, attributes)
        for folders in self.crew.all(("folders", None)):
            self.tree.folders |= folders
        finish.complete(self.tree, self.others, self.choice)
        if not self.files and not self.others:
            if not self.choice.prefix:
                raise LifeboatError(
                    f"the repository is damaged: restore point {self.sets[-1].time} holds nothing at all; {ADVICE}."
                )
            where = os.fsdecode(self.choice.prefix)
            raise LifeboatError(f"restore point {self.sets[-1].time} holds no '{where}': check the path.")
        return Counted(self.files, self.bytes)


def _untold(*, files: int = 0, size: int = 0, volumes: int = 0) -> None:
    """Nobody wants to know."""


def _names(paths: t.Sequence[bytes]) -> str:
    shown = ", ".join(repr(os.fsdecode(path)) for path in paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"

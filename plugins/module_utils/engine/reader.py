# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Who reads a restore point: the fast reader, or stock duplicity where that is asked for or alone knows the form."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from . import chains, command, fast, outcome, reading, reporter
from .errors import LifeboatError, UnknownFormat
from .pulse import Pulse, watched
from .reading import Limits, Origin
from .record import Record
from .store import Location
from .times import now

AUTO, FAST, DUPLICITY = READERS = ("auto", "fast", "duplicity")


@dataclass(frozen=True)
class Part:
    """What of a point is read: one ``path``, or what duplicity's arguments ``select`` choose, or all."""

    path: str | None = None
    select: tuple[str, ...] = ()


@dataclass(frozen=True)
class Read:
    """How it ended: the run's record, what duplicity itself said, and sentences. ``counted``: files and bytes of the tree,
    where the reader knows them: a walk over a large tree takes its time."""

    record: Record
    detail: str = ""
    warnings: list[str] = field(default_factory=list)
    counted: tuple[int, int] | None = None


@dataclass(frozen=True)
class Reader:
    """One point of one repository. ``room`` is a private folder on the destination's disk; whoever works in it holds
    the descriptor ``held``."""

    origin: Origin
    chain: chains.Chain
    point: chains.BackupSet
    part: Part
    limits: Limits
    room: str
    held: int

    def read(self, wish: str, tree: str) -> Read:
        """Read the point into ``tree``, which does not exist yet. ``wish`` is auto, fast or duplicity.

        ``auto`` is fast, and falls back only before the first write: for a selection, or a form that the fast reader does
        not know. Never after an integrity error: stock duplicity would leave files out and end with success (facts:
        guards 1, 2, 9).
        """
        if wish == DUPLICITY or (wish == AUTO and self.part.select):
            return self.by_duplicity(tree)
        try:
            return self._by_fast(tree)
        except UnknownFormat as error:
            if wish == FAST:
                raise
            read = self.by_duplicity(tree)
            return replace(read, warnings=[*read.warnings, f"stock duplicity did this restore: {error}"])

    def by_duplicity(self, tree: str) -> Read:
        """The same by stock duplicity."""

        def build(work: command.Workspace, place: Location) -> tuple[str, ...]:
            return command.restore(
                place,
                self.point.time,
                tree,
                work,
                encrypted=self.origin.encrypted,
                path=self.part.path,
                selection=self.part.select,
            )

        started = now()
        finished = reading.duplicity(self.origin, self.point.time, self.room, build, self.limits, keep=[self.held])
        verdict = outcome.decide(finished)
        entry = reading.entry("restore", self.origin, self._times, started, finished, verdict)
        return Read(entry, outcome.detail(finished) if verdict.failure else "")

    def _by_fast(self, tree: str) -> Read:
        started, begun = now(), time.monotonic()
        failure = counted = None
        if self.part.select:
            raise UnknownFormat("the fast reader takes no selection; leave the engine to auto.")
        pulse = Pulse()
        try:
            with watched(pulse, self.limits.timeout, self.limits.stall_timeout):
                counted = fast.read(
                    self.origin,
                    self.chain,
                    self.point,
                    tree,
                    path=self.part.path,
                    spool=self.room,
                    progress=reporter.add,
                    pulse=pulse,
                )
        except UnknownFormat:
            raise
        except LifeboatError as error:
            failure = str(error)
        entry = reading.plain("restore", self.origin, self._times, started)
        entry = replace(entry, seconds=round(time.monotonic() - begun, 3))  # ``started`` is a whole second
        if failure:
            entry = replace(entry, outcome=outcome.Outcome.FAILED.value, failure=failure)
        # one path may be a link, which counts as a file then
        return Read(replace(entry, engine=FAST), counted=None if self.part.path else counted)

    @property
    def _times(self) -> tuple[str, str]:
        return self.chain.time, self.point.time

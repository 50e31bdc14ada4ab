# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Verify a point with stock duplicity: scrub its volumes, or compare it with a live tree. ``proof`` compares a restored
tree with the witness."""

from __future__ import annotations

import os
import tempfile
import typing as t
from dataclasses import replace
from datetime import datetime

from . import command, differences, execute, expected, outcome, reading, reporter
from .errors import Refused
from .reading import Limits, Origin
from .result import Result
from .store import Location
from .times import now
from .witness import Difference


def scrub(origin: Origin, *, moment: datetime | None = None, limits: Limits | None = None) -> Result:
    """Read, hash, decrypt and unpack all volumes of a point. It compares with nothing."""
    started = now()
    chain, point = reading.locate(origin.repository, moment)
    with tempfile.TemporaryDirectory(prefix="lifeboat-verify-") as room:
        empty = os.path.join(room, "empty")
        os.mkdir(empty)

        def build(work: command.Workspace, place: Location) -> tuple[str, ...]:
            return command.verify(place, point.time, empty, work, encrypted=origin.encrypted)

        expected.announce("verifying", origin, chain, point)
        finished = reading.duplicity(origin, point.time, room, build, limits or Limits())
    verdict = judged(finished)
    entry = reading.entry("verify", origin, (chain.time, point.time), started, finished, verdict)
    if verdict.outcome is outcome.Outcome.FAILED:
        return Result(
            entry, False, f"Point {point.time} could not be read: {verdict.failure}", outcome.detail(finished)
        )
    return Result(entry, False, f"All volumes of {point.time} and its chain are readable.")


def judged(finished: execute.Finished) -> outcome.Verdict:
    """Whether all was read. 1 says that the folder differs, which an empty one must; a loss comes with an ERROR stanza."""
    return outcome.decide(finished, allowed=(0, 1), last_word="Verify complete:")


def live(
    origin: Origin,
    tree: str,
    *,
    moment: datetime | None = None,
    selection: t.Sequence[str] = (),
    limits: Limits | None = None,
) -> Result:
    """Compare a point with the tree in use, content included; ``selection`` are duplicity's arguments for what is left
    out. A difference is a failed outcome: whether the tree was to change since then, only its owner knows."""
    if not os.path.isdir(tree):
        raise Refused(f"{tree} is no folder: name the live tree that the point is to be compared with.")
    started = now()
    chain, point = reading.locate(origin.repository, moment)
    finished, found = compare(origin, point.time, tree, selection=selection, limits=limits)
    verdict = judged(finished)
    entry = reading.entry("verify", origin, (chain.time, point.time), started, finished, verdict)
    if verdict.outcome is outcome.Outcome.FAILED:
        return Result(
            entry, False, f"Point {point.time} could not be read: {verdict.failure}", outcome.detail(finished)
        )
    extra = {"comparison": differences.listed(found)}
    if found or finished.exit_code:
        failure = f"{len(found)} path(s) of the live tree differ from {point.time}: see 'comparison' for the first."
        failed = replace(entry, outcome=outcome.Outcome.FAILED.value, failure=failure)
        return Result(failed, False, f"{tree} is not as it was: {failure}", extra=extra)
    return Result(entry, False, f"{tree} is as it was at {point.time}.", extra=extra)


def compare(
    origin: Origin,
    time: str,
    tree: str,
    *,
    path: str | None = None,
    selection: t.Sequence[str] = (),
    limits: Limits | None = None,
) -> tuple[execute.Finished, list[Difference]]:
    """Run the comparison; nothing but temporary files is written. Exit code 1 without an ERROR means differences."""
    with tempfile.TemporaryDirectory(prefix="lifeboat-verify-") as room:

        def build(work: command.Workspace, place: Location) -> tuple[str, ...]:
            return command.verify(
                place,
                time,
                tree,
                work,
                encrypted=origin.encrypted,
                compare_data=True,
                path=path,
                selection=selection,
            )

        reporter.phase("comparing")
        finished = reading.duplicity(origin, time, room, build, limits or Limits())
    return finished, differences.told(finished.events)

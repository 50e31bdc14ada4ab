# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The files of a restore point, as the repository's signatures tell them."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t
from dataclasses import dataclass
from datetime import datetime

from . import command, machine_log, outcome, reading, witness
from .errors import LifeboatError
from .reading import Limits, Origin
from .store import Location

# INFO 10, extra: <mtime's stamp> '<escaped path>' <type>  (duplicity 3.2.1, dup_main.py: list_current)
_LINE = re.compile(r"(?P<mtime>\S+) '(?P<path>.*)' (?P<type>\S+)", re.DOTALL)
_TYPES = {"reg": "f", "dir": "d", "sym": "l", "fifo": "p", "chr": "c", "blk": "b"}  # as in a witness


@dataclass(frozen=True)
class Listed:
    """One path of a point, relative to the source (``b"."`` is the source): type (f d l p c b), mtime as a stamp."""

    path: bytes
    type: str
    mtime: str

    def to_dict(self) -> dict[str, str]:
        """The entry in valid UTF-8, with the exact name in base64 where it is none."""
        return {**witness.named(self.path), "type": self.type, "mtime": self.mtime}


def of(origin: Origin, moment: datetime | None, limits: Limits | None = None) -> tuple[str, list[Listed]]:
    """The point's time and its paths in order. Reads the chain's signatures, so it needs the key, but no volume."""
    _chain, point = reading.locate(origin.repository, moment)
    with tempfile.TemporaryDirectory(prefix="lifeboat-files-") as room:

        def build(work: command.Workspace, place: Location) -> tuple[str, ...]:
            return command.list_files(place, point.time, work, encrypted=origin.encrypted)

        finished = reading.duplicity(
            origin, point.time, room, build, limits or Limits(), parts=("manifest", "signature")
        )
    verdict = outcome.decide(finished)
    if verdict.outcome is outcome.Outcome.FAILED:
        raise LifeboatError(f"cannot list the files of {point.time}: {verdict.failure}")
    return point.time, parse(finished.events)


def parse(events: t.Iterable[machine_log.Event]) -> list[Listed]:
    """The file list in a machine log. Pure."""
    found = []
    for event in machine_log.of(events, "INFO", {10}):
        match = _LINE.fullmatch(event.extra)
        if match is None or match["type"] not in _TYPES:
            raise LifeboatError(f"duplicity listed a file in an unknown form ({event.extra[:80]!r}): please report it.")
        name = match["path"].encode("ascii").decode("unicode-escape")
        found.append(Listed(os.fsencode(name), _TYPES[match["type"]], match["mtime"]))
    return found


def below(listed: t.Iterable[Listed], path: bytes) -> list[Listed]:
    """Those at or below one path."""
    return [item for item in listed if item.path == path or item.path.startswith(path + b"/")]

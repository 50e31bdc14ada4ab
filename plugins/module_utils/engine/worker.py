# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a process of the fast reader does with one task; with a single process the reader does it itself."""

from __future__ import annotations

import typing as t

from .delta_spool import DeltaSpool
from .difftar import entries_in
from .errors import Damaged
from .feed import Slots
from .finish import patched
from .tree import Tree, failure
from .unpack import Choice, Pending, Plan, Summary, Unpacker


class Worker:
    """Tasks: ``begin``, then of the full ``batch`` in any order, ``patch`` of files, ``folders``."""

    def __init__(self, destination: str, choice: Choice, slots: Slots, alive: t.Callable[[], None]) -> None:
        self._destination, self._choice, self._slots = destination, choice, slots
        self._tree = Tree(destination, alive)
        self._deltas: DeltaSpool | None = None

    def close(self) -> None:
        self._tree.close()
        if self._deltas is not None:
            self._deltas.close()

    def __call__(self, task: str, value: t.Any) -> t.Any:
        try:
            return getattr(self, f"_{task}")(value)
        except OSError as error:
            raise failure(error, self._destination) from error

    def _begin(self, value: tuple[Plan, str]) -> None:
        plan, deltas = value
        self._deltas = DeltaSpool(deltas)
        self._unpacker = Unpacker(self._tree, plan, self._deltas, self._choice)

    def _batch(self, value: tuple[int, int, int, int, int]) -> tuple[Summary, str]:
        """Summary of some entries, and what is wrong with them if anything is."""
        number, _volume, _batch, slot, size = value
        try:
            return self._unpacker.volume(entries_in(self._slots.room(slot, size)), number), ""
        except Damaged as error:
            return Summary(), str(error)

    def _patch(self, value: tuple[bytes, Pending]) -> int:
        path, pending = value
        return patched(self._tree, path, pending, t.cast(DeltaSpool, self._deltas))  # `begin` set it

    def _folders(self, _value: None) -> set[bytes]:
        return self._tree.folders

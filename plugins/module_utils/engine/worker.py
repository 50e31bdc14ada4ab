# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a process of the fast reader does with one task; with a single process the reader does it itself."""

from __future__ import annotations

import typing as t

from . import decrypt
from .delta_spool import DeltaSpool
from .finish import patched
from .parts import Part
from .tree import Tree, failure
from .unpack import Choice, Pending, Plan, Summary, Unpacker, unpacked


class Worker:
    """Tasks: ``begin``, then ``volume`` of the full in any order, ``patch`` of files, ``folders``."""

    def __init__(self, destination: str, choice: Choice) -> None:
        self._destination, self._choice = destination, choice
        self._tree = Tree(destination)
        self._home = ""
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

    def _begin(self, value: tuple[Plan, str, str]) -> None:
        plan, deltas, self._home = value
        self._deltas = DeltaSpool(deltas)
        self._unpacker = Unpacker(self._tree, plan, self._deltas, self._choice)

    def _volume(self, value: tuple[Part, str]) -> Summary:
        part, path = value
        plain = decrypt.opened(path, part.object.name, self._home)
        try:
            with part.named():
                return unpacked(self._unpacker, plain, part.set)
        finally:
            plain.close()

    def _patch(self, value: tuple[bytes, Pending]) -> int:
        path, pending = value
        return patched(self._tree, path, pending, t.cast(DeltaSpool, self._deltas))  # `begin` set it

    def _folders(self, _value: None) -> set[bytes]:
        return self._tree.folders

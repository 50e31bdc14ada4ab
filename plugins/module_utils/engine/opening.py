# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Manifests and volumes, fetched and checked -> opened, in the order in which they are read; gpg works ahead."""

from __future__ import annotations

import collections
import contextlib
import functools
import typing as t

from . import manifest
from .decrypt import Group, Plain, opened, whole
from .errors import Damaged
from .fetch import Fetcher
from .parts import Part, Stored
from .store import StoredObject

GROUPED = 8 << 20  # bytes of volumes that one gpg decrypts; so much may lie in the spool twice
_MOST = 32  # and files
_AHEAD = 3  # gpg processes that work while a volume is unpacked

_Any = t.TypeVar("_Any", Part, Stored)
Opened = tuple[Part, Plain]


class Opener:
    """``home`` is the GNUPGHOME that holds the key; ``used`` is told of each volume that was read."""

    def __init__(self, fetcher: Fetcher, home: str, used: t.Callable[[Part], None]) -> None:
        self._fetcher, self._home, self._used = fetcher, home, used

    def manifests(self, sets: t.Sequence[Stored]) -> list[tuple[Stored, list[manifest.Volume]]]:
        """Each set's manifest.

        One gpg after the other: at a key's first use gpg-agent writes its file anew, and who reads that meanwhile hears
        that there is no secret key (2.2.40: about one restore in a hundred).
        """
        found: list[tuple[Stored, list[manifest.Volume]]] = []
        rest = collections.deque(sets)
        while rest:
            # dropped group by group: were all taken first, the bound might leave no room for the last
            taken = self._next(rest, lambda one: one.index)
            files = [(self._fetcher.take(one.index) or "", one.index.name) for one in taken]
            with contextlib.closing(Group(files, self._home)) as group:
                for number, one in enumerate(taken):
                    found.append((one, one.parse(functools.partial(_whole, group, number))))
                    self._fetcher.drop(one.index.name)
        return found

    def in_turn(self, wanted: t.Sequence[Part], *, again: bool = False) -> t.Generator[Opened, None, None]:
        """These volumes one by one, in small groups where they are small. ``again``: they were told of as used before."""
        ahead: collections.deque[tuple[list[Part], Group]] = collections.deque()
        rest = collections.deque(wanted)
        try:
            while rest or ahead:
                while rest and (not ahead or (len(ahead) < _AHEAD and self._ready(rest[0]))):
                    parts = self._next(rest, lambda part: part.object)
                    files = [(self._fetched(part), part.object.name) for part in parts]
                    ahead.append((parts, Group(files, self._home)))
                parts, group = ahead[0]
                for number, part in enumerate(parts):
                    with part.named():
                        plain = group.open(number)
                    try:
                        yield part, plain
                    finally:
                        plain.close()
                    self._done(part, again)
                group.close()
                ahead.popleft()
        finally:
            for _parts, group in ahead:
                group.close()

    @contextlib.contextmanager
    def one(self, part: Part) -> t.Iterator[Plain]:
        """One volume by itself."""
        plain = opened(self._fetched(part), part.object.name, self._home)
        try:
            yield plain
        finally:
            plain.close()
        self._done(part)

    def _next(self, rest: collections.deque[_Any], which: t.Callable[[_Any], StoredObject]) -> list[_Any]:
        """The next one, and those behind it whose objects are there already and small enough to go with it."""
        taken = [rest.popleft()]
        size = which(taken[0]).bytes
        while rest and len(taken) < _MOST:
            item = which(rest[0])
            size += item.bytes
            if size > GROUPED or not self._fetcher.ready(item.name):
                break
            taken.append(rest.popleft())
        return taken

    def _ready(self, part: Part) -> bool:
        return self._fetcher.ready(part.object.name)

    def _fetched(self, part: Part) -> str:
        """The path of the volume's file, whose hash is right."""
        path = self._fetcher.take(part.object, part.volume.sha1)
        if path is None:
            with part.named():
                raise Damaged("it does not match its recorded hash")
        return path

    def _done(self, part: Part, again: bool = False) -> None:
        self._fetcher.drop(part.object.name)
        if not again:
            self._used(part)


def _whole(group: Group, number: int) -> bytes:
    return whole(group.open(number))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A set's objects against its manifest -> the volumes to read, or what is missing. Pure."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from . import chains, manifest
from .errors import Damaged, LifeboatError, UnknownFormat
from .store import StoredObject

ADVICE = "restore a point before it, or bring back an undamaged copy"


@dataclass(frozen=True)
class Part:
    """One volume to be read: of which set (its number in the chain, and time), its object, its line in the manifest."""

    set: int
    time: str
    object: StoredObject
    volume: manifest.Volume

    @contextlib.contextmanager
    def named(self) -> t.Iterator[None]:
        """Errors of this volume's content become a sentence that says which volume and which files."""
        try:
            yield
        except (Damaged, UnknownFormat) as error:  # no other reader is tried any more
            raise LifeboatError(
                f"volume {self.volume.number} of set {self.time} is damaged: {error}; "
                f"it holds {_range(self.volume)}: {ADVICE}."
            ) from error


@dataclass(frozen=True)
class Stored:
    """The objects of one set that are needed to restore it; ``number`` counts the sets of the chain from 0."""

    time: str
    index: StoredObject
    volumes: dict[int, StoredObject]
    number: int = 0

    def parse(self, read: t.Callable[[], bytes]) -> list[manifest.Volume]:
        """The volumes that the manifest names which ``read`` gives."""
        try:
            return manifest.parse(read())
        except UnknownFormat as error:
            raise UnknownFormat(f"the manifest of set {self.time} is of an unknown form: {error}.") from error
        except Damaged as error:
            raise LifeboatError(f"the manifest of set {self.time} is damaged: {error}; {ADVICE}.") from error


def stored(item: chains.BackupSet, number: int = 0) -> Stored:
    """The set's manifest and volumes, each of which must be there once."""
    manifests: list[StoredObject] = []
    volumes: dict[int, StoredObject] = {}
    for listed in item.objects:
        name = chains.parse_name(listed.name)
        if name is None or name.partial:
            continue
        if name.part == "manifest":
            manifests.append(listed)
        elif name.part == "volume":
            if name.volume in volumes:
                raise LifeboatError(
                    f"volume {name.volume} of set {item.time} is stored twice, in two forms: remove one."
                )
            volumes[name.volume] = listed
    if len(manifests) != 1:
        raise LifeboatError(f"set {item.time} has {len(manifests) or 'no'} manifests instead of one: {ADVICE}.")
    return Stored(item.time, manifests[0], volumes, number)


def chosen_volumes(one: Stored, found: list[manifest.Volume], path: bytes) -> list[Part]:
    """The volumes that can hold ``path``, in order; an error if any of the set is missing or was not named."""
    missing = [volume for volume in found if volume.number not in one.volumes]
    if missing:
        lost = "; ".join(f"volume {volume.number}, which holds {_range(volume)}" for volume in missing[:5])
        raise LifeboatError(f"set {one.time} lacks {lost}: {ADVICE}.")
    extra = sorted(set(one.volumes) - {volume.number for volume in found})
    if extra:
        raise LifeboatError(
            f"set {one.time} holds volume {extra[0]}, which its manifest does not name: the manifest is cut short, or "
            f"the volume is not of this set; {ADVICE}."
        )
    return [Part(one.number, one.time, one.volumes[volume.number], volume) for volume in manifest.holding(found, path)]


def _range(volume: manifest.Volume) -> str:
    first, last = (repr(os.fsdecode(path)) if path else "the source itself" for path in (volume.first, volume.last))
    return first if first == last else f"everything from {first} to {last}"

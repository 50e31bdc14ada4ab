# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A chain as it was at some time, in a folder of this machine: stock duplicity reads no versions, but it reads folders.

The fast reader needs none of this: it reads each object by its version id.
"""

from __future__ import annotations

import os
import shutil
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from . import chains, destination
from .errors import LifeboatError
from .store import Location, ObjectStore, StoredObject, open_store
from .times import parse_stamp, stamp

PARTS = ("manifest", "signature", "volume")
_READERS = 8  # objects under way


@contextmanager
def local(repository: Location, time: str, room: str, parts: t.Collection[str] = PARTS) -> t.Iterator[Location]:
    """Where stock duplicity finds the point ``time``: the repository itself, or, if that is read as of some time, a private
    ``file://`` folder in ``room``, which holds the point's chain for so long. Refused when there is no space for it."""
    if repository.as_of is None:
        yield repository
        return
    store = open_store(repository)
    chain, point = chains.choose_point(chains.collect(store.list()), parse_stamp(time))
    wanted = needed(chain, point, parts)
    folder = os.path.join(room, "as-of")
    os.mkdir(folder, mode=0o700)
    try:
        what = f"fetching the chain of {point.time} as of {stamp(repository.as_of)} for stock duplicity"
        destination.check_space(room, sum(item.bytes for item in wanted), what)
        _fetch(store, wanted, folder)
        # what is only for s3:// stays behind: duplicity would ask the store about it
        yield Location(f"file://{folder}", num_retries=repository.num_retries, retry_delay=repository.retry_delay)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def size(repository: Location, chain: chains.Chain, point: chains.BackupSet) -> int:
    """Bytes that :func:`local` will need."""
    return 0 if repository.as_of is None else sum(item.bytes for item in needed(chain, point))


def needed(chain: chains.Chain, point: chains.BackupSet, parts: t.Collection[str] = PARTS) -> list[StoredObject]:
    """The objects of these parts that a restore of ``point`` reads. Pure."""
    found = []
    for item in chain.sets:
        for one in item.objects if item.time <= point.time else ():
            name = chains.parse_name(one.name)
            if name is not None and not name.partial and name.part in parts:
                found.append(one)
    return found


def _fetch(store: ObjectStore, wanted: t.Sequence[StoredObject], folder: str) -> None:
    """Write each object to a file of its name, some at a time. After a failure nothing more is begun."""

    def one(item: StoredObject) -> None:
        path = os.path.join(folder, item.name)
        size = 0
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
                for piece in store.stream(item.name, version_id=item.version_id):
                    size += handle.write(piece)
        except OSError as error:
            raise LifeboatError(f"cannot write {path}: {error.strerror}; free some space, then run again.") from error
        if size != item.bytes:
            raise LifeboatError(f"{item.name} has {size} bytes, the store's list says {item.bytes}: run again.")

    pool = ThreadPoolExecutor(_READERS)
    try:
        for _done in pool.map(one, wanted):
            pass
    finally:
        pool.shutdown(cancel_futures=True)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Objects that are written once."""

from __future__ import annotations

from .errors import LifeboatError
from .store import ObjectStore


def write_once(store: ObjectStore, name: str, data: bytes) -> None:
    """Store an object that must not exist yet.

    The condition in the request is not enough: RGW (18.2.7, tried) ignores ``If-None-Match`` in a bucket with
    versioning. So we look first. Of two writers at the same moment the later one may then win; the first one's version
    stays, and names are chosen so that two writers never mean the same object.
    """
    if store.stat(name) is not None:
        raise LifeboatError(f"{name} exists and is never overwritten.")
    store.write(name, data, if_absent=True)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Reading and writing objects: an S3 prefix or a local folder behind one small interface.

Every call turns the store's own errors into one :class:`LifeboatError` that says which object, what the store answered
and what to check. Each kind of store has a file of its own (``store_*``); whoever uses one needs only this file.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from .store_as_of import AsOf
from .store_base import STORAGE_CLASSES, Location, ObjectStore, Sentences, StoredObject, bounded, check_url
from .store_file import FileStore
from .store_s3 import S3Store, explain, key_client, read_credentials, s3_client, session_client
from .store_s3_reads import S3Reads

__all__ = [
    "STORAGE_CLASSES",
    "FileStore",
    "Location",
    "ObjectStore",
    "S3Store",
    "Sentences",
    "StoredObject",
    "bounded",
    "check_url",
    "explain",
    "key_client",
    "open_store",
    "read_credentials",
    "s3_client",
    "session_client",
    "sweep",
]

# An object of duplicity's, a record or a witness on its way (``FileStore.write``, ``launcher``).
_HALF = re.compile(r"(?:duplicity-|[0-9]{8}T[0-9]{6}Z-).*\.new", re.DOTALL)


def open_store(location: Location) -> ObjectStore:
    """The store at ``location``; with ``location.as_of`` a view of it that only reads. Nothing is contacted yet."""
    check_url(location.url)
    store: ObjectStore = FileStore(location) if location.scheme != "s3" else _bucket(location)
    return store if location.as_of is None else AsOf(store, location.as_of)


def _bucket(location: Location) -> S3Store:
    """At a region's own endpoint boto3 knows names, redirects and partitions that we do not."""
    return S3Reads(location) if location.endpoint_url else S3Store(location)


def sweep(location: Location) -> None:
    """Remove what a killed writer left half-written in this folder (what S3 has of that cannot be seen). Only for whoever
    holds the lock of all that write here."""
    if location.scheme != "file":
        return
    for path in Path(urlsplit(location.url).path).glob("*.new"):
        if _HALF.fullmatch(path.name):
            path.unlink(missing_ok=True)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Uploads that write over nothing: each asks the store to refuse an object that is there, and a refusal is looked into.

Stores that know no ``If-None-Match`` for uploads ignore it (Ceph RGW in a bucket with versioning), or say so and are then
asked without. Imported by the launcher's backend alone, as a script's sibling.
"""

from __future__ import annotations

import re
import typing as t

REFUSED = "PreconditionFailed"
UNKNOWN = "NotImplemented"
_PIECE = 1 << 20
_CREATES = ("before-call.s3.PutObject", "before-call.s3.CompleteMultipartUpload")
# duplicity's names, from which that of the set's manifest begins alike
_SET = re.compile(
    r"duplicity-(?:(?P<full>full)(?:-signatures)?\.(?P<time>[0-9TZ]+)"
    r"|(?:inc|new-signatures)\.(?P<span>[0-9TZ]+\.to\.[0-9TZ]+))\."
)


def manifest_of(name: str) -> str:
    """How the name of the manifest of this object's set begins; for a name that is none of duplicity's, the name. Pure."""
    found = _SET.match(name)
    if found is None:
        return name
    return f"duplicity-full.{found['time']}.manifest" if found["full"] else f"duplicity-inc.{found['span']}.manifest"


def ask(client: t.Any) -> None:
    """Have every upload of this client ask for it. The transfer manager (s3transfer 0.17) does not pass the argument on."""
    for event in _CREATES:
        client.meta.events.register(event, _header)


def ask_no_more(client: t.Any) -> None:
    for event in _CREATES:
        client.meta.events.unregister(event, _header)


def _header(params: t.Any, **_unused: t.Any) -> None:
    params["headers"]["If-None-Match"] = "*"


def code(error: Exception) -> str:
    """The store's word behind a failed upload."""
    answer = getattr(error.__context__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def holds(stored: t.Any, path: str) -> bool:
    """Whether the stored object (boto3's) is what is in the file."""
    body = stored.get()["Body"]
    with open(path, "rb") as handle:
        for piece in body.iter_chunks(_PIECE):
            if handle.read(len(piece)) != piece:
                return False
        return not handle.read(1)

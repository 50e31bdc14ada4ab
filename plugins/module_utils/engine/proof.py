# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Compare a restored tree with what the node recorded when the point was made."""

from __future__ import annotations

import time
import typing as t

from . import differences, record, witness
from .errors import LifeboatError, Refused
from .keyring import Keyring
from .reading import Origin
from .record import Record
from .result import Result
from .store import Location, open_store
from .times import now, stamp


def run(origin: Origin, corner: Location, set_time: str, tree: str) -> Result:
    """Judge ``tree`` as a restore of the point ``set_time``. ``corner`` is the node's place in the store."""
    started = now()
    begun = time.monotonic()
    entry = record_of(corner, origin, set_time)
    expected = witness_of(corner, entry, origin)
    comparison = witness.compare(expected, tree)
    found = comparison.differences
    if comparison.paths <= 1 or comparison.hashed == 0:
        # a tree in which nothing could be checked proves nothing
        failure: str | None = "nothing could be compared by content: look at the witness and the source."
    elif found:
        failure = f"{len(found)} path(s) differ from the witness, first: {found[0].what}: restore this point again and compare."
    else:
        failure = None
    judged = Record(
        operation="verify",
        outcome="failed" if failure else "ok",
        started=stamp(started),
        seconds=round(time.monotonic() - begun, 3),
        node=origin.node,
        profile=origin.profile,
        set_time=set_time,
        chain=entry.chain,
        files=comparison.files,
        bytes=comparison.bytes,
        failure=failure,
        as_of=origin.as_of,
    )
    extra = {
        "comparison": {
            "paths": comparison.paths,
            "hashed": comparison.hashed,
            "unjudged": comparison.unjudged,
            **differences.listed(found),
        }
    }
    if failure:
        return Result(judged, False, f"The tree is not what the node recorded: {failure}", extra=extra)
    return Result(judged, False, f"All {comparison.paths} paths of {set_time} are as recorded.", extra=extra)


def record_of(corner: Location, origin: Origin, set_time: str) -> Record:
    """The record that commits this point."""
    found, complaints = record.of_point(open_store(corner), f"records/{origin.profile}/", set_time)
    if found is None:
        more = f" ({complaints[0]})" if complaints else ""
        raise LifeboatError(
            f"the store holds no record of point {set_time}: it cannot be proven{more}; drill another one."
        )
    return found


def witness_of(corner: Location, entry: Record, origin: Origin) -> witness.Witness:
    """The witness that a record names, opened and checked to belong to it."""
    if entry.witness is None:
        raise LifeboatError(
            f"the record of {entry.set_time} names no witness: it cannot be proven; drill another point."
        )
    if entry.witness.endswith(".gpg") and origin.private_key is None:
        raise Refused("this point is encrypted: give the node's private key, opened from escrow.")
    data = open_store(corner).read(entry.witness)
    if origin.private_key is not None:
        with Keyring(origin.passphrase) as ring:
            ring.import_keys(origin.private_key)
            data = ring.decrypt(data)
    found = witness.parse(data)
    expected: t.Mapping[str, t.Any] = {
        "node": entry.node,
        "profile": entry.profile,
        "set_time": entry.set_time,
    }
    if any(found.header.get(key) != value for key, value in expected.items()):
        raise LifeboatError(
            f"the witness of {entry.set_time} belongs to another point: this record is not to be trusted."
        )
    return found

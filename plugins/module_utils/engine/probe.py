# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a store key can do, tried: one call that must work and one that must be refused. Nothing is stored by it."""

from __future__ import annotations

import time
import typing as t

from .errors import LifeboatError
from .identities import Wanted
from .store import Location, explain, key_client
from .users import Key

_UNKNOWN_YET = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403", "InvalidClientTokenId"}
_REFUSED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
# A put that no store keeps: the MD5 sum (of nothing) is not that of what is sent. The right to put is looked at first.
_WRONG_SUM = "1B2M2Y8AsgTpgAmY7PhCfg=="
_WRONG_SUM_FOUND = {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"}

Call = t.Callable[[t.Any, str], t.Any]


def _list(prefix: str) -> Call:
    return lambda client, bucket: client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


def _versions(client: t.Any, bucket: str) -> t.Any:
    return client.list_object_versions(Bucket=bucket, MaxKeys=1)


def _put(name: str) -> Call:
    return lambda client, bucket: client.put_object(Bucket=bucket, Key=name, Body=b"probe", ContentMD5=_WRONG_SUM)


def calls(wanted: Wanted) -> tuple[Call, Call]:
    """A call that this identity must be able to make, and one that must be refused."""
    return {
        # without the slash it would see its neighbours: node10 for node1
        "node": (_list(f"nodes/{wanted.node_id}/"), _list(f"nodes/{wanted.node_id}")),
        "restorer": (_versions, _put("nodes/probe")),
        "evidence": (_put("drills/probe"), _list("drills/")),
        "pruner": (_versions, _put("nodes/probe")),
    }[wanted.power]


def prove(location: Location, wanted: Wanted, key: Key, settles: float = 0.0) -> None:
    """LifeboatError unless the key works, and is refused what it must not do. A new key gets ``settles`` seconds to work."""
    client = key_client(location, "s3", key.access_key, key.secret_key)
    works, refused = calls(wanted)
    end, pause = time.monotonic() + settles, 0.5
    while (error := _error(works, client, wanted.bucket)) is not None:
        if _code(error) not in _UNKNOWN_YET or time.monotonic() >= end:
            raise LifeboatError(explain(f"use the key {key.access_key} of {wanted.user}", error)) from error
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    error = _error(refused, client, wanted.bucket)
    if error is None:
        raise LifeboatError(
            f"the key {key.access_key} of {wanted.user} may do more than the power '{wanted.power}': correct the policy of "
            "its user (docs/security.md) before it is used."
        )
    if _code(error) not in _REFUSED:
        raise LifeboatError(explain(f"see what the key {key.access_key} of {wanted.user} may not do", error)) from error


def works(location: Location, wanted: Wanted, key: Key) -> bool:
    """Whether the store still knows this key. A store that does not answer is an error."""
    error = _error(calls(wanted)[0], key_client(location, "s3", key.access_key, key.secret_key), wanted.bucket)
    if error is not None and _code(error) not in _UNKNOWN_YET:
        raise LifeboatError(explain(f"use the key {key.access_key} of {wanted.user}", error)) from error
    return error is None


def _error(call: Call, client: t.Any, bucket: str) -> Exception | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        call(client, bucket)
    except (BotoCoreError, ClientError) as error:
        return None if _code(error) in _WRONG_SUM_FOUND else error
    return None


def _code(error: Exception) -> str:
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))

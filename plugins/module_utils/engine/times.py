# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Times as duplicity writes them (``20261123T021500Z``) and as people ask for them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .errors import Refused

_STAMP = "%Y%m%dT%H%M%SZ"
_IS_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "D": 86400, "W": 7 * 86400, "M": 30 * 86400, "Y": 365 * 86400}


def now() -> datetime:
    """This moment in UTC, to the second: finer parts do not survive a stamp."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def stamp(moment: datetime) -> str:
    """``20261123T021500Z`` for a moment in UTC."""
    return moment.astimezone(timezone.utc).strftime(_STAMP)


def parse_stamp(text: str) -> datetime:
    """The moment of a stamp; ValueError when it is not one."""
    if not _IS_STAMP.fullmatch(text):
        raise ValueError(f"{text!r} is not a stamp")
    # strptime takes ten times as long, and listings are full of stamps
    parts = (text[:4], text[4:6], text[6:8], text[9:11], text[11:13], text[13:15])
    year, month, day, hour, minute, second = map(int, parts)
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)


def parse_ago(text: str) -> timedelta:
    """A span as duplicity writes it (``3D``, ``1D12h``; M is 30 days, Y 365); ValueError when it is not one."""
    if not re.fullmatch(r"([0-9]{1,6}[smhDWMY])+", text):
        raise ValueError(f"{text!r} is not a span")
    return timedelta(seconds=sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"([0-9]+)([smhDWMY])", text)))


def parse_time(text: str, what: str = "time") -> datetime:
    """A moment given by a person for the option ``what``: a stamp, ISO 8601 (UTC unless it says otherwise), seconds since
    1970, or a span that is counted back from now (``3D``)."""
    text = text.strip()
    try:
        return now() - parse_ago(text)
    except (ValueError, OverflowError):
        pass
    try:
        return parse_stamp(text)
    except ValueError:
        pass
    try:
        if re.fullmatch(r"[0-9]{9,11}", text):
            return datetime.fromtimestamp(int(text), timezone.utc)
        # Python 3.10 does not read the Z
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except (ValueError, OverflowError):
        raise Refused(
            f"{what} '{text}' is not understood: write 20261123T021500Z, 2026-11-23T02:15:00Z, seconds since 1970, or how "
            "long ago (3D, 12h)."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

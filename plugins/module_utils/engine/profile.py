# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What is backed up, where to and for which key: the profile of a node, without any secret."""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass
from datetime import timedelta

from .errors import LifeboatError, Refused
from .selection import check_patterns
from .store import Location, check_url

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Layout:
    """Where things live on a node. Tests use another root."""

    etc: str = "/etc/lifeboat"
    state: str = "/var/lib/lifeboat"
    cache: str = "/var/cache/lifeboat"
    run: str = "/run/lifeboat"


@dataclass(frozen=True)
class Profile:
    """One thing to back up.

    ``store`` is the node's own corner (``s3://bucket/nodes/<id>``); the repository is ``repo/<name>`` below it, records
    are in ``records/<name>``. A repository elsewhere (``bare``) has no corner and keeps no records: then ``store`` is the
    repository itself. ``fingerprint`` is the OpenPGP key that sets are encrypted to; None stores them in clear.
    Sizes in MiB, times in seconds.
    """

    name: str
    node: str | None
    source: str
    store: Location
    fingerprint: str | None
    bare: bool = False
    exclude: tuple[str, ...] = ()
    volume_mib: int = 200
    compression_level: int = 1
    concurrency: int = 2
    full_every_days: float = 7
    timeout: int = 20 * 3600
    stall_timeout: int = 1800

    @property
    def repository(self) -> Location:
        return self.store if self.bare else self.store.below(f"repo/{self.name}")

    @property
    def records(self) -> str:
        """Prefix of this profile's records in its store."""
        return f"records/{self.name}/"

    @property
    def full_period(self) -> timedelta:
        return timedelta(days=self.full_every_days)


@dataclass(frozen=True)
class Field:
    """How one key of a profile file is read: its type and the smallest value allowed."""

    kind: type | tuple[type, ...]
    least: float | None = None
    required: bool = False


FIELDS: dict[str, Field] = {
    "node": Field(str, required=True),
    "source": Field(str, required=True),
    "store": Field(dict, required=True),
    "fingerprint": Field((str, type(None)), required=True),
    "exclude": Field(list),
    "volume_mib": Field(int, 1),
    "compression_level": Field(int, 0),
    "concurrency": Field(int, 0),
    "full_every_days": Field((int, float), 0.01),
    "timeout": Field(int, 60),
    "stall_timeout": Field(int, 10),
}


def check_name(name: str) -> str:
    """The profile name itself, if it can be part of unit names, paths and object names."""
    if not _NAME.fullmatch(name):
        raise Refused(
            f"profile name '{name}' is not usable: use up to 32 of a-z, 0-9, - and _, starting with a letter."
        )
    return name


def from_dict(name: str, data: t.Mapping[str, t.Any]) -> Profile:
    """A checked profile from its JSON form; every complaint is a sentence that names the key."""
    check_name(name)
    unknown = sorted(set(data) - set(FIELDS))
    if unknown:
        raise Refused(f"profile '{name}' has the unknown setting '{unknown[0]}': known are {', '.join(FIELDS)}.")
    for key, rule in FIELDS.items():
        if key not in data:
            if rule.required:
                raise Refused(f"profile '{name}' lacks the setting '{key}'.")
            continue
        value = data[key]
        if not isinstance(value, rule.kind) or isinstance(value, bool):
            raise Refused(f"profile '{name}': '{key}' has the wrong type ({type(value).__name__}).")
        if rule.least is not None and t.cast(float, value) < rule.least:
            raise Refused(f"profile '{name}': '{key}' must be at least {rule.least}.")
    if data.get("compression_level", 1) > 9:
        raise Refused(f"profile '{name}': 'compression_level' is a number from 0 to 9.")
    values = dict(data)
    source = os.path.normpath(values["source"])
    if not source.startswith("/"):
        raise Refused(f"profile '{name}': source '{values['source']}' is not an absolute path.")
    exclude = tuple(values.pop("exclude", ()))
    check_patterns(source, exclude)
    store = location(values.pop("store"))
    values.pop("source")
    return Profile(name=name, source=source, store=store, exclude=exclude, **values)


def location(data: t.Mapping[str, t.Any]) -> Location:
    """A store's location from its JSON form ``{url, endpoint_url, region, ca_bundle, credentials_file}``."""
    try:
        place = Location(**{key: value for key, value in data.items() if value not in (None, "")})
    except TypeError:
        raise Refused(
            "the store's settings need 'url' and know only endpoint_url, region, ca_bundle and credentials_file."
        ) from None
    check_url(place.url)
    return place


def load(name: str, layout: Layout | None = None) -> Profile:
    """The profile installed on this node under that name."""
    path = os.path.join((layout or Layout()).etc, check_name(name) + ".json")
    try:
        with open(path, encoding="utf-8") as handle:
            data = json.load(handle)
    except FileNotFoundError:
        raise Refused(
            f"there is no profile '{name}' on this node ({path}): name one of "
            f"{', '.join(names(layout)) or 'none yet'}, or roll it out."
        ) from None
    except (OSError, ValueError) as error:
        raise LifeboatError(f"cannot read {path}: {error}; roll the node out again.") from error
    if not isinstance(data, dict):
        raise LifeboatError(f"{path} does not hold a profile; roll the node out again.")
    return from_dict(name, data)


def names(layout: Layout | None = None) -> list[str]:
    """The profiles installed on this node."""
    folder = (layout or Layout()).etc
    try:
        files = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LifeboatError(f"cannot list {folder}: {error.strerror}; use sudo.") from error
    return sorted(file[:-5] for file in files if file.endswith(".json") and _NAME.fullmatch(file[:-5]))

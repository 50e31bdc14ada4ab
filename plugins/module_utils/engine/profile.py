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
from .fields import NONE, Field, check_fields
from .selection import EVERYTHING, Selection, check_names, rules
from .store import STORAGE_CLASSES, Location, check_url

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
    Sizes in MiB, times in seconds. What each option is for and why it has its default: docs/options.md.
    """

    name: str
    node: str | None
    source: str
    store: Location
    fingerprint: str | None
    bare: bool = False
    local: str | None = None
    selection: Selection = EVERYTHING
    volume_mib: int = 50
    compression_level: int = 1
    concurrency: int = 2
    upload_kib_per_second: int = 0
    full_every_days: float = 7
    full_every_incrementals: int = 0
    skip_if_unchanged: bool = False
    nice: int = 0
    ionice: str | None = None
    tmpdir: str | None = None
    timeout: int = 20 * 3600
    stall_timeout: int = 1800
    keep_days: float | None = None
    keep_chains: int | None = None
    keep_points: int | None = None

    @property
    def folder(self) -> str:
        """Name of its folders on this host. One given directly has folders of its own: those of an installed profile of the
        same name belong to that profile's unit and its user."""
        return self.local or self.name

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


FIELDS: dict[str, Field] = {
    "node": Field(str, required=True),
    "source": Field(str, required=True),
    "store": Field(dict, required=True),
    "fingerprint": Field((str, NONE), required=True),
    "select": Field(list),
    "exclude": Field(list),
    "presets": Field(list),
    "exclude_if_present": Field(list),
    "exclude_device_files": Field(bool),
    "one_file_system": Field(bool),
    "volume_mib": Field(int, 1, 10240),
    "compression_level": Field(int, 0, 9),
    "concurrency": Field(int, 0, 64),
    "upload_kib_per_second": Field(int, 0),
    "full_every_days": Field((int, float), 0.01),
    "full_every_incrementals": Field(int, 0),
    "skip_if_unchanged": Field(bool),
    "nice": Field(int, 0, 19),
    "ionice": Field((str, NONE), choices=("idle", "best-effort")),
    "tmpdir": Field((str, NONE)),
    "timeout": Field(int, 60),
    "stall_timeout": Field(int, 10),
    "keep_days": Field((int, float), 0.0001, 36500),
    "keep_chains": Field(int, 1, 36500),
    "keep_points": Field(int, 1, 36500),
}
STORE_FIELDS: dict[str, Field] = {
    "url": Field(str, required=True),
    "endpoint_url": Field(str),
    "region": Field(str),
    "ca_bundle": Field(str),
    "credentials_file": Field(str),
    "storage_class": Field(str, choices=STORAGE_CLASSES),
    "sse": Field(str, choices=("AES256", "aws:kms")),
    "sse_kms_key_id": Field(str),
    "num_retries": Field(int, 1, 100),
    "retry_delay": Field(int, 0, 3600),
    "max_attempts": Field(int, 1, 100),
}
# What a prune of its repository promises; for a fleet's bucket the controller reads them from the inventory.
KEEPING = ("keep_days", "keep_chains", "keep_points")
SELECTING = ("select", "exclude", "presets", "exclude_if_present", "exclude_device_files", "one_file_system")


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
    check_fields(f"profile '{name}'", data, FIELDS)
    values = dict(data)
    source = _absolute(name, "source", values.pop("source"))
    if values.get("tmpdir") is not None:
        values["tmpdir"] = _absolute(name, "tmpdir", values["tmpdir"])
    selection = selection_of(source, {key: values.pop(key) for key in SELECTING if key in values})
    store = location(values.pop("store"))
    if values.get("upload_kib_per_second") and store.scheme != "s3":
        raise Refused(f"profile '{name}': 'upload_kib_per_second' works for an s3:// store only: leave it out.")
    return Profile(name=name, source=source, store=store, selection=selection, **values)


def selection_of(source: str, chosen: t.Mapping[str, t.Any]) -> Selection:
    """What of ``source`` the settings named in :data:`SELECTING` keep."""
    names = tuple(chosen.get("exclude_if_present", ()))
    check_names(names)
    return Selection(
        rules(source, chosen.get("select", ()), chosen.get("exclude", ()), chosen.get("presets", ())),
        if_present=names,
        one_file_system=chosen.get("one_file_system", False),
        device_files=not chosen.get("exclude_device_files", False),
    )


def _absolute(name: str, key: str, path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Refused(f"profile '{name}': {key} '{path}' is not an absolute path.")
    return os.path.normpath(path)


def location(data: t.Mapping[str, t.Any]) -> Location:
    """A store's location from its JSON form, a dict with the keys of :data:`STORE_FIELDS`."""
    values = {key: value for key, value in data.items() if value not in (None, "")}
    check_fields("the store", values, STORE_FIELDS)
    place = Location(**values)
    check_url(place.url)
    extra = next((key for key in ("storage_class", "sse", "sse_kms_key_id") if key in values), None)
    if extra and place.scheme != "s3":
        raise Refused(f"the store's setting '{extra}' works with s3:// only: leave it out.")
    if (place.sse == "aws:kms") != (place.sse_kms_key_id is not None):
        raise Refused("the store's settings 'sse: aws:kms' and 'sse_kms_key_id' need each other: give both or neither.")
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

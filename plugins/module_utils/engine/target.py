# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A request's target -> what the engine works on: a location, an origin to read from, a profile to back up.

Secrets of the request end here: in a folder in memory that is gone when the request is done, or in the origin's key.
"""

from __future__ import annotations

import hashlib
import os
import re
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from . import private, profile, times
from .errors import Refused
from .keyring import Keyring
from .profile import Layout, Profile
from .reading import Origin
from .store import Location, check_url

Values = t.Mapping[str, t.Any]

_CORNER = re.compile(r"(?P<corner>.+/(?P<node>[^/]+))/repo/(?P<profile>[a-z0-9][a-z0-9_-]{0,31})/?")


@dataclass(frozen=True)
class Corner:
    """A repository that lies in a node's corner of a store: that corner, whose it is, and the profile's name."""

    place: Location
    node: str
    profile: str


def corner_of(repository: Location) -> Corner | None:
    """The corner that a repository's URL names (``.../nodes/<id>/repo/<profile>``), or None for one elsewhere."""
    found = _CORNER.fullmatch(repository.url)
    return Corner(replace(repository, url=found["corner"]), found["node"], found["profile"]) if found else None


def fingerprint(public_key: str | None) -> str | None:
    """Of the one key in this armored text."""
    if public_key is None:
        return None
    with Keyring() as ring:
        found = ring.import_keys(public_key.encode())
    if len(found) != 1:
        raise Refused(f"encryption.public_key holds {len(found)} keys: give exactly one.")
    return found[0]


def bare_profile(values: Values, location: Location, fingerprint: str | None) -> Profile:
    """A profile for a target given directly. Its folders on this host are known by the target's URL."""
    corner = corner_of(location)
    options = {key: values[key] for key in profile.FIELDS if key in values and key != "store"}
    folder = "direct-" + hashlib.sha256(location.url.encode()).hexdigest()[:12]
    name = corner.profile if corner else folder
    place = corner.place if corner else location
    given = {
        **options,
        "node": corner.node if corner else "",
        "fingerprint": fingerprint,
        "store": {"url": place.url},
    }
    checked = profile.from_dict(name, given)
    return replace(checked, node=checked.node or None, store=place, bare=corner is None, local=folder)


def as_of(values: Values) -> datetime | None:
    """The time as of which the store is to be read, if the request names one."""
    wanted = values.get("as_of")
    if wanted in (None, ""):
        return None
    moment = times.parse_time(str(wanted), "as_of")
    if moment > times.now() + timedelta(hours=1):  # the store's clock may be ahead of ours, but no more than that
        raise Refused(
            f"as_of {times.stamp(moment)} lies in the future: give the last time at which the store was good."
        )
    return moment


@contextmanager
def origin(values: Values, layout: Layout) -> t.Iterator[tuple[Origin, Corner | None]]:
    """What to read, and the node's corner if the repository lies in one."""
    given = values.get("encryption", {})
    key, passphrase = given.get("private_key"), given.get("passphrase") or None
    private_key = key.encode() if key else None
    if passphrase and "\n" in passphrase:
        raise Refused("encryption.passphrase is more than one line: gpg takes the first one only, so give that.")
    if "profile" in values:
        settings = profile.load(values["profile"], layout)
        if settings.fingerprint is not None and private_key is None:
            raise Refused(
                "this needs the node's private key, which is not on the node: use playbooks/restore.yml, or give the key "
                "opened from escrow."
            )
        own = (private_key, passphrase) if settings.fingerprint else (None, None)
        node = settings.node or ""  # an installed profile always names its node
        settings = replace(settings, store=replace(settings.store, as_of=as_of(values)))
        yield Origin(settings.repository, *own, node, settings.name), Corner(settings.store, node, settings.name)
        return
    with location(values) as place:
        corner = corner_of(place)
        if corner is None:
            yield Origin(place, private_key, passphrase), None
        else:
            yield Origin(place, private_key, passphrase, corner.node, corner.profile), corner


@contextmanager
def location(values: Values) -> t.Iterator[Location]:
    """The target; a key given with it lies in memory as long as it is used."""
    url = check_url(values["target"])
    given = {key: value for key, value in values.get("store", {}).items() if value not in (None, "")}
    access, secret = given.pop("access_key", None), given.pop("secret_key", None)
    place = replace(profile.location({**given, "url": url}), as_of=as_of(values))
    if place.scheme != "s3" or place.credentials_file:
        yield place
        return
    if not access or not secret:
        raise Refused("an s3:// target needs store.access_key and store.secret_key, or store.credentials_file.")
    if re.search(r"[\s]", access + secret):
        raise Refused("the store's key holds white space: it was not copied whole.")
    folder = private.make()
    try:
        path = os.path.join(folder, "store.ini")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
            handle.write(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
        yield replace(place, credentials_file=path)
    finally:
        private.remove(folder)

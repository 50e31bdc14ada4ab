# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One request in JSON -> one operation -> one answer in JSON: what the Ansible module talks to.

``{"engine": "0.1.0", "operation": "backup|restore|verify|prune|cleanup|info", ...}``. Either ``profile`` names what is installed on this
node, or ``target`` (a URL), ``store``, ``encryption`` and ``source`` are given. Secrets arrive here and go no further
than a folder in memory: ``store.access_key``, ``store.secret_key``, ``encryption.private_key``, ``encryption.passphrase``.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace
from datetime import timedelta

# What a single operation needs is imported where that begins: a restore is not to wait for the rest.
from . import VERSION, chains, destination, installed, profile, reader, reading, record, selection, target, times, unit
from .errors import Refused
from .profile import Layout
from .reading import Limits, Origin
from .record import Record
from .result import Result
from .store import Location, open_store
from .target import Values

_KEYS = {
    "backup": {"mode", *profile.FIELDS}
    - {"node", "store", "fingerprint", "timeout", "stall_timeout", *profile.KEEPING},
    "restore": {"dest", "path", "select", "time", "as_of", "replace", "reader", "referee", "diff"},
    "verify": {"dest", "time", "as_of", "compare_data", "source", *profile.SELECTING},
    "prune": {"keep_days", "keep_chains", "keep_points", "incomplete_days", "settle_hours"},
    "cleanup": {"incomplete_days"},
    "info": {"files", "path", "time", "as_of"},
}
_COMMON = {
    "engine",
    "operation",
    "check",
    "profile",
    "target",
    "store",
    "encryption",
    "timeout",
    "stall_timeout",
}


def handle(values: Values, layout: Layout | None = None) -> dict[str, t.Any]:
    """Carry out one request. Raises :class:`LifeboatError` for what never started."""
    layout = layout or Layout()
    values = {key: value for key, value in values.items() if value is not None}
    operation = values.get("operation", "")
    if values.get("engine") != VERSION:
        raise Refused(
            f"this node's engine is {VERSION}, the request is for {values.get('engine')}: roll the node out again "
            "(playbooks/rollout.yml)."
        )
    if operation not in _KEYS:
        raise Refused(f"operation '{operation}' is unknown: use {', '.join(_KEYS)}.")
    unknown = sorted(set(values) - _COMMON - _KEYS[operation])
    if unknown:
        raise Refused(f"operation {operation} does not know '{unknown[0]}'.")
    if ("profile" in values) == ("target" in values):
        raise Refused("give either 'profile' (what is installed on this node) or 'target' (a URL), and not both.")
    if operation in ("restore", "verify") or values.get("files"):
        installed.check_duplicity()  # before anything is touched; a backup's own run asks for itself
    if operation == "backup":
        return _backup(values, layout)
    if operation == "info":
        return _info(values, layout)
    if operation in ("prune", "cleanup"):
        return _prune(values, layout).to_dict()
    with target.origin(values, layout) as (origin, corner):
        if operation == "restore":
            return _restore(values, origin, corner).to_dict()
        return _verify(values, layout, origin, corner).to_dict()


def _backup(values: Values, layout: Layout) -> dict[str, t.Any]:
    from . import backup

    mode = values.get("mode", "auto")
    if "profile" in values:
        given = sorted(set(values) & (_KEYS["backup"] | {"store", "encryption", "timeout", "stall_timeout"}) - {"mode"})
        if given:
            raise Refused(f"'{given[0]}' is a setting of the profile: change it there, or give a target.")
        settings = profile.load(values["profile"], layout)
        if values.get("check"):
            return _would(f"A backup of {settings.source} would run.")
        return unit.start(settings.name, mode, layout)
    if "source" not in values:
        raise Refused("a backup to a target needs 'source', the folder to back up.")
    if secret := sorted(key for key, value in values.get("encryption", {}).items() if value and key != "public_key"):
        raise Refused(
            f"encryption.{secret[0]} is for reading: a backup is sealed with encryption.public_key, so that the node can't "
            "read what it wrote."
        )
    with target.location(values) as location:
        key = values.get("encryption", {}).get("public_key")
        settings = target.bare_profile(values, location, target.fingerprint(key))
        if values.get("check"):
            return _would(f"A backup of {settings.source} would run.")
        return backup.run(settings, mode, key.encode() if key else None, layout).to_dict()


def _info(values: Values, layout: Layout) -> dict[str, t.Any]:
    """No key is needed for this, but for the list of files: names, sizes and records are in clear."""
    if values.get("files"):
        return _files(values, layout)
    for key in ("path", "time"):
        if key in values:
            raise Refused(f"'{key}' belongs to a list of files: set files to true.")
    if "profile" in values:
        settings = profile.load(values["profile"], layout)
        store = replace(settings.store, as_of=target.as_of(values))
        return _described(store, settings.name, settings.node, settings.full_period, settings.full_every_incrementals)
    with target.location(values) as location:
        corner = target.corner_of(location)
        if corner is None:
            return _described(location, None, None, None)
        return _described(corner.place, corner.profile, corner.node, None)


def _files(values: Values, layout: Layout) -> dict[str, t.Any]:
    from . import files

    with target.origin(values, layout) as (origin, _corner):
        time, listed = files.of(origin, _moment(values))
    if path := _path(values):
        listed = files.below(listed, os.fsencode(path))
    return {
        "failed": False,
        "changed": False,
        "msg": f"{len(listed)} path(s) in {time}.",
        "warnings": [],
        "point": time,
        "files": [item.to_dict() for item in listed],
    }


def _prune(values: Values, layout: Layout) -> Result:
    """No key of the node is needed: whole objects go, unread."""
    if "profile" in values:
        settings = profile.load(values["profile"], layout)
        if settings.store.scheme == "s3":
            raise Refused("a node may not delete its own history from an s3:// store: prune on the controller instead.")
        own = {key: getattr(settings, key) for key in profile.KEEPING if getattr(settings, key) is not None}
        values = {**own, **values}
        return _pruned(values, settings.repository, target.Corner(settings.store, settings.node or "", settings.name))
    with target.location(values) as location:
        return _pruned(values, location, target.corner_of(location))


def _pruned(values: Values, repository: Location, corner: target.Corner | None) -> Result:
    from . import prune, retention

    place, name, node = (corner.place, corner.profile, corner.node) if corner else (None, None, None)
    check = bool(values.get("check"))
    given = {key: values[key] for key in _KEYS["prune"] if key in values}
    policy = retention.Policy(**given)
    if values["operation"] == "prune":
        return prune.run(repository, place, name, node, policy, check=check)
    return prune.cleanup(repository, place, name, node, incomplete_days=policy.incomplete_days, check=check)


def _described(
    corner: Location, name: str | None, node: str | None, period: timedelta | None, most: int = 0
) -> dict[str, t.Any]:
    from . import info

    store = open_store(corner)
    prefix = f"repo/{name}/" if name else ""
    collection = chains.collect(store.list(prefix), prefix)
    records, complaints = record.read_all(store, f"records/{name}/") if name else ([], [])
    described = info.describe(collection, records, times.now(), period, f"{node}/{name}", most)
    message = f"{len(described['points'])} restore point(s), the newest of {described['newest'] or 'never'}."
    answer = {"failed": False, "changed": False, "msg": message, "warnings": complaints, **described}
    if corner.as_of is None:
        return answer
    then = times.stamp(corner.as_of)
    # what was to come then is past
    return answer | {"msg": f"As of {then}: {message}", "as_of": then, "next_full": None}


def _would(message: str) -> dict[str, t.Any]:
    return {
        "failed": False,
        "changed": True,
        "msg": message,
        "outcome": None,
        "rc": None,
        "record": None,
        "warnings": [],
    }


def _moment(values: Values) -> t.Any:
    wanted = values.get("time")
    return None if wanted in (None, "", "latest") else times.parse_time(str(wanted))


def _limits(values: Values) -> Limits:
    standard = Limits()
    return Limits(values.get("timeout", standard.timeout), values.get("stall_timeout", standard.stall_timeout))


def _path(values: Values) -> str | None:
    return (values.get("path") or "").strip("/") or None


def _one_of(key: str, choices: tuple[str, ...], values: Values) -> str:
    """The value of a key whose first choice is the default; true and false may be words or JSON's own."""
    wanted = str(values.get(key, choices[0])).lower()
    if wanted not in choices:
        raise Refused(f"{key} is {', '.join(choices)}, not '{wanted}'.")
    return wanted


def _restore(values: Values, origin: Origin, corner: target.Corner | None) -> Result:
    from . import restore

    if "dest" not in values:
        raise Refused("a restore needs 'dest', the path that the restored tree gets.")
    path = _path(values)
    if path and values.get("select"):
        raise Refused("give 'path' (one file or folder) or 'select' (patterns), not both.")
    wish = restore.Wish(
        values["dest"],
        moment=_moment(values),
        path=path,
        select=selection.relative(values.get("select", ())),
        replace=_one_of("replace", destination.REPLACE, values),
        reader=_one_of("reader", reader.READERS, values),
        referee=bool(values.get("referee")),
        limits=_limits(values),
        check=bool(values.get("check")),
        diff=bool(values.get("diff")),
    )
    return restore.run(origin, corner.place if corner else None, wish)


def _verify(values: Values, layout: Layout, origin: Origin, corner: target.Corner | None) -> Result:
    from . import proof, verify

    if values.get("check"):
        return _nothing_done("verify", origin, "A verify would run.")
    moment, limits = _moment(values), _limits(values)
    if values.get("compare_data"):
        if "dest" in values:
            raise Refused("give 'dest' (a restored tree) or 'compare_data' (the live one), not both.")
        tree, chosen = _live(values, layout)
        return verify.live(origin, tree, moment=moment, selection=chosen, limits=limits)
    if "dest" not in values:
        return verify.scrub(origin, moment=moment, limits=limits)
    if corner is None:
        raise Refused(
            "only a repository in a node's corner (.../nodes/<id>/repo/<profile>) has records to compare with."
        )
    if not os.path.isdir(values["dest"]):
        raise Refused(f"{values['dest']} is no folder: name the restored tree.")
    _chain, point = reading.locate(origin.repository, moment)
    return proof.run(origin, corner.place, point.time, os.path.normpath(values["dest"]))


def _live(values: Values, layout: Layout) -> tuple[str, tuple[str, ...]]:
    """The live tree and duplicity's arguments for what a backup leaves out of it."""
    if "profile" in values:
        for key in {"source", *profile.SELECTING} & values.keys():
            raise Refused(f"'{key}' is a setting of the profile: change it there, or give a target.")
        settings = profile.load(values["profile"], layout)
        return settings.source, selection.arguments(settings.selection)
    if "source" not in values:
        raise Refused("'compare_data' with a target needs 'source', the live folder to compare with.")
    return values["source"], selection.arguments(profile.selection_of(values["source"], values))


def _nothing_done(operation: str, origin: Origin, message: str) -> Result:
    entry = Record(operation, "ok", times.stamp(times.now()), 0.0, origin.node, origin.profile)
    return Result(entry, False, message)

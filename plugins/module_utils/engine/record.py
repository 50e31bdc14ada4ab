# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The run record: one JSON shape for what an operation did, shown by every face (``schemas/run_record.schema.json``).

Written last into the store, it commits a restore point: its ``objects`` are what must be there. It holds no paths;
those are in the witness, which is encrypted. A record is a claim of the node: it may cause more to be kept, never less.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime

from . import DUPLICITY_VERSION, VERSION
from .errors import LifeboatError
from .machine_log import Event
from .store import ObjectStore
from .times import parse_stamp, stamp

SCHEMA = 1
LARGEST = 16 << 20  # bytes of a record: one of 100,000 volumes
_MOST = 10_000  # records that are read: a run every hour for a year


@dataclass(frozen=True)
class Object:
    """One stored object of a set: name in the repository, size, ``<algorithm>:<hex>``, version id if there is one."""

    name: str
    bytes: int
    checksum: str
    version_id: str | None = None


@dataclass(frozen=True)
class Record:
    """See the module's text. ``set_time`` and ``chain`` (time of the chain's full) are stamps, or None where no set was
    made or read; ``mode`` is full or incremental for backups, and None for one that found the source unchanged and made
    no set: then ``set_time`` names the point that still stands; ``files`` and ``bytes`` count the source or the restored
    tree; ``warnings`` are duplicity's codes with their counts; ``witness`` names the witness object; ``as_of``: the store was
    read as it was at that time."""

    operation: str
    outcome: str
    started: str
    seconds: float
    node: str | None = None
    profile: str | None = None
    mode: str | None = None
    set_time: str | None = None
    chain: str | None = None
    files: int = 0
    bytes: int = 0
    failure: str | None = None
    exit_code: int | None = None
    engine: str = "duplicity"
    warnings: list[dict[str, int]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=lambda: {"engine": VERSION, "duplicity": DUPLICITY_VERSION})
    objects: list[Object] = field(default_factory=list)
    witness: str | None = None
    as_of: str | None = None
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, t.Any]:
        """The record as plain data; ``as_of`` is there only if it is a time."""
        values = asdict(self)
        if self.as_of is None:
            del values["as_of"]
        return values

    @property
    def moment(self) -> datetime:
        """Time of its restore point."""
        return parse_stamp(self.set_time or self.started)


def warnings_of(events: t.Iterable[Event]) -> list[dict[str, int]]:
    """``[{"code": 9, "count": 2}]`` in order of code."""
    counts = Counter(event.code for event in events if event.keyword == "WARNING")
    return [{"code": code, "count": count} for code, count in sorted(counts.items())]


def name(prefix: str, started: datetime, operation: str) -> str:
    """Object name of a record below a node's corner."""
    return f"{prefix}{stamp(started)}-{operation}.json"


def witness_name(prefix: str, started: datetime) -> str:
    """Object name of the witness that belongs to the record of the same start."""
    return f"{prefix}{stamp(started)}-backup.witness.gz.gpg"


def dump(record: Record) -> bytes:
    """The record in its stored form."""
    return json.dumps(record.to_dict(), indent=1, sort_keys=True).encode() + b"\n"


Check = t.Callable[[t.Any], bool]


def _one_of(*choices: t.Any) -> Check:
    return lambda value: any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: t.Any) -> bool:
    return _is_number(value) and 0 <= value <= 2**53


def _is_stamp(value: t.Any) -> bool:
    return isinstance(value, str) and parse_stamp(value) is not None


_KINDS: dict[str, Check] = {
    "schema": _is_number,
    "operation": _one_of("backup", "restore", "verify", "prune", "cleanup"),
    "outcome": _one_of("ok", "warning", "failed"),
    "started": _is_stamp,
    "seconds": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1e9,
    "node": _or_none(_is_text),
    "profile": _or_none(lambda value: re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value) is not None),
    "mode": _one_of("full", "incremental", None),
    "set_time": _or_none(_is_stamp),
    "chain": _or_none(_is_stamp),
    "files": _is_count,
    "bytes": _is_count,
    "failure": _or_none(_is_text),
    "exit_code": _or_none(_is_number),
    "engine": _one_of("duplicity", "fast"),
    "warnings": lambda value: isinstance(value, list),
    "versions": lambda value: (
        {"engine", "duplicity"} <= value.keys() and all(isinstance(text, str) for text in value.values())
    ),
    "objects": lambda value: isinstance(value, list),
    "witness": _or_none(_is_text),
    "as_of": _or_none(_is_stamp),
}
_OBJECT_KINDS: dict[str, Check] = {
    "name": _is_text,
    "bytes": _is_count,
    "checksum": lambda value: re.fullmatch(r"([a-z0-9]+:.*)?", value, re.DOTALL) is not None,
    "version_id": lambda value: value is None or isinstance(value, str),
}


def _check_kinds(values: dict[str, t.Any], kinds: t.Mapping[str, Check]) -> None:
    """ValueError unless these are exactly the fields, each of its kind: whoever reads records counts on that."""
    if values.keys() != kinds.keys():
        raise ValueError("fields")
    for key, check in kinds.items():
        if not check(values[key]):
            raise ValueError(key)


def parse(data: bytes, where: str) -> Record:
    """The reverse of :func:`dump`; ``where`` names the source in complaints. Nothing in it is trusted to be right."""
    try:
        values = json.loads(data)
        if values["schema"] != SCHEMA:
            raise LifeboatError(
                f"{where} has schema {values['schema']!r}, this engine reads {SCHEMA}: use a newer engine."
            )
        values.setdefault("as_of", None)
        _check_kinds(values, _KINDS)
        for item in values["objects"]:
            _check_kinds(item, _OBJECT_KINDS)
        for item in values["warnings"]:
            _check_kinds(item, {"code": _is_count, "count": _is_count})
        values["objects"] = [Object(**item) for item in values["objects"]]
        record = Record(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LifeboatError(
            f"{where} is not a run record ({type(error).__name__}): ignore it, and find out who wrote it."
        ) from error
    return record


def fetch(store: ObjectStore, name: str, *, version_id: str | None = None) -> Record:
    """The record of this name, in this version or the current one. A node may store there what it likes: no more of it than
    a record can have comes into memory."""
    data = bytearray()
    for piece in store.stream(name, version_id=version_id):
        data += piece
        if len(data) > LARGEST:
            raise LifeboatError(f"{name} is larger than any run record: ignore it, and find out who wrote it.")
    return parse(bytes(data), name)


def read_all(store: ObjectStore, prefix: str, *, readers: int = 8) -> tuple[list[Record], list[str]]:
    """All records below ``prefix``, oldest first, and a sentence for each that cannot be read. ``readers`` at a time:
    a store is as far away as its round trips are long."""

    records, complaints = read_newest(store, [item.name for item in store.list(prefix)], readers=readers)
    return sorted(records.values(), key=lambda record: record.started), complaints


def read_newest(
    store: ObjectStore, listed: t.Sequence[str], *, readers: int = 8
) -> tuple[dict[str, Record], list[str]]:
    """The current records of the objects ``listed`` in name order, and a sentence for each that cannot be read. A node
    may have written any number: the newest are read."""
    names = [name for name in listed if name.endswith(".json")]
    records, complaints = read_these(store, dict.fromkeys(names[-_MOST:]), readers=readers)
    if len(names) > _MOST:
        complaints.append(f"of {len(names)} run records only the newest {_MOST} were read: find out who wrote them.")
    return records, complaints


def read_these(
    store: ObjectStore, names: t.Mapping[str, str | None], *, readers: int = 8
) -> tuple[dict[str, Record], list[str]]:
    """The records of these names, each in the version that is given with it (None: the current one), and a sentence for
    each that cannot be read."""

    def one(name: str) -> Record | str:
        try:
            return fetch(store, name, version_id=names[name])
        except LifeboatError as error:
            return str(error)

    with ThreadPoolExecutor(readers) as pool:
        found = dict(zip(names, pool.map(one, names), strict=True))
    records = {name: item for name, item in found.items() if isinstance(item, Record)}
    return records, [item for item in found.values() if isinstance(item, str)]


def of_point(store: ObjectStore, prefix: str, set_time: str) -> tuple[Record | None, list[str]]:
    """The record that commits a point, by one listing and mostly one read: it started before its set was made, and no
    other run did in between. Beside it a sentence for each record on the way that cannot be read."""
    complaints: list[str] = []
    names = [item.name for item in store.list(prefix) if item.name.endswith("-backup.json")]
    for name in sorted((name for name in names if name <= f"{prefix}{set_time}-backup.json"), reverse=True):
        try:
            found = fetch(store, name)
        except LifeboatError as error:
            complaints.append(str(error))
            continue
        if found.set_time == set_time and points([found]):
            return found, complaints
        if found.set_time is not None and found.set_time < set_time:
            break
    return None, complaints


def points(records: t.Iterable[Record]) -> list[Record]:
    """The records that commit a restore point, oldest first."""
    good = (
        r for r in records if r.operation == "backup" and r.outcome != "failed" and r.mode and r.set_time and r.chain
    )
    return sorted(good, key=lambda record: record.set_time or "")

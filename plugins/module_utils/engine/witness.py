# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The witness: what the node itself saw of its source while a backup ran, to be compared with a restore elsewhere.

It is made without duplicity: one walk before the run, one after it, and SHA-256 of the files in between that did not
change (same inode, size, mtime and ctime before and after, so their content is what the backup read). A hash is carried
over from the last witness while those four stay the same, and renewed within 30 days, so each witness stands alone.

Form: JSON lines, gzip. First a header ``{schema, node, profile, source, set_time}``, then one line per path:
``p`` name relative to the source as UTF-8, or ``b`` base64 of a name that is not; ``t`` type (f d l p c b); ``m`` mode;
``u`` ``g`` owner ids; ``T`` mtime in seconds (not for links); ``s`` size, ``h`` SHA-256 and ``H`` day of hashing (files);
``l`` target (links: [text], or ["", base64]); ``r`` [major, minor] (devices); ``c`` ctime in ns, ``i`` inode; ``x`` 1
when the path changed, came or went during the run: then nothing is claimed about it.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import stat
import typing as t
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import reporter
from .beside import same, sha256
from .errors import LifeboatError
from .selection import EVERYTHING, Selection, Verdict, judge

SCHEMA = 1
RENEW_DAYS = 30
Entry = dict[str, t.Any]
Tree = dict[bytes, os.stat_result]

TYPES = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
}


_NEEDED = {kind: {"m", "u", "g"} for kind in TYPES.values()}  # what every comparison looks at


@dataclass
class Witness:
    """A header and the entries by relative path (``b"."`` is the source itself)."""

    header: dict[str, t.Any]
    entries: dict[bytes, Entry]
    rotten: list[bytes] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)

    @property
    def files(self) -> int:
        return sum(1 for entry in self.entries.values() if entry["t"] == "f")

    @property
    def bytes(self) -> int:
        return sum(entry.get("s", 0) for entry in self.entries.values())


def walk(root: str, selection: Selection = EVERYTHING) -> Tree:
    """lstat of every path below ``root`` (and of the root) that duplicity would keep; sockets are left out, as it does.

    A folder that vanishes or cannot be listed is simply absent: the comparison of two walks shows it.
    """
    top = os.fsencode(root)
    found: Tree = {b".": os.stat(top)}
    judged = judge(selection, found[b"."])
    deferred: Tree = {}  # folders that are kept if something in them is
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_IFMT(status.st_mode) not in TYPES:
                continue
            verdict = judged(entry.path, status)
            if verdict is Verdict.LEAVE:
                continue
            name = entry.path[len(top) :].lstrip(b"/")
            if stat.S_ISDIR(status.st_mode):
                pending.append(entry.path)
            if verdict is Verdict.SCAN:
                deferred[name] = status
                continue
            found[name] = status
            while (name := os.path.dirname(name)) in deferred:
                found[name] = deferred.pop(name)
    return found


def volume(tree: Tree) -> tuple[int, int]:
    """Number of regular files and their bytes."""
    sizes = [status.st_size for status in tree.values() if stat.S_ISREG(status.st_mode)]
    return len(sizes), sum(sizes)


def closely(before: Tree, last: Witness | None, since: float) -> list[bytes]:
    """The files that duplicity must read although their time and mode look unchanged.

    It compares mtime in whole seconds, mode and owner only, not even the size (3.2.1, ``path.py``: ``ROPath.__eq__``): a
    file rewritten within the second of its last save, or replaced by one with the same mtime, is missing from every
    incremental. So: every file with a ctime after ``since`` (start of the set that is built on, seconds since 1970), and
    every one that is not the inode, size and ctime that the last witness saw.
    """
    found = []
    for path, status in before.items():
        if stat.S_ISREG(status.st_mode):
            known = last.entries.get(path) if last else None
            moved = known is not None and (known.get("i"), known.get("c"), known.get("s")) != (
                status.st_ino,
                status.st_ctime_ns,
                status.st_size,
            )
            if moved or status.st_ctime >= since:
                found.append(path)
    return found


def observe(
    root: str,
    before: Tree,
    after: Tree,
    last: Witness | None,
    day: int,
    digests: t.Mapping[bytes, str] | None = None,
) -> Witness:
    """Make the witness from the two walks. ``day``: days since 1970, decides which unchanged files are hashed again.
    ``digests``: SHA-256 by path of files that were hashed between the walks, and were as in the first (``beside``)."""
    witness = Witness({}, {})
    to_hash: list[bytes] = []
    for path in sorted(before.keys() | after.keys()):
        one, two = before.get(path), after.get(path)
        entry = entry_of(root, path, two or before[path])
        witness.entries[path] = entry
        if one is None or two is None or not same(one, two):
            entry["x"] = 1
        elif entry["t"] == "f":
            known = _known(path, two, last)
            if known:
                entry["h"], entry["H"] = known["h"], known["H"]
            if known is None or _due(path, known["H"], day):
                to_hash.append(path)
    early = digests or {}
    for path in to_hash:
        if path in early:
            _note(witness, path, early[path], day)
    _hash_all(root, witness, after, [path for path in to_hash if path not in early], day)
    return witness


def wanted(root: str, before: Tree, last: Witness | None, day: int) -> list[tuple[bytes, bytes, os.stat_result]]:
    """The files that :func:`observe` will hash if nothing changes meanwhile, in duplicity's order: path, place, status."""
    found = []
    for path, status in before.items():
        if stat.S_ISREG(status.st_mode):
            known = _known(path, status, last)
            if known is None or _due(path, known["H"], day):
                found.append((path, place(root, path), status))
    return sorted(found, key=lambda item: item[0].split(b"/"))


def place(root: str, path: bytes) -> bytes:
    """Where a path of the tree at ``root`` lies (``b"."`` is the root, which may be a file)."""
    return os.fsencode(root) if path == b"." else os.path.join(os.fsencode(root), path)


def entry_of(root: str, path: bytes, status: os.stat_result) -> Entry:
    """What a witness says of a path, but for its content."""
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    entry: Entry = {"t": kind, "m": stat.S_IMODE(status.st_mode), "u": status.st_uid, "g": status.st_gid}
    entry |= {"c": status.st_ctime_ns, "i": status.st_ino}
    if kind == "l":
        try:
            entry["l"] = _text(os.readlink(place(root, path)))
        except OSError:
            entry["x"] = 1
    else:
        entry["T"] = int(status.st_mtime_ns // 1_000_000_000)
    if kind == "f":
        entry["s"] = status.st_size
    if kind in "cb":
        entry["r"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    return entry


def _known(path: bytes, status: os.stat_result, last: Witness | None) -> Entry | None:
    """What the last witness says of a file, if it has its hash and the file is still that one."""
    known = last.entries.get(path) if last else None
    if known is None or "h" not in known or known["t"] != "f":
        return None
    now = (status.st_size, status.st_mtime_ns // 1_000_000_000, status.st_ctime_ns, status.st_ino)
    return known if (known.get("s"), known.get("T"), known.get("c"), known.get("i")) == now else None


def _due(path: bytes, hashed: int, day: int) -> bool:
    """Spread renewals over the days; whatever missed its day is due when its hash is too old."""
    return hashed < day and (zlib.crc32(path) % RENEW_DAYS == day % RENEW_DAYS or day - hashed >= RENEW_DAYS)


def _hash_all(root: str, witness: Witness, after: Tree, paths: list[bytes], day: int) -> None:
    _hashing("hashing", [after[path] for path in paths])
    with ThreadPoolExecutor(2) as pool:
        for path, digest in zip(
            paths, pool.map(lambda path: _hash(place(root, path), after[path]), paths), strict=True
        ):
            entry = witness.entries[path]
            reporter.add(files=1)
            if digest == "":
                entry["x"] = 1  # it changed after the second walk: no claim
                entry.pop("h", None)
            elif digest is None:
                witness.unread.append(path)
            else:
                _note(witness, path, digest, day)


def _note(witness: Witness, path: bytes, digest: str, day: int) -> None:
    entry = witness.entries[path]
    if entry.get("h", digest) != digest:
        witness.rotten.append(path)
    entry["h"], entry["H"] = digest, day


def _hashing(phase: str, files: list[os.stat_result]) -> None:
    reporter.phase(phase, files=len(files), size=sum(status.st_size for status in files))


def _hash(path: bytes, expected: os.stat_result | None = None) -> str | None:
    return sha256(path, expected, lambda size: reporter.add(size=size))


def _text(raw: bytes) -> list[str]:
    """A name as ``[text]`` if it is UTF-8, else ``["", base64]``."""
    try:
        return [raw.decode("utf-8")]
    except UnicodeDecodeError:
        return ["", base64.b64encode(raw).decode()]


def dump(witness: Witness) -> bytes:
    """The witness in its stored form, before encryption."""
    lines = [json.dumps({"schema": SCHEMA, **witness.header}, sort_keys=True)]
    for path, entry in witness.entries.items():
        name = _text(path)
        key = {"p": name[0]} if len(name) == 1 else {"b": name[1]}
        lines.append(json.dumps({**key, **entry}, separators=(",", ":")))
    return gzip.compress("\n".join(lines).encode() + b"\n", compresslevel=5, mtime=0)


def parse(data: bytes) -> Witness:
    """The reverse of :func:`dump`."""
    try:
        lines = gzip.decompress(data).decode("utf-8").split("\n")
        header = json.loads(lines[0])
        schema = header.get("schema")
        entries: dict[bytes, Entry] = {}
        for line in lines[1:]:
            if line:
                entry = json.loads(line)
                if not _NEEDED[entry["t"]] <= entry.keys():
                    raise ValueError("an entry")
                name = entry.pop("p", None)
                entries[name.encode() if name is not None else base64.b64decode(entry.pop("b"))] = entry
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LifeboatError(f"the witness is damaged ({type(error).__name__}): this point cannot be judged.") from error
    if schema != SCHEMA:
        raise LifeboatError(f"the witness has schema {schema!r}, this engine reads {SCHEMA}: use a newer engine.")
    return Witness(header, entries)


@dataclass(frozen=True)
class Difference:
    """One path that is not as recorded. ``what``: missing, extra, type, mode, owner, mtime, size, content, target, device."""

    path: bytes
    what: str


@dataclass(frozen=True)
class Comparison:
    """Counts and differences. ``hashed`` files were compared by content; ``unjudged`` paths had changed during the run."""

    paths: int
    files: int
    bytes: int
    hashed: int
    unjudged: int
    differences: list[Difference]


def below(whole: Witness, path: bytes) -> Witness:
    """The part of a witness at and below one path, as if that were the source."""
    start = path + b"/"
    entries = {name[len(start) :]: entry for name, entry in whole.entries.items() if name.startswith(start)}
    if path in whole.entries:
        entries[b"."] = whole.entries[path]
    return Witness(whole.header, entries)


def compare(expected: Witness, root: str, *, hasty: bool = False) -> Comparison:
    """Compare a restored tree with the witness: every path, its metadata, and the content of every hashed file.

    ``hasty`` reads no content once the metadata differ: enough to know that the two are not equal. Left out, since
    duplicity does not keep it (facts): mtime of links, parts of a second, hard-link identity.
    """
    actual = walk(root)
    found: list[Difference] = []
    judged = {path: entry for path, entry in expected.entries.items() if "x" not in entry}
    to_hash: list[bytes] = []
    for path, entry in judged.items():
        status = actual.get(path)
        what = "missing" if status is None else differs(entry, entry_of(root, path, status))
        if what:
            found.append(Difference(path, what))
        elif "h" in entry:
            to_hash.append(path)
    found += [Difference(path, "extra") for path in actual if path not in expected.entries]
    if found and hasty:
        to_hash = []
    _hashing("comparing", [actual[path] for path in to_hash])
    with ThreadPoolExecutor(2) as pool:
        hashes = pool.map(lambda path: _hash(place(root, path)), to_hash)
        for path, digest in zip(to_hash, hashes, strict=True):
            reporter.add(files=1)
            if digest != judged[path]["h"]:
                found.append(Difference(path, "content"))
    files, size = volume(actual)
    unjudged = len(expected.entries) - len(judged)
    unhashed = sum(1 for entry in judged.values() if entry["t"] == "f" and "h" not in entry)
    return Comparison(
        len(actual),
        files,
        size,
        len(to_hash),
        unjudged + unhashed,
        sorted(found, key=lambda d: d.path),
    )


def differs(entry: Entry, actual: Entry) -> str | None:
    """What two entries differ in, but for content, or None. Times within a second and mtimes of links do not count."""
    if entry["t"] != actual["t"]:
        return "type"
    if entry["t"] == "l":
        if entry.get("l") != actual.get("l"):
            return "target"
    elif entry["m"] != actual["m"]:
        return "mode"
    if (entry["u"], entry["g"]) != (actual["u"], actual["g"]):
        return "owner"
    for key, what in (("s", "size"), ("r", "device"), ("T", "mtime")):
        if entry.get(key) != actual.get(key):
            return what
    return None


def named(path: bytes) -> dict[str, str]:
    """``{path}`` in valid UTF-8 and, where that is not the exact name, ``path_base64`` beside it."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": show(path), "path_base64": base64.b64encode(path).decode()}


def show(path: bytes) -> str:
    """A path for people and for JSON: valid UTF-8, what is not is escaped."""
    return path.decode("utf-8", "backslashreplace")

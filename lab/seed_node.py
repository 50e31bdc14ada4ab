#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Data on a node of the lab: `seed` makes the odd cases below /srv/www/odd, `change` alters the node's data.

It is streamed into a container and runs there as root, under that host's Python: standard library only, one file.
The same node and generation always give the same change. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

TOP = b"/srv/www"
ODD = TOP + b"/odd"
APPS = (b"mediawiki", b"wordpress", b"docs")
# Outside the data: how often this node was changed.
MEMORY = Path("/var/lib/lifeboat-lab/seed.json")
MIB = 1 << 20
BIG_MIB = 300


def put(name: bytes, content: bytes = b"", mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> bytes:
    """Write a file below the odd folder and return its path."""
    path = ODD + b"/" + name
    with open(path, "wb") as stream:
        stream.write(content)
    os.chown(path, *owner)
    os.chmod(path, mode)
    return path


def folder(name: bytes, mode: int = 0o755) -> bytes:
    """Make a folder below the odd folder and return its path."""
    path = ODD + b"/" + name
    os.mkdir(path)
    os.chmod(path, mode)
    return path


def odd_names() -> None:
    """Names that break scripts, parsers and terminals."""
    names = [
        b"line\nbreak",
        b"carriage\rreturn\ttab",
        b"not-utf8-\xff\xfe\x80",
        b"--version",
        b"-rf",
        b" leading and trailing ",
        b"quote'double\"back\\slash`tick$(x)",
        "Umlaut-ä-漢字-🛟".encode(),
        "decomposed-a\u0308".encode(),
        b"*?[glob]",
        b"#comment;semi&amp|pipe",
        b"long-" + b"x" * 250,
        b"..hidden",
    ]
    for name in names:
        put(name, b"content of " + name + b"\n")
    os.mkdir(ODD + b"/dir-\xff\nodd")
    put(b"dir-\xff\nodd/-inside", b"in a folder with an odd name\n")


def odd_kinds() -> None:
    """Links, holes, empty things and a FIFO."""
    os.symlink(b"nowhere/at/all", ODD + b"/dangling")
    os.symlink(b"/etc", ODD + b"/to-dir")
    os.symlink(b"not-utf8-\xff\xfe\x80", ODD + b"/to-\xff")
    os.symlink(b"target-1", ODD + b"/moving")
    folder(b"empty-dir")
    put(b"empty-file")
    os.mkfifo(ODD + b"/fifo", 0o640)
    first = put(b"hard-one", b"two names, one file\n")
    os.link(first, ODD + b"/hard-two")
    with open(ODD + b"/sparse", "wb") as stream:
        stream.truncate(8 * MIB)
        stream.seek(5 * MIB)
        stream.write(b"an island in a hole")
    deep = b"deep"
    for level in range(20):
        folder(deep)
        deep += b"/%02d" % level
    put(b"deep/bottom", b"top of the deep folder\n")
    put(b"becomes-dir", b"a change makes a folder of this file\n")
    folder(b"becomes-file")
    put(b"becomes-file/inside", b"a change makes a file of this folder\n")


def odd_metadata() -> None:
    """Modes, owners and times."""
    put(b"setuid", b"#!/bin/sh\n", 0o4755)
    put(b"setgid", b"#!/bin/sh\n", 0o2755, (0, 33))
    folder(b"sticky", 0o1777)
    put(b"uid-12345", b"nobody knows this owner\n", 0o640, (12345, 54321))
    put(b"www-data", b"the web server's\n", 0o600, (33, 33))
    put(b"mode-000", b"no permission at all\n", 0o000)
    private = folder(b"root-only", 0o700)
    for number in range(3):
        put(b"root-only/secret-%d" % number, b"root only %d\n" % number, 0o600)
    os.utime(private, ns=(0, 1_500_000_000_123_456_789))
    os.utime(put(b"from-1999", b"old\n"), ns=(946_684_799_000_000_000, 946_684_799_000_000_000))
    os.utime(put(b"nanoseconds", b"fine\n"), ns=(1_700_000_000_987_654_321, 1_700_000_000_123_456_789))


def big_file(mebibytes: int) -> None:
    """Write or extend `big.bin` by that many MiB that no one can compress, always the same ones."""
    with open(ODD + b"/big.bin", "ab") as stream:
        for _ in range(mebibytes):
            stream.write(random.Random(f"big {stream.tell()}").randbytes(MIB))


def seed(app: str, big: bool) -> dict[str, object]:
    """Bring a fresh node to its first state, once: only its own application, the odd cases, maybe a big file."""
    if MEMORY.exists():
        return {"seeded": False}
    os.makedirs(TOP, exist_ok=True)
    unwanted = [TOP + b"/" + each for each in APPS if each != app.encode() and os.path.exists(TOP + b"/" + each)]
    if unwanted:
        subprocess.run([b"rm", b"-rf", b"--", *unwanted], check=True)
    if app:
        shutil.rmtree(ODD, ignore_errors=True)  # what an interrupted attempt left
        os.mkdir(ODD)
        odd_names()
        odd_kinds()
        odd_metadata()
        if big:
            big_file(BIG_MIB)
    MEMORY.parent.mkdir(parents=True, exist_ok=True)
    MEMORY.write_text(json.dumps({"app": app, "generation": 0}), encoding="ascii")
    return {"seeded": True}


def regular_files(app: str) -> list[bytes]:
    """Return the application's regular files in an order that does not depend on the filesystem."""
    found = []
    for where, _folders, names in os.walk(TOP + b"/" + app.encode()):
        paths = (where + b"/" + name for name in names)
        found += [path for path in paths if not os.path.islink(path) and os.path.isfile(path)]
    return sorted(found)


def alter(path: bytes, chance: random.Random) -> None:
    """Append to a file or replace its content with as many other bytes."""
    size = os.path.getsize(path)
    if size and chance.random() < 0.5:
        with open(path, "r+b") as stream:
            stream.write(chance.randbytes(min(size, 1 << 16)))
    else:
        with open(path, "ab") as stream:
            stream.write(b"\n# changed " + chance.randbytes(32))


def swap_kinds(generation: int) -> None:
    """A file becomes a folder, a folder becomes a file, a link points elsewhere."""
    for name in (b"becomes-dir", b"becomes-file"):
        path = ODD + b"/" + name
        if os.path.isdir(path):
            shutil.rmtree(path)
            put(name, b"now a file, generation %d\n" % generation)
        else:
            os.unlink(path)
            folder(name)
            put(name + b"/inside", b"now a folder, generation %d\n" % generation)
    link = ODD + b"/moving"
    os.unlink(link)
    os.symlink(b"target-%d" % (generation + 1), link)


def change() -> dict[str, object]:
    """Alter about 2 % of the files, add, delete, swap kinds, change modes and owners, grow the big file by 1 MiB."""
    memory = json.loads(MEMORY.read_text(encoding="ascii"))
    app, generation = str(memory["app"]), int(memory["generation"]) + 1
    chance = random.Random(f"{app} {generation}")
    files = regular_files(app)
    count = max(4, len(files) // 50)
    some = chance.sample(files, min(len(files), count + count // 10 + 6))
    altered, deleted, touched = some[:count], some[count:-6], some[-6:]
    for path in altered:
        alter(path, chance)
    for path in deleted:
        os.unlink(path)
    for number, path in enumerate(touched):
        if number % 2:
            os.chown(path, 33, 33)
        else:
            os.chmod(path, (0o600, 0o640, 0o755)[number // 2])
    added = TOP + b"/" + app.encode() + b"/new-%d" % generation
    os.mkdir(added)
    for number in range(20):
        with open(added + b"/%02d-\xfe" % number, "wb") as stream:
            stream.write(chance.randbytes(chance.randrange(1, 40_000)))
    swap_kinds(generation)
    if os.path.exists(ODD + b"/big.bin"):
        big_file(1)
    MEMORY.write_text(json.dumps({"app": app, "generation": generation}), encoding="ascii")
    return {
        "generation": generation,
        "altered": len(altered),
        "deleted": len(deleted),
        "added": 20,
        "metadata": len(touched),
    }


def main(arguments: list[str]) -> None:
    """`seed APP|- [big]` or `change`."""
    seeding = arguments[0] == "seed"
    answer = seed(arguments[1].strip("-"), arguments[2:] == ["big"]) if seeding else change()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])

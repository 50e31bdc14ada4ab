# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What is restored: data sets made from a seed, the same on every machine, and the cases that are measured on them."""

from __future__ import annotations

import mmap
import os
import random
import typing as t
from dataclasses import dataclass
from pathlib import Path

FIRST_DAY = 1_700_000_000  # mtimes are set: a day's change must show even when a day takes a second
DAYS = 29
CHURN = 0.02
FOLDER = "site/m0/p00"  # of the tree; it keeps its 50 files through all days
FOLDER_FILES = 50

Make = t.Callable[[Path, float], None]
Change = t.Callable[[Path, int, float], None]


@dataclass(frozen=True)
class DataSet:
    """A folder to back up: how it is made, and how a day changes it. ``scale`` 1 is the size that is published."""

    name: str
    what: str
    make: Make
    change: Change | None = None


@dataclass(frozen=True)
class Case:
    """One restore: of a data set after that many days, whole or only the folder ``path``."""

    name: str
    title: str
    data: str
    days: int = 0
    path: str = ""


def _lines(seed: str, count: int) -> list[str]:
    """Lines that look and compress like code."""
    dice = random.Random(f"lines {seed}")
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz_", k=dice.randint(2, 12))) for _ in range(4000)]
    forms = (
        "    ${} = $this->{}('{}', {});\n",
        "        if (!isset(${}[{}])) {{ return {}; }}\n",
        "     * {} {} {} {}\n",
    )
    return [form.format(*dice.choices(words, k=4)) for form in dice.choices(forms, k=count)]


def _code(dice: random.Random, lines: t.Sequence[str], size: int) -> bytes:
    text = "<?php\n" + "".join(dice.choices(lines, k=size // 38 + 1))
    return text.encode()[:size]


def _write(path: str, data: bytes, day: int) -> None:
    with open(path, "wb") as handle:
        handle.write(data)
    os.utime(path, (FIRST_DAY, FIRST_DAY + day * 86400))


def make_tree(root: Path, files: int) -> None:
    """PHP-like files: 50 in a folder, sizes log-normal around 4 KB (mean 8 KB, at most 300 KB)."""
    dice, lines = random.Random(f"tree {files}"), _lines("tree", 20_000)
    for number in range(files):
        part = number // FOLDER_FILES
        folder = f"{root}/site/m{part // 20}/p{part % 20:02}"
        if number % FOLDER_FILES == 0:
            os.makedirs(folder)
        size = min(int(dice.lognormvariate(8.3, 1.2)), 300_000)
        _write(f"{folder}/file{number % FOLDER_FILES:02}.php", _code(dice, lines, size), 0)


def change_tree(root: Path, day: int, _scale: float) -> None:
    """2 % of the files: nine of ten are edited (a few lines), one of twenty is deleted, one of twenty is new."""
    dice, lines = random.Random(f"day {day}"), _lines("tree", 20_000)
    paths = sorted(os.path.join(at, name) for at, _folders, names in os.walk(root) for name in names)
    chosen = dice.sample(paths, max(int(len(paths) * CHURN), 3))
    gone = fresh = max(len(chosen) // 20, 1)
    kept = f"{root}/{FOLDER}/"
    for path in chosen:
        if gone and not path.startswith(kept):
            os.unlink(path)
            gone -= 1
        elif fresh and not path.startswith(kept):
            _write(f"{path[:-4]}-{day}.php", _code(dice, lines, int(dice.lognormvariate(8.3, 1.2))), day)
            fresh -= 1
        else:
            with open(path, "rb") as handle:
                old = handle.read()
            where = dice.randrange(len(old) + 1)
            _write(path, old[:where] + _code(dice, lines, dice.randint(40, 400)) + old[where + 60 :], day)


def make_big(root: Path, scale: float) -> None:
    """One file of random bytes."""
    dice = random.Random("big")
    root.mkdir(parents=True)
    with (root / "image.bin").open("wb") as handle:
        for _ in range(max(int(2000 * scale), 4)):
            handle.write(dice.randbytes(1_000_000))
    os.utime(root / "image.bin", (FIRST_DAY, FIRST_DAY))


def _rows(dice: random.Random, tails: t.Sequence[str], size: int, first: int = 0) -> bytes:
    """Exactly ``size`` bytes of rows, the last one cut."""
    text, number = "", first
    while len(text) < size:
        some = dice.choices(tails, k=(size - len(text)) // 80 + 1)
        text += "".join(f"({number + more},{tail}),\n" for more, tail in enumerate(some))
        number += len(some)
    return text.encode()[:size]


def _tails() -> list[str]:
    dice, lines = random.Random("tails"), _lines("dump", 5000)
    return [f"'{dice.getrandbits(64):016x}','{dice.choice(lines)[4:-1]}',{dice.random():.6f}" for _ in range(50_000)]


def make_dump(root: Path, scale: float) -> None:
    """A database dump: rows of text, numbers and digests."""
    dice, tails = random.Random("dump"), _tails()
    root.mkdir(parents=True)
    with (root / "dump.sql").open("wb") as handle:
        for number in range(max(int(100 * scale), 2)):
            handle.write(_rows(dice, tails, 5_000_000, number * 60_000))
    os.utime(root / "dump.sql", (FIRST_DAY, FIRST_DAY))


def change_dump(root: Path, day: int, scale: float) -> None:
    """2 % of its bytes become other rows, in 40 places (a table has its busy pages)."""
    dice, tails = random.Random(f"dump {day}"), _tails()
    path = root / "dump.sql"
    places = max(int(40 * scale), 2)
    with path.open("r+b") as handle, mmap.mmap(handle.fileno(), 0) as data:
        size = int(len(data) * CHURN / places)
        for _ in range(places):
            where = dice.randrange(len(data) - size)
            data[where : where + size] = _rows(dice, tails, size, dice.randrange(5_000_000))
    os.utime(path, (FIRST_DAY, FIRST_DAY + day * 86400))


def make_many(root: Path, scale: float) -> None:
    """Files of 3 to 5 KB, 500 in a folder."""
    dice, lines = random.Random("many"), _lines("many", 20_000)
    for number in range(max(int(400_000 * scale), 500)):
        folder = f"{root}/{number // 500:04}"
        if number % 500 == 0:
            os.makedirs(folder)
        _write(f"{folder}/{number % 500:03}.txt", _code(dice, lines, dice.randint(3000, 5000)), 0)


DATA = {
    each.name: each
    for each in (
        DataSet("few", "2,000 small PHP-like files", lambda root, scale: make_tree(root, max(int(2000 * scale), 100))),
        DataSet(
            "tree",
            "23,000 small PHP-like files, 2 % changed each day",
            lambda root, scale: make_tree(root, max(int(23_000 * scale), 200)),
            change_tree,
        ),
        DataSet("big", "one incompressible file of 2 GB", make_big),
        DataSet("dump", "a database dump of 500 MB, 2 % changed each day", make_dump, change_dump),
        DataSet("many", "400,000 files of about 4 KB", make_many),
    )
}

CASES = {
    each.name: each
    for each in (
        Case("few", "2,000 small files, one full (the founders' comparison)", "few"),
        Case("tree", "23,000 small files, one full", "tree"),
        Case("chain", "23,000 small files, 1 full + 29 incrementals of 2 %", "tree", DAYS),
        Case("folder", "one folder of 50 files out of that chain", "tree", DAYS, FOLDER),
        Case("big", "one incompressible file of 2 GB, one full", "big"),
        Case("dump", "a database dump of 500 MB, 1 full + 29 incrementals of 2 %", "dump", DAYS),
        Case("many", "400,000 files of about 4 KB, one full", "many"),
    )
}

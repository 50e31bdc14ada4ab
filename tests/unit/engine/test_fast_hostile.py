# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The fast reader on repositories that somebody forged, and on volumes changed at random: an error, or what stock
duplicity restores; never a silent difference."""

from __future__ import annotations

import os
import random
import shutil
import typing as t
from pathlib import Path

import pytest
from tests.unit.engine import forge
from tests.unit.engine.test_fast_damage import fails, only, read
from tests.unit.engine.tree_histories import duplicity, look

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError

FUZZ = 300 if os.environ.get("LIFEBOAT_LONG") else 15
ROOT = ("snapshot/", "folder")
DELTA = b"rs\x026"


# --- hostile repositories ---------------------------------------------------------------------------------------------

FULL = [ROOT, ("snapshot/a", "file", b"old"), ("snapshot/b/", "folder")]
PIECE = b"x" * 65536
CASES: dict[str, tuple[tuple[t.Any, ...], str]] = {
    "dots": (([[ROOT, ("snapshot/../evil", "file", b"")]],), "'../evil', which would leave the destination"),
    "dots within": (([[ROOT, ("snapshot/b/../../evil", "file", b"")]],), "which would leave the destination"),
    "dots at the end": (([[ROOT, ("snapshot/b/..", "folder")]],), "which would leave the destination"),
    "dots in a part": (([[ROOT, ("multivol_snapshot/../evil/1", "file", b"x")]],), "which would leave the destination"),
    "absolute": (([[ROOT, ("snapshot//etc/evil", "file", b"")]],), "which would leave the destination"),
    "empty name": (([[ROOT, ("snapshot/b//c", "file", b"")]],), "which would leave the destination"),
    "single dot": (([[ROOT, ("snapshot/./c", "file", b"")]],), "which would leave the destination"),
    "through a link": (
        ([[ROOT, ("snapshot/l", "link", "../outside"), ("snapshot/l/evil", "file", b"x")]],),
        "'l' has content, but is no folder",
    ),
    "through a link of a later set": (
        (
            [[ROOT, ("snapshot/l/", "folder"), ("snapshot/l/evil", "file", b"x")]],
            [[("snapshot/l", "link", "../outside")]],
        ),
        "'l' has content, but is no folder",
    ),
    "through a link of an older set": (
        ([[ROOT, ("snapshot/l", "link", "../outside")]], [[("snapshot/l/evil", "file", b"x")]]),
        "'l' has content, but is no folder",
    ),
    "through the root": (
        ([[("snapshot/", "link", "../outside"), ("snapshot/evil", "file", b"x")]],),
        "'' has content, but is no folder",
    ),
    "a link within a link": (
        ([[ROOT, ("snapshot/l", "link", "../outside"), ("snapshot/l/evil", "link", "x")]],),
        "'l' has content, but is no folder",
    ),
    "file and folder": (([[ROOT, ("snapshot/a", "file", b"x"), ("snapshot/a/b", "file", b"x")]],), "both as a folder"),
    "folder and file": (([[ROOT, ("snapshot/a", "file", b"x")]], [[("snapshot/a/b", "file", b"x")]]), "twice"),
    "no folder": (([[ROOT, ("snapshot/a/b", "file", b"x")]],), "'a' has content, but is no folder"),
    "no root": (([[("snapshot/a", "file", b"x")]],), "'' has content, but is no folder"),
    "hard link": (([[ROOT, ("snapshot/h", "hard", "/etc/passwd")]],), "the unknown type b'1'"),
    "unknown type": (([[ROOT, ("snapshot/h", "odd")]],), "the unknown type b'Z'"),
    "unknown name": (([[ROOT, ("moved/h", "file", b"")]],), "the unknown name b'moved/h'"),
    "no name": (([[ROOT, ("snapshot", "file", b"")]],), "the unknown name b'snapshot'"),
    "part of nothing": (([[ROOT, ("multivol_snapshot/a/x", "file", b"")]],), "the unknown name"),
    "twice": (([[*FULL[:2], FULL[1]]],), "out of order or twice"),
    "twice in two volumes": (([FULL[:2], FULL[1:]],), "twice"),
    "out of order": (([[ROOT, FULL[2], FULL[1]]],), "out of order or twice"),
    "out of order in volumes": (([FULL[1:], FULL[:1]],), "out of order or twice"),
    "a part too late": (([[ROOT, ("multivol_snapshot/a/2", "file", b"x")]],), "lacks the parts before part 2"),
    "a part left out": (
        ([[ROOT, ("multivol_snapshot/a/1", "file", PIECE), ("multivol_snapshot/a/3", "file", b"x")]],),
        "cut short after part 1",
    ),
    "a part left out between volumes": (
        ([[ROOT, ("multivol_snapshot/a/1", "file", PIECE)], [("multivol_snapshot/a/3", "file", b"x")]],),
        "cut short after part 1",
    ),
    "no last part": (([[ROOT, ("multivol_snapshot/a/1", "file", PIECE)]],), "cut short after part 1"),
    "no last part, then another": (([[ROOT, ("multivol_snapshot/a/1", "file", PIECE), FULL[2]]],), "cut short after"),
    "no last part, an empty volume": (
        ([[ROOT, ("multivol_snapshot/a/1", "file", PIECE)], []],),
        "cut short after part 1",
    ),
    "parts of two kinds": (
        ([FULL], [[("multivol_snapshot/a/1", "file", PIECE), ("multivol_diff/a/2", "file", b"x")]]),
        "cut short after part 1",
    ),
    "a large part": (([[ROOT, ("multivol_snapshot/a/1", "file", PIECE + b"x")]],), "no known duplicity cuts"),
    "a large entry": (([[ROOT, ("snapshot/a", "file", bytes(1 << 21))]],), "no known duplicity writes"),
    "a change in a full": (([[ROOT, ("diff/a", "file", DELTA + b"\0")]],), "of which there is no older version"),
    "a change of nothing": (
        ([FULL], [[("diff/c", "file", DELTA + b"\0")]]),
        "of 'c' there are changes, but no version",
    ),
    "a change of a folder": (([FULL], [[("diff/b", "file", DELTA + b"\0")]]), "its older version is not there"),
    "a change of what is gone": (
        ([FULL], [[("deleted/a", "file")]], [[("diff/a", "file", DELTA + b"\0")]]),
        "its older version is not there",
    ),
    "a change that is none": (([FULL], [[("diff/a", "file", b"hello")]]), "does not begin as one"),
    "an unknown command": (([FULL], [[("diff/a", "file", DELTA + b"\xff\0")]]), "unknown command 255"),
    "a change cut short": (([FULL], [[("diff/a", "file", DELTA + b"\x05ab")]]), "is cut short"),
    "a change without end": (([FULL], [[("diff/a", "file", DELTA + b"\x02ab")]]), "is cut short"),
    "more behind the end": (([FULL], [[("diff/a", "file", DELTA + b"\0\0")]]), "goes on behind its end"),
    "a copy from nowhere": (([FULL], [[("diff/a", "file", DELTA + b"\x45\0\x04\0")]]), "from behind the end"),
    "no tar": (([b"x" * 20480],), "holds no number where one belongs"),
    "header": (([forge.tar(FULL).replace(b"0000644", b"0000645", 1)],), "does not match its checksum"),
    "nothing": (([b""],), "holds nothing at all"),
    "cut in a header": (([forge.tar(FULL)[: 512 * 4 - 100]],), "is cut short"),
    "cut in data": (([forge.tar([ROOT, ("snapshot/a", "file", PIECE[:9999])])[:4000]],), "is cut short"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("room", [1 << 30, 0])
def test_a_hostile_repository(tmp_path: Path, name: str, workers: int, room: int) -> None:
    sets, says = CASES[name]
    (tmp_path / "outside").mkdir()
    if len(sets[0]) == 1 and workers == 2:  # an empty volume more, so that there are two for two processes
        sets = ([*sets[0], []], *sets[1:])
    forge.write(tmp_path / "repository", *sets)
    fails(tmp_path / "repository", tmp_path, says, workers=workers, spool_bytes=room)
    assert list((tmp_path / "outside").iterdir()) == []
    assert [path for path in tmp_path.glob("**/evil*") if "tree" not in path.relative_to(tmp_path).parts] == []


def test_links_that_become_folders_and_back(tmp_path: Path) -> None:
    """What a path was before does not matter: nothing is written through it."""
    link, folder = ("snapshot/x", "link", "../outside"), ("snapshot/x/", "folder")
    inside, gone = ("snapshot/x/f", "file", b"1"), ("deleted/x/f", "file")
    (tmp_path / "outside").mkdir()
    sets = [[[ROOT, link]], [[folder, inside]], [[link, gone]], [[folder, inside]], [[link, gone]]]
    for number in range(1, 6):
        forge.write(tmp_path / str(number), *sets[:number])
        read(tmp_path / str(number), tmp_path / f"tree{number}")
        found = tmp_path / f"tree{number}" / "x"
        assert found.is_symlink() == bool(number % 2)
        assert number % 2 or (found / "f").read_bytes() == b"1"
    assert list((tmp_path / "outside").iterdir()) == []


def test_deltas_that_multiply(tmp_path: Path) -> None:
    """Each delta copies the version before 16 times, turned by a byte: at some point the pieces are too many to keep a
    list of them, and a version is written in between."""
    version, sets = b"xy", []
    for _number in range(5):
        turned = b"\x4f" + b"\0\0\0\1" + (len(version) - 1).to_bytes(4, "big") + b"\x4f" + b"\0" * 4 + b"\0\0\0\1"
        sets.append([[("diff/a", "file", DELTA + turned * 16 + b"\0")]])
        version = (version[1:] + version[:1]) * 16
    forge.write(tmp_path / "repository", [[ROOT, ("snapshot/a", "file", b"xy")]], *sets)
    assert read(tmp_path / "repository", tmp_path / "tree") == (1, len(version))
    assert (tmp_path / "tree/a").read_bytes() == version


def test_manifests_larger_than_all_volumes_fit_the_spool(tmp_path: Path) -> None:
    """The bound is then two of them, and there are seven."""
    sets = [[FULL], *([[("snapshot/b/" + str(number), "file", b"x")]] for number in range(6))]
    forge.write(tmp_path / "repository", *sets)
    for path in (tmp_path / "repository").glob("*.manifest"):
        path.write_bytes(path.read_bytes().replace(b"Filelist 0\n", b"Filelist 9000\n" + b"    new      a\n" * 9000))
    assert read(tmp_path / "repository", tmp_path / "tree", spool_bytes=0) == (7, 9)
    assert read(tmp_path / "repository", tmp_path / "part", spool_bytes=0, path="b") == (6, 6)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_much_damage_in_a_narrow_spool(tmp_path: Path, workers: int) -> None:
    """Whoever waits for a place in the spool hears that there will be none."""
    names = [f"snapshot/{number:02}" for number in range(20)]
    forge.write(tmp_path / "repository", [[ROOT], *([(name, "hard", "x")] for name in names)])
    fails(tmp_path / "repository", tmp_path, "the unknown type b'1'", workers=workers, spool_bytes=0)
    for path in (tmp_path / "repository").glob("*.vol*"):
        path.write_bytes(b"")
    shutil.rmtree(tmp_path / "tree", ignore_errors=True)
    fails(tmp_path / "repository", tmp_path, "does not match its recorded hash", workers=workers, spool_bytes=0)
    forge.write(tmp_path / "other", *([[[ROOT]]] * 20))
    for path in (tmp_path / "other").glob("*.manifest"):
        path.write_bytes(b"nothing")
    fails(tmp_path / "other", tmp_path, "is damaged: it is cut short", workers=workers, spool_bytes=0)


def test_a_volume_may_end_without_a_marker(tmp_path: Path) -> None:
    """As all but the last of a set do that 0.8.22 and 3.0.4 wrote in clear; stock duplicity reads them, too."""
    entries = [[ROOT, ("snapshot/a", "file", b"one")], [("snapshot/b", "file", b"two"), ("snapshot/c/", "folder")]]
    bare, whole = forge.tar(entries[0])[: 512 * 3], forge.tar(entries[1])
    assert whole.endswith(bytes(1024))
    assert not bare.endswith(bytes(512))
    forge.write(tmp_path / "repository", [bare, whole])
    read(tmp_path / "repository", tmp_path / "tree")
    duplicity(tmp_path, "restore", "--no-encryption", f"file://{tmp_path / 'repository'}", str(tmp_path / "stock"))
    assert look(tmp_path / "tree") == look(tmp_path / "stock")


def test_a_volume_in_two_forms(tmp_path: Path) -> None:
    forge.write(tmp_path / "repository", [FULL])
    volume = only(tmp_path / "repository", "*.difftar")
    shutil.copy(volume, f"{volume}.gz")
    fails(tmp_path / "repository", tmp_path, "is stored twice")


# --- chance -----------------------------------------------------------------------------------------------------------


def lively() -> tuple[list[t.Any], ...]:
    """A repository with everything in it."""
    full = [
        [ROOT, ("snapshot/a", "file", b"0123456789"), ("snapshot/b/", "folder"), ("snapshot/b/c", "link", "a")],
        [("snapshot/d", "fifo"), ("multivol_snapshot/e/1", "file", PIECE), ("multivol_snapshot/e/2", "file", b"end")],
    ]
    first = [
        ("diff/a", "file", DELTA + b"\x45\x02\x05\x02xy\0"),
        ("deleted/b/c", "file"),
        ("snapshot/" + "n" * 120, "file", b"n"),
    ]
    second = [("diff/a", "file", DELTA + b"\x45\x01\x03\0"), ("multivol_diff/e/1", "file", DELTA + b"\x45\0\x09\0")]
    return full, [first], [second]


@pytest.mark.parametrize("seed", range(FUZZ))
def test_a_volume_changed_at_random_is_never_restored_differently(seed: int, tmp_path: Path) -> None:
    """Bytes of a tar are changed, and its hash in the manifest made to fit. Where the fast reader finds nothing wrong,
    stock duplicity neither does, and makes the same tree."""
    chance = random.Random(seed)
    sets = lively()
    volumes = [[bytearray(forge.tar(volume)) for volume in one] for one in sets]
    for _change in range(chance.choice((1, 1, 2))):
        mutate(chance, chance.choice([volume for one in volumes for volume in one]))
    forge.write(tmp_path / "repository", *([bytes(volume) for volume in one] for one in volumes))
    try:
        read(tmp_path / "repository", tmp_path / "tree")
    except LifeboatError as error:
        text = str(error)
    else:
        text = ""
    if text:
        assert text.endswith(".")
        assert "failed:" not in text  # what it did not foresee
        return
    done = duplicity(
        tmp_path,
        *(
            "restore",
            "--no-encryption",
            "--numeric-owner",
            f"file://{tmp_path / 'repository'}",
            str(tmp_path / "stock"),
        ),
    )
    assert done.returncode == 0
    assert b"Error" not in done.stderr
    assert look(tmp_path / "tree") == look(tmp_path / "stock")


def mutate(chance: random.Random, volume: bytearray) -> None:
    """Change one field of a header, or any byte, and mend the header's checksum."""
    headers = [at for at in range(0, len(volume), 512) if volume[at + 257 : at + 262] == b"ustar"]
    at = chance.choice(headers)
    field, values = chance.choice(
        [
            (
                slice(0, 100),
                [b"snapshot/a", b"snapshot/../x", b"diff/b", b"deleted/a", b"snapshot/b/z", b"snapshot/zz", b"x"],
            ),
            (slice(100, 108), [b"0000755\0", b"7777777\0", b"       \0", b"\x80\0\0\0\0\0\1\xed"]),
            (slice(108, 116), [b"0000001\0", b"\x80\0\0\0\0\0\0\7", b"\xff" * 8, b"9\0\0\0\0\0\0\0"]),
            (slice(124, 136), [b"00000000000\0", b"00000000001\0", b"77777777777\0", b"\xff" * 12]),
            (slice(136, 148), [b"00000000000\0", b"77777777777\0", b"\xff" * 11 + b"\0", b"14000000000 "]),
            (slice(156, 157), [b"0", b"1", b"2", b"5", b"6", b"\0", b"x", b"g", b"L", b"K", b"S", b"7"]),
            (slice(157, 257), [b"../../x", b"", b"a"]),
            (slice(345, 500), [b"snapshot", b"diff", b""]),
            (slice(0, 512), [b""]),
        ]
    )
    if chance.random() < 0.2:
        volume[at + chance.randrange(512)] = chance.randrange(256)
    else:
        size = field.stop - field.start
        volume[at + field.start : at + field.stop] = chance.choice(values).ljust(size, b"\0")
    if chance.random() < 0.9 and any(volume[at : at + 512]):
        total = sum(volume[at : at + 512]) - sum(volume[at + 148 : at + 156]) + 256
        volume[at + 148 : at + 156] = b"%06o\0 " % total

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A part of a point: reading stops behind it, whatever lies there, and what is in it is still judged."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from tests.unit.engine import forge
from tests.unit.engine.test_fast_damage import fails, read

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import unpack

LARGE = b"x" * 65536
Items = list[tuple[t.Any, ...]]


def cut(kind: str, path: str, parts: int) -> Items:
    """A file in pieces, the last one shorter."""
    pieces: Items = [(f"multivol_{kind}/{path}/{number}", "file", LARGE) for number in range(1, parts)]
    return [*pieces, (f"multivol_{kind}/{path}/{parts}", "file", b"end")]


def full(behind: Items) -> Items:
    return [
        ("snapshot/", "folder"),
        ("snapshot/a", "file", b"before"),
        ("snapshot/b", "folder"),
        ("snapshot/b/one", "file", b"1"),
        *cut("snapshot", "b/two", 3),
        ("snapshot/b-", "file", b"a sibling that sorts behind all that is in it"),
        *behind,
    ]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("volumes", [1, 2])
def test_a_large_file_behind_it_is_not_read(volumes: int, workers: int, tmp_path: Path) -> None:
    first, second = full(cut("snapshot", "c", 40)), cut("snapshot", "d", 5)
    forge.write(tmp_path / "repository", [first + second] if volumes == 1 else [first, second])
    counted = read(tmp_path / "repository", tmp_path / "tree", path="b", workers=workers)
    assert counted == (2, 1 + 2 * len(LARGE) + 3)
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["one", "two"]
    assert (tmp_path / "tree/two").read_bytes() == LARGE * 2 + b"end"


def test_the_last_folder_is_read_to_its_end(tmp_path: Path) -> None:
    forge.write(tmp_path / "repository", [full([("snapshot/z", "folder"), ("snapshot/z/last", "file", b"9")])])
    assert read(tmp_path / "repository", tmp_path / "tree", path="z") == (1, 1)


def test_a_file_that_is_cut_in_it_is_an_error(tmp_path: Path) -> None:
    items: Items = [("snapshot/", "folder"), ("multivol_snapshot/b/1", "file", LARGE), ("snapshot/c", "file", b"")]
    forge.write(tmp_path / "repository", [items])
    fails(tmp_path / "repository", tmp_path, "file b'b' is cut short after part 1", path="b")


@pytest.mark.parametrize(
    ("prefix", "path", "behind"),
    [
        (b"", b"z", False),
        (b"b", b"a", False),
        (b"b", b"b", False),
        (b"b", b"b/x", False),
        (b"b", b"b-", True),
        (b"b", b"ba", True),
        (b"b/c", b"b", False),
        (b"b/c", b"b/b", False),
        (b"b/c", b"b/c/d", False),
        (b"b/c", b"b/d", True),
        (b"b/c", b"b-", True),
    ],
)
def test_what_lies_behind(prefix: bytes, path: bytes, behind: bool) -> None:
    assert unpack.Choice(prefix).behind(path.replace(b"/", b"\0")) is behind

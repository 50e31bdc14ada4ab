# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Has a source changed since its last witness? Real trees, and every kind of change."""

from __future__ import annotations

import os
import stat
import time
import typing as t
from pathlib import Path

import pytest
from tests.unit.engine.test_witness import DAY, seen

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import unchanged, witness


def test_a_tree_that_nobody_touched_is_unchanged(tree: Path) -> None:
    last = witness.parse(witness.dump(seen(tree)))
    assert unchanged.same(witness.walk(str(tree)), last)
    (tree / "top").read_text()  # reading is no change
    assert unchanged.same(witness.walk(str(tree)), last)


def _rewrite(root: Path) -> None:
    status = (root / "top").stat()
    (root / "top").write_text("owt")
    os.utime(root / "top", ns=(status.st_atime_ns, status.st_mtime_ns))


def _retarget(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("folder")


@pytest.mark.parametrize(
    "change",
    [
        _rewrite,
        _retarget,
        lambda root: (root / "top").touch(),
        lambda root: (root / "top").chmod(0o600),
        lambda root: os.chown(root / "link", 12, 34, follow_symlinks=False),
        lambda root: (root / "new").touch(),
        lambda root: (root / "folder" / "file").unlink(),
        lambda root: (root / "top").rename(root / "other"),
        lambda root: (root / "top").rename(root / "fifo"),
        lambda root: root.chmod(0o700),
    ],
)
def test_any_change_is_seen(tree: Path, change: t.Callable[[Path], object]) -> None:
    root_mode = stat.S_IMODE(tree.stat().st_mode)
    assert root_mode != 0o700
    last = seen(tree)
    time.sleep(0.02)  # the clock of ctime ticks every few milliseconds
    change(tree)
    assert not unchanged.same(witness.walk(str(tree)), last)


def test_what_changed_while_it_was_seen_counts_as_changed(tree: Path) -> None:
    before = witness.walk(str(tree))
    time.sleep(0.02)
    (tree / "top").write_text("owt")
    after = witness.walk(str(tree))
    last = witness.observe(str(tree), before, after, None, DAY)
    assert not unchanged.same(after, last)


@pytest.mark.parametrize("lost", ["c", "i", "s"])
def test_a_witness_that_says_too_little_proves_nothing(tree: Path, lost: str) -> None:
    last = seen(tree)
    del last.entries[b"top"][lost]
    assert not unchanged.same(witness.walk(str(tree)), last)


def test_hashes_are_overdue_after_twice_their_days(tree: Path) -> None:
    last = seen(tree)
    assert not unchanged.overdue(last, DAY + 59)
    assert unchanged.overdue(last, DAY + 60)
    renewed = seen(tree, last, DAY + 60)  # all of them at once
    assert not unchanged.overdue(renewed, DAY + 119)

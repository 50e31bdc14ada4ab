# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which reader restores a point, and what becomes of it when the other one disagrees."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import differences, fast
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import UnknownFormat

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node


@pytest.fixture
def unknown(damaged: Node) -> Node:
    """Its full is told by MD5, which stock duplicity knows and the fast reader does not."""
    (manifest,) = damaged.repository.glob("duplicity-full.*.manifest")
    text = manifest.read_bytes()
    for volume in damaged.repository.glob("duplicity-full.*.vol*"):
        data = volume.read_bytes()
        sha1, md5 = (hashlib.new(name, data, usedforsecurity=False).hexdigest() for name in ("sha1", "md5"))
        assert f"SHA1 {sha1}".encode() in text
        text = text.replace(f"SHA1 {sha1}".encode(), f"MD5 {md5}".encode())
    manifest.write_bytes(text)
    return damaged


def test_auto_leaves_an_unknown_form_to_stock_duplicity_and_says_why(odd: Node, unknown: Node, tmp_path: Path) -> None:
    answer = unknown.ask("restore", dest=str(tmp_path / "tree"), reader="auto")
    assert (answer["failed"], answer["changed"]) == (False, True)
    assert answer["record"]["engine"] == "duplicity"
    (warning,) = (text for text in answer["warnings"] if text.startswith("stock duplicity did this restore: "))
    assert "its volumes have no SHA-1, but MD5" in warning
    known = odd.ask("restore", dest=str(tmp_path / "known"), reader="auto")
    assert known["record"]["engine"] == "fast"
    assert not any("stock duplicity" in text for text in known["warnings"])
    assert differences.between(str(tmp_path / "tree"), str(tmp_path / "known")) == []


def test_fast_refuses_an_unknown_form(unknown: Node, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match="its volumes have no SHA-1, but MD5"):
        unknown.ask("restore", dest=str(tmp_path / "tree"), reader="fast")
    assert not (tmp_path / "tree").exists()


def test_the_referee_lets_no_other_tree_pass(odd: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader with a fault: one byte too many."""
    read = fast.read

    def faulty(*given: t.Any, **values: t.Any) -> fast.Counted:
        counted = read(*given, **values)
        with (Path(given[3]) / "page.php").open("ab") as page:
            page.write(b"x")
        return counted

    monkeypatch.setattr(fast, "read", faulty)
    answer = odd.ask("restore", dest=str(tmp_path / "tree"), referee=True)
    assert (answer["failed"], answer["changed"]) == (True, False)
    assert "stock duplicity restores this point differently, 1 path(s), first: page.php" in answer["msg"]
    assert list(tmp_path.iterdir()) == []
    assert not odd.ask("restore", dest=str(tmp_path / "tree"))["failed"]  # nobody else would notice

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Looks that restore nothing: a point beside the live tree, and the list of its files."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair


def test_the_live_tree_is_compared_by_content(odd: Node, tmp_path: Path) -> None:
    here = odd.copy(tmp_path / "node")
    more = {"compare_data": True, "source": str(here.source)}
    answer = here.ask("verify", **more)
    assert answer["outcome"] == "ok", answer
    assert answer["msg"].startswith(f"{here.source} is as it was at ")
    page = here.source / "page.php"
    status = page.stat()
    page.write_text("<?php echo 9;\n")
    os.utime(page, ns=(status.st_atime_ns, status.st_mtime_ns))
    (here.source / "more").touch()
    os.utime(here.source, ns=(odd.source.stat().st_atime_ns, odd.source.stat().st_mtime_ns))
    answer = here.ask("verify", **more)
    assert (answer["failed"], answer["rc"]) == (True, 1)
    assert answer["comparison"]["differences"] == 2
    assert answer["comparison"]["first"] == [
        {"path": "more", "what": "extra"},
        {"path": "page.php", "what": "content"},
    ]
    # what a backup leaves out is no difference
    answer = here.ask("verify", **more, exclude=["**/more", "**/page.php"])
    assert answer["comparison"]["differences"] == 1
    assert answer["comparison"]["first"] == [{"path": "page.php", "what": "missing"}]


def test_what_cannot_be_compared(odd: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="'compare_data' with a target needs 'source'"):
        odd.ask("verify", compare_data=True)
    with pytest.raises(Refused, match="no/such is no folder: name the live tree"):
        odd.ask("verify", compare_data=True, source="/no/such")
    with pytest.raises(Refused, match=r"give 'dest' \(a restored tree\) or 'compare_data' \(the live one\), not both"):
        odd.ask("verify", compare_data=True, source=str(odd.source), dest=str(tmp_path))


def test_the_files_of_a_point(odd: Node, sealed: Node, stranger: Pair) -> None:
    answer = odd.ask("info", files=True)
    assert not answer["failed"]
    listed = {item["path"]: item for item in answer["files"]}
    on_disk = {
        os.path.relpath(os.path.join(folder, name), odd.source)
        for folder, d, f in os.walk(odd.source)
        for name in d + f
    }
    assert {witness.show(os.fsencode(name)) for name in on_disk} | {"."} == set(listed)
    assert listed["fifo"]["type"] == "p"
    assert listed["not \\xff utf-8"]["path_base64"] == "bm90IP8gdXRmLTg="
    assert listed["empty folder"] == {"path": "empty folder", "type": "d", "mtime": "20010909T014640Z"}
    first = odd.ask("info")["oldest"]
    older = odd.ask("info", files=True, time=first, path="/folder/")
    assert older["point"] == first
    assert [item["path"] for item in older["files"]] == ["folder", "folder/old"]
    assert [item["path"] for item in odd.ask("info", files=True, path="folder")["files"]] == ["folder"]
    assert "page.php" in str(sealed.ask("info", files=True)["files"])
    with pytest.raises(LifeboatError, match=r"cannot list the files of .*: gpg failed"):
        sealed.ask("info", files=True, encryption={"private_key": stranger.private})
    with pytest.raises(Refused, match="'time' belongs to a list of files: set files to true"):
        odd.ask("info", time=first)


def test_times_that_are_counted_back(odd: Node) -> None:
    newest = odd.ask("info")["newest"]
    assert odd.ask("info", files=True, time="0s")["point"] == newest
    with pytest.raises(LifeboatError, match="there is no restore point that old"):
        odd.ask("info", files=True, time="3D12h")

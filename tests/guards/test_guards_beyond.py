# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Guards beyond the twenty of the facts: what we found ourselves (see test_guards_repository.py for how to read them)."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest
from tests.guards.conftest import NO_READING, Stock, ask_under, flip, only, state, untouched, volumes

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import execute

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

    from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring


def test_guard_21_same_mtime(small: Node, stock: Stock, tmp_path: Path) -> None:
    """A file with another content and even another size is left out of every incremental while its mtime in seconds, mode
    and owner are the same: a deployment that sets mtimes, or a second write within the second."""
    page = small.source / "page.php"
    for text in ("one", "another size"):
        page.write_text(text)
        os.utime(page, (1_700_000_000, 1_700_000_000))
        done = stock.full(small.source) if text == "one" else stock.incremental(small.source)
        assert (done.code, done.codes("WARNING")) == (0, [])
    assert stock.incremental(small.source).code == 0
    assert stock.restore(tmp_path / "half").code == 0
    assert (tmp_path / "half" / "page.php").read_text() == "one"
    for path in small.repository.iterdir():
        path.unlink()

    for text in ("one", "another size"):
        page.write_text(text)
        os.utime(page, (1_700_000_000, 1_700_000_000))
        answer = small.backup(mode="full" if text == "one" else "incremental")
        assert answer["outcome"] == "ok"
    tree = small.restore()
    assert (tree / "page.php").read_text() == "another size"
    small.proven(tree)


@pytest.mark.parametrize("where", ["full", "incremental"])
def test_guard_22_damaged_volume_in_encrypted_chain_hangs(
    where: str,
    node: Node,
    stock: Stock,
    pair: Pair,
    ring: Keyring,
    live: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The restore logs its error, says that it is complete, and waits for its own gpg for ever."""
    node.pair = pair
    node.backup(mode="full", volume_mib=1)
    for path in node.source.glob("f?"):
        path.write_bytes(os.urandom(path.stat().st_size))
    node.backup(mode="incremental", volume_mib=1)
    flip(volumes(node.repository)[1] if where == "full" else only(node.repository, "duplicity-inc.*.vol1.*"))
    ring.import_keys(pair.private.encode())
    stock.keyring, stock.options = ring.home, ()
    done = stock.restore(tmp_path / "half", patience=2.0)
    # which gpg still has something to say is a race when the full is hit, and certain when the incremental is
    assert done.code is None or (where == "full" and done.code in (21, 30))
    assert 21 in done.codes("ERROR") or "SHA1 hash mismatch" in done.output
    assert "Duplicity backup complete." in done.output

    monkeypatch.setattr(execute, "_LAST_WORDS", 2.0)
    before = state(node.repository)
    started = time.monotonic()
    answer = node.ask("restore", dest=str(live), replace=True)
    assert answer["failed"]
    assert "does not match its recorded hash" in answer["msg"]
    untouched(live)
    answer = node.ask("restore", dest=str(live), replace=True, reader="duplicity")
    assert time.monotonic() - started < 20
    assert answer["failed"]
    assert answer["msg"] == (
        f"The restore failed, {live} is untouched: a volume does not match its recorded hash: the repository is damaged "
        "(duplicity's code 21): restore an older point."
    )
    untouched(live)
    assert state(node.repository) == before


def test_guard_23_a_lost_file_whose_name_is_not_utf8_is_not_in_the_log(small: Node, stock: Stock) -> None:
    """The event of a file that could not be read, or the line of a list, is dropped when its name cannot be written."""
    name = os.fsencode(small.source) + b"/caf\xe9"
    Path(os.fsdecode(name)).write_bytes(b"x")
    os.chmod(name, 0)
    done = stock.run("full", small.source, stock.url, before=NO_READING)
    assert (done.code, done.codes("WARNING")) == (0, [])
    done = stock.run("list-current-files", stock.url)
    assert "page.php" in stock.log.read_text()
    os.chmod(name, 0o644)
    assert stock.incremental(small.source).code == 0
    done = stock.run("list-current-files", stock.url)
    assert done.code == 0
    assert b"caf" not in stock.log.read_bytes()

    os.chmod(name, 0)
    answer = ask_under(NO_READING, small, "backup", source=str(small.source), mode="full")
    assert (answer["failed"], answer["rc"]) == (True, 0)
    assert (
        answer["msg"] == "The backup failed: a file could not be read (1 in all): see the run's journal for the paths."
    )
    assert f"{small.source}/caf\\xe9" in answer["detail"]
    os.chmod(name, 0o644)
    small.backup(mode="full")
    assert {"path": "caf\\xe9", "path_base64": "Y2Fm6Q=="}.items() <= small.ask("info", files=True)["files"][1].items()

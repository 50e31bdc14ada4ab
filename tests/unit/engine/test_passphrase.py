# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Sets that are sealed with a passphrase, which duplicity makes when it is given no key: they are read, never written."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest
from tests.unit.engine.conftest import make_node
from tests.unit.engine.tree_histories import History, look

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

PASSPHRASE = "fünf Wörter, sentinel 7519"
WRONG = "the set is encrypted with a passphrase: give the right one as encryption.passphrase."
# Notes how it was started, then is gpg.
SPY = """#!/bin/sh
tr '\\0' '\\n' < /proc/$$/environ >> {log}
echo "$@" >> {log}
exec {gpg} "$@"
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A full and an incremental by stock duplicity."""
    root = tmp_path_factory.mktemp("history")
    (root / "gnupg").mkdir(mode=0o700)
    history = History(root, 2, gnupghome=str(root / "gnupg"), passphrase=PASSPHRASE)
    history.run(2)
    return history


@pytest.fixture
def node(tmp_path: Path, history: History) -> Node:
    """Whoever reads that repository."""
    node = make_node(tmp_path / "node")
    node.settings |= {"target": f"file://{history.repository}", "encryption": {"passphrase": PASSPHRASE}}
    return node


@pytest.mark.parametrize("reader", ["fast", "duplicity"])
def test_every_point_comes_back(reader: str, node: Node, history: History) -> None:
    times = [point["time"] for point in node.ask("info")["points"]]
    for number, time in enumerate(times):
        stock = node.root / f"stock{number}"
        assert history.restore(number, stock).returncode == 0
        assert look(node.restore(time=time, reader=reader)) == look(stock)


def test_it_is_scrubbed_and_listed(node: Node, history: History) -> None:
    answer = node.ask("verify")
    assert not answer["failed"], answer
    assert len(node.ask("info", files=True)["files"]) == len(look(history.source))


@pytest.mark.parametrize("reader", ["auto", "fast", "duplicity"])
@pytest.mark.parametrize("given", ["another", "key", "nothing"])
def test_without_the_right_one(given: str, reader: str, node: Node, stranger: Pair) -> None:
    keys = {"another": {"passphrase": "another"}, "key": {"private_key": stranger.private}, "nothing": {}}
    destination = node.root / "tree"
    assert WRONG in said(node, dest=str(destination), reader=reader, encryption=keys[given])
    assert not destination.exists()


def said(node: Node, **values: t.Any) -> str:
    """What a restore that fails says, before or after it began."""
    try:
        answer = node.ask("restore", **values)
    except LifeboatError as error:
        return str(error)
    assert answer["failed"]
    return str(answer["msg"])


def test_a_damaged_set_is_no_wrong_passphrase(node: Node, history: History) -> None:
    shutil.copytree(history.repository, node.repository)
    (index,) = node.repository.glob("duplicity-full.*.manifest.gpg")
    index.write_bytes(index.read_bytes()[:-30])
    what = said(node, target=f"file://{node.repository}", dest=str(node.root / "tree"), reader="fast")
    assert "the manifest" in what
    assert "cannot be decrypted" in what
    assert WRONG not in what


@pytest.mark.parametrize("reader", ["fast", "duplicity"])
def test_nobody_else_sees_it(reader: str, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, spy = tmp_path / "log", tmp_path / "bin" / "gpg"
    spy.parent.mkdir()
    spy.write_text(SPY.format(log=log, gpg=shutil.which("gpg")))
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    node.restore(reader=reader)
    seen = log.read_text()
    assert "--decrypt" in seen
    assert "GNUPGHOME=" in seen
    assert "7519" not in seen


@pytest.mark.parametrize("reader", ["fast", "duplicity"])
def test_a_protected_key_is_opened_with_it(reader: str, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    with Keyring(PASSPHRASE) as ring:
        words = ["Protected", "rsa2048", "encr", "never"]
        created = ring._gpg(["--quick-generate-key", *words], b"", "make a protected key").status
        (key,) = (rest.split()[1] for word, rest in created if word == "KEY_CREATED")
        history = History(tmp_path / "history", 3, key=key, gnupghome=ring.home)
        history.save()
        encryption = {"private_key": ring.export_secret(key).decode(), "passphrase": PASSPHRASE}
    node.settings |= {"target": f"file://{history.repository}", "encryption": encryption}
    assert look(node.restore(reader=reader)).keys() == look(history.source).keys()
    wrong = {**encryption, "passphrase": "another"}
    what = said(node, dest=str(tmp_path / "tree"), reader=reader, encryption=wrong)
    assert "check that the right key was given" in what


@pytest.mark.parametrize("part", ["passphrase", "private_key"])
def test_a_backup_has_no_use_for_it(part: str, tmp_path: Path) -> None:
    """Left out quietly, what is to be secret would be stored in clear."""
    node = make_node(tmp_path / "node")
    with pytest.raises(
        Refused, match=f"encryption.{part} is for reading: a backup is sealed with encryption.public_key"
    ):
        node.ask("backup", encryption={part: "x"})
    assert not node.repository.exists()


def test_more_than_a_line_is_refused(node: Node) -> None:
    with pytest.raises(Refused, match="more than one line"):
        node.ask("verify", encryption={"passphrase": "one\ntwo"})

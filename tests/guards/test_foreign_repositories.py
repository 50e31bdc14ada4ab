# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Repositories as people have them before they know us, where a key alone does not help (docs/versions.md)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from tests.guards.conftest import Stock, state, untouched

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

    from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring


@pytest.mark.parametrize("given", ["a key", "nothing"])
def test_a_passphrase_is_named_as_the_cause(
    given: str, small: Node, stock: Stock, pair: Pair, ring: Keyring, live: Path
) -> None:
    """duplicity's own default. We report such a repository, and say what it takes to restore it."""
    stock.keyring, stock.options = ring.home, ("--gpg-options=--s2k-count=65536",)
    assert stock.run("full", small.source, stock.url, env={"PASSPHRASE": "open"}).code == 0
    before = state(small.repository)
    info = small.ask("info")
    assert [(point["kind"], point["provable"]) for point in info["points"]] == [("full", False)]
    small.pair = pair if given == "a key" else None
    sentence = "the set is encrypted with a passphrase: give the right one as encryption.passphrase."
    answer = small.ask("restore", dest=str(live), replace=True)
    assert answer["msg"] == f"The restore failed, {live} is untouched: {sentence}"
    untouched(live)
    assert small.ask("verify")["msg"] == f"Point {info['newest']} could not be read: {sentence}"
    assert state(small.repository) == before

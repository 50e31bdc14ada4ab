# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Guard 19 without a store: a folder to which this process may add names, but not take away those of another user. The
same with a real store and a real policy runs on the lab's hosts (molecule/default, test_default_6_guard_19)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path
from time import monotonic, sleep

from tests.guards.conftest import Stock, ask_under, end, next_second, state, stop_at, times, volumes

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

OTHER = 4711
NO_DELETING = ("setpriv", "--bounding-set", "-fowner")
CLEANING = "Cleaning up previous partial {} backup set, restarting."


def give_away(repository: Path) -> dict[str, bytes]:
    """All that is there belongs to another user, in a folder where everybody may only take away what is one's own."""
    for path in (repository, *repository.iterdir()):
        os.chown(path, OTHER, OTHER)
    repository.chmod(0o1777)
    return state(repository)


def unfinished(node: Node, stock: Stock) -> str:
    """A full that was killed on a host whose cache is gone. Returns its time."""
    known = times(node.repository) if node.repository.exists() else []
    next_second()
    first = stock.start("full", "--volsize", "1", "--concurrency", "0", node.source, stock.url)
    stop_at(
        first, lambda: [path for path in volumes(node.repository) if path.name.split(".")[1] not in known][1:] != []
    )
    end(first)
    shutil.rmtree(stock.cache)
    return times(node.repository)[-1]


def rounds(node: Node, stock: Stock, verb: str, enough: int) -> None:
    """Stock duplicity begins again ``enough`` times, and still runs; only then it is ended."""
    log = stock.room / f"{verb}.log"
    argv = [*NO_DELETING, *stock.argv(verb, "--num-retries", "1", node.source, stock.url, log=log)]
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(argv, env=stock.environment(), start_new_session=True, **silent)
    text = CLEANING.format("inc" if verb == "incremental" else verb)
    deadline = monotonic() + 60
    try:
        while process.poll() is None and monotonic() < deadline:
            if log.exists() and log.read_text().count(text) >= enough:
                break
            sleep(0.05)
        assert process.poll() is None, "it ended by itself"
        assert log.read_text().count(text) >= enough
    finally:
        end(process)


def test_guard_19_an_unfinished_full_that_may_not_be_deleted(node: Node, stock: Stock, tmp_path: Path) -> None:
    """Full and incremental try to delete it for ever, and nothing is backed up."""
    node.backup()
    time = unfinished(node, stock)
    before = give_away(node.repository)
    for verb in ("full", "incremental"):
        rounds(node, stock, verb, enough=20)
    assert state(node.repository) == before

    # an incremental, which our engine does not begin on such a chain, would end there
    argv = stock.argv("incremental", node.source, stock.url, log=stock.room / "ours.log")
    ours = [*NO_DELETING, sys.executable, command.LAUNCHER, *argv[1:]]
    ended = subprocess.run(ours, env=stock.environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 51
    assert f"Cannot delete the unfinished set of {time} (" in ended.stderr
    assert state(node.repository) == before

    answer = ask_under(NO_DELETING, node, "backup", source=str(node.source))
    assert (answer["failed"], answer["outcome"], answer["record"]["mode"]) == (False, "warning", "full")
    assert answer["warnings"][-1] == (
        f"the unfinished set of {time} stays in the store, since this key may not delete it: it does no harm; delete it with a "
        "key that may."
    )
    assert before.items() <= state(node.repository).items()
    # from then on all is well, for us and for stock duplicity
    next_second()
    (node.source / "page.php").write_text("new")
    answer = ask_under(NO_DELETING, node, "backup", source=str(node.source))
    assert (answer["outcome"], answer["record"]["mode"]) == ("ok", "incremental")
    node.proven(node.restore())
    assert stock.restore(tmp_path / "tree").code == 0
    assert state(tmp_path / "tree") == state(node.source)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The referee: every point of random histories, restored by stock duplicity and by the fast reader, is the same tree."""

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t
from pathlib import Path

import pytest
from tests.unit.engine.tree_histories import DEBIAN, PINNED, History, look

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, fast
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.reading import Origin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, open_store

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Pair

COUNT = 300 if os.environ.get("LIFEBOAT_LONG") else 25
FIRST = int(os.environ.get("LIFEBOAT_SEED", "0"))


@pytest.fixture(scope="module")
def ring(pair: Pair) -> t.Iterator[Keyring]:
    with Keyring() as ring:
        ring.import_keys(pair.private.encode())
        yield ring


@pytest.fixture
def room() -> t.Iterator[Path]:
    """In memory where there is such a place: thousands of files are made again and again."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def fast_restore(
    history: History, pair: Pair, number: int, destination: Path, **values: t.Any
) -> tuple[fast.Counted, dict[bytes, tuple[t.Any, ...]]]:
    location = Location(f"file://{history.repository}")
    chain = chains.collect(open_store(location).list()).chains[0]
    key = pair.private.encode() if history.key else None
    origin = Origin(location, key, passphrase=history.passphrase or None)
    spool = history.root / "spool"
    spool.mkdir(exist_ok=True)
    told = {"files": 0, "size": 0, "volumes": 0}

    def progress(**done: int) -> None:
        for key, count in done.items():
            told[key] += count

    point = chain.sets[number]
    counted = fast.read(origin, chain, point, str(destination), spool=str(spool), progress=progress, **values)
    assert list(spool.iterdir()) == []
    assert (told["files"], told["size"]) == counted
    assert "path" in values or told["volumes"] == sum(len(item.volumes) for item in chain.sets[: number + 1])
    return counted, look(destination)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_both_engines_restore_the_same_tree(seed: int, room: Path, pair: Pair, ring: Keyring) -> None:
    form = {"key": pair.fingerprint} if seed % 3 == 1 else {"passphrase": "ein gutes Paßwort"} if seed % 3 == 2 else {}
    program = (PINNED, DEBIAN)[seed // 3 % 2]
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is not installed: scripts/bootstrap dev")
    history = History(room, seed, gnupghome=ring.home, program=program, **form)
    history.run(sets=2 + seed % 3)
    for number in range(history.sets):
        stock = room / "stock"
        done = history.restore(number, stock)
        assert done.returncode == 0, done.stderr
        assert b"Error" not in done.stderr
        expected = look(stock)
        bound = (1 << 30, 200_000, 0)[(seed + number) % 3]  # the smaller ones have no room for deltas
        counted, found = fast_restore(
            history, pair, number, room / "ours", workers=1 + seed // 2 % 2, spool_bytes=bound
        )
        assert found == expected
        sizes = [entry[-1][1] for entry in expected.values() if isinstance(entry[-1], tuple)]
        assert counted == (len(sizes), sum(sizes))
        path = history.random.choice(sorted(expected))
        if path != b"." and b"\n" not in path and number == history.sets - 1:
            shutil.rmtree(stock)
            done = history.restore(number, stock, path)
            assert done.returncode == 0, done.stderr
            _, found = fast_restore(history, pair, number, room / "part", path=os.fsdecode(path))
            assert found == look(stock)
        for tree in (stock, room / "ours", room / "part"):
            remove(tree)


def remove(tree: Path) -> None:
    if tree.is_dir() and not tree.is_symlink():
        shutil.rmtree(tree)
    else:
        tree.unlink(missing_ok=True)

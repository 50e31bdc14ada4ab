# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Chains of deltas that librsync made: folded and applied at once, they give the newest version."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest
from duplicity import librsync
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import delta, tree
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.delta_spool import DeltaSpool
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Damaged


def change(chance: random.Random, old: bytes) -> bytes:
    new = bytearray(old)
    for _number in range(chance.randint(0, 4)):
        at = chance.randint(0, len(new))
        if chance.random() < 0.3:  # over what is there
            new[at : at + 100] = chance.randbytes(len(new[at : at + 100]))
            continue
        kind = chance.choice(("insert", "remove", "move", "zero"))
        if kind == "insert":
            new[at:at] = chance.randbytes(chance.choice((1, 64, 65, 300, 70_000)))
        elif kind == "remove":
            del new[at : at + chance.randint(0, len(new))]
        elif kind == "move":
            new += new[at : at + 5000]
        else:
            new[at : at + 2000] = bytes(2000)
    return bytes(new)


def versions(seed: int) -> tuple[list[bytes], list[bytes]]:
    chance = random.Random(seed)
    made = [chance.randbytes(chance.choice((0, 1, 100, 5000, 200_000)))]
    deltas = []
    for _number in range(chance.randint(1, 6)):
        made.append(change(chance, made[-1]))
        signature = librsync.SigGenerator(512)
        signature.update(made[-2])
        deltas.append(librsync.DeltaFile(signature.getsig(), io.BytesIO(made[-1])).read())
    return made, deltas


@given(st.integers(0, 10**6))
def test_a_chain_folds_to_the_newest_version(seed: int) -> None:
    made, deltas = versions(seed)
    buffer, ranges = b"", []
    for one in deltas:
        ranges.append((len(buffer), len(buffer) + len(one)))
        buffer += one
    version, used = delta.fold(len(made[0]), buffer, ranges)
    assert used == len(deltas)
    assert tree.join(version, made[0], buffer) == made[-1]
    version, used = delta.fold(len(made[0]), buffer, ranges, most=2)
    assert 1 <= used <= len(deltas)
    assert tree.join(version, made[0], buffer) == made[used]


@pytest.mark.parametrize("seed", range(10))
def test_a_file_is_rewritten_in_its_place(seed: int, tmp_path: Path) -> None:
    made, deltas = versions(seed)
    spool = DeltaSpool(str(tmp_path / "deltas"), 1 << 24)
    ranges = []
    for one in deltas:
        start = spool.end
        assert spool.append(one)
        ranges.append((start, spool.end))
    os.mkdir(tmp_path / "tree")
    written = tree.Tree(str(tmp_path / "tree"))
    owner = (0o640, os.getuid(), os.getgid())
    written.write(b"f/g", made[0], tree.Attributes(owner, 5))
    view = spool.view()
    size = written.rewrite(b"f/g", lambda base: delta.fold(base, view, ranges)[0], view)
    written.end_parts(b"f/g", tree.Attributes(owner, 7))
    written.close()
    spool.close()
    assert size == len(made[-1])
    assert (tmp_path / "tree/f/g").read_bytes() == made[-1]
    assert (tmp_path / "tree/f/g").stat().st_mtime == 7
    assert os.listdir(tmp_path / "tree/f") == ["g"]


def test_a_version_that_stays_is_told_apart() -> None:
    keep, write = (delta.Segment(base, 0, 5) for base in (True, False))
    assert tree.stays([keep, write, delta.Segment(True, 10, 5)])
    assert tree.stays([])
    assert not tree.stays([write, keep])


@given(st.integers(0, 10**6), st.data())
def test_a_delta_that_is_cut_is_an_error(seed: int, data: st.DataObject) -> None:
    made, deltas = versions(seed)
    end = data.draw(st.integers(0, len(deltas[0]) - 1))
    with pytest.raises(Damaged):
        delta.fold(len(made[0]), deltas[0] + b"rs\x026" * 9, [(0, end)])


def test_a_spool_keeps_to_its_bound(tmp_path: Path) -> None:
    spool = DeltaSpool(str(tmp_path / "deltas"), 10)
    assert spool.append(b"0123456")
    assert not spool.append(b"4567")
    spool.truncate(3)
    assert spool.append(b"3456789")
    assert spool.gather([(0, 2), (8, 10)]) == (b"0189", [(0, 2), (2, 4)])
    assert (tmp_path / "deltas").stat().st_size == 10
    spool.close()

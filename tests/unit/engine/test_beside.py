# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Hashing while another process works."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import beside, reporter, witness

DAY = 20_000


def waited_for(seen: beside.Beside, number: int) -> None:
    deadline = time.monotonic() + 20
    while len(seen.digests) < number and time.monotonic() < deadline:
        time.sleep(0.01)


def entry(path: Path) -> tuple[bytes, bytes, os.stat_result]:
    return os.fsencode(path.name), os.fsencode(path), path.lstat()


def test_it_hashes_in_the_lowest_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"one")
    seen_at: list[tuple[int, int]] = []
    real = beside.sha256

    def noted(path: bytes, expected: os.stat_result | None = None, told: beside.Told | None = None) -> str | None:
        me = threading.get_native_id()
        seen_at.append((me, os.getpriority(os.PRIO_PROCESS, me)))
        return real(path, expected, told)

    monkeypatch.setattr(beside, "sha256", noted)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with beside.Beside([entry(tmp_path / "a")]) as seen:
        waited_for(seen, 1)
    assert seen.digests == {b"a": hashlib.sha256(b"one").hexdigest()}
    assert [priority for _thread, priority in seen_at] == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_what_is_not_as_expected_has_no_digest(tmp_path: Path) -> None:
    names = ("changed", "gone", "linked", "piped", "stays")
    for name in names:
        (tmp_path / name).write_text(name)
    files = [entry(tmp_path / name) for name in names]
    (tmp_path / "changed").write_text("another")
    (tmp_path / "gone").unlink()
    (tmp_path / "linked").unlink()
    (tmp_path / "linked").symlink_to("stays")
    (tmp_path / "piped").unlink()
    os.mkfifo(tmp_path / "piped")
    with beside.Beside(files) as seen:
        waited_for(seen, 1)
    assert set(seen.digests) == {b"stays"}


def test_it_ends_in_the_midst_of_a_file(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as handle:
        handle.truncate(1 << 40)  # hours of zeros
    begun = time.monotonic()
    with beside.Beside([entry(tmp_path / "huge")]) as seen:
        time.sleep(0.05)
    assert time.monotonic() - begun < 10
    assert not seen.digests


def test_the_witness_is_the_same_with_and_without(tmp_path: Path) -> None:
    for number in range(50):
        folder = tmp_path / f"{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_text(str(number))
    before = witness.walk(str(tmp_path))
    alone = witness.observe(str(tmp_path), before, before, None, DAY)
    files = witness.wanted(str(tmp_path), before, None, DAY)
    assert len(files) == 50
    with beside.Beside(files[:20]) as seen:
        waited_for(seen, 20)
    assert len(seen.digests) == 20
    assert witness.observe(str(tmp_path), before, before, None, DAY, seen.digests) == alone


def test_a_file_that_changes_later_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    before = witness.walk(str(tmp_path))
    with beside.Beside(witness.wanted(str(tmp_path), before, None, DAY)) as seen:
        waited_for(seen, 1)
    (tmp_path / "a").write_text("two")
    found = witness.observe(str(tmp_path), before, witness.walk(str(tmp_path)), None, DAY, seen.digests)
    assert found.entries[b"a"]["x"] == 1
    assert "h" not in found.entries[b"a"]


def test_rot_is_found_beside_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    tree = witness.walk(str(tmp_path))
    last = witness.observe(str(tmp_path), tree, tree, None, DAY)
    last.entries[b"a"]["h"] = "0" * 64
    later = DAY + witness.RENEW_DAYS
    with beside.Beside(witness.wanted(str(tmp_path), tree, last, later)) as seen:
        waited_for(seen, 1)
    found = witness.observe(str(tmp_path), tree, tree, last, later, seen.digests)
    assert found.rotten == [b"a"]


def test_only_what_is_due_is_hashed_in_duplicitys_order(tmp_path: Path) -> None:
    for name in ("b", "a", "a-"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    tree = witness.walk(str(tmp_path))
    assert [name for name, _place, _status in witness.wanted(str(tmp_path), tree, None, DAY)] == [
        b"a/f",
        b"a-/f",
        b"b/f",
    ]
    last = witness.observe(str(tmp_path), tree, tree, None, DAY)
    assert witness.wanted(str(tmp_path), tree, last, DAY) == []


def test_it_does_not_count_as_progress_of_the_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(reporter, "add", lambda **counts: counted.append(counts.get("size", 0)))
    (tmp_path / "a").write_text("one")
    with beside.Beside([entry(tmp_path / "a")]) as seen:
        waited_for(seen, 1)
    assert counted == []

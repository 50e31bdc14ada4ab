# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Room for temporary files: what is asked for, and when a run is refused."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import profile, space, witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError

MIB = 1 << 20


def make_profile(**changes: t.Any) -> profile.Profile:
    data = {"node": "n1", "source": "/srv/www", "store": {"url": "file:///s"}, "fingerprint": None}
    return profile.from_dict("site", data | changes)


@pytest.mark.table("space.yml", "check")
def test_check(case: dict[str, t.Any]) -> None:
    wanted = [space.Need(folder, int(mib * MIB), what) for folder, mib, what in case["needs"]]
    disks = {folder: (device, mib * MIB) for folder, (device, mib) in case["disks"].items()}
    if "says" in case:
        with pytest.raises(LifeboatError, match=f"^{re.escape(case['says'])}"):
            space.check(wanted, disks.__getitem__)
    else:
        space.check(wanted, disks.__getitem__)


@given(st.integers(1, 500), st.integers(0, 16))
def test_as_much_as_duplicity_itself_asks_for(volume: int, workers: int) -> None:
    (need,) = space.needs(make_profile(volume_mib=volume, concurrency=workers), "incremental", {}, "/t", "/a")
    theirs = ((workers + 2) * volume * MIB) + int(0.30 * volume * MIB)  # 3.2.1, dup_main.py: check_resources
    assert need.folder == "/t"
    assert 0 <= theirs - need.bytes <= 1


def test_a_full_needs_room_for_its_signatures(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"")
    os.truncate(tmp_path / "big", 100 * 10**6)
    (tmp_path / "small").write_bytes(b"x" * 600)
    tree = witness.walk(str(tmp_path))
    inside, cache = space.needs(make_profile(), "full", tree, "/t", "/a")
    assert cache == space.Need("/a", 3 * 256 + 12 * 10_000 + 12, "signatures")
    assert inside.bytes == int(4.3 * 50 * MIB) + cache.bytes


def test_a_folder_is_measured_before_it_exists(tmp_path: Path) -> None:
    device, free = space.measure(str(tmp_path / "not" / "yet"))
    assert device == tmp_path.stat().st_dev
    assert free > 0

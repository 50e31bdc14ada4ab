# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Manifests: a table, and duplicity's own reader as the oracle for paths."""

from __future__ import annotations

import typing as t

import pytest
from duplicity.manifest import Quote
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import manifest
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Damaged, UnknownFormat


@pytest.mark.table("manifest.yml", "parse")
def test_parse(case: dict[str, t.Any]) -> None:
    text = case["text"].encode()
    if "volumes" in case:
        found = manifest.parse(text)
        assert [[one.number, one.first.decode(), one.last.decode(), one.sha1[:4]] for one in found] == case["volumes"]
        return
    kind, says = (UnknownFormat, case["unknown"]) if "unknown" in case else (Damaged, case["damaged"])
    with pytest.raises(kind) as error:
        manifest.parse(text)
    assert str(error.value) == says


@pytest.mark.table("manifest.yml", "holding")
def test_holding(case: dict[str, t.Any]) -> None:
    volumes = [
        manifest.Volume(number, first.encode(), last.encode(), "")
        for number, (first, last) in enumerate(case["volumes"], 1)
    ]
    assert [volume.number for volume in manifest.holding(volumes, case["path"].encode())] == case["chosen"]


names = st.binary(min_size=1, max_size=6).filter(lambda name: b"\0" not in name and b"/" not in name and name != b".")


@given(st.lists(names, min_size=1, max_size=3).map(b"/".join))
def test_any_path_that_duplicity_quotes_is_read(path: bytes) -> None:
    line = b"    StartingPath   %s  \n    EndingPath     %s  \n" % (Quote(path), Quote(path))
    (volume,) = manifest.parse(b"Volume 1:\n%s    Hash SHA1 %s\n" % (line, b"0" * 40))
    assert volume.first == volume.last == path


@given(st.lists(names, max_size=3), st.lists(names, max_size=3))
def test_order_is_that_of_tuples_of_names(one: list[bytes], two: list[bytes]) -> None:
    mine = manifest.order(b"/".join(one)) < manifest.order(b"/".join(two))
    assert mine == (tuple(one) < tuple(two))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What is mounted below a source: kept unless ``one_file_system`` is set, and the witness agrees with duplicity."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from tests.guards.conftest import ask_under

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import execute

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node


def mounted(folder: Path) -> tuple[str, ...]:
    """A command's beginning: it will see another file system with one file at ``folder``; nobody else will."""
    folder.mkdir(exist_ok=True)
    script = f'mount -t tmpfs none "{folder}" && mkdir "{folder}/deep" && echo 1 > "{folder}/deep/there" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


@pytest.fixture
def disk(small: Node) -> tuple[str, ...]:
    before = mounted(small.source / "mnt")
    if execute.run([*before, "true"], os.environ).exit_code != 0:
        pytest.skip("this machine lets nobody mount")
    return before


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, ["mnt", "mnt/deep", "mnt/deep/there"]),
        ({"one_file_system": True}, []),
        # an include wins over it, and the folders on its way come along
        (
            {"one_file_system": True, "select": ["+ SOURCE/mnt/deep", "- SOURCE/no"]},
            ["mnt", "mnt/deep", "mnt/deep/there"],
        ),
    ],
)
def test_a_mount_below_the_source(
    small: Node, disk: tuple[str, ...], options: dict[str, t.Any], kept: list[str]
) -> None:
    given = {**options, "select": [line.replace("SOURCE", str(small.source)) for line in options.get("select", [])]}
    answer = ask_under(disk, small, "backup", source=str(small.source), **given)
    assert answer["outcome"] == "ok", answer
    tree = small.restore()
    assert sorted(str(path.relative_to(tree)) for path in tree.glob("mnt/**/*")) == kept[1:]
    assert (tree / "mnt").exists() == bool(kept)
    small.proven(tree)

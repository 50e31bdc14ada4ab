# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Another duplicity than the pinned one is never started."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import DUPLICITY_VERSION, installed
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused

if t.TYPE_CHECKING:
    from .conftest import Node

TOP = Path(__file__).resolve().parents[3]


def install(folder: Path, version: str) -> Path:
    """What an installer leaves of duplicity for others to read."""
    place = folder / f"duplicity-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: duplicity\nVersion: {version}\n")
    return folder


@pytest.mark.parametrize("version", ["3.2.0", "3.2.10", "3.2.1.dev1", "0.8.22", "4.0.0"])
def test_another_version_is_refused(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, version))
    with pytest.raises(Refused) as error:
        installed.check_duplicity()
    assert str(error.value) == (
        f"duplicity {version} is installed for this engine, which works with 3.2.1 only: remove /opt/lifeboat (it holds no "
        "data) and roll the host out again (playbooks/rollout.yml)."
    )


def test_no_duplicity_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(Refused, match=r"^no duplicity is installed for this engine, which works with 3\.2\.1 only"):
        installed.check_duplicity()


def test_the_pinned_one_is_what_a_rollout_installs() -> None:
    installed.check_duplicity()  # in this very environment
    for path in ("roles/duplicity/files/node-requirements.txt", "requirements-duplicity.txt"):
        pins = re.findall(r"^duplicity==(\S+)", (TOP / path).read_text(), re.MULTILINE)
        assert pins == [DUPLICITY_VERSION], path


def test_every_operation_that_would_start_it_is_refused(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And before it has touched anything; what needs no duplicity goes on."""
    point = node.backup()["record"]["set_time"]
    before = {path: path.read_bytes() for path in node.root.rglob("*") if path.is_file()}
    monkeypatch.syspath_prepend(install(tmp_path / "other", "3.3.0"))
    for operation, values in (
        ("backup", {"mode": "full"}),
        ("backup", {"mode": "incremental"}),
        ("restore", {"dest": str(tmp_path / "never")}),
        ("restore", {"dest": str(node.source), "replace": "in_place"}),
        ("verify", {}),
        ("info", {"files": True}),
    ):
        with pytest.raises(Refused, match=r"^duplicity 3\.3\.0 is installed"):
            node.ask(operation, **values)
    assert {path: path.read_bytes() for path in node.root.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("node", "other")] == []
    assert node.ask("info")["newest"] == point

# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection is a folder of links, and its metadata names only what exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
COLLECTION = ROOT / "collections/ansible_collections/lifeboat/fleet"
LINKS = ["CHANGELOG.md", "LICENSE", "README.md", "changelogs", "playbooks", "plugins", "roles", "tests"]
PINNED = ["requirements.txt", "requirements-dev.txt", "requirements-duplicity.txt", "requirements-emulator.txt"]


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((COLLECTION / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LINKS)
def test_link_is_relative_and_leads_to_the_top(name: str) -> None:
    link = COLLECTION / name
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / name


def test_nothing_but_links_and_metadata() -> None:
    assert sorted(path.name for path in COLLECTION.iterdir()) == sorted([*LINKS, "galaxy.yml", "meta"])
    assert not (ROOT / "galaxy.yml").exists()


def test_action_groups_name_modules_that_exist() -> None:
    groups = load("meta/runtime.yml")["action_groups"]
    named = {name for members in groups.values() for name in members}
    assert named <= {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}


def test_requires_the_ansible_that_is_pinned() -> None:
    floor = load("meta/runtime.yml")["requires_ansible"].removeprefix(">=")
    pinned = re.search(r"^ansible-core==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    assert pinned is not None
    assert pinned[1].split(".")[:2] == floor.split(".")[:2]


@pytest.mark.parametrize("name", PINNED)
def test_pins_carry_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.split(r"\n(?=[A-Za-z])", text.strip()):
        lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
        assert re.match(r"[A-Za-z0-9._\[\]-]+==\S+", lines[0]), lines[0]
        assert any("--hash=sha256:" in line for line in lines[1:]), lines[0]
    assert "://" not in text
    assert "--index-url" not in text


def test_every_wish_is_pinned() -> None:
    for name in PINNED:
        wishes = (ROOT / name).with_suffix(".in").read_text(encoding="utf-8")
        pins = (ROOT / name).read_text(encoding="utf-8").lower()
        for line in wishes.splitlines():
            wish = line.split("#")[0].split("[")[0].strip().lower()
            if wish and not wish.startswith("-"):
                assert f"\n{wish}" in f"\n{pins}", f"{name}: run `make pins`, {wish} is not in it"


def test_make_help_lists_the_targets_a_newcomer_needs() -> None:
    shown = subprocess.run(["make", "-C", str(ROOT)], check=True, capture_output=True, text=True).stdout
    for target in ("demo", "test", "lint", "unit", "sanity", "molecule", "lab-up", "lab-down", "lab-ssh", "dist"):
        assert f"make {target} " in shown


def test_lab_ssh_asks_for_a_host() -> None:
    result = subprocess.run(["make", "-C", str(ROOT), "lab-ssh"], check=False, capture_output=True, text=True)
    assert result.returncode != 0
    assert "say which host" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "name"),
    [([], {}, "demo"), ([], {"LIFEBOAT_LAB": "mine"}, "mine"), (["LAB=other"], {"LIFEBOAT_LAB": "mine"}, "other")],
)
def test_the_lab_is_named_by_argument_or_environment(
    arguments: list[str], environment: dict[str, str], name: str
) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in ("LAB", "LIFEBOAT_LAB", "MAKEFLAGS")}
    command = ["make", "-n", "-C", str(ROOT), "lab-down", *arguments]
    shown = subprocess.run(command, env={**kept, **environment}, check=True, capture_output=True, text=True).stdout
    assert f"--name {name}" in shown

# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public face of a role is said twice, in its defaults and in its argument spec: they must agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(folder for folder in (ROOT / "roles").glob("*") if folder.is_dir())

pytestmark = pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))


def load(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; an empty file is an empty one."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def options(role: Path) -> dict[str, Any]:
    """The options of the role's entry point `main`."""
    return load(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})


def test_defaults_and_argument_spec_name_the_same_variables(role: Path) -> None:
    assert sorted(load(role / "defaults/main.yml")) == sorted(options(role))


def test_public_variables_carry_the_roles_name(role: Path) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role.name}_")] == []


def test_private_variables_say_so(role: Path) -> None:
    private = [load(path) for path in sorted((role / "vars").glob("*.yml"))]
    names = [name for variables in private for name in variables]
    assert [name for name in names if not name.startswith(f"__{role.name}_")] == []


def test_a_default_that_is_said_twice_is_the_same(role: Path) -> None:
    defaults = load(role / "defaults/main.yml")
    twice = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert twice == {name: defaults[name] for name in twice}


def test_every_option_is_described(role: Path) -> None:
    assert [name for name, option in options(role).items() if not option.get("description")] == []

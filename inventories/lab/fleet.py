#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Ansible inventory of the lab named by LIFEBOAT_LAB (default: demo), read from the lab's `fleet.json`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "lab"))

from lablib.inventory import EMPTY, inventory  # noqa: E402 (the path above comes first)


def controller_python() -> str:
    """Return the interpreter for localhost: the clone's virtual environment, else the one that runs this."""
    python = REPOSITORY / ".venv" / "bin" / "python"
    return str(python) if python.exists() else sys.executable


def load(name: str) -> dict[str, Any]:
    """Return the inventory of lab `name`; without such a lab an empty one, and a sentence on stderr."""
    path = REPOSITORY / "lab" / ".state" / name / "fleet.json"
    try:
        fleet: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"no lab '{name}' is up: run make lab-up", file=sys.stderr)
        return EMPTY
    return inventory(fleet, controller_python())


def main(arguments: list[str]) -> int:
    """Answer `--list` or `--host NAME` as Ansible asks an inventory script."""
    document = load(os.environ.get("LIFEBOAT_LAB") or "demo")
    if arguments[:1] == ["--host"] and len(arguments) == 2:
        document = document["_meta"]["hostvars"].get(arguments[1], {})
    elif arguments != ["--list"]:
        print("usage: fleet.py --list | --host NAME", file=sys.stderr)
        return 2
    print(json.dumps(document, indent=2, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

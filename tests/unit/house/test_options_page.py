# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/options.md tells every option with its default, and every pattern of the presets."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import presets, profile
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

PAGE = (Path(__file__).resolve().parents[3] / "docs/options.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE))


def test_every_option_is_told() -> None:
    of_where = {"url", "endpoint_url", "region", "ca_bundle", "credentials_file"}  # in one row
    told = set(ROWS) - set(presets.PRESETS)
    assert told == (set(profile.FIELDS) - {"node", "store", "fingerprint"}) | (set(profile.STORE_FIELDS) - of_where)


def test_with_its_default() -> None:
    for field in (*fields(profile.Profile), *fields(Location)):
        if field.name in ROWS and field.default not in (None, MISSING):
            assert ROWS[field.name].startswith(f"`{json.dumps(field.default)}`"), field.name


def test_every_pattern_of_a_preset_is_told_with_its_reason() -> None:
    told = [
        f"| `{name}` | `{pattern}` | {why} |"
        for name, lines in presets.PRESETS.items()
        for pattern, why in lines.items()
    ]
    assert [line for line in PAGE.splitlines() if line in told] == told

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Profiles: what is refused, by the engine and by schemas/profile.schema.json."""

from __future__ import annotations

import json
import re
import typing as t
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import profile
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fields import Field
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.presets import PRESETS
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.selection import EVERYTHING

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/profile.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
GOOD: dict[str, t.Any] = {"node": "n1", "source": "/srv/www", "store": {"url": "file:///s"}, "fingerprint": None}


def changed(case: dict[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in (GOOD | case.get("set", {})).items() if key != case.get("drop")}


@pytest.mark.table("profile.yml", "refused")
def test_refused(case: dict[str, t.Any]) -> None:
    with pytest.raises(Refused) as error:
        profile.from_dict("site", changed(case))
    assert case["says"] in str(error.value)
    assert VALIDATOR.is_valid(changed(case)) == (case.get("schema") == "accepts")


@pytest.mark.table("profile.yml", "accepted")
def test_accepted(case: dict[str, t.Any]) -> None:
    data = changed(case)
    found = profile.from_dict("site", data)
    VALIDATOR.validate(data)
    for key, value in data.items():
        if key not in ("store", *profile.SELECTING):
            assert getattr(found, key) == value


def test_the_schema_is_one_and_its_example_is_a_profile() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["examples"]
    for example in SCHEMA["examples"]:
        VALIDATOR.validate(example)
        profile.from_dict("site", example)
    assert set(SCHEMA["properties"]) == set(profile.FIELDS)
    standard = profile.from_dict("site", GOOD)
    for key, rule in SCHEMA["properties"].items():
        assert rule.get("description")
        if "default" in rule and key not in profile.SELECTING:
            assert getattr(standard, key) == rule["default"]
    assert standard.selection == EVERYTHING
    same_ranges(SCHEMA["properties"], profile.FIELDS)
    of_store = SCHEMA["properties"]["store"]["properties"]
    assert set(of_store) == set(profile.STORE_FIELDS)
    same_ranges(of_store, profile.STORE_FIELDS)
    for key, rule in of_store.items():
        if "default" in rule:
            assert getattr(standard.store, key) == rule["default"]


def same_ranges(rules: dict[str, t.Any], fields: dict[str, Field]) -> None:
    for key, field in fields.items():
        assert (rules[key].get("minimum"), rules[key].get("maximum")) == (field.least, field.most), key
        assert tuple(one for one in rules[key].get("enum", ()) if one) == field.choices, key


def test_the_schema_names_every_preset() -> None:
    assert SCHEMA["properties"]["presets"]["items"]["enum"] == list(PRESETS)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 100),
    st.floats(-1, 100),
    st.text(max_size=4),
    st.lists(st.just("**x"), max_size=2),
)


@given(st.dictionaries(st.sampled_from([*profile.FIELDS, "other"]), VALUES))
def test_what_the_schema_refuses_the_engine_refuses(changes: dict[str, t.Any]) -> None:
    data = GOOD | changes
    try:
        profile.from_dict("site", data)
    except Refused:
        return
    # JSON Schema takes 5.0 for an integer and a number that is no integer for none
    VALIDATOR.validate(data)


@pytest.mark.parametrize("name", ["site", "0", "a-b_c", "a" * 32])
def test_names(name: str) -> None:
    assert profile.check_name(name) == name


@given(st.text())
def test_names_that_are_none(name: str) -> None:
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,31}", name):
        with pytest.raises(Refused, match="is not usable: use up to 32 of a-z, 0-9, - and _, starting with a letter"):
            profile.check_name(name)


def test_where_things_are() -> None:
    found = profile.from_dict(
        "site", GOOD | {"source": "/srv//www/", "full_every_days": 0.5, "exclude": ["/srv/www/x"]}
    )
    assert found.source == "/srv/www"
    assert found.repository.url == "file:///s/repo/site"
    assert found.records == "records/site/"
    assert found.full_period == timedelta(hours=12)
    assert found.selection.rules == ((False, "/srv/www/x"),)


def test_loading(tmp_path: Path) -> None:
    layout = Layout(etc=str(tmp_path))
    with pytest.raises(
        Refused, match=r"there is no profile 'site' on this node .*: name one of none yet, or roll it out"
    ):
        profile.load("site", layout)
    (tmp_path / "site.json").write_text(json.dumps(GOOD))
    (tmp_path / "Not A Profile.json").touch()
    (tmp_path / "store.ini").touch()
    assert profile.names(layout) == ["site"]
    assert profile.load("site", layout).source == "/srv/www"
    with pytest.raises(Refused, match=r"there is no profile 'other' on this node .*: name one of site, or roll it out"):
        profile.load("other", layout)
    (tmp_path / "site.json").write_text("{")
    with pytest.raises(LifeboatError, match=r"cannot read .*site.json: .*; roll the node out again"):
        profile.load("site", layout)
    (tmp_path / "site.json").write_text("[]")
    with pytest.raises(LifeboatError, match="does not hold a profile; roll the node out again"):
        profile.load("site", layout)
    assert profile.names(Layout(etc=str(tmp_path / "none"))) == []

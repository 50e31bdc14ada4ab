# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Drill reports: what passes, what never may, and that they fit schemas/drill_report.schema.json."""

from __future__ import annotations

import copy
import itertools
import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import report

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/drill_report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXAMPLE = SCHEMA["examples"][0]
TIME = "20261123T060000Z"
PLANNED = {
    "node": "node1",
    "profile": "site",
    "time": "20261123T021500Z",
    "chain": "20261120T021512Z",
    "drill_host": "harbour",
    "age_seconds": 13500,
    "bytes": 100,
    "files": 9,
}
GOOD: dict[str, t.Any] = {
    "restore": {
        "msg": "Restored 10 files.",
        "record": {
            "outcome": "ok", "seconds": 5.1, "files": 10, "bytes": 101, "engine": "duplicity", "set_time": "20261123T021500Z"
        },
    },
    "compare": {
        "msg": "All as recorded.",
        "record": {"outcome": "ok", "seconds": 1.9, "set_time": "20261123T021500Z"},
        "comparison": {"paths": 12, "hashed": 10, "unjudged": 0, "differences": 0, "first": []},
    },
    "wiped": True,
}  # fmt: skip


def spoiled(*changes: tuple[str, t.Any]) -> dict[str, t.Any]:
    """A good result with values changed by dotted path."""
    result = copy.deepcopy(GOOD)
    for path, value in changes:
        *folders, name = path.split(".")
        place = result
        for folder in folders:
            place = place[folder]
        place[name] = value
    return result


def test_a_good_drill_passes() -> None:
    line = report.judge(PLANNED, GOOD)
    assert (line["verdict"], line["level"], line["reason"]) == ("passed", "L3", None)
    assert (line["files"], line["bytes"], line["restore_seconds"], line["compare_seconds"]) == (10, 101, 5.1, 1.9)
    built = report.build(TIME, [line], [], [])
    VALIDATOR.validate(built)
    assert built["verdict"] == "passed"


SPOILED = [
    (
        spoiled(("compare.record.set_time", "20261122T021500Z")),
        "L2",
        "it was compared with point 20261122T021500Z, not 20261123T021500Z.",
    ),
    (None, "L0", "nothing came back: harbour was not reached, or was lost on the way."),
    ({}, "L0", "nothing came back: harbour was not reached"),
    ({"wiped": True}, "L0", "the restore gave no answer."),
    (spoiled(("restore", None)), "L0", "the restore gave no answer."),
    (
        spoiled(("restore.record.outcome", "failed"), ("restore.msg", "The restore failed: x.")),
        "L0",
        "The restore failed: x.",
    ),
    (spoiled(("restore.record", None), ("restore.msg", "MODULE FAILURE")), "L0", "MODULE FAILURE"),
    (
        spoiled(("restore.record.set_time", "20261122T021500Z")),
        "L2",
        "point 20261122T021500Z was restored, not 20261123T021500Z.",
    ),
    (spoiled(("compare", None)), "L2", "the comparison gave no answer."),
    (spoiled(("compare.record.outcome", "failed"), ("compare.msg", "The tree is not x.")), "L2", "The tree is not x."),
    (spoiled(("compare.record.outcome", "warning")), "L2", "All as recorded."),
    (spoiled(("compare.comparison.hashed", 0), ("compare.msg", "")), "L2", "the comparison gave no answer."),
    (spoiled(("compare.comparison", None), ("compare.msg", "")), "L2", "the comparison gave no answer."),
    (spoiled(("wiped", False)), "L3", "the restored data could not be wiped from harbour."),
    (spoiled(("wiped", None)), "L3", "the restored data could not be wiped from harbour."),
]


@pytest.mark.parametrize(("result", "level", "reason"), SPOILED)
def test_all_else_fails(result: dict[str, t.Any] | None, level: str, reason: str) -> None:
    line = report.judge(PLANNED, result)
    assert (line["verdict"], line["level"]) == ("failed", level)
    assert line["reason"].startswith(reason)
    built = report.build(TIME, [report.judge(PLANNED, GOOD), line], [], [])
    VALIDATOR.validate(built)
    assert built["verdict"] == "failed"


def test_a_warning_of_the_restore_passes() -> None:
    assert report.judge(PLANNED, spoiled(("restore.record.outcome", "warning")))["verdict"] == "passed"


MISSING = {"node": "node2", "profile": "site", "reason": "no backup was ever recorded."}


@pytest.mark.parametrize(
    ("restores", "missing", "unreachable", "verdict"),
    [
        ([GOOD], [], [], "passed"),
        ([], [], [], "failed"),  # nothing was proven
        ([GOOD], [MISSING], [], "failed"),
        ([GOOD], [], ["node3"], "failed"),
        ([GOOD, None], [], [], "failed"),
    ],
)
def test_the_whole(restores: list[t.Any], missing: list[t.Any], unreachable: list[str], verdict: str) -> None:
    built = report.build(TIME, [report.judge(PLANNED, result) for result in restores], missing, unreachable)
    VALIDATOR.validate(built)
    assert built["verdict"] == verdict
    text = report.table(built)
    assert text.splitlines()[0].split() == [
        "node",
        "restore",
        "point",
        "age",
        "size",
        "files",
        "restore",
        "s",
        "verdict",
    ]
    for item in missing:
        assert f"{item['node']}: {item['reason']}" in text
    for node in unreachable:
        assert f"{node}: the node did not answer." in text


def test_what_real_operations_answer_fits(odd: Node, tmp_path: Path) -> None:
    restored = odd.ask("restore", dest=str(tmp_path / "tree"))
    planned = PLANNED | {"time": restored["record"]["set_time"], "chain": restored["record"]["chain"]}
    compared = odd.ask("verify", dest=str(tmp_path / "tree"))
    good = report.judge(planned, {"restore": restored, "compare": compared, "wiped": True})
    (tmp_path / "tree" / "new").unlink()
    Path(str(tmp_path / "tree"), "caf\udcff").touch()
    spoiled_tree = odd.ask("verify", dest=str(tmp_path / "tree"))
    bad = report.judge(planned, {"restore": restored, "compare": spoiled_tree, "wiped": True})
    built = report.build(TIME, [good, bad], [], [])
    VALIDATOR.validate(json.loads(json.dumps(built)))
    assert [line["verdict"] for line in built["restores"]] == ["passed", "failed"]
    assert {"missing", "extra"} <= {item["what"] for item in bad["compared"]["first"]}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(EXAMPLE)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("verdict", "splendid"),
        ("schema", 2),
        ("surprise", 1),
        ("time", "today"),
        ("restores", []),  # nothing, and passed
        ("missing", [MISSING]),
        ("unreachable", ["node2"]),
        ("restores.0.verdict", "failed"),
        ("restores.0.reason", "x."),
        ("restores.0.level", "L2"),
        ("restores.0.compared", None),
        ("restores.0.compared.hashed", 0),
        ("restores.0.compared.differences", 1),
        ("restores.0.restore_seconds", None),
        ("restores.0.files", -1),
        ("restores.0.surprise", 1),
    ],
)
def test_tampered_reports_are_refused(where: str, value: t.Any) -> None:
    tampered = copy.deepcopy(EXAMPLE)
    *folders, name = where.split(".")
    place = tampered
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    place[name] = value
    assert not VALIDATOR.is_valid(tampered)


@pytest.mark.parametrize(
    "missing", [*((name,) for name in EXAMPLE), *(("restores", name) for name in EXAMPLE["restores"][0])]
)
def test_the_schema_wants_every_field(missing: tuple[str, ...]) -> None:
    tampered = copy.deepcopy(EXAMPLE)
    place = tampered if len(missing) == 1 else tampered["restores"][0]
    del place[missing[-1]]
    assert not VALIDATOR.is_valid(tampered)


# --- for people -------------------------------------------------------------------------------------------------------


def test_columns() -> None:
    assert report.columns(("name", "size"), [("a", "5 B"), ("longer", "12 KiB"), ("20261123T021500Z", "-")]) == (
        "name              size\n"
        "----------------  ------\n"
        "a                    5 B\n"
        "longer            12 KiB\n"
        "20261123T021500Z  -"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (2**40, "1.0 TiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert report.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")]
)
def test_age(seconds: int, text: str) -> None:
    assert report.age(seconds) == text


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5))))
def test_columns_take_anything(rows: list[tuple[str, str]]) -> None:
    report.columns(("one", "two"), rows)


def test_the_worst_comes_first() -> None:
    states = ["ok", "stale", "never", "damaged", "failed", "unreadable"]
    rows = [
        {
            "node": f"node{number}", "profile": "site", "state": state, "reason": "" if state == "ok" else f"it is {state}.",
            "point": None if state == "never" else TIME, "age_hours": None if state == "never" else 3.0, "points": 1, "chain_length": 1,
            "files": 1, "stored": 1, "drilled": None,
        }
        for number, state in enumerate(states)
    ]  # fmt: skip
    lines = report.status_table(rows).splitlines()
    order = [line.split()[2] for line in itertools.islice(lines, 2, 8)]
    assert order == ["never", "unreadable", "damaged", "failed", "stale", "ok"]
    assert "node1/site: it is stale." in lines
    assert len(lines) == 8 + 5

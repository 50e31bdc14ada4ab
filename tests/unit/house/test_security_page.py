# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""docs/security.md lists every right of every power, and why: no more and no less than the policy documents."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import policies
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.identities import POWERS

PAGE = (Path(__file__).resolve().parents[3] / "docs/security.md").read_text()
PLAIN = policies.node_policy("bucket", "id")
ONCE = policies.node_policy("bucket", "id", write_once=True)
DOCUMENTS = {
    "node": PLAIN,
    "node, write once": {"Statement": [item for item in ONCE["Statement"] if item not in PLAIN["Statement"]]},
    "restorer": policies.restorer_policy("bucket"),
    "evidence": policies.evidence_policy("bucket"),
    "pruner": policies.pruner_policy("bucket"),
    "Everyone, by the bucket's own policy": {"Statement": [policies.tls_only_statement("bucket")]},
    "minter": policies.minter_policy("bucket"),
}
Right = tuple[str, str, str, str]  # effect, action, resource, condition


def told(resource: str) -> str:
    """A resource in the page's words."""
    text = resource.removeprefix("arn:aws:s3:::bucket").removeprefix("/")
    text = text.replace("nodes/id/", "nodes/<id>/").replace("user/lifeboat/bucket/", "user/lifeboat/<bucket>/")
    return {"": "the bucket", "*": "all objects"}.get(text, text)


def condition(statement: policies.Document) -> str:
    return " and ".join(
        f"{operator} {key} {value if isinstance(value, str) else told(' '.join(value))}"
        for operator, pairs in statement.get("Condition", {}).items()
        for key, value in pairs.items()
    )


def rights(document: policies.Document) -> list[Right]:
    return [
        (item["Effect"].lower(), action, told(resource), condition(item))
        for item in document["Statement"]
        for action, resource in itertools.product(item["Action"], item["Resource"])
    ]


def rows(section: str) -> list[list[str]]:
    """The cells of the table of rights below a heading."""
    after = re.split(rf"^#+ {re.escape(section)}$", PAGE, maxsplit=1, flags=re.MULTILINE)[1]
    text = re.split(r"^#", after, maxsplit=1, flags=re.MULTILINE)[0]
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [row for row in found if row[0] in ("allow", "deny")]


def listed(section: str) -> list[Right]:
    return [
        (effect, action, resource, where.replace("`", ""))
        for effect, actions, resources, where, _why in rows(section)
        for action, resource in itertools.product(names(actions), names(resources))
    ]


def names(cell: str) -> list[str]:
    return [name.strip(" `") for name in cell.split(",")]


@pytest.mark.parametrize("section", DOCUMENTS)
def test_the_page_lists_the_rights_of_the_documents(section: str) -> None:
    assert sorted(listed(section)) == sorted(rights(DOCUMENTS[section]))


@pytest.mark.parametrize("section", DOCUMENTS)
def test_each_right_has_its_reason(section: str) -> None:
    assert [row for row in rows(section) if len(row) != 5 or len(row[4]) < 15] == []


def test_no_power_is_missing() -> None:
    assert {*POWERS} <= {*DOCUMENTS}

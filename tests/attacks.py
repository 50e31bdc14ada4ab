# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The attacks of ``molecule/isolation/attacks`` as data, and their results as docs/attacks.md (pure but for reading files)."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[1]
FOLDER = TOP / "molecule" / "isolation" / "attacks"
RESULTS = TOP / ".cache" / "isolation" / "results.json"
PAGE = TOP / "docs" / "attacks.md"
Attempt = dict[str, t.Any]

# who made the same call with success, as the page says it
CAN = {
    "self": "the node itself can, on what is its own",
    "neighbour": "the neighbour can",
    "restorer": "the restorer can",
    "evidence": "evidence can",
    "pruner": "the pruner can",
    "minter": "the minter can",
}

HEAD = """\
<!-- Made by scripts/attacks from the results of molecule/isolation: do not edit. -->
# What root on a node can do to the store

A test (`make molecule SCENARIO=isolation`, part of `make test`) rolls out six nodes on {store}, makes a history of backups, and then
attacks from one of them as root: with the node's own key and plain boto3, without any of Lifeboat's code. The attacks are a table
(`molecule/isolation/attacks`), and this page is made of the store's answers; the test fails when they differ.

**{total} attempts: {refused} refused by the store, {harmless} taken and harmless.**

Refused means that the store itself said so, by the code in the table, at the last step of the attempt. A policy that refused everything
would pass as well, so beside each stands who made the same call with success in the same run: the node on what is its own, its neighbour
on what is the neighbour's, or the power that may. Harmless means that the store took it, and a check afterwards showed why it does not
matter. After all of it a prune ran, and every node's history from before the attack, the attacker's own included, was restored and
compared file by file. The neighbour is called node10: its name begins with the attacker's, node1.

This store, with STS switched on, also says AccessDenied of a signature that does not fit, which is what "Presigned addresses" meet.

What a node keeps is the power over its *future*: it can back up nothing, or good-looking garbage, from now on. Drills and the status
tell. Garbage every night pushes the real history out when `keep_days` are over, all but the newest chain that passed a drill
([retention.md](retention.md)): until then there is time to repair it (`playbooks/repair.yml`).
"""


@functools.cache
def matrix() -> list[dict[str, t.Any]]:
    """Areas in order, each with its ``attempts``; every attempt has lists of steps in ``do`` and ``after``."""
    areas = []
    for path in sorted(FOLDER.glob("*.yml")):
        areas += yaml.safe_load(path.read_text(encoding="utf-8"))
    return areas


@functools.cache
def attempts() -> dict[str, Attempt]:
    """All attempts by their ids, in order."""
    return {attempt["id"]: attempt for area in matrix() for attempt in area["attempts"]}


def steps(do: t.Any) -> list[t.Any]:
    """The calls of an attempt or a control: one, or a list."""
    return do if isinstance(do, list) else [do]


def expected(attempt: Attempt) -> str:
    """The store's word at the end of the attempt."""
    return "done" if "harmless" in attempt else attempt.get("refused", "AccessDenied")


def row(attempt: Attempt, result: t.Mapping[str, t.Any]) -> str:
    """One line of the page's tables."""
    if "harmless" in attempt:
        said, beside = "taken", f"harmless: {attempt['harmless']}"
    else:
        said, beside = f"`{result['said']}`", CAN[result["control"]]
        if "why" in attempt:
            beside += f"; {attempt['why']}"
    return f"| {attempt['id']} | {attempt['what']} | {said} | {beside} |"


def render(results: t.Mapping[str, t.Any]) -> str:
    """The page. ``results``: ``store``, and ``attempts``: id -> ``said``, ``control``."""
    known = attempts()
    harmless = sum("harmless" in attempt for attempt in known.values())
    text = HEAD.format(store=results["store"], total=len(known), refused=len(known) - harmless, harmless=harmless)
    for area in matrix():
        text += f"\n## {area['area']}\n\n| attempt | what | the store | beside it |\n|---|---|---|---|\n"
        for attempt in area["attempts"]:
            text += row(attempt, results["attempts"][attempt["id"]]) + "\n"
    return text

# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks are well formed, and docs/attacks.md tells each of them. That the answers are the store's, molecule/isolation holds."""

from __future__ import annotations

import re

from tests import attacks, siege

PAGE = attacks.PAGE.read_text(encoding="utf-8")
CONTROLS = {*siege.HOSTS, *siege.POWERS}


def test_every_attempt_is_told_in_its_order() -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.+?) \| (?:`\w+`|taken) \| ", PAGE, re.MULTILINE)
    told = [(name, what) for name, what in rows if name != "attempt"]
    assert told == [(name, attempt["what"]) for name, attempt in attacks.attempts().items()]


def test_each_is_refused_with_a_control_or_harmless_with_a_proof() -> None:
    for name, attempt in attacks.attempts().items():
        if "harmless" in attempt:
            assert attempt["shown"], name
        else:
            assert attempt["control"]["as"] in CONTROLS, name


def test_there_are_enough_and_they_are_counted() -> None:
    known = attacks.attempts()
    harmless = sum("harmless" in attempt for attempt in known.values())
    assert len(known) >= 60
    assert (
        f"**{len(known)} attempts: {len(known) - harmless} refused by the store, {harmless} taken and harmless.**"
        in PAGE
    )


def test_the_page_is_made_of_the_matrix() -> None:
    """The page, read back as results, renders to itself."""
    said = dict(re.findall(r"^\| ([a-z0-9-]+) \| .+? \| `(\w+)` \| ", PAGE, re.MULTILINE))
    can = {told: who for who, told in attacks.CAN.items()}
    beside = dict(re.findall(r"^\| ([a-z0-9-]+) \| .+? \| `\w+` \| ([^;|]+?)(?:;| \|)", PAGE, re.MULTILINE))
    store = re.search(r"rolls out six nodes on (Ceph RGW \d+),", PAGE)
    assert store is not None
    results = {name: {"said": said.get(name), "control": can.get(beside.get(name, ""))} for name in attacks.attempts()}
    assert attacks.render({"store": store[1], "attempts": results}) == PAGE

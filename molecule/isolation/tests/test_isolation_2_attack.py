# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Root on node1 attacks the store (``molecule/isolation/attacks``). What must be refused is refused by the store's own word, and
beside it somebody makes the same call with success."""

from __future__ import annotations

from typing import Any

import pytest
from tests import attacks

ATTEMPTS = attacks.attempts()
REFUSED = [name for name, attempt in ATTEMPTS.items() if "harmless" not in attempt]
TAKEN = [name for name, attempt in ATTEMPTS.items() if "harmless" in attempt]


def test_the_matrix_is_whole() -> None:
    assert len(ATTEMPTS) >= 60
    assert len(ATTEMPTS) == sum(len(area["attempts"]) for area in attacks.matrix()), "an id is used twice"
    assert [name for name in REFUSED if "as" not in ATTEMPTS[name]["control"]] == []
    assert [name for name in TAKEN if "shown" not in ATTEMPTS[name]] == []


@pytest.mark.parametrize("name", REFUSED)
def test_refused(attack: Any, name: str) -> None:
    answer, control = attack.answers[name], attack.controls[name]
    assert answer["said"] == attacks.expected(ATTEMPTS[name])
    assert answer["step"] == len(attack.steps(name)) - 1, "it is the last call that is refused"
    assert control["said"] == "done", "the same call, by who may"


@pytest.mark.parametrize("name", TAKEN)
def test_taken(attack: Any, name: str) -> None:
    """Whether it does harm is for the next file."""
    assert attack.answers[name]["said"] == "done"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Results in valid UTF-8."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.record import Record
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.result import Result, utf8

NAMES = st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(NAMES, NAMES, NAMES)
def test_a_result_is_valid_utf8(message: str, detail: str, warning: str) -> None:
    answer = Result(Record("backup", "failed", "20261123T021500Z", 1.0), True, message, detail, [warning]).to_dict()
    text = json.dumps(answer, ensure_ascii=False)
    assert json.loads(text.encode("utf-8")) == answer
    assert answer["failed"]


def test_what_is_no_utf8_is_shown() -> None:
    assert utf8("caf\udcff é") == "caf\\xff é"


def test_extra_never_hides_the_rest() -> None:
    entry = Record("verify", "warning", "20261123T021500Z", 1.0, exit_code=0)
    answer = Result(entry, False, "done.", extra={"failed": True, "comparison": {}}).to_dict()
    assert (answer["failed"], answer["outcome"], answer["rc"], answer["comparison"]) == (False, "warning", 0, {})

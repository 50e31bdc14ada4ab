# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a profile leaves out, against duplicity's own globs."""

from __future__ import annotations

import os
import re
import types
import typing as t
import warnings

import pytest
from duplicity.globmatch import select_fn_from_glob
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import selection
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused

PARTS = st.text(st.sampled_from("abc*?[]!^-\\.\n({"), min_size=1, max_size=6)
NAMES = st.text(st.sampled_from("abc*?[]!^-\\.\n({\udcff"), min_size=1, max_size=5)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/srv/" + "/".join(parts))
PATTERNS = st.one_of(
    st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/srv/" + "/".join(parts)),
    st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "**" + "/".join(parts)),
)


def usable(pattern: str) -> bool:
    try:
        selection.check_patterns("/srv", [pattern])
    except Refused:
        return False
    return True


@settings(max_examples=300)
@given(st.lists(PATTERNS.filter(usable), min_size=1, max_size=3), PATHS)
def test_as_duplicity_decides(patterns: list[str], path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # sets like "[[]" and "[a--b]"
        ours = selection.matcher(patterns)(os.fsencode(path))
        theirs = [select_fn_from_glob(pattern, 0)(types.SimpleNamespace(uc_name=path)) for pattern in patterns]
    assert ours == (0 in theirs)


def test_a_bracket_in_a_set_is_itself() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leaves_out = selection.matcher(["/srv/[[]"])
    assert leaves_out(b"/srv/[")
    assert not leaves_out(b"/srv/x")


@pytest.mark.table("selection.yml", "patterns")
def test_check_patterns(case: dict[str, t.Any]) -> None:
    if "says" in case:
        with pytest.raises(Refused, match=re.escape(case["says"])):
            selection.check_patterns("/srv/www", [case["pattern"]])
    else:
        selection.check_patterns("/srv/www", [case["pattern"]])


def test_below_the_root_every_absolute_pattern_can_match() -> None:
    selection.check_patterns("/", ["/proc"])


def test_no_pattern_leaves_nothing_out() -> None:
    assert not selection.matcher([])(b"/srv/www/x")
    assert selection.arguments([]) == ()


def test_arguments_keep_the_order() -> None:
    assert selection.arguments(["/a/x", "**y"]) == ("--exclude", "/a/x", "--exclude", "**y")

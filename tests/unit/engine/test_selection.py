# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a profile keeps: our walk of a real tree beside duplicity's own selection of it by our arguments."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t
import warnings
from pathlib import Path

import pytest
from duplicity import log
from duplicity.cli_util import parse_selection_args
from duplicity.path import Path as TheirPath
from duplicity.selection import Select
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import presets, selection, witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.selection import Selection

WITH_VALUE = ("--include", "--exclude", "--exclude-if-present")


def theirs(root: str, arguments: t.Sequence[str]) -> set[bytes]:
    """What duplicity would back up, the root itself as ``.``."""
    log.setup()
    words, pairs = list(arguments), []
    while words:
        option = words.pop(0)
        pairs.append((option, words.pop(0) if option in WITH_VALUE else None))
    select = Select(TheirPath(os.fsencode(root)))
    parse_selection_args(select, pairs, [])
    return {os.path.relpath(path.name, os.fsencode(root)) for path in select.set_iter()}


def agree(root: str, chosen: Selection) -> set[bytes]:
    """Both sides must find the same; returns it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # theirs, of sets like "[[]" and "[a--b]"
        found = theirs(root, selection.arguments(chosen))
        ours = set(witness.walk(root, chosen))
    assert ours == found
    return ours


# --- random trees and rules -------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["a", "b", "ab", "a.b", "keep", ".nobackup"]),
    st.text(st.sampled_from("ab*?[]!^-\\.\n({&~|\udcff"), min_size=1, max_size=3).filter(
        lambda name: name not in (".", "..")
    ),
)
TREES = st.lists(
    st.tuples(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(["file", "file", "folder", "link", "fifo"])),
    min_size=1,
    max_size=12,
)
PARTS = st.one_of(
    NAMES, st.sampled_from(["*", "**", "?", "a*", "[ab]", "[!a]"]), st.text(st.sampled_from("ab*?[]!^-."), min_size=1)
)
RANDOM = st.one_of(
    st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "ROOT/" + "/".join(parts)),
    st.lists(PARTS, min_size=1, max_size=2).map(lambda parts: "**" + "/".join(parts)),
)


@st.composite
def trees_and_lines(draw: st.DrawFn) -> tuple[list[tuple[list[str], str]], list[str]]:
    """A tree, and rules for it: half of the patterns are paths of it, or the beginnings of such."""
    tree = draw(TREES)
    paths = sorted({"/".join(["ROOT", *parts[: n + 1]]) for parts, _kind in tree for n in range(len(parts))})
    own = st.one_of(st.sampled_from(paths), st.sampled_from(paths).map(lambda path: f"**{path[4:]}"))
    lines = draw(st.lists(st.tuples(st.sampled_from("+-"), st.one_of(own, RANDOM)).map(" ".join), max_size=5))
    usable = [line for line in lines if accepted(line[2:])]
    if usable and usable[-1].startswith("+"):
        usable.append("- " + draw(st.one_of(st.just("**"), st.sampled_from(paths).filter(accepted))))
    return tree, usable


def accepted(pattern: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            selection.rules("ROOT", exclude=[pattern])
    except Refused:
        return False
    return True


def plant(root: str, tree: list[tuple[list[str], str]]) -> None:
    """Make the tree; what does not fit into what is there is left out."""
    for parts, kind in tree:
        path = os.path.join(root, *parts)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if kind == "folder":
                os.makedirs(path, exist_ok=True)
            elif kind == "link":
                os.symlink(root, path)
            elif kind == "fifo":
                os.mkfifo(path)
            else:
                open(path, "xb").close()
        except (FileExistsError, NotADirectoryError):
            pass


@settings(max_examples=400)
@given(trees_and_lines(), st.booleans())
def test_our_walk_finds_what_duplicity_would_back_up(
    case: tuple[list[tuple[list[str], str]], list[str]], marks: bool
) -> None:
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        plant(root, case[0])
        made = selection.rules(root, [line.replace("ROOT", root) for line in case[1]])
        kinds = "includes" if any(kept for kept, _pattern in made) else "excludes only" if made else "no rule"
        event(kinds)
        agree(root, Selection(made, (".nobackup",) if marks else ()))


# --- single cases -----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> str:
    for name in (
        "index.php",
        "pub/logo.png",
        "pub/deep/a.php",
        "var/cache/x",
        "var/cache/keep/y",
        "var/log/z",
        "old/.nobackup",
        "old/w",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "var" / "empty").mkdir()
    return str(tmp_path)


ALL = {
    *("index.php", "pub", "pub/logo.png", "pub/deep", "pub/deep/a.php", "old", "old/.nobackup", "old/w"),
    *("var", "var/empty", "var/log", "var/log/z", "var/cache", "var/cache/x", "var/cache/keep", "var/cache/keep/y"),
}


@pytest.mark.table("selection.yml", "kept")
def test_kept(case: dict[str, t.Any], site: str) -> None:
    """``lacks`` and ``only`` are what of the tree above is left out, or alone kept."""
    made = selection.rules(site, [line.replace("SITE", site) for line in case["select"]])
    found = {os.fsdecode(path) for path in agree(site, Selection(made, tuple(case.get("if_present", ()))))} - {"."}
    assert found == (set(case["only"]) if "only" in case else ALL - set(case["lacks"]))


def test_a_relative_pattern_works_below_any_source(tmp_path: Path) -> None:
    """The source's own name may hold signs of patterns; what looks like it is another folder."""
    source = tmp_path / "a[b]*?"
    (source / "var" / "cache").mkdir(parents=True)
    (source / "var" / "log").mkdir()
    made = selection.rules(str(source), ["- var/cache"])
    assert agree(str(source), Selection(made)) == {b".", b"var", b"var/log"}


def test_devices_can_be_left_out(tmp_path: Path) -> None:
    device = tmp_path / "device"
    try:
        os.mknod(device, 0o600 | 0o020000, os.makedev(1, 3))
    except OSError:
        pytest.skip("this machine lets nobody make devices")
    assert agree(str(tmp_path), Selection()) == {b".", b"device"}
    assert agree(str(tmp_path), Selection(device_files=False)) == {b"."}


def test_a_bracket_in_a_set_is_itself() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert re.fullmatch(selection._regex("/srv/[[]"), "/srv/[")
    assert not re.fullmatch(selection._regex("/srv/[[]"), "/srv/x")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.table("selection.yml", "patterns")
def test_patterns(case: dict[str, t.Any]) -> None:
    if "says" in case:
        with pytest.raises(Refused, match=re.escape(case["says"])):
            selection.rules("/srv/www", exclude=[case["pattern"]])
    else:
        whole = case.get("whole", case["pattern"])
        assert selection.rules("/srv/www", exclude=[case["pattern"]]) == ((False, whole),)


@pytest.mark.table("selection.yml", "refused")
def test_refused(case: dict[str, t.Any]) -> None:
    with pytest.raises(Refused, match=re.escape(case["says"])):
        selection.rules("/srv/www", **case["given"])


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "a\0"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(Refused, match=r"'exclude_if_present' has .*: give the bare name of a file, such as \.nobackup"):
        selection.check_names([".ok", name])


def test_below_the_root_every_absolute_pattern_can_match() -> None:
    assert selection.rules("/", exclude=["/proc"]) == ((False, "/proc"),)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.table("selection.yml", "arguments")
def test_arguments(case: dict[str, t.Any]) -> None:
    made = selection.rules("/s", case.get("select", ()), case.get("exclude", ()), case.get("presets", ()))
    assert " ".join(selection.arguments(Selection(made, **case.get("more", {})))) == case["argv"]


# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_can_be_used_and_says_why(name: str) -> None:
    assert selection.rules("/srv/www", names=[name])
    assert all(reason.strip() and "\n" not in reason for reason in presets.PRESETS[name].values())
    # a bare folder of any application would match too
    assert all(pattern.count("/") >= 2 for pattern in presets.PRESETS[name])


@pytest.mark.table("selection.yml", "presets")
def test_presets(case: dict[str, t.Any], tmp_path: Path) -> None:
    """``left_out`` may be made again by the application, ``kept`` may not."""
    for name in (*case["left_out"], *case["kept"]):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    made = selection.rules(str(tmp_path), names=[case["name"]])
    found = {os.fsdecode(path).removeprefix("shop/") for path in agree(str(tmp_path), Selection(made))}
    assert found & set(case["left_out"]) == set()
    assert set(case["kept"]) <= found

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which paths of a source a profile keeps: the same rule for duplicity's command line and for the witness. Pure.

Rules are looked at in order and the first one that matches decides; what no rule matches is kept. A folder above an
included path is kept too, as soon as something in it is, even if a later rule leaves it out.

Patterns are duplicity's: ``*`` and ``?`` do not cross a slash, ``**`` does, ``[...]`` is a set of characters. A pattern
that matches a folder stands for all that is in it (duplicity 3.2.1, ``globmatch.py``).
"""

from __future__ import annotations

import enum
import os
import re
import stat
import typing as t
from dataclasses import dataclass
from itertools import groupby

from . import presets
from .errors import Refused

_OWN_WORDS = re.compile("ignorecase:", re.IGNORECASE)  # duplicity's, before a pattern; we have no such rule
Rule = tuple[bool, str]  # included, pattern


class Verdict(enum.Enum):
    """``SCAN``: keep this folder if something in it is kept."""

    KEEP = 1
    LEAVE = 0
    SCAN = 2


@dataclass(frozen=True)
class Selection:
    """``rules`` in order; folders that hold a name of ``if_present`` are left out whole."""

    rules: tuple[Rule, ...] = ()
    if_present: tuple[str, ...] = ()
    one_file_system: bool = False
    device_files: bool = True


EVERYTHING = Selection()


def rules(
    source: str, select: t.Sequence[str] = (), exclude: t.Sequence[str] = (), names: t.Sequence[str] = ()
) -> tuple[Rule, ...]:
    """Checked rules in the order in which they are looked at: ``select``, then ``exclude``, then presets."""
    found = [_rule(line) for line in select]
    for name in names:
        if name not in presets.PRESETS:
            raise Refused(f"preset '{name}' is unknown: use {', '.join(presets.PRESETS)}.")
    found += [(False, pattern) for pattern in (*exclude, *presets.patterns(tuple(names)))]
    found = [(included, _whole(source, included, pattern)) for included, pattern in found]
    _refuse_idle_include(found)
    return tuple(found)


def _refuse_idle_include(found: t.Sequence[Rule]) -> None:
    if found and found[-1][0]:
        raise Refused(
            f"'select' ends with the include '{found[-1][1]}', which changes nothing, since what no rule matches is "
            "taken: add '- **' if only what is included is wanted."
        )


def _rule(line: str) -> Rule:
    if line[:2] not in ("+ ", "- "):
        raise Refused(f"'select' has the line '{line}': write '+ pattern' to include or '- pattern' to exclude.")
    return line[0] == "+", line[2:]


def _whole(source: str, included: bool, pattern: str) -> str:
    """The pattern with the source before it, if it is relative. Refused is one that could never match below the source, at
    which duplicity would stop in its own words."""
    what = "include" if included else "exclude"
    top = source.rstrip("/")
    whole = pattern if pattern.startswith(("/", "**")) else f"{_quoted(top)}/{pattern}"
    inside = whole is not pattern or whole.startswith(("**", top + "/"))
    if (
        not inside
        or {"", ".", ".."} & set(pattern.removeprefix("/").split("/"))
        or "\n" in pattern
        or _OWN_WORDS.match(pattern)
    ):
        raise Refused(
            f"{what} pattern '{pattern}' cannot match below {source}: start it with {top}/ or **, or write it relative "
            "to the source, and end it without a slash."
        )
    try:
        re.compile(_regex(whole))
    except re.error as error:
        raise Refused(
            f"{what} pattern '{pattern}' is not understood: {error.msg}; write the range from low to high."
        ) from None
    return whole


def _quoted(path: str) -> str:
    """A pattern that matches this path alone."""
    return re.sub(r"([*?[])", r"[\1]", path)


def check_names(names: t.Sequence[str]) -> None:
    """Refuse what is no name of a file, in ``exclude_if_present``."""
    for name in names:
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise Refused(f"'exclude_if_present' has '{name}': give the bare name of a file, such as .nobackup.")


def arguments(selection: Selection) -> tuple[str, ...]:
    """The selection as duplicity's arguments, in order."""
    devices = () if selection.device_files else ("--exclude-device-files",)
    marks = (word for name in selection.if_present for word in ("--exclude-if-present", name))
    mounts = ("--exclude-other-filesystems",) if selection.one_file_system else ()
    return (*devices, *marks, *_words(selection.rules, mounts))


def _words(found: t.Sequence[Rule], more: t.Sequence[str] = ()) -> tuple[str, ...]:
    """Rules as duplicity's arguments, in order, with ``more`` after them.

    With an include among them, the end is spelt out: duplicity takes a path that an include could match *below* for a
    folder to look into, and drops it if it is a file. After ``--include '**.php'`` that is every other file of the
    source (3.2.1, ``selection.py``: Select). And it accepts no include as the last rule.
    """
    words = [word for included, pattern in found for word in ("--include" if included else "--exclude", pattern)]
    end = ("--include", "**", "--exclude", "**") if any(included for included, _pattern in found) else ()
    return (*words, *more, *end)


Judge = t.Callable[[bytes, os.stat_result], Verdict]


def judge(selection: Selection, root: os.stat_result) -> Judge:
    """A function that judges an absolute path with its lstat. What is in a folder left out need not be asked for.
    ``root`` is the source's own status."""
    groups = [_group(included, list(members)) for included, members in groupby(selection.rules, lambda rule: rule[0])]
    marks = {os.fsencode(name) for name in selection.if_present}

    def verdict(path: bytes, status: os.stat_result) -> Verdict:
        if not selection.device_files and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            return Verdict.LEAVE
        if marks and stat.S_ISDIR(status.st_mode) and _holds(path, marks):
            return Verdict.LEAVE
        name = os.fsdecode(path)
        leave = Verdict.LEAVE
        for included, matches, leads in groups:
            if matches(name):
                return Verdict.KEEP if included else leave
            if leads is not None and leads(name) and stat.S_ISDIR(status.st_mode):
                leave = Verdict.SCAN
        if selection.one_file_system and status.st_dev != root.st_dev:
            return leave
        return Verdict.KEEP

    return verdict


def _holds(folder: bytes, names: set[bytes]) -> bool:
    try:
        return not names.isdisjoint(os.listdir(folder))
    except OSError:
        return False


Test = t.Callable[[str], object]


def _group(included: bool, members: list[Rule]) -> tuple[bool, Test, Test | None]:
    """Rules of one kind in a row: a test for what they match, and for includes one for the folders that lead there."""
    whole = "|".join(f"(?:{_regex(pattern)})(?:$|/)" for _included, pattern in members)
    # DOTALL, since a name may hold a newline
    matches = re.compile(whole, re.DOTALL).match
    if not included:
        return included, matches, None
    parts = {f"(?:{_regex(part)})" for _included, pattern in members for part in _leading(pattern)}
    return included, matches, re.compile(f"(?:{'|'.join(sorted(parts))})$", re.DOTALL).match


def _leading(pattern: str) -> list[str]:
    """Patterns of the folders in which something could match. After ``**`` that is any."""
    cut = pattern.find("**")
    parts = (pattern if cut < 0 else pattern[: cut + 2]).split("/")
    return [part for part in ("/".join(parts[: count + 1]) for count in range(len(parts))) if part]


def _regex(pattern: str) -> str:
    out = ""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            out += ".*"
            at += 2
        elif char == "[" and (end := _set_end(pattern, at)) > 0:
            inner = re.sub(r"([\\[&~|])", r"\\\1", pattern[at + 1 : end])  # signs that re keeps for itself
            out += f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
            at = end + 1
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
            at += 1
    return out


def _set_end(pattern: str, start: int) -> int:
    """Index of the bracket that closes the set opened at ``start``, or -1: then the bracket is itself."""
    at = start + 1
    if pattern[at : at + 1] in ("!", "^"):
        at += 1
    return pattern.find("]", at + 1)


def relative(rules: t.Sequence[str]) -> tuple[str, ...]:
    """``"+ pattern"`` and ``"- pattern"``, relative to the source, as duplicity's arguments for a restore: the first that
    matches a path decides, and what no rule matches is restored."""
    found: list[Rule] = []
    for rule in rules:
        sign, pattern = [*rule.split(" ", 1), ""][:2]
        parts = pattern.split("/")
        if sign not in ("+", "-") or not pattern or pattern.startswith("/") or {".", "..", ""} & set(parts):
            raise Refused(
                f"selection '{rule}' is not understood: write '+ pattern' or '- pattern', relative to the source, without "
                "a slash at its ends."
            )
        found.append((sign == "+", pattern))
    _refuse_idle_include(found)
    return _words(found)

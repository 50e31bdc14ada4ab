# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which paths of a source a profile leaves out: the same rule for duplicity's command line and for the witness. Pure.

Patterns are duplicity's: ``*`` and ``?`` do not cross a slash, ``**`` does, ``[...]`` is a set of characters. A pattern
that matches a folder leaves out all that is in it (duplicity 3.2.1, ``globmatch.py``).
"""

from __future__ import annotations

import os
import re
import typing as t

from .errors import Refused


def check_patterns(source: str, patterns: t.Sequence[str]) -> None:
    """Refuse a pattern that could never match below ``source``: duplicity would stop at it, in its own words."""
    for pattern in patterns:
        inside = source == "/" or pattern.startswith(source.rstrip("/") + "/")
        if not (inside or pattern.startswith("**")) or "//" in pattern or "\n" in pattern or pattern.endswith("/"):
            raise Refused(
                f"exclude pattern '{pattern}' cannot match below {source}: start it with {source.rstrip('/')}/ or **, "
                "and end it without a slash."
            )
        try:
            matcher([pattern])
        except re.error as error:
            raise Refused(
                f"exclude pattern '{pattern}' is not understood: {error.msg}; write the range from low to high."
            ) from None


def arguments(patterns: t.Sequence[str]) -> tuple[str, ...]:
    """The patterns as duplicity's arguments, in order."""
    return tuple(part for pattern in patterns for part in ("--exclude", pattern))


def matcher(patterns: t.Sequence[str]) -> t.Callable[[bytes], bool]:
    """A function that tells whether an absolute path is left out. Folders' contents need not be asked for again."""
    if not patterns:
        return lambda path: False
    # DOTALL, since a name may hold a newline
    expression = re.compile("|".join(f"(?:{_regex(pattern)})(?:$|/)" for pattern in patterns), re.DOTALL)
    return lambda path: expression.match(os.fsdecode(path)) is not None


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
    found: list[str] = []
    for rule in rules:
        sign, _, pattern = rule.partition(" ")
        parts = pattern.split("/")
        if sign not in ("+", "-") or not pattern or pattern.startswith("/") or {".", "..", ""} & set(parts):
            raise Refused(
                f"selection '{rule}' is not understood: write '+ pattern' or '- pattern', relative to the source, without "
                "a slash at its ends."
            )
        found += ["--include" if sign == "+" else "--exclude", pattern]
    return tuple(found)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""How a tree differs from another tree, or from what duplicity says of it; and how that is shown. Nothing is written."""

from __future__ import annotations

import filecmp
import os
import re
import stat
import typing as t

from . import witness
from .machine_log import Event
from .witness import Difference

_SHOWN = 50  # differences listed in a result; the count is always whole
_LINES = 1000  # lines of a diff

# duplicity 3.2.1, path.py: compare_verbose; its texts are in English under LC_ALL=C.UTF-8
_FOUND = (
    (re.compile(r"New file (.*)", re.DOTALL), "extra"),
    (re.compile(r"File (.*) is missing", re.DOTALL), "missing"),
    (re.compile(r"File (.*) has type .*, expected .*", re.DOTALL), "type"),
    (re.compile(r"File (.*) has permissions .*, expected .*", re.DOTALL), "mode"),
    (re.compile(r"File (.*) has mtime .*, expected .*", re.DOTALL), "mtime"),
    (re.compile(r"Data for file (.*) is different", re.DOTALL), "content"),
    (re.compile(r"Symlink (.*) points to .*, expected .*", re.DOTALL), "target"),
    (re.compile(r"Device file (.*) has numbers .*, expected .*", re.DOTALL), "device"),
)


def between(expected: str, actual: str) -> list[Difference]:
    """What ``actual`` differs in from ``expected``: the same rules as for a witness, and every file byte by byte."""
    wanted, found = _tree(expected), _tree(actual)
    result = [Difference(path, "extra") for path in found.keys() - wanted.keys()]
    for path, status in wanted.items():
        other = found.get(path)
        if other is None:
            result.append(Difference(path, "missing"))
            continue
        what = witness.differs(witness.entry_of(expected, path, status), witness.entry_of(actual, path, other))
        if what is None and stat.S_ISREG(status.st_mode):
            one, two = (witness.place(root, path) for root in (expected, actual))
            what = None if filecmp.cmp(one, two, shallow=False) else "content"
        if what:
            result.append(Difference(path, what))
    filecmp.clear_cache()
    return sorted(result, key=lambda item: item.path)


def _tree(root: str) -> witness.Tree:
    """Every path of a tree; of one that is a single file or link, that alone."""
    status = os.lstat(root)
    return witness.walk(root) if stat.S_ISDIR(status.st_mode) else {b".": status}


def told(events: t.Iterable[Event]) -> list[Difference]:
    """The differences that ``duplicity verify --compare-data`` logged. Pure."""
    result = []
    for event in events:
        text = event.text.removeprefix("Difference found: ")
        if event.keyword == "NOTICE" and text != event.text:
            # of a wording we do not know, the path is not known either
            path, what = next(((m[1], what) for rule, what in _FOUND if (m := rule.fullmatch(text))), (text, "other"))
            result.append(Difference(os.fsencode(path), what))
    return result


def listed(found: t.Sequence[Difference]) -> dict[str, t.Any]:
    """``{differences: count, first: [...]}`` for a result, in valid UTF-8. Pure."""
    return {
        "differences": len(found),
        "first": [{**witness.named(item.path), "what": item.what} for item in found[:_SHOWN]],
    }


def diff(found: t.Sequence[Difference], before: str, after: str) -> dict[str, str]:
    """Ansible's diff: what goes on the left, what comes on the right, with what differs behind the name. Pure."""
    left = [witness.show(item.path) for item in found if item.what != "missing"]
    right = [
        witness.show(item.path) + ("" if item.what == "missing" else f" ({item.what})")
        for item in found
        if item.what != "extra"
    ]
    return {"before_header": before, "after_header": after, "before": _lines(left), "after": _lines(right)}


def _lines(names: list[str]) -> str:
    more = [f"... and {len(names) - _LINES} more"] if len(names) > _LINES else []
    return "".join(f"{name}\n" for name in [*(name.replace("\n", "\\n") for name in names[:_LINES]), *more])

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Settings from JSON against a table of what each may be; every complaint is a sentence that names the key. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .errors import Refused

NONE = type(None)


@dataclass(frozen=True)
class Field:
    """One setting: its type, the range of a number, the choices of a text. A list is one of texts."""

    kind: type | tuple[type, ...]
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False


def check_fields(what: str, data: t.Mapping[str, t.Any], fields: t.Mapping[str, Field]) -> None:
    """Refuse what the table does not allow. ``what`` begins the sentence (``profile 'site'``)."""
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise Refused(f"{what} has the unknown setting '{unknown[0]}': known are {', '.join(fields)}.")
    for key, field in fields.items():
        if key in data:
            _check(f"{what}: '{key}'", data[key], field)
        elif field.required:
            raise Refused(f"{what} lacks the setting '{key}'.")


def _check(what: str, value: t.Any, field: Field) -> None:
    # True is an int to Python
    if not isinstance(value, field.kind) or (isinstance(value, bool) and field.kind is not bool):
        raise Refused(f"{what} has the wrong type ({type(value).__name__}).")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise Refused(f"{what} is a list of texts: put each of its items in quotes.")
    if field.choices and value is not None and value not in field.choices:
        raise Refused(f"{what} is '{value}': use one of {', '.join(field.choices)}.")
    number = t.cast(float, value)  # what has a range is one
    if field.least is not None and number < field.least:
        raise Refused(f"{what} must be at least {field.least}.")
    if field.most is not None and number > field.most:
        raise Refused(f"{what} must be at most {field.most}.")

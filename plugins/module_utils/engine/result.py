# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What an operation hands back, and its JSON form: the same for the module, for ``--json`` and for the unit's state."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .record import Record


@dataclass(frozen=True)
class Result:
    """``message`` is one sentence for people; ``detail`` what duplicity said (may hold paths); ``warnings`` sentences;
    ``extra`` further values of the operation, already fit for JSON."""

    record: Record
    changed: bool
    message: str
    detail: str = ""
    warnings: list[str] = field(default_factory=list)
    extra: dict[str, t.Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.record.outcome == "failed"

    def to_dict(self) -> dict[str, t.Any]:
        """``{failed, changed, msg, outcome, rc, record, detail, warnings, ...}`` in valid UTF-8."""
        return {
            **self.extra,
            "failed": self.failed,
            "changed": self.changed,
            "msg": utf8(self.message),
            "outcome": self.record.outcome,
            "rc": self.record.exit_code,
            "record": self.record.to_dict(),
            "detail": utf8(self.detail),
            "warnings": [utf8(text) for text in self.warnings],
        }


def utf8(text: str) -> str:
    """Text that Ansible accepts: bytes that were no UTF-8 are shown escaped (``\\xff``)."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

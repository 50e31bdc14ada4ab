# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Horizontal bars as SVG, without a library: the same samples give the same file. Pure."""

from __future__ import annotations

import typing as t
from xml.sax.saxutils import escape

Panel = tuple[str, t.Sequence[tuple[str, float]]]  # title, (label, seconds)

WIDTH, LABEL, VALUE, BAR, HEAD = 860, 90, 110, 18, 30
COLORS = {"ours": "#1b7f5c", "duplicity": "#b3552e", "floor": "#9a9a9a"}
OTHER = "#5b7ea6"


def bars(title: str, panels: t.Sequence[Panel]) -> str:
    """One panel below another, each with a scale of its own: what counts is the ratio within it."""
    lines, y = [], 52
    for heading, rows in panels:
        lines.append(f'<text x="12" y="{y + 12}" class="h">{escape(heading)}</text>')
        y += HEAD - 10
        longest = max(seconds for _label, seconds in rows)
        for label, seconds in rows:
            length = max((WIDTH - LABEL - VALUE) * seconds / longest, 1)
            color = COLORS.get(label, OTHER)
            lines.append(f'<text x="{LABEL - 6}" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
            lines.append(f'<rect x="{LABEL}" y="{y + 2}" width="{length:.1f}" height="{BAR - 4}" fill="{color}"/>')
            lines.append(f'<text x="{LABEL + length + 6:.1f}" y="{y + 13}">{seconds:.2f} s</text>')
            y += BAR
        y += 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">\n'
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->\n"
        "<style>text{font:12px sans-serif;fill:#222}.h{font-weight:bold}.t{font-size:16px;font-weight:bold}</style>\n"
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>\n'
        f'<text x="12" y="28" class="t">{escape(title)}</text>\n'
    )
    return head + "\n".join(lines) + "\n</svg>\n"

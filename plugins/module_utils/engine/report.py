# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What drills came to -> the report that is kept as evidence, and a table for people. Pure."""

from __future__ import annotations

import typing as t

SCHEMA = 1
_SHOWN = 5  # alarms of one profile in the table
LEVEL = "L3"  # restored whole elsewhere, and equal to the witness

Restore = dict[str, t.Any]


def judge(planned: t.Mapping[str, t.Any], result: t.Mapping[str, t.Any] | None) -> Restore:
    """One planned restore and what came back of it (None: nothing) -> its line in the report.

    Passed means: restored and compared, both said so, and something was compared. All else failed: a drill host that
    was lost on the way leaves no result, and must never look like success.
    """
    line: Restore = {
        "node": planned["node"],
        "profile": planned["profile"],
        "point": planned["time"],
        "chain": planned["chain"],
        "drill_host": planned["drill_host"],
        "age_seconds": planned["age_seconds"],
        "bytes": planned["bytes"],
        "files": planned["files"],
        "restore_seconds": None,
        "compare_seconds": None,
        "level": "L0",
        "verdict": "failed",
        "reason": None,
        "engine": None,
        "compared": None,
    }
    if not result:
        return {
            **line,
            "reason": f"nothing came back: {planned['drill_host']} was not reached, or was lost on the way.",
        }
    restored, compared = result.get("restore") or {}, result.get("compare") or {}
    record = restored.get("record") or {}
    if record.get("outcome") not in ("ok", "warning"):
        return {**line, "reason": restored.get("msg") or "the restore gave no answer."}
    line |= {
        "restore_seconds": record.get("seconds"),
        "files": record.get("files"),
        "bytes": record.get("bytes"),
        "engine": record.get("engine"),
        "level": "L2",
    }
    judged = compared.get("record") or {}
    line["compare_seconds"] = judged.get("seconds")
    line["compared"] = compared.get("comparison")
    if record.get("set_time") != planned["time"]:
        return {**line, "reason": f"point {record.get('set_time')} was restored, not {planned['time']}."}
    if judged.get("outcome") == "ok" and judged.get("set_time") != planned["time"]:
        return {**line, "reason": f"it was compared with point {judged.get('set_time')}, not {planned['time']}."}
    if judged.get("outcome") != "ok" or not (compared.get("comparison") or {}).get("hashed"):
        return {**line, "reason": compared.get("msg") or "the comparison gave no answer."}
    if not result.get("wiped"):
        return {
            **line,
            "level": LEVEL,
            "reason": f"the restored data could not be wiped from {planned['drill_host']}.",
        }
    return {**line, "level": LEVEL, "verdict": "passed"}


def build(
    time: str,
    restores: t.Sequence[Restore],
    missing: t.Sequence[t.Mapping[str, str]],
    unreachable: t.Sequence[str],
) -> dict[str, t.Any]:
    """The report. ``missing``: nodes without a point to drill, ``{node, profile, reason}``; ``unreachable``: nodes that
    did not answer. It passed only if there was something to prove and nothing is wrong."""
    good = bool(restores) and all(line["verdict"] == "passed" for line in restores)
    return {
        "schema": SCHEMA,
        "time": time,
        "verdict": "passed" if good and not missing and not unreachable else "failed",
        "restores": sorted(restores, key=lambda line: (line["node"], line["profile"], line["point"])),
        "missing": list(missing),
        "unreachable": sorted(unreachable),
    }


def table(report: t.Mapping[str, t.Any]) -> str:
    """The closing table of a drill."""
    head = ("node", "restore point", "age", "size", "files", "restore s", "verdict")
    rows = [
        (
            line["node"],
            line["point"],
            age(line["age_seconds"]),
            size(line["bytes"]),
            str(line["files"]),
            "-" if line["restore_seconds"] is None else f"{line['restore_seconds']:.1f}",
            line["verdict"],
        )
        for line in report["restores"]
    ]
    rows += [(item["node"], "none", "-", "-", "-", "-", "failed") for item in report["missing"]]
    text = columns(head, rows)
    reasons = [f"{line['node']} {line['point']}: {line['reason']}" for line in report["restores"] if line["reason"]]
    reasons += [f"{item['node']}: {item['reason']}" for item in report["missing"]]
    reasons += [f"{node}: the node did not answer." for node in report["unreachable"]]
    return "\n".join([text, *reasons])


def columns(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    """Rows of text in aligned columns; a cell that starts with a digit is aligned right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]

    def line(row: t.Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if cell[:1].isdigit() and not cell.endswith("Z") else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def size(count: float) -> str:
    """Bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def age(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def status_table(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The fleet's status as a table, worst first."""
    order = {"never": 0, "unreadable": 1, "damaged": 2, "tampered": 3, "failed": 4, "growing": 5, "stale": 6, "ok": 7}
    head = (
        "node",
        "profile",
        "state",
        "newest point",
        "age",
        "points",
        "chain",
        "files",
        "stored",
        "drilled",
    )
    body = [
        (
            row["node"],
            row["profile"],
            row["state"],
            row["point"] or "-",
            "-" if row["age_hours"] is None else age(row["age_hours"] * 3600),
            str(row["points"]),
            str(row["chain_length"]),
            str(row["files"]),
            size(row["stored"]),
            row["drilled"] or "never",
        )
        for row in sorted(rows, key=lambda row: (order[row["state"]], row["node"], row["profile"]))
    ]
    reasons = [f"{row['node']}/{row['profile']}: {row['reason']}" for row in rows if row["reason"]]
    return "\n".join([columns(head, body), *reasons, *(line for row in rows for line in _alarms(row))])


def _alarms(row: t.Mapping[str, t.Any]) -> list[str]:
    """The first few of what was done to a profile's stored objects."""
    found = row.get("alarms") or []
    where = f"{row['node']}/{row['profile']}"
    lines = [f"{where}: ALARM: {item['object']} was {item['what']} at {item['time']}" for item in found[:_SHOWN]]
    return lines + ([f"{where}: ALARM: and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])


def prune_table(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The decisions of a prune as a table, each with its reason."""
    head = ("node", "profile", "from", "what", "points", "stored", "action", "reason")
    return columns(
        head,
        [
            (
                row["node"],
                row["profile"],
                row["chain"],
                row["kind"],
                str(row["points"]),
                size(row["stored"]),
                row["action"],
                row["reason"],
            )
            for row in rows
        ],
    )

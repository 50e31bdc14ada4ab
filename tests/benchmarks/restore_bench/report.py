# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Samples -> tables and a plot. Pure."""

from __future__ import annotations

import statistics
import typing as t

from .cases import CASES, DAYS
from .plan import GOALS, MORE_TOOLS, SETTLED, STOLEN, TOOLS, TRIES, Goal, Setting
from .plot import bars

Found = t.Mapping[str, t.Any]
Key = tuple[str, str, Setting]  # case, tool, setting
ORDER = (*TOOLS, *MORE_TOOLS)

HOW_RUN = """All tools ran in one Debian 13 container, in turn within each round, on the cores named (the store and the proxy share
  the machine's cores with them). Medians, (least–most) where there were several rounds, × ours."""
HOW_STORED = f"""Each day's backups began {SETTLED} seconds after its changes: what is younger than two seconds, our next set
  holds once more, and that would be most of a tree which was made a moment ago."""
HOW_COLD = """Cold: the tools' caches are empty, the machine's page cache is dropped, then each program is loaded once. The store's
  own cache of 128 MiB is left to itself. The clock runs until the destination's file system is synced."""
HOW_VERIFIED = """After each restore the SHA-256 of every file was compared with the source's, outside the time. A restore with
  a difference counts as failed."""


def grouped(found: Found) -> dict[Key, list[dict[str, t.Any]]]:
    groups: dict[Key, list[dict[str, t.Any]]] = {}
    for sample in found["samples"]:
        key = sample["case"], sample["tool"], Setting(sample["rtt"], sample["cores"], sample["dest"])
        groups.setdefault(key, []).append(sample)
    return groups


def medians(found: Found) -> dict[Key, float | None]:
    """Seconds; None where a restore failed: one that is wrong is not slow or fast."""
    return {
        key: None if any(each["error"] for each in group) else statistics.median(each["seconds"] for each in group)
        for key, group in grouped(found).items()
    }


def judge(goal: Goal, middle: t.Mapping[Key, float | None]) -> tuple[str, str]:
    """(the measured ratio, met or missed); ("-", why) when it was not measured."""
    ours = middle.get((goal.case, "ours", goal.setting))
    other = middle.get((goal.case, goal.than, goal.setting))
    if not ours or not other:
        return "-", "not measured"
    ratio = other / ours if goal.reverse else ours / other
    met = ratio >= goal.factor if goal.reverse else ratio <= goal.factor
    return f"{ratio:.2f}", "met" if met else f"missed by {abs(ratio / goal.factor - 1):.0%}"


def goals(found: Found) -> list[str]:
    middle = medians(found)
    lines = ["| case | setting | goal | measured | |", "|---|---|---|---|---|"]
    for goal in GOALS:
        if goal.case not in found["options"]["cases"]:
            continue
        wish = f"{goal.than} ≥ {goal.factor} × ours" if goal.reverse else f"ours ≤ {goal.factor} × {goal.than}"
        ratio, verdict = judge(goal, middle)
        trial = found["options"]["scale"] != 1 or found["options"]["days"] != DAYS
        lines.append(f"| {goal.case} | {goal.setting} | {wish} | {ratio} | {'a trial' if trial else verdict} |")
    return lines


def _cell(group: t.Sequence[t.Mapping[str, t.Any]] | None, ours: float | None, tool: str) -> str:
    if not group:
        return ""
    if any(each["error"] for each in group):
        return "**failed**"
    seconds = [each["seconds"] for each in group]
    middle = statistics.median(seconds)
    spread = f" ({min(seconds):.1f}–{max(seconds):.1f})" if len(seconds) > 1 else ""
    ratio = f", {middle / ours:.2f} ×" if ours and tool != "ours" else ""
    return f"{middle:.2f}{spread}{ratio}"


def case_table(case: str, found: Found) -> list[str]:
    groups, middle = grouped(found), medians(found)
    settings = list(dict.fromkeys(key[2] for key in groups if key[0] == case))
    tools = [tool for tool in ORDER if any(key[:2] == (case, tool) for key in groups)]
    lines = [f"| {case} | {' | '.join(map(str, settings))} |", "|---" * (len(settings) + 1) + "|"]
    for tool in tools:
        cells = [_cell(groups.get((case, tool, each)), middle.get((case, "ours", each)), tool) for each in settings]
        lines.append(f"| {tool} | {' | '.join(cells)} |")
    return lines


def use_table(found: Found) -> list[str]:
    """Processor time and memory, with two cores near the store."""
    lines = ["| case | tool | s of processor | largest process, MiB |", "|---|---|---|---|"]
    for (case, tool, setting), group in grouped(found).items():
        if (setting.rtt, setting.cores, setting.dest) == (0, 2, "tmpfs") and tool not in ("s3ql", "s3fs"):
            cpu = statistics.median(each["cpu_seconds"] for each in group)
            peak = max(each["peak_mib"] for each in group)
            lines.append(f"| {case} | {tool} | {cpu:.1f} | {peak:.0f} |")
    return lines


def _sizes(found: Found) -> dict[tuple[str, int], str]:
    return {
        (each["data"], each["day"]): f"{each['files']:,} files, {each['bytes'] / 1e6:,.0f} MB"
        for each in found["events"]
        if each["event"] == "tree"
    }


def _title(case: str, found: Found) -> str:
    days = min(CASES[case].days, found["options"]["days"])
    size = _sizes(found).get((CASES[case].data, days), "")
    small = found["options"]["scale"] != 1 or days != CASES[case].days
    shape = f"; here 1 + {days} sets" if small and CASES[case].days else ""
    return f"{CASES[case].title} (source: {size}{shape})" if size else CASES[case].title


def _how(found: Found) -> list[str]:
    here = found["machine"]
    event = {each["event"]: each for each in found["events"]}
    lines = [
        f"{found['date']}, commit {found['commit']}; {here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB.",
        f"Linux {here['kernel']}, disk: {here['disk']}. Store: {found['store']}, bluestore on that disk, TLS, same machine.",
        HOW_RUN,
        HOW_STORED,
        HOW_COLD,
        HOW_VERIFIED,
        *_disturbed(found),
    ]
    if "distance" in event:
        near, far = event["distance"]["near"], event["distance"]["far"]
        speed = event["bandwidth"]
        lines.append(
            f"{found['rtt']} ms: a TCP proxy holds every byte for half the round trip in each direction, and a new connection "
            f"for one more; it limits no bandwidth. Measured: ten serial HEADs {near['head']} ms near and {far['head']} ms far "
            f"(medians), a new TLS connection's first answer {near['first']} and {far['first']} ms, one object of 128 MB "
            f"{speed['near']} and {speed['far']} MB/s."
        )
    return [f"- {line}" for line in lines]


def _disturbed(found: Found) -> list[str]:
    """How much of the machine was not there; nothing of runs that did not look."""
    samples = [each for each in found["samples"] if "tries" in each]
    if not samples:
        return []
    again = sum(each["tries"] > 1 for each in samples)
    worst = max(each["stolen"] for each in samples)
    line = (
        f"A sample was taken up to {TRIES} times when the hypervisor gave more than {STOLEN:.0%} of the cores' time to others, "
        f"and the least disturbed one counts: {again} of {len(samples)} were taken again; of the worst that counts it took {worst:.0%}."
    )
    return [line]


def markdown(found: Found) -> str:
    """The page."""
    parts = ["<!-- SPDX-License-Identifier: GPL-3.0-or-later -->", "# Restore speed", ""]
    parts += [
        "Made by `make bench-restore` (tests/benchmarks/bench_restore.py); all samples are in [restore.json](restore.json)."
    ]
    if found["options"]["scale"] != 1:
        parts += [
            "",
            f"**A trial at scale {found['options']['scale']}: its figures show that it works, not how fast it is.**",
        ]
    parts += ["", "![seconds by case and tool](restore.svg)", "", "## Goals", "", *goals(found), "", "## Seconds", ""]
    measured = [case for case in CASES if any(each["case"] == case for each in found["samples"])]
    for case in measured:
        parts += [f"### {_title(case, found)}", "", *case_table(case, found), ""]
    parts += ["## How it was measured", "", *_how(found), "", "| tool | version | settings |", "|---|---|---|"]
    known = [tool for tool in ORDER if tool in found["tools"]]
    for tool in known:
        about = found["tools"][tool]
        parts.append(
            f"| {tool} | {about['version']} | {about['settings'].replace('|', chr(92) + '|')}{_reader(tool, found)} |"
        )
    lossy = [
        tool
        for tool in known
        if not all(each["metadata"] or each["error"] for each in found["samples"] if each["tool"] == tool)
    ]
    if lossy:
        parts += ["", f"Contents were equal, but modes or times of files were not, with: {', '.join(lossy)}."]
    parts += ["", "## Use of the machine", "", *use_table(found), ""]
    if found["left_out"]:
        parts += ["## Left out", "", "| tool | case | setting | why |", "|---|---|---|---|"]
        parts += [f"| {' | '.join(row)} |" for row in found["left_out"]]
    failed = [each for each in found["samples"] if each["error"]]
    if failed:
        parts += ["", "## Failed", ""]
        parts += [f"- {each['case']}, {each['tool']}: {' '.join(each['error'].split())}" for each in failed]
    return "\n".join(parts).rstrip() + "\n"


def _reader(tool: str, found: Found) -> str:
    readers = sorted({each["reader"] for each in found["samples"] if each["tool"] == tool and "reader" in each})
    return f"; read by: {', '.join(readers)}" if readers else ""


def plot(found: Found) -> str:
    """Bars for each case, near and far, with two cores into memory."""
    middle = medians(found)
    panels = []
    for case in CASES:
        for setting in (Setting(0, 2, "tmpfs"), Setting(found["rtt"], 2, "tmpfs")):
            rows = [(tool, value) for tool in ORDER if (value := middle.get((case, tool, setting)))]
            if rows:
                panels.append((f"{case}: {CASES[case].title}, {setting.rtt} ms", rows))
    return bars("Restore, seconds (2 cores, into memory)", panels)

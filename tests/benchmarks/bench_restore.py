#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""How fast restores are: ours, stock duplicity, restic, rclone, S3QL, s3fs, and `fetch | gpg -d | tar x`.

    make bench-restore                              # all of it, on a lab of its own
    make bench-restore ARGS='--quick'               # every tool and case once, small: does it work?
    make bench-restore ARGS='--publish'             # all of it, and docs/benchmarks/restore.{md,json,svg}
    make bench-restore ARGS='--cases chain folder --tools ours restic --rounds 5'

Every tool runs in one Debian 13 container with the distribution's own packages, against the lab's Ceph RGW over TLS, from
empty caches to the same file system, in turn within each round. The clock runs from the start of the command until the
destination's file system is synced; afterwards every file's SHA-256 is compared with the source's. The far store is the
same one behind a TCP proxy that adds a round trip (restore_bench/delay_proxy.py says how), and what it adds is measured.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.benchmarks.restore_bench import plan, report  # noqa: E402
from tests.benchmarks.restore_bench.cases import CASES, DATA, DAYS  # noqa: E402
from tests.benchmarks.restore_bench.stage import Stage, machine  # noqa: E402

WORK = TOP / ".cache/bench-restore"
PUBLISHED = TOP / "docs/benchmarks"
RTT = max(setting.rtt for settings in plan.ROUNDS.values() for setting in settings)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    tools = (*plan.TOOLS, *plan.MORE_TOOLS)
    parser.add_argument(
        "--tools", nargs="+", choices=tools, default=list(plan.TOOLS), metavar="TOOL", help=", ".join(tools)
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds of every setting; default: more for short cases than for long"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data; 1 is what is published")
    parser.add_argument("--days", type=int, default=DAYS, help="incrementals of a chain")
    parser.add_argument("--quick", action="store_true", help="--scale 0.02 --days 3, one round, two settings")
    readers = ("auto", "fast", "duplicity")
    parser.add_argument("--reader", choices=readers, default="auto", help="how ours reads")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a restore is given up")
    parser.add_argument("--lab", default="bench-restore", help="name of the lab; one that is up is used and stays")
    parser.add_argument("--keep", action="store_true", help="leave lab and container for the next run")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks/restore.*, too")
    parser.add_argument("--report", type=Path, metavar="JSON", help="measure nothing: make the report of an older run")
    options = parser.parse_args()
    if options.quick:
        options.scale, options.days = 0.02, 3
    if options.publish and not options.report and (options.scale, options.days) != (1, DAYS):
        parser.error("--publish is for full size: leave out --quick, --scale and --days.")
    return options


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def describe(event: dict[str, t.Any]) -> str:
    """An event as a line for a person, or ""."""
    kind = event["event"]
    if kind == "sample":
        setting = plan.Setting(event["rtt"], event["cores"], event["dest"])
        end = event["error"] or ("" if event["metadata"] else "contents equal, times or modes not")
        return f"{event['case']:7} {event['tool']:10} {setting!s:22} {event['seconds']:8.2f} s  {end}"
    if kind in ("made", "stored"):
        day = f" up to day {event['day']}" if kind == "stored" else ""
        return f"{event['data']}: {kind}{day} in {event['seconds']:.0f} s"
    if kind == "tree":
        return f"{event['data']}: {event['files']} files, {event['bytes'] / 1e6:.0f} MB"
    if kind in ("distance", "bandwidth"):
        return f"{kind}: near {event['near']}, far {event['far']}"
    return ""


def measure(options: argparse.Namespace, stage: Stage, found: dict[str, t.Any]) -> None:
    """Fill ``found`` data set after data set, so that an interrupted run has what it measured."""
    planned = plan.steps(options.cases, options.tools, os.cpu_count() or 1, options.rounds, quick=options.quick)
    first = True
    for data in DATA:
        steps = [step for step in planned if CASES[step.case].data == data]
        if not steps:
            continue
        job = {
            "data": data,
            "lab": stage.lab_job(f"restores-{data}"),
            "steps": [
                {"case": each.case, "setting": list(vars(each.setting).values()), "rounds": each.rounds}
                for each in steps
            ],
            "scale": options.scale,
            "days": options.days,
            "reader": options.reader,
            "limit": options.limit,
            "rtt": RTT,
            "first": first,
        }
        first = False
        for event in stage.run(job):
            if line := describe(event):
                say(line)
            if event["event"] == "tools":
                found["tools"] |= event["tools"]
            elif event["event"] == "sample":
                found["samples"].append({key: value for key, value in event.items() if key != "event"})
            else:
                found["events"].append(event)


def header(options: argparse.Namespace, stage: Stage) -> dict[str, t.Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=TOP, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": machine(stage.disk.parent),
        "store": stage.store_version(),
        "options": {
            key: getattr(options, key) for key in ("cases", "tools", "scale", "days", "rounds", "reader", "quick")
        },
        "rtt": RTT,
        "left_out": plan.left_out(options.cases, options.tools),
        "tools": {},
        "events": [],
        "samples": [],
    }


def write(found: dict[str, t.Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "restore.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "restore.md").write_text(report.markdown(found))
    (folder / "restore.svg").write_text(report.plot(found))


def check_room(scale: float) -> None:
    """The largest data set lies three times in the store, once as the source, once restored: to disk or to memory."""
    disk = shutil.disk_usage(WORK).free / 2**30
    memory = int(re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())[0]) / 2**20
    for what, free, needed in (("disk", disk, 3 + 13 * scale), ("memory", memory, 2 + 4 * scale)):
        if free < needed:
            raise SystemExit(
                f"bench-restore: {free:.0f} GiB of {what} are free and {needed:.0f} needed: free some, or give a smaller --scale."
            )


def run(options: argparse.Namespace) -> tuple[dict[str, t.Any], bool]:
    """What was measured, and whether it is all of it. Nothing else is left of the run."""
    begun, found, whole = time.monotonic(), {}, False
    WORK.mkdir(parents=True, exist_ok=True)
    check_room(options.scale)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = Stage(options.lab, WORK, say, keep=options.keep)
    try:
        stage.open()
        found = header(options, stage)
        measure(options, stage, found)
        whole = True
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        stage.close(whole=whole)
        if found:
            found["seconds"] = round(time.monotonic() - begun)
            write(found, WORK)
    return found, whole


def main() -> int:
    options = arguments()
    if options.report:
        found, whole = json.loads(options.report.read_text()), True
    else:
        found, whole = run(options)
    place = PUBLISHED if options.publish and whole else WORK
    if found:
        write(found, place)
        print(report.markdown(found))
        say(f"restore.md, restore.json and restore.svg are in {place}")
    return int(not whole or any(sample["error"] for sample in found["samples"]))


if __name__ == "__main__":
    sys.exit(main())

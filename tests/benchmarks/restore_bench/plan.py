# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What is measured, how often, and what is left out and why. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cases import CASES

TOOLS = ("ours", "duplicity", "restic", "rclone", "floor", "s3ql", "s3fs")
MORE_TOOLS = ("fallback",)  # ours, told to read through duplicity: only when asked for
# Seconds between a day's changes and its backups. What is younger than two seconds goes into our next set once more
# (``witness.closely``): without the pause that would be nearly all of a tree which was made a moment ago.
SETTLED = 4
# A sample of which the hypervisor gave a larger share of the cores' time to others is taken up to so many times.
STOLEN, TRIES = 0.05, 3


@dataclass(frozen=True)
class Setting:
    """Round trip in milliseconds, cores that the tool may use (0: all), kind of destination."""

    rtt: int
    cores: int
    dest: str

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' * (self.cores != 1)}" if self.cores else "all cores"
        return f"{self.rtt} ms, {cores}, {self.dest}"


NEAR, FAR = Setting(0, 2, "tmpfs"), Setting(30, 2, "tmpfs")
ONE = Setting(0, 1, "tmpfs")
DISK = Setting(0, 2, "disk")
MORE = Setting(0, 0, "tmpfs")  # on a machine with more than two

# case -> rounds for each setting. All of it takes half an hour on two cores, a third of which goes into making and storing the data.
ROUNDS: dict[str, dict[Setting, int]] = {
    "few": {NEAR: 2},
    "tree": {NEAR: 3, FAR: 2, ONE: 1, DISK: 2, MORE: 1},
    "chain": {NEAR: 2, FAR: 3, ONE: 1, DISK: 1, MORE: 1},
    "folder": {NEAR: 3, FAR: 3},
    "big": {NEAR: 2, FAR: 1, ONE: 1, DISK: 1, MORE: 1},
    "dump": {NEAR: 1, FAR: 1},
    "many": {NEAR: 1},
}

_CHAIN = "a chain is no archive that tar could unpack: its deltas need their base"
_FOUNDERS = "the founders' comparison is about small files; more of them only takes longer"
_SAME = "the same plain files as in the case tree"
# (tool, case) -> why it is left out
LEFT_OUT: dict[tuple[str, str], str] = {
    **{("floor", case): _CHAIN for case in ("chain", "dump")},
    ("floor", "folder"): "it has no notion of a part",
    **{(tool, case): _FOUNDERS for tool in ("s3ql", "s3fs") for case in CASES if case != "few"},
    ("rclone", "chain"): _SAME,
    ("rclone", "many"): "an object for each file: storing 400,000 of them takes half an hour",
}
# (tool, case) -> at most so many rounds: they take long, and what counts is a rough ratio
AT_MOST: dict[tuple[str, str], int] = {
    ("rclone", "tree"): 1,
    ("duplicity", "chain"): 2,
    ("duplicity", "big"): 1,
    ("rclone", "big"): 1,
    ("s3ql", "few"): 1,
    ("s3fs", "few"): 1,
}
_LONG = "it takes a minute or more, and its ratio is known from 0 ms and two cores"
# (tool, case, setting) -> why it is left out there
LEFT_OUT_AT: dict[tuple[str, str, Setting], str] = {
    ("rclone", "tree", ONE): _LONG,
    ("rclone", "tree", DISK): _LONG,
    ("duplicity", "big", ONE): _LONG,
    ("rclone", "big", ONE): _LONG,
    ("duplicity", "dump", FAR): _LONG,
}
# (case, setting) -> why: for all tools
SETTINGS_LEFT_OUT: dict[tuple[str, str], str] = {
    ("few", "30 ms; 1 core; disk"): "it is there for S3QL and s3fs, which take minutes then",
    ("folder", "1 core; disk"): "50 files: neither is what it waits for",
    ("dump", "1 core; disk"): "time: the chain of small files and the big file have them",
    ("many", "30 ms; 1 core; disk"): "time: the other cases of small files have them",
    ("all", "30 ms with 1 core; 30 ms to disk"): "time: each is shown by itself",
}


@dataclass(frozen=True)
class Step:
    """One setting of one case: which tools take turns, how often each."""

    case: str
    setting: Setting
    rounds: dict[str, int]


def steps(
    cases: t.Collection[str], tools: t.Sequence[str], cores: int, rounds: int | None = None, *, quick: bool = False
) -> list[Step]:
    """The whole plan, in the order of cases. ``cores`` is what the machine has, ``rounds`` replaces the plan's own."""
    found = []
    for case, settings in ROUNDS.items():
        if case not in cases:
            continue
        for setting, planned in settings.items():
            if setting.cores > cores or (setting == MORE and cores < 3) or (quick and setting not in (NEAR, FAR)):
                continue
            number = rounds or (1 if quick else planned)
            turns = {
                tool: number if rounds else min(number, AT_MOST.get((tool, case), number))
                for tool in tools
                if (tool, case) not in LEFT_OUT and (tool, case, setting) not in LEFT_OUT_AT
            }
            if turns:
                found.append(Step(case, setting, turns))
    return found


def left_out(cases: t.Collection[str], tools: t.Sequence[str]) -> list[tuple[str, str, str, str]]:
    """(tool, case, setting or "all", why) of what a run over these does not measure."""
    whole = [(tool, case, "all", why) for (tool, case), why in LEFT_OUT.items() if tool in tools and case in cases]
    parts = [
        (tool, case, str(setting), why)
        for (tool, case, setting), why in LEFT_OUT_AT.items()
        if tool in tools and case in cases
    ]
    rest = [("all", case, where, why) for (case, where), why in SETTINGS_LEFT_OUT.items() if case in (*cases, "all")]
    return whole + parts + rest


def turns(rounds: t.Mapping[str, int]) -> t.Iterator[tuple[int, str]]:
    """(round, tool): each tool in turn, and each round begins with another one, so that a noisy minute hits all."""
    names = list(rounds)
    for number in range(max(rounds.values(), default=0)):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            if number < rounds[name]:
                yield number + 1, name


@dataclass(frozen=True)
class Goal:
    """At most ``factor`` times what ``than`` takes; with ``reverse`` the other tool takes at least ``factor`` times ours."""

    case: str
    setting: Setting
    than: str
    factor: float
    reverse: bool = False


GOALS = (
    Goal("tree", NEAR, "duplicity", 0.3),
    Goal("tree", NEAR, "restic", 0.6),
    Goal("chain", FAR, "duplicity", 0.13),
    Goal("chain", FAR, "restic", 0.7),
    Goal("big", NEAR, "floor", 1.3),
    Goal("folder", NEAR, "duplicity", 0.3),
    Goal("few", NEAR, "s3ql", 3, reverse=True),
    Goal("few", NEAR, "s3fs", 3, reverse=True),
)

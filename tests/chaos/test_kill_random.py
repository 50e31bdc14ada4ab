# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""SIGKILL at random moments (``make test-long``). Each kill is one test; the seed is printed, and LIFEBOAT_SEED repeats a
round (the moments are as the seed says, what the machine does at them is its own affair)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.chaos.conftest import Site
from tests.unit.engine.test_backup import same

LONG = bool(os.environ.get("LIFEBOAT_LONG"))
SEED = int(os.environ.get("LIFEBOAT_SEED") or random.randrange(1_000_000) if LONG else 0)
COUNT = int(os.environ.get("LIFEBOAT_KILLS", "56"))
ATTEMPTS = 12  # a run may end before its kill

pytestmark = pytest.mark.skipif(not LONG, reason="takes minutes: make test-long; always run: test_kill_boundaries.py")

KINDS: list[tuple[str, dict[str, t.Any]]] = [
    ("backup", {"mode": "full"}),
    ("backup", {"mode": "incremental"}),
    ("restore", {"replace": True}),
    ("prune", {}),
    ("backup", {"mode": "full", "concurrency": 2}),
    ("restore", {"replace": "in_place"}),
    ("restore", {"replace": False}),
    ("restore", {"replace": True, "reader": "duplicity"}),
]


@dataclass
class Round:
    """How long each kind takes, measured once, and what was killed."""

    seconds: dict[int, float] = field(default_factory=dict)
    victims: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def this_round() -> t.Iterator[Round]:
    print(f"\nLIFEBOAT_SEED={SEED}")
    made = Round()
    yield made
    print(f"\nLIFEBOAT_SEED={SEED}: {len(made.victims)} kills: {', '.join(sorted(made.victims))}")


def descendants(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:
            continue
    return found + [other for child in found for other in descendants(child)]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def strike(process: subprocess.Popen[bytes], luck: random.Random) -> str | None:
    """Kill the engine, all of its processes, or one that it started. None: it had ended."""
    if process.poll() is not None:
        return None
    others = descendants(process.pid)
    victim = luck.choice(["the engine", "all", "a child"])
    if victim == "a child" and others:
        pid = luck.choice(others)
        victim = f"a child, {name_of(pid)}"
        chosen = [pid]
    else:
        victim = "all" if victim == "all" else "the engine"
        chosen = [process.pid, *others] if victim == "all" else [process.pid]
    for pid in chosen:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            if len(chosen) == 1:
                return None
    return victim


@dataclass
class Trial:
    """One operation that will be killed, and what must hold after its repetition."""

    site: Site
    operation: str
    values: dict[str, t.Any]
    attempt: Path = Path()
    old: list[str] = field(default_factory=list)

    @property
    def live(self) -> Path:
        return self.site.room / "live"

    def prepare(self) -> None:
        site = self.site
        if self.operation == "backup":
            site.change()
            self.attempt = site.copy()
            self.values = {**self.values, "stall_timeout": 60}
        elif self.operation == "restore":
            self.values = {**self.values, "dest": str(self.live), "stall_timeout": 60}
            if self.values["replace"]:
                site.node.ask("restore", dest=str(self.live), time=min(site.copies))
        else:
            self.old = sorted(site.copies)
            for mode in ("full", "incremental"):
                site.change()
                site.backup(mode=mode)

    def start(self) -> subprocess.Popen[bytes]:
        return self.site.start(self.operation, None, **self.values)

    def after(self) -> None:
        """Right after the kill."""
        site = self.site
        if self.operation == "backup":
            site.known(self.attempt)
        elif self.operation == "prune":
            self.forget(gone_only=True)
        elif self.values["replace"] is True:  # one of the two, never a mixture
            same(min(site.copies.items())[1] if self.is_old() else site.newest, self.live)
        elif not self.values["replace"] and self.live.exists():
            same(site.newest, self.live)
        if self.operation != "restore":
            site.check()

    def is_old(self) -> bool:
        return (self.live / "page.php").read_text() != (self.site.newest / "page.php").read_text()

    def forget(self, gone_only: bool) -> None:
        seen = {point["time"] for point in self.site.node.ask("info", encryption=None)["points"]}
        for moment in self.old:
            if not gone_only or moment not in seen:
                self.site.copies.pop(moment, None)

    def again(self) -> None:
        """The next run, which must succeed by itself."""
        site = self.site
        if self.operation == "backup":
            site.change()
            site.backup()
        elif self.operation == "restore":
            answer = site.node.ask("restore", **self.values)
            assert not answer["failed"], answer
            same(site.newest, self.live)
        else:
            process = self.start()
            site.dead.append(process.pid)
            assert process.wait(300) == 0, site.said()
            assert not json.loads(site.said())["failed"], site.said()
            self.forget(gone_only=False)


def whole_run(trial: Trial) -> float:
    trial.prepare()
    started = time.monotonic()
    process = trial.start()
    assert process.wait(300) == 0, trial.site.said()
    assert not json.loads(trial.site.said())["failed"], trial.site.said()
    return time.monotonic() - started


@pytest.mark.parametrize("number", range(COUNT))
def test_a_kill_at_a_random_moment(fresh: t.Callable[[], Site], this_round: Round, number: int) -> None:
    luck = random.Random(f"{SEED} {number}")
    kind = number % len(KINDS)
    operation, values = KINDS[kind]
    if kind not in this_round.seconds:
        this_round.seconds[kind] = whole_run(Trial(fresh(), operation, values))
    victim = None
    for attempt in range(ATTEMPTS):
        trial = Trial(fresh(), operation, dict(values))
        trial.site.random.seed(f"{SEED} {number} {attempt}")
        trial.prepare()
        process = trial.start()
        trial.site.dead.append(process.pid)
        time.sleep(luck.uniform(0.15, 1.0) * this_round.seconds[kind] * 0.9**attempt)
        victim = strike(process, luck)
        process.wait(300)
        if victim:
            break
    assert victim, "no run could be killed"
    this_round.victims.append(f"{operation} {victim}")
    trial.site.alone()
    trial.after()
    trial.again()
    trial.site.clean()
    trial.site.check()
    trial.site.clean()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A node whose engine is killed, and what must hold after its next run.

The source is copied (``cp -a``) before each backup: these copies, not the engine, say what a restore point holds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.engine.conftest import Node, make_node, pair  # noqa: F401 - a fixture, found by name
from tests.unit.engine.test_backup import leftovers, same

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, lock

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Pair

PATIENCE = 60.0  # seconds that the children of a killed process get to end
MIB = 1 << 20
PLACES = {"/dev/shm", "/tmp", tempfile.gettempdir()}  # where keyrings and the like may be


@dataclass(frozen=True)
class Launched:
    """In duplicity: before or after it puts (or gets) the object whose name matches, or within a copy to another disk."""

    name: str
    when: str
    victim: str
    verb: str = "put"


@dataclass(frozen=True)
class Called:
    """In the engine: before or after the ``nth`` call of ``function`` whose first arguments match ``name``."""

    function: str
    when: str
    name: str = ""
    nth: int = 1


ENGINE = """
import importlib, json, os, re, signal, sys
values, layout, plan = json.load(sys.stdin)
engine = "ansible_collections.lifeboat.fleet.plugins.module_utils.engine"
def load(name):
    module, *rest = name.split(".")
    found = importlib.import_module(module if module in ("os", "pathlib") else f"{engine}.{module}")
    for part in rest:
        found = getattr(found, part)
    return found
if plan.get("launcher"):
    command = load("command")
    command.LAUNCHER, environment = plan.pop("mortal"), command.environment
    told = {"LIFEBOAT_KILL": json.dumps({**plan, "engine": os.getpid()})}
    command.environment = lambda *a, **k: environment(*a, **k) | told
elif plan:
    owner, _, name = plan["function"].rpartition(".")
    owner, left = load(owner), [plan["nth"]]
    original = getattr(owner, name)
    def mortal(*arguments, **more):
        left[0] -= re.search(plan["name"], " ".join(map(str, arguments[:2]))) is not None
        if left[0] == 0 and plan["when"] == "before":
            die()
        result = original(*arguments, **more)
        if left[0] == 0 and plan["when"] == "after":
            die()
        return result
    def die():
        open(plan["struck"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, mortal)
if values["operation"] == "prune":  # in a far future, and as if the last moment alone were asked for: the first chain may go
    prune = load("prune")
    now = prune.now
    prune.now = lambda: now() + __import__("datetime").timedelta(days=60)
    run = prune.run
    def hasty(*arguments, **more):
        object.__setattr__(arguments[4], "keep_days", 1e-6)
        return run(*arguments, **more)
    prune.run = hasty
print(json.dumps(load("request").handle(values, load("profile").Layout(*layout))))
"""


@dataclass
class Site:
    """A node, copies of its source by restore point, and the engines that were killed."""

    node: Node
    copies: dict[str, Path] = field(default_factory=dict)
    dead: list[int] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(6))

    @property
    def room(self) -> Path:
        return self.node.root.parent

    @property
    def newest(self) -> Path:
        """The copy of the newest restore point."""
        return self.copies[max(self.copies)]

    def change(self) -> None:
        """Files that come, change and go; a few volumes of it."""
        for number in range(self.random.randint(2, 4)):
            (self.node.source / f"f{number}").write_bytes(self.random.randbytes(MIB - MIB // 8))
        (self.node.source / "page.php").write_text(f"<?php echo {self.random.random()};\n")
        (self.node.source / f"only{self.random.random()}").write_text("here\n")

    def copy(self) -> Path:
        """A copy of the source as it is now."""
        copy = Path(tempfile.mkdtemp(prefix="copy", dir=self.room)) / "tree"
        subprocess.run(["cp", "-a", str(self.node.source), str(copy)], check=True)
        return copy

    def backup(self, **values: t.Any) -> dict[str, t.Any]:
        """A backup that must end well."""
        answer = self.node.backup(volume_mib=1, concurrency=0, **values)
        self.copies[answer["record"]["set_time"]] = self.copy()
        return answer

    def start(self, operation: str, plan: Launched | Called | None = None, **values: t.Any) -> subprocess.Popen[bytes]:
        """An engine in a process of its own."""
        if operation == "backup":
            values = {"volume_mib": 1, "concurrency": 0, **values}
        how: dict[str, t.Any] = {}
        if plan is not None:
            how = {**vars(plan), "struck": str(self.room / "struck")}
        if isinstance(plan, Launched):
            mortal = str(Path(__file__).with_name("mortal_launcher.py"))
            how |= {"mortal": mortal, "launcher": command.LAUNCHER}
        layout = self.node.layout
        folders = [layout.etc, layout.state, layout.cache, layout.run]
        if operation == "prune":
            values["encryption"] = None
        asked = json.dumps([self.node.values(operation, **values), folders, how])
        (self.room / "asked").write_text(asked)
        with (self.room / "asked").open("rb") as given, (self.room / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-c", ENGINE],
                stdin=given,
                stdout=said,
                stderr=said,
                # the folder, so that it and what it forks are found (see `processes`)
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "ROOM": str(self.room),
                },
            )

    def said(self) -> str:
        """What the last engine printed."""
        return (self.room / "said").read_text()

    def killed(self, operation: str, plan: Launched | Called, **values: t.Any) -> None:
        """Run an operation that is killed as planned."""
        (self.room / "struck").unlink(missing_ok=True)
        process = self.start(operation, plan, **values)
        self.dead.append(process.pid)
        code = process.wait(300)
        assert (self.room / "struck").exists(), f"nobody was killed: {self.said()}"
        if isinstance(plan, Launched) and plan.victim == "duplicity":
            answer = json.loads(self.said())
            assert (code, answer["failed"]) == (0, True), answer
        else:
            assert code == -signal.SIGKILL, self.said()
        self.alone()

    def alone(self) -> None:
        """Whatever the dead engine had started ends by itself: only an agent may wait for the next run."""
        deadline = time.monotonic() + PATIENCE
        while (left := processes(self.room)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == {}

    def known(self, attempt: Path) -> None:
        """A set may be whole though its run was killed before its record: then it holds that attempt's source."""
        for point in self.node.ask("info", encryption=None)["points"]:
            self.copies.setdefault(point["time"], attempt)

    def check(self, **values: t.Any) -> None:
        """Every restore point is what the source was."""
        times = {point["time"] for point in self.node.ask("info", encryption=None)["points"]}
        assert times == set(self.copies)
        for moment, copy in self.copies.items():
            destination = self.room / "restored"
            answer = self.node.ask("restore", dest=str(destination), time=moment, **values)
            assert not answer["failed"], answer
            same(copy, destination)
            shutil.rmtree(destination)

    def clean(self) -> None:
        """After the next run nothing of a killed one is left."""
        assert processes(self.room) == {}
        assert secrets(self.dead) == []
        root = self.node.root
        assert leftovers(root) == []
        left = [path for pattern in ("*.new", "duplicity-*-tempdir", "mktemp*") for path in root.rglob(pattern)]
        left += list(self.room.glob(".lifeboat-*"))
        assert left == []
        with lock.held(str(self.node.state / "lock")):
            pass


def processes(folder: Path) -> dict[int, bytes]:
    """Living processes whose arguments or environment name the folder, but for ourselves."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if int(pid) != os.getpid() and any(os.fsencode(folder) in word for word in words):
            found[int(pid)] = words[0]
    return found


def secrets(dead: t.Collection[int]) -> list[str]:
    """Private folders of these engines, and agents that still serve one."""
    names = tuple(f"lifeboat-{pid}-" for pid in dead)
    found = [os.path.join(place, name) for place in PLACES for name in os.listdir(place) if name.startswith(names)]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"gpg-agent" in line and any(name.encode() in line for name in names):
            found.append(f"{pid} {line!r}")
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Site:  # noqa: F811
    """Not to be changed: an encrypted node with a full and an incremental, and a copy of it."""
    site = Site(make_node(tmp_path_factory.mktemp("chaos") / "node", pair))
    site.change()
    site.backup(mode="full")
    site.change()
    site.backup(mode="incremental")
    subprocess.run(["cp", "-a", str(site.node.root), str(site.room / "pristine")], check=True)
    return site


@pytest.fixture
def fresh(built: Site) -> t.Callable[[], Site]:
    """Makes that node as it was built, at the same place: duplicity insists on the source's path."""

    def make() -> Site:
        shutil.rmtree(built.node.root)
        subprocess.run(["cp", "-a", str(built.room / "pristine"), str(built.node.root)], check=True)
        for path in [*built.room.glob("live*"), *built.room.glob("restored")]:
            shutil.rmtree(path)
        return Site(built.node, dict(built.copies))

    return make


@pytest.fixture
def site(fresh: t.Callable[[], Site]) -> Site:
    return fresh()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Stock duplicity beside a node of ours: what it does with the very repository that our engine is asked about."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.engine.conftest import Node, make_node, pair, stranger  # noqa: F401 - fixtures, found by name

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION, execute, machine_log, private
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

DUPLICITY = Path(sys.executable).with_name("duplicity")  # not resolved: a venv's python is a link out of it
MEGABYTE = 1_000_000  # a little less than a volume of 1 MiB
NO_READING = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")  # root that may read only its own


@dataclass(frozen=True)
class Done:
    """How stock duplicity ended: exit code (None: it did not), what it printed, its machine log."""

    code: int | None
    output: str
    events: list[machine_log.Event] = field(default_factory=list)

    def codes(self, keyword: str) -> list[int]:
        return [event.code for event in machine_log.of(self.events, keyword)]


@dataclass
class Stock:
    """Stock duplicity for one repository, with an archive folder (its cache) of its own."""

    room: Path
    repository: Path
    keyring: str | None = None
    options: tuple[str, ...] = ("--no-encryption",)
    archive: str = "archive"
    log: Path = Path(os.devnull)  # of the last run

    @property
    def url(self) -> str:
        return f"file://{self.repository}"

    @property
    def cache(self) -> Path:
        return self.room / self.archive / "repository"

    def argv(self, verb: str, *arguments: str | Path, log: Path) -> list[str]:
        place = ("--archive-dir", str(self.room / self.archive), "--name", "repository", "--log-file", str(log))
        temporary = self.room / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return [str(DUPLICITY), verb, *place, "--tempdir", str(temporary), *self.options, *map(str, arguments)]

    def environment(self, **more: str | None) -> dict[str, str]:
        """As our own engine sets it; None leaves a variable out."""
        home = self.keyring or str(self.room)
        env: dict[str, str | None] = {"PATH": os.environ["PATH"], "HOME": str(self.room), "TZ": "UTC"}
        env |= {"LC_ALL": "C.UTF-8", "GNUPGHOME": home, "PASSPHRASE": "", **more}
        return {key: value for key, value in env.items() if value is not None}

    def run(
        self,
        verb: str,
        *arguments: str | Path,
        env: dict[str, str | None] | None = None,
        before: t.Sequence[str] = (),
        patience: float = 60,
    ) -> Done:
        """Run it to its end; ``before`` goes before the command (setpriv and the like). See :meth:`_wait`."""
        self.log = log = self.room / f"{time.monotonic_ns()}.log"
        argv = [*before, *self.argv(verb, *arguments, log=log)]
        with (self.room / "output").open("wb+") as output:
            process = subprocess.Popen(
                argv,
                env=self.environment(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = self._wait(process, patience)
            finally:
                end(process)
            output.seek(0)
            printed = output.read().decode("utf-8", "replace")
        return Done(code, printed, self.events())

    def _wait(self, process: subprocess.Popen[bytes], patience: float) -> int | None:
        """The exit code; None if it logged an error and still lives ``patience`` seconds later."""
        failed = 0.0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
            failed = failed or (time.monotonic() if machine_log.of(self.events(), "ERROR") else 0.0)
            if failed and time.monotonic() - failed > patience:
                break
        return process.poll()

    def events(self) -> list[machine_log.Event]:
        """The machine log of the last run."""
        return machine_log.parse(self.log.read_text(errors="surrogateescape")) if self.log.exists() else []

    def start(self, verb: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start it in a session of its own, for :func:`stop_at` and :func:`end`."""
        argv = self.argv(verb, *arguments, log=self.room / f"{time.monotonic_ns()}.log")
        return subprocess.Popen(
            argv,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def full(self, source: Path) -> Done:
        return self.run("full", "--volsize", "1", source, self.url)

    def incremental(self, source: Path) -> Done:
        next_second()
        return self.run("incremental", source, self.url)

    def restore(self, destination: Path, *options: str, **more: t.Any) -> Done:
        return self.run("restore", *options, self.url, destination, **more)


def next_second() -> None:
    """duplicity refuses two sets of one second from one archive folder."""
    time.sleep(1.001 - time.time() % 1)


def stop_at(process: subprocess.Popen[bytes], there: t.Callable[[], bool]) -> None:
    """Stop a running duplicity (SIGSTOP) as soon as ``there`` is true. It must not have ended by then."""
    deadline = time.monotonic() + 30
    while not there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGSTOP)
    assert process.poll() is None, "it ended before it could be stopped"


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> int:
    """Send the group a signal, let it go on, and wait."""
    for one in (number, signal.SIGCONT):
        try:
            os.killpg(process.pid, one)
        except ProcessLookupError:
            break
    return process.wait(60)


def volumes(repository: Path, set_time: str = "*") -> list[Path]:
    """The volumes of a full, in order."""
    number = re.compile(r"\.vol(\d+)\.")
    found = repository.glob(f"duplicity-full.{set_time}.vol*") if repository.exists() else ()
    return sorted(found, key=lambda path: int(number.search(path.name)[1]))  # type: ignore[index]


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def times(repository: Path) -> list[str]:
    """The times of all fulls, oldest first, finished or not."""
    return sorted({path.name.split(".")[1] for path in repository.glob("duplicity-full.*")})


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def state(root: Path) -> dict[str, bytes]:
    """All files below a folder with their contents: to show that something was not touched."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


_ASK = """
import json, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import execute, request
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
values, layout, execute._LAST_WORDS = json.load(sys.stdin)
print(json.dumps(request.handle(values, Layout(*layout))))
"""


def ask_under(before: t.Sequence[str], node: Node, operation: str, **values: t.Any) -> dict[str, t.Any]:
    """One request to the engine of a process that ``before`` starts (with fewer capabilities and the like)."""
    given = {"engine": VERSION, "operation": operation, "target": f"file://{node.repository}", **values}
    layout = node.layout
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [*before, sys.executable, "-c", _ASK],
        input=json.dumps([given, [layout.etc, layout.state, layout.cache, layout.run], 2.0]).encode(),
        env=environment,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, t.Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def small(tmp_path: Path) -> Node:
    """A node with a small source, without a backup yet."""
    return make_node(tmp_path / "node")


@pytest.fixture
def node(small: Node) -> Node:
    """The same with six more files of about a volume each."""
    for number in range(1, 7):
        (small.source / f"f{number}").write_bytes(os.urandom(MEGABYTE))
    return small


@pytest.fixture
def stock(small: Node, tmp_path: Path) -> Stock:
    """Stock duplicity for that node's repository."""
    (tmp_path / "stock").mkdir()
    return Stock(tmp_path / "stock", small.repository)


def untouched(live: Path) -> None:
    assert state(live) == {"old": b"old"}
    assert [path.name for path in live.parent.iterdir() if "lifeboat" in path.name] == []


@pytest.fixture
def ring() -> t.Iterator[Keyring]:
    """A keyring for stock duplicity; its agent ends with the test."""
    with Keyring() as made:
        yield made


def small_disk(folder: Path) -> tuple[str, ...]:
    """A command's beginning: it will see a file system with room for 30 names at ``folder``; nobody else will."""
    folder.mkdir()
    script = f'mount -t tmpfs -o nr_inodes=30 none "{folder}" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


@pytest.fixture
def may_mount(tmp_path: Path) -> None:
    if execute.run([*small_disk(tmp_path / "try"), "true"], os.environ).exit_code != 0:
        pytest.skip("this machine lets nobody mount")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> t.Iterator[None]:
    """No test leaves a process that works in its folder, nor a folder of secrets."""
    yield
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(tmp_path) in line:
            left.append(line)
    assert left == []
    mine = f"lifeboat-{os.getpid()}-"
    assert [name for name in os.listdir(private._MEMORY) if name.startswith(mine)] == []

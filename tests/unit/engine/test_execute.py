# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one door to a process: what it says, and that it ends."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import execute
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.machine_log import Event

ENVIRONMENT = {"PATH": os.environ["PATH"]}
STUBBORN = "trap '' TERM; sleep 61 & echo $! > {pids}; echo $$ >> {pids}; while :; do sleep 0.1; done"


def shell(script: str, **more: object) -> execute.Finished:
    return execute.run(["sh", "-c", script], ENVIRONMENT, **more)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    """True when the process is gone in a moment: a signal takes its time on a busy machine."""
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_end_group", functools.partial(execute._end_group, patience=0.3))


def test_exit_code_output_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    finished = shell(
        f"echo out; echo err >&2; printf 'WARNING 10 x\\n. caf\\377\\r\\n\\n' > {log}; exit 3", log=str(log)
    )
    assert finished.exit_code == 3
    assert sorted(finished.output.split()) == ["err", "out"]
    assert finished.events == [Event("WARNING", 10, "x", "caf\udcff\r")]
    assert finished.ended_by is None
    assert 0 < finished.seconds < 30


def test_only_the_end_of_a_long_output_is_kept() -> None:
    finished = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end")
    assert finished.output.endswith("x\nthe end\n")
    assert len(finished.output) == execute._TAIL


def test_a_killed_process_has_a_negative_code() -> None:
    assert shell("kill -9 $$").exit_code == -9


def test_output_of_a_child_that_stays_does_not_hold_us_up() -> None:
    begun = time.monotonic()
    assert shell("sleep 3 & echo done").output == "done\n"
    assert time.monotonic() - begun < 2.5


def test_a_missing_log_is_an_empty_one(tmp_path: Path) -> None:
    assert shell(":", log=str(tmp_path / "none")).events == []


def test_nothing_is_inherited_but_what_is_named(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as kept, (tmp_path / "other").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        script = f"ls -l /proc/self/fd; env; test ! -t 0; readlink /proc/self/fd/{kept.fileno()}"
        finished = shell(script, keep=[kept.fileno()])
    assert str(tmp_path / "lock") in finished.output
    assert str(tmp_path / "other") not in finished.output
    assert "/dev/null" in finished.output
    assert finished.exit_code == 0


def test_what_is_not_there_is_a_sentence() -> None:
    with pytest.raises(
        LifeboatError, match="cannot start /no/such: No such file or directory; roll the node out again"
    ):
        execute.run(["/no/such"], ENVIRONMENT)


def test_a_stalled_process_is_ended() -> None:
    finished = execute.run(["sleep", "60"], ENVIRONMENT, stall_timeout=0.5)
    assert (finished.ended_by, finished.exit_code) == ("stall", -signal.SIGTERM)
    assert finished.seconds < 10


def test_one_that_works_or_logs_is_not_stalled(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    busy = f"{sys.executable} -c 'import time; e = time.time() + 1.6\nwhile time.time() < e: pass'"
    logs = f"for i in 1 2 3 4; do sleep 0.4; echo x >> {log}; done"
    with ThreadPoolExecutor(2) as pool:
        works = pool.submit(shell, busy, stall_timeout=1.2)
        tells = pool.submit(shell, logs, log=log, stall_timeout=1.2)
    assert works.result().ended_by is None
    assert tells.result().ended_by is None


def test_one_that_failed_but_does_not_end_gets_less_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_LAST_WORDS", 0.3)
    log = tmp_path / "log"
    finished = shell(f"printf 'ERROR 21 x\n. bad\n\n' > {log}; exec sleep 60", log=str(log))
    assert (finished.ended_by, finished.exit_code) == ("error", -signal.SIGTERM)
    assert finished.events == [Event("ERROR", 21, "x", "bad")]
    fine = shell(f"printf 'WARNING 1\n. hm\n\n' > {log}; sleep 2.2", log=str(log))
    assert fine.ended_by is None


def test_a_stubborn_group_is_killed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end_soon(monkeypatch)
    pids = tmp_path / "pids"
    finished = shell(STUBBORN.format(pids=pids), timeout=1.5)
    assert (finished.ended_by, finished.exit_code) == ("timeout", -signal.SIGKILL)
    assert len(pids.read_text().split()) == 2
    assert all(ends(int(pid)) for pid in pids.read_text().split())


def test_children_of_an_obedient_leader_are_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end_soon(monkeypatch)
    pids = tmp_path / "pids"
    script = f"(trap '' TERM; echo hello; while :; do sleep 0.1; done) & echo $! > {pids}; sleep 60"
    finished = shell(script, timeout=1.5)
    assert (finished.ended_by, finished.exit_code) == ("timeout", -signal.SIGTERM)
    assert ends(int(pids.read_text()))


def test_who_interrupts_us_ends_the_process_too(tmp_path: Path) -> None:
    """It runs in a session of its own, so Ctrl-C on a terminal does not reach it."""
    pids = tmp_path / "pids"

    def interrupt() -> None:
        while not pids.exists() or not pids.read_text().strip():
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=lambda: (interrupt(), None))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        shell(f"echo $$ > {pids}; exec sleep 60")
    thread.join()
    assert ends(int(pids.read_text()))


def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _attempt in range(3):
        shell("echo x")
    with pytest.raises(LifeboatError):
        execute.run(["/no/such"], ENVIRONMENT)
    assert len(os.listdir("/proc/self/fd")) == before


def test_processor_time_of_the_whole_group_counts() -> None:
    busy = "import time\nwhile True: pass"
    process = subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{busy}' & wait"], start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while execute._processor_ticks(process.pid) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert execute._processor_ticks(process.pid) >= 5
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

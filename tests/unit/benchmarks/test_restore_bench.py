# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The benchmark of restores: its plan, its data, its judgement, and the proxy that makes the store far."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import typing as t
from collections import Counter
from pathlib import Path

import pytest
from tests.benchmarks.restore_bench import cases, delay_proxy, inside, measure, plan, report

SECONDS = {"ours": 1.0, "duplicity": 10.0, "restic": 2.0, "floor": 0.5}


@pytest.mark.parametrize("cores", [2, 8])
def test_every_goal_is_measured_and_every_gap_explained(cores: int) -> None:
    steps = plan.steps(cases.CASES, plan.TOOLS, cores)
    measured = {(step.case, step.setting, tool) for step in steps for tool in step.rounds}
    for goal in plan.GOALS:
        assert {(goal.case, goal.setting, goal.than), (goal.case, goal.setting, "ours")} <= measured
    explained = {row[:3] for row in plan.left_out(cases.CASES, plan.TOOLS)}
    for step in steps:
        for tool in set(plan.TOOLS) - set(step.rounds):
            assert {(tool, step.case, "all"), (tool, step.case, str(step.setting))} & explained, (tool, step)


def test_no_more_cores_than_there_are() -> None:
    assert {step.setting.cores for step in plan.steps(cases.CASES, plan.TOOLS, 1)} == {1}
    assert {step.setting.cores for step in plan.steps(cases.CASES, plan.TOOLS, 2)} == {1, 2}
    assert {step.setting.cores for step in plan.steps(cases.CASES, plan.TOOLS, 4)} == {0, 1, 2}


def test_tools_take_turns_and_each_round_starts_with_another() -> None:
    order = list(plan.turns({"a": 3, "b": 3, "c": 1}))
    assert Counter(tool for _round, tool in order) == {"a": 3, "b": 3, "c": 1}
    assert [tool for number, tool in order if number == 1] == ["a", "b", "c"]
    assert [tool for number, tool in order if number == 2] == ["b", "a"]


@pytest.mark.parametrize(
    ("shares", "chosen", "tries"),
    [
        ([0.0], 0, 1),
        ([0.3, 0.01], 1, 2),
        ([0.3, 0.1, 0.2], 1, 3),
        ([0.3, "failed"], 1, 2),  # a restore that failed once has failed
        (["failed"], 0, 1),
    ],
)
def test_what_the_hypervisor_disturbs_is_measured_again(shares: list[float | str], chosen: int, tries: int) -> None:
    samples = [
        {"number": number, "stolen": 0.0 if share == "failed" else share, "error": "x" if share == "failed" else ""}
        for number, share in enumerate(shares)
    ]
    bench: t.Any = inside.Bench.__new__(inside.Bench)
    rest = iter(samples)
    bench._sample = lambda *_asked: next(rest)
    assert bench._undisturbed(None, "ours", {}) == {**samples[chosen], "tries": tries}


def test_the_report_tells_how_disturbed_it_was() -> None:
    disturbed = found(ours=1.0, duplicity=10.0)
    assert "hypervisor" not in report.markdown(disturbed)
    for number, sample in enumerate(disturbed["samples"]):
        sample.update(stolen=0.01 * number, tries=1 + number // 3)
    assert "1 of 4 were taken again; of the worst that counts it took 3%" in report.markdown(disturbed)


def found(**seconds: float) -> dict[str, t.Any]:
    """Samples of the case tree, near; two rounds around the median."""
    near = vars(plan.NEAR)
    samples = [
        {"case": "tree", "tool": tool, **near, "seconds": value + more, "error": "", "metadata": True, "round": 1}
        | {"cpu_seconds": 1.0, "peak_mib": 10.0}
        for tool, value in seconds.items()
        for more in (-0.1, 0.1)
    ]
    about = {tool: {"version": "1", "settings": "a | b"} for tool in seconds}
    here = {"cpu": "x", "cores": 2, "memory_gib": 8, "kernel": "6", "disk": "ext4"}
    options = {"cases": ["tree"], "scale": 1, "days": 29}
    rest = {"date": "2026-01-01", "commit": "abc", "store": "rgw", "rtt": 30, "left_out": [], "events": []}
    return {"samples": samples, "tools": about, "machine": here, "options": options, **rest}


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (plan.Goal("tree", plan.NEAR, "duplicity", 0.3), ("0.10", "met")),
        (plan.Goal("tree", plan.NEAR, "duplicity", 0.08), ("0.10", "missed by 25%")),
        (plan.Goal("tree", plan.NEAR, "floor", 1.3), ("2.00", "missed by 54%")),
        (plan.Goal("tree", plan.NEAR, "restic", 2, reverse=True), ("2.00", "met")),
        (plan.Goal("tree", plan.NEAR, "restic", 4, reverse=True), ("2.00", "missed by 50%")),
        (plan.Goal("tree", plan.NEAR, "s3ql", 3, reverse=True), ("-", "not measured")),
    ],
)
def test_judgement(goal: plan.Goal, verdict: tuple[str, str]) -> None:
    assert report.judge(goal, report.medians(found(**SECONDS))) == verdict


def test_goals_are_judged_at_full_size_only() -> None:
    small = found(**SECONDS)
    assert "| ours ≤ 0.3 × duplicity | 0.10 | met |" in report.markdown(small)
    small["options"]["scale"] = 0.02
    assert "| ours ≤ 0.3 × duplicity | 0.10 | a trial |" in report.markdown(small)


def test_a_wrong_restore_has_no_speed() -> None:
    wrong = found(**SECONDS)
    next(each for each in wrong["samples"] if each["tool"] == "ours")["error"] = "1 file(s) with another content"
    page = report.markdown(wrong)
    assert "| ours | **failed** |" in page
    assert "| ours ≤ 0.3 × duplicity | - | not measured |" in page
    assert "- tree, ours: 1 file(s) with another content" in page


def test_page_and_plot_tell_medians_and_ratios() -> None:
    page = report.markdown(found(**SECONDS))
    assert "| duplicity | 10.00 (9.9–10.1), 10.00 × |" in page
    assert "a \\| b" in page, "a bar would end the table's cell"
    assert report.plot(found(**SECONDS)).count("<rect") == 1 + len(SECONDS)


@pytest.mark.parametrize("name", cases.DATA)
def test_data_is_the_same_everywhere_and_changes_by_two_percent(name: str, tmp_path: Path) -> None:
    trees = []
    for place in ("one", "two"):
        cases.DATA[name].make(tmp_path / place, 0.02)
        trees.append(measure.tree(str(tmp_path / place)))
    assert files(trees[0]) == files(trees[1])
    change = cases.DATA[name].change
    if change is None:
        return
    before = trees[0]
    change(tmp_path / "one", 1, 0.02)
    change(tmp_path / "two", 1, 0.02)
    after = measure.tree(str(tmp_path / "one"))
    assert files(after) == files(measure.tree(str(tmp_path / "two")))
    assert files(after) != files(before)
    if name == "tree":
        other = set(files(before).items()) ^ set(files(after).items())
        assert 0.01 < len({path for path, _entry in other}) / len(files(before)) <= 0.03


def files(tree: t.Mapping[bytes, measure.Entry]) -> dict[bytes, measure.Entry]:
    return {path: entry for path, entry in tree.items() if entry[0]}


def test_the_folder_that_is_restored_alone_keeps_its_files(tmp_path: Path) -> None:
    cases.make_tree(tmp_path, 200)
    for day in range(1, 30):
        cases.change_tree(tmp_path, day, 1)
    assert len(list((tmp_path / cases.FOLDER).iterdir())) == cases.FOLDER_FILES


def test_comparison_sees_what_is_lost_added_or_altered(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("one")
    os.utime(tmp_path / "d/f", (1, 1))
    wanted = measure.tree(str(tmp_path))
    assert measure.compare(wanted, measure.tree(str(tmp_path))) == ("", True)
    assert list(measure.below(wanted, "d")) == [b"f"]
    (tmp_path / "d/f").touch()
    assert measure.compare(wanted, measure.tree(str(tmp_path))) == ("", False)
    (tmp_path / "d/f").write_text("two")
    assert measure.compare(wanted, measure.tree(str(tmp_path)))[0] == "1 file(s) with another content, first d/f"
    (tmp_path / "d/f").rename(tmp_path / "g")
    assert measure.compare(wanted, measure.tree(str(tmp_path)))[0] == "1 path(s) missing, 1 too many, first d/f"


def test_pieces_become_a_file_again(tmp_path: Path) -> None:
    folder = tmp_path / "multivol_snapshot/d/f"
    folder.mkdir(parents=True)
    for number in range(1, 12):
        (folder / str(number)).write_text(f"{number},")
    measure.join_pieces(str(tmp_path))
    assert (tmp_path / "snapshot/d/f").read_text() == "1,2,3,4,5,6,7,8,9,10,11,"


@pytest.fixture
def far_echo() -> t.Iterator[tuple[str, int]]:
    """A server that answers what it is told, 40 ms away."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _address = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    argv = [sys.executable, delay_proxy.__file__, "0", "127.0.0.1", str(server.getsockname()[1]), "40"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        yield "127.0.0.1", int(proxy.stdout.readline().split()[-1])
        proxy.kill()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_proxy_adds_the_round_trip_to_each_and_a_handshake_to_the_first(far_echo: tuple[str, int]) -> None:
    with socket.create_connection(far_echo) as connection:
        seconds = []
        for _ in range(4):
            start = time.monotonic()
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            seconds.append(time.monotonic() - start)
    # only lower bounds: a busy machine takes longer
    assert seconds[0] >= 0.079
    assert min(seconds) >= 0.039


def test_proxy_hands_on_all_bytes_and_the_end(far_echo: tuple[str, int]) -> None:
    sent = os.urandom(1 << 20) * 12
    received = bytearray()
    with socket.create_connection(far_echo) as connection:

        def read() -> None:
            while data := connection.recv(1 << 16):
                received.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        reader.join(60)
        assert not reader.is_alive(), "the end did not come through"
    assert bytes(received) == sent

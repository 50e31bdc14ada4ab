# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The guards, one by one (see test_guards_repository.py). This file: runs that lose files, hang, or lie about how they
ended, and backups that should not have been made."""

from __future__ import annotations

import os
import signal
import threading
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from tests.guards.conftest import (
    MEGABYTE,
    NO_READING,
    Stock,
    ask_under,
    end,
    flip,
    next_second,
    only,
    small_disk,
    state,
    stop_at,
    times,
    untouched,
    volumes,
)

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import backup, profile
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

    from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

NO_DEVICES = ("setpriv", "--bounding-set", "-mknod")


def test_guard_06_a_refused_run_unlocks_the_repository(node: Node, stock: Stock) -> None:
    """The second run is refused, but takes the first one's lock file with it: the third runs beside the first."""
    first = stock.start("full", "--volsize", "1", "--concurrency", "0", node.source, stock.url)
    stop_at(first, lambda: len(volumes(node.repository)) > 1)
    assert (stock.cache / "lockfile").exists()
    assert stock.full(node.source).code == 23
    assert not (stock.cache / "lockfile").exists()
    assert stock.full(node.source).code == 0
    assert first.poll() is None
    end(first)

    for path in node.repository.iterdir():
        path.unlink()
    answers: list[dict[str, t.Any]] = []
    ours = threading.Thread(target=lambda: answers.append(node.ask("backup", volume_mib=1, concurrency=0)))
    ours.start()
    child = stopped(node, lambda: len(volumes(node.repository)) > 1)
    for _attempt in range(2):
        with pytest.raises(LifeboatError, match=r"another run holds .*/lock: wait for it to end"):
            node.ask("backup")
    os.killpg(child, signal.SIGCONT)
    ours.join(60)
    assert answers[0]["outcome"] == "ok"
    node.proven(node.restore())


def stopped(node: Node, there: t.Callable[[], bool]) -> int:
    """The process group of our engine's duplicity on this node, stopped as soon as ``there`` is true."""
    deadline = time.monotonic() + 30
    while not there() and time.monotonic() < deadline:
        time.sleep(0.001)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"launcher.py" in line and os.fsencode(node.cache.parent) in line:
            os.killpg(os.getpgid(int(pid)), signal.SIGSTOP)
            return os.getpgid(int(pid))
    raise AssertionError("it ended before it could be stopped")


@pytest.mark.usefixtures("may_mount")
def test_guard_08_a_full_disk_hangs_an_encrypted_restore(
    node: Node, stock: Stock, pair: Pair, ring: Keyring, tmp_path: Path
) -> None:
    for number in range(60):
        (node.source / f"a{number}").write_text("more")
    node.pair = pair
    node.backup(mode="full", volume_mib=1)
    ring.import_keys(pair.private.encode())
    stock.keyring, stock.options = ring.home, ()
    disk = tmp_path / "disk"
    before = small_disk(disk)
    done = stock.restore(disk / "tree", before=before, patience=2.0)
    assert done.code is None

    started = time.monotonic()
    keys = {"encryption": {"private_key": pair.private}}
    answer = ask_under(before, node, "restore", dest=str(disk / "tree"), **keys)
    assert answer["failed"]
    assert answer["msg"].endswith(" is full: free space, or choose another destination.")
    answer = ask_under(before, node, "restore", dest=str(disk / "tree"), reader="duplicity", **keys)
    assert time.monotonic() - started < 60
    assert answer["failed"]
    assert answer["msg"] == (
        f"The restore failed, {disk}/tree is untouched: a disk was full on this host: free some space where the run writes, "
        "then run again."
    )


def test_guard_09_files_that_are_left_out_are_no_failure(node: Node, stock: Stock, live: Path, tmp_path: Path) -> None:
    """Neither those that could not be read nor those that could not be written."""
    (node.source / "f2").chmod(0)
    done = stock.run("full", node.source, stock.url, before=NO_READING)
    assert (done.code, done.codes("WARNING")) == (0, [10])
    assert stock.restore(tmp_path / "half").code == 0
    assert not (tmp_path / "half" / "f2").exists()

    next_second()
    answer = ask_under(NO_READING, node, "backup", source=str(node.source), mode="full")
    assert (answer["failed"], answer["rc"], answer["record"]["outcome"]) == (True, 0, "failed")
    assert (
        answer["msg"] == "The backup failed: a file could not be read (1 in all): see the run's journal for the paths."
    )
    assert f"{node.source}/f2" in answer["detail"]


def test_guard_09_files_that_cannot_be_made_are_no_failure(
    node: Node, stock: Stock, live: Path, tmp_path: Path
) -> None:
    try:
        os.mknod(node.source / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this machine lets nobody make a device")
    assert stock.full(node.source).code == 0
    done = stock.restore(tmp_path / "half", before=NO_DEVICES)
    assert (done.code, done.codes("WARNING")) == (0, [12])
    assert not (tmp_path / "half" / "zero").exists()

    answer = ask_under(NO_DEVICES, node, "restore", dest=str(live), replace=True)
    assert answer["failed"]
    assert answer["msg"].endswith(": Operation not permitted; restore as root.")
    untouched(live)
    answer = ask_under(NO_DEVICES, node, "restore", dest=str(live), replace=True, reader="duplicity")
    assert (answer["failed"], answer["rc"]) == (True, 0)
    assert answer["msg"] == (
        f"The restore failed, {live} is untouched: a path could not be processed (1 in all): see the run's journal for the "
        "paths."
    )
    untouched(live)


def test_guard_10_verify_compares_no_content(node: Node, stock: Stock) -> None:
    """Without --compare-data, that is; and it does find a flipped byte."""
    node.backup()
    tree = node.restore()
    status = (tree / "f1").stat()
    (tree / "f1").write_bytes(os.urandom(MEGABYTE))
    os.utime(tree / "f1", ns=(status.st_atime_ns, status.st_mtime_ns))
    done = stock.run("verify", stock.url, tree)
    assert done.code == 0
    assert "0 difference(s) found" in done.output

    answer = node.ask("verify", dest=str(tree))
    assert answer["failed"]
    assert answer["comparison"]["first"] == [{"path": "f1", "what": "content"}]
    # ours without a tree to compare scrubs the repository, for which duplicity's own is good
    assert node.ask("verify")["outcome"] == "ok"
    flip(volumes(node.repository)[0])
    assert stock.run("verify", stock.url, tree).code == 21
    answer = node.ask("verify")
    assert answer["failed"]
    assert ": a volume does not match its recorded hash" in answer["msg"]


def test_guard_13_complete_is_said_after_failures(node: Node, stock: Stock, live: Path, tmp_path: Path) -> None:
    assert stock.full(node.source).code == 0
    flip(volumes(node.repository)[3])
    done = stock.restore(tmp_path / "half")
    assert done.code == 21
    assert "Duplicity backup complete." in done.output

    for reader, code in (("auto", None), ("duplicity", 21)):
        answer = node.ask("restore", dest=str(live), replace=True, reader=reader)
        assert (answer["failed"], answer["outcome"], answer["rc"]) == (True, "failed", code)
        untouched(live)


def test_guard_14_an_empty_source_is_backed_up(node: Node, stock: Stock) -> None:
    """Nothing tells that the data is gone, or not mounted: the next restore of latest brings nothing."""
    node.backup()
    (node.source / "f1").parent.rename(node.root / "elsewhere")
    node.source.mkdir()
    before = state(node.corner)
    copy = Stock(stock.room, stock.room / "copy")
    copy.repository.mkdir()
    for path in node.repository.iterdir():
        (copy.repository / path.name).write_bytes(path.read_bytes())
    done = copy.incremental(node.source)
    assert (done.code, done.codes("WARNING")) == (0, [])

    with pytest.raises(Refused) as error:
        node.ask("backup")
    assert str(error.value) == (
        f"the source {node.source} is empty: is it not mounted? An empty folder is not backed up over a full one."
    )
    assert state(node.corner) == before


def test_guard_16_one_repository_for_two_keys(
    small: Node, stock: Stock, pair: Pair, stranger: Pair, ring: Keyring, tmp_path: Path
) -> None:
    """A wrong passphrase makes a full that the right one does not open, and nothing tells."""
    quick = "--gpg-options=--s2k-count=65536"
    stock.keyring, stock.options = ring.home, (quick,)
    for phrase in ("right", "wrong"):
        assert stock.run("full", small.source, stock.url, env={"PASSPHRASE": phrase}).code == 0
        next_second()
    cold = replace(stock, archive="cold")
    assert cold.restore(tmp_path / "half", env={"PASSPHRASE": "right"}).code == 31
    for path in small.repository.iterdir():
        path.unlink()

    # ours has no passphrase to mistype; another key than the profile's is refused, and a new key begins a new chain
    small.pair = pair
    first = small.backup()["record"]["set_time"]
    settings = {"node": "node1", "source": str(small.source), "fingerprint": pair.fingerprint}
    checked = profile.from_dict("site", {**settings, "store": {"url": f"file://{small.corner}"}})
    before = state(small.repository)
    with pytest.raises(LifeboatError, match="the node's public key is not the one in its profile: roll the node out"):
        backup.run(checked, "auto", stranger.public.encode(), small.layout)
    why = f"the cache does not hold the signatures of {first} for this key"
    with pytest.raises(Refused, match=why):
        small.ask("backup", mode="incremental", encryption={"public_key": stranger.public})
    assert state(small.repository) == before
    small.pair = stranger
    answer = small.backup()
    assert answer["record"]["mode"] == "full"
    assert answer["warnings"] == [f"a full was made, since {why}."]
    assert small.backup()["record"]["mode"] == "incremental"
    small.proven(small.restore())
    small.pair = pair
    small.restore(time=first)
    # nor is a chain without encryption mixed with one that has it
    chain = times(small.repository)[1]
    small.pair = None
    answer = small.backup()
    assert answer["warnings"] == [f"a full was made, since chain {chain} is encrypted and this backup is not."]
    small.pair = pair
    assert small.backup()["record"]["mode"] == "full"


def test_guard_17_without_a_secret_key_a_lost_cache_is_the_end_of_a_chain(
    small: Node, stock: Stock, pair: Pair, ring: Keyring
) -> None:
    """Only a full works then; plain backup and incremental fail each night with gpg's words, and without PASSPHRASE in
    the environment even a full ends with a traceback."""
    ring.import_keys(pair.public.encode())
    stock.keyring = ring.home
    stock.options = ("--encrypt-key", pair.fingerprint, "--gpg-options=--trust-model=always")
    assert stock.full(small.source).code == 0
    next_second()
    lost = replace(stock, archive="lost")
    for verb in ("incremental", "backup"):
        assert lost.run(verb, small.source, stock.url).code in (17, 31)
    done = replace(lost, options=()).run("full", small.source, stock.url, env={"PASSPHRASE": None})
    assert done.code == 30
    assert "EOFError" in done.output
    for path in small.repository.iterdir():
        path.unlink()

    small.pair = pair
    first = small.backup()["record"]["set_time"]
    for path in small.cache.iterdir():
        path.unlink()
    why = f"the cache does not hold the signatures of {first} for this key"
    with pytest.raises(Refused) as error:
        small.ask("backup", mode="incremental")
    assert str(error.value) == f"an incremental is not possible: {why}; run with mode full."
    answer = small.backup()
    assert (answer["record"]["mode"], answer["outcome"]) == ("full", "warning")
    assert answer["warnings"] == [f"a full was made, since {why}."]


def test_guard_20_another_host_name(small: Node, stock: Stock) -> None:
    """Incrementals fail from then on, and so they do from another source path."""
    stock = Stock(small.cache.parents[1], small.repository)
    assert stock.full(small.source).code == 0
    for folder in (small.cache, small.repository):
        manifest = only(folder, "duplicity-full.*.manifest")
        text = manifest.read_bytes()
        manifest.write_bytes(b"Hostname old-name\n" + text.split(b"\n", 1)[1])
    assert stock.incremental(small.source).code == 3
    before = state(small.repository)
    answer = small.ask("backup", mode="incremental")
    assert answer["rc"] == 3
    assert answer["msg"] == (
        "The backup failed: the host's name differs from the one in the repository (duplicity's code 3): run a full "
        "backup."
    )
    assert state(small.repository) == before
    small.backup(mode="full")
    moved = small.source.rename(small.root / "moved")
    assert stock.incremental(moved).code == 42
    answer = small.ask("backup", mode="incremental", source=str(moved))
    assert answer["rc"] == 42
    assert answer["msg"].endswith(
        "the source path differs from the one in the repository (duplicity's code 42): run a full backup."
    )
    small.backup(mode="full", source=str(moved))
    small.proven(small.restore())

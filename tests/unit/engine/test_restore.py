# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Restores and verifies of damaged repositories with the real duplicity: each fault has its sentence, and the
destination is as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, destination, execute
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

Damage = t.Callable[[Path], None]


def fails(node: Node, live: Path, **values: t.Any) -> tuple[str, str]:
    """A restore over ``live`` that fails with either reader; ``live`` and its neighbourhood are as they were. Returns what
    stock duplicity's run and the fast reader say."""
    said = []
    for reader in ("duplicity", "fast"):
        answer = node.ask("restore", dest=str(live), replace=True, reader=reader, **values)
        assert answer["failed"]
        assert not answer["changed"]
        assert answer["record"]["engine"] == reader
        assert answer["msg"].startswith(f"The restore failed, {live} is untouched: ")
        untouched(live)
        said.append(answer["msg"])
    return said[0], said[1]


def untouched(live: Path) -> None:
    assert {path.name: path.read_text() for path in live.iterdir()} == {"old": "old"}
    assert [path.name for path in live.parent.iterdir() if "lifeboat" in path.name] == []


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("duplicity-full.*.vol1.*", "set {full} lacks volume 1; no older one is whole"),
        ("duplicity-full.*.manifest", "set {full} lacks the manifest; no older one is whole"),
        ("duplicity-inc.*.manifest", "set {inc} lacks the manifest; the newest whole one before it is {full}"),
        ("duplicity-new-signatures.*", "set {inc} lacks the signatures; the newest whole one before it is {full}"),
        ("duplicity-inc.*.vol1.*", "set {inc} lacks every volume; the newest whole one before it is {full}"),
    ],
)
def test_what_a_listing_shows_is_refused_before_anything_starts(
    damaged: Node, live: Path, pattern: str, what: str
) -> None:
    full, _, inc = only(damaged.repository, "duplicity-inc.*.manifest").name.split(".")[1:4]
    only(damaged.repository, pattern).unlink()
    expected = f"restore point {inc} cannot be restored: {what.format(full=full, inc=inc)}."
    for operation in ("restore", "verify"):
        dest = {"dest": str(live), "replace": True} if operation == "restore" else {}
        with pytest.raises(LifeboatError) as error:
            damaged.ask(operation, **dest)
        assert str(error.value) == expected
    untouched(live)


def test_a_lost_last_volume_is_found_by_reading(damaged: Node, live: Path) -> None:
    only(damaged.repository, "duplicity-full.*.vol3.*").unlink()
    _stock, fast = fails(damaged, live)
    assert "volume 3" in fast
    answer = damaged.ask("verify")
    assert answer["failed"]
    assert "could not be read: " in answer["msg"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def test_a_flipped_byte_is_found(damaged: Node, live: Path) -> None:
    flip(only(damaged.repository, "duplicity-full.*.vol2.*"))
    says = "a volume does not match its recorded hash: the repository is damaged (duplicity's code 21)"
    stock, fast = fails(damaged, live)
    assert says in stock
    assert "volume 2 of set " in fast
    assert "does not match its recorded hash; it holds 'volumes': restore a point before it" in fast
    answer = damaged.ask("verify")
    assert answer["failed"]
    assert says in answer["msg"]


def test_a_truncated_manifest_is_found(damaged: Node, live: Path) -> None:
    manifest = only(damaged.repository, "duplicity-full.*.manifest")
    manifest.write_bytes(manifest.read_bytes()[:100])
    fails(damaged, live)
    assert damaged.ask("verify")["failed"]


def test_a_verify_that_never_ran_proves_nothing(odd: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that cannot even begin ends with 1, as a verify does that found differences."""
    (tmp_path / "launcher.py").write_text("import no_such_module\n")
    monkeypatch.setattr(command, "LAUNCHER", str(tmp_path / "launcher.py"))
    for more in ({}, {"compare_data": True, "source": str(odd.source)}):
        answer = odd.ask("verify", **more)
        assert (answer["failed"], answer["rc"]) == (True, 1)
        assert "duplicity ended before its work did: see the run's journal" in answer["msg"]
        assert "no_such_module" in answer["detail"]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_wrong_key_and_none(sealed: Node, stranger: Pair, live: Path) -> None:
    for keys in ({"private_key": stranger.private}, {}):
        stock, fast = fails(sealed, live, encryption=keys)
        assert "gpg failed (duplicity's code 31): check that the right key was given." in stock
        assert fast.endswith("check that the right key was given.") or "give the key" in fast, fast
    answer = sealed.ask("verify", encryption={"private_key": stranger.private})
    assert answer["failed"]
    assert "check that the right key was given" in answer["msg"]


def test_what_is_no_key_is_told_at_once(sealed: Node, live: Path) -> None:
    answer = sealed.ask("restore", dest=str(live), replace=True, encryption={"private_key": "hello"})
    assert "cannot import a key: the data is not in OpenPGP form; check the file it came from" in answer["msg"]
    with pytest.raises(LifeboatError, match="cannot import a key"):
        sealed.ask("verify", encryption={"private_key": "hello"})
    untouched(live)


def test_a_repository_in_clear_can_be_read_with_a_key_at_hand(odd: Node, pair: Pair, tmp_path: Path) -> None:
    answer = odd.ask("restore", dest=str(tmp_path / "tree"), path="page.php", encryption={"private_key": pair.private})
    assert answer["outcome"] == "ok"


# --- points and paths -------------------------------------------------------------------------------------------------


def test_a_time_before_the_oldest_point_is_refused(odd: Node, live: Path) -> None:
    with pytest.raises(LifeboatError, match=r"there is no restore point that old: the oldest is 2\d{7}T\d{6}Z\."):
        odd.ask("restore", dest=str(live), replace=True, time="2001-01-01")
    untouched(live)


def test_an_empty_repository_is_refused(node: Node, live: Path) -> None:
    with pytest.raises(LifeboatError, match="the repository holds no backup: check the target, or run a backup first"):
        node.ask("restore", dest=str(live), replace=True)


def test_one_file_and_one_folder(odd: Node, tmp_path: Path) -> None:
    answer = odd.ask("restore", dest=str(tmp_path / "one"), path="/line\nbreak/")
    assert (tmp_path / "one").read_bytes() == b"in line\nbreak"
    assert (answer["record"]["files"], answer["record"]["bytes"]) == (1, 13)
    odd.ask("restore", dest=str(tmp_path / "folder"), path="sticky")
    assert (tmp_path / "folder").stat().st_mode & 0o7777 == 0o1777


def test_a_path_that_is_not_in_the_point(odd: Node, live: Path) -> None:
    stock, fast = fails(odd, live, path="no/such")
    assert "the path is not in that restore point (duplicity's code 19): list its files first." in stock
    assert fast.endswith(" holds no 'no/such': check the path.")


# --- the destination --------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("full")
    return tmp_path


@pytest.mark.table("restore.yml", "refused")
def test_refused_destinations(case: dict[str, t.Any], here: Path) -> None:
    with pytest.raises(Refused) as error:
        destination.check(case["dest"].format(here=here), case.get("replace", "false"))
    assert case["says"].format(here=here) in str(error.value)


@pytest.mark.table("restore.yml", "accepted")
def test_accepted_destinations(case: dict[str, t.Any], here: Path) -> None:
    found = destination.check(case["dest"].format(here=here), case.get("replace", "false"))
    assert found == case["is"].format(here=here)


def test_a_swap_leaves_the_new_tree_and_nothing_else(odd: Node, live: Path) -> None:
    answer = odd.ask("restore", dest=str(live), replace=True)
    assert answer["outcome"] == "ok"
    assert (live / "page.php").read_text() == "<?php echo 2;\n"
    assert not (live / "old").exists()
    assert [path.name for path in live.parent.iterdir()] == ["live"]


def test_a_swapped_link_is_replaced_and_not_followed(odd: Node, live: Path) -> None:
    link = live.parent / "link"
    link.symlink_to(live)
    odd.ask("restore", dest=str(link), replace=True, path="sticky")
    assert link.is_dir()
    assert not link.is_symlink()
    untouched(live)


def test_an_empty_folder_is_a_destination(odd: Node, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o700)
    odd.ask("restore", dest=str(tmp_path / "empty"), path="sticky")
    assert (tmp_path / "empty").stat().st_mode & 0o7777 == 0o1777


def test_a_destination_that_cannot_be_swapped_stays(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: str, two: str) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(destination, "_exchange", refuse)
    (tmp_path / "tree").mkdir()
    with pytest.raises(
        LifeboatError, match=r"cannot put the restored tree at .*: Device or resource busy; it is as it"
    ):
        destination.put_in_place(str(tmp_path / "tree"), str(live))
    untouched(live)


def test_what_lies_elsewhere_cannot_be_exchanged(live: Path, tmp_path: Path) -> None:
    """The kernel says so of another filesystem, and of a folder that overlayfs has from an image."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        assert os.stat(other).st_dev != os.stat(tmp_path).st_dev
        with pytest.raises(
            LifeboatError, match=r"it is as it was\. This filesystem cannot exchange it: set replace to in_place"
        ):
            destination.put_in_place(other, str(live))
    untouched(live)


def test_an_exchange_of_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    os.symlink("x", tmp_path / "two")
    with pytest.raises(LifeboatError, match="No such file or directory"):
        destination.put_in_place(str(tmp_path / "none"), str(tmp_path / "two"))


def test_a_parent_that_cannot_be_written_to(odd: Node) -> None:
    with pytest.raises(LifeboatError, match=r"cannot write in /proc/self: .*; choose another destination"):
        odd.ask("restore", dest="/proc/self/tree")


_MOUNTED = """
import os, subprocess, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import destination
disk, live = sys.argv[1:]
subprocess.run(["mount", "--bind", disk, live + "/uploads"], check=True)
try:
    destination.check(live, "true")
except destination.Refused as error:
    print(error)
"""


def test_a_tree_with_something_mounted_in_it_is_not_swapped(live: Path, tmp_path: Path) -> None:
    """The old tree is deleted after the swap, and with it would go what is mounted in it."""
    (live / "uploads").mkdir()
    (tmp_path / "disk").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = ["unshare", "--mount", sys.executable, "-c", _MOUNTED, str(tmp_path / "disk"), str(live)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.splitlines()[-1]}")
    assert f"{live}/uploads is a mount point" in done.stdout


# --- what a run leaves ------------------------------------------------------------------------------------------------


def test_nothing_is_left_in_memory_or_running(sealed: Node, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes: list[str] = []
    run = execute.run

    def spy(argv: t.Sequence[str], env: t.Mapping[str, str], **more: t.Any) -> execute.Finished:
        homes.append(env["GNUPGHOME"])
        return run(argv, env, **more)

    monkeypatch.setattr(execute, "run", spy)

    def keyrings() -> set[str]:
        return {name for name in os.listdir("/dev/shm") if name.startswith(f"lifeboat-{os.getpid()}-")}

    before = keyrings()
    assert not sealed.ask("restore", dest=str(live), replace=True, reader="duplicity")["failed"]
    assert not sealed.ask("verify")["failed"]
    (live / "page.php").write_text("worn")
    assert sealed.ask("restore", dest=str(live), replace=True)["record"]["engine"] == "fast"
    assert keyrings() == before
    assert len(homes) == 2
    for home in homes:
        assert not os.path.exists(home)
        assert not alive(home)
    assert sorted(path.name for path in live.parent.iterdir()) == ["live"]


def alive(word: str) -> list[str]:
    """Processes that name this word in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line:
            found.append(pid)
    return found

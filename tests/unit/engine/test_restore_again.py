# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A destination that is there already: equal and left alone, different and refused, exchanged, or restored in place; what
check and diff mode say of it; and what a killed restore leaves to the next one."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest
from tests.guards.conftest import may_mount, state  # noqa: F401 - a fixture, found by name
from tests.unit.engine.test_backup import same

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import destination, execute, in_place
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs that duplicity is started with."""
    seen: list[str] = []
    run = execute.run

    def spy(argv: t.Sequence[str], env: t.Mapping[str, str], **more: t.Any) -> execute.Finished:
        seen.append(argv[2])
        return run(argv, env, **more)

    monkeypatch.setattr(execute, "run", spy)
    return seen


@pytest.fixture
def bare(odd: Node, tmp_path: Path) -> str:
    """The odd node's repository without its records: nothing but duplicity can tell what is in it."""
    shutil.copytree(odd.repository, tmp_path / "bare")
    return f"file://{tmp_path / 'bare'}"


# --- equal ------------------------------------------------------------------------------------------------------------


def test_a_second_restore_changes_nothing_and_reads_no_volume(odd: Node, tmp_path: Path, runs: list[str]) -> None:
    dest = tmp_path / "tree"
    assert odd.ask("restore", dest=str(dest), reader="duplicity")["changed"]
    for replace in (False, True, "in_place"):
        before = os.stat(dest)
        answer = odd.ask("restore", dest=str(dest), replace=replace, diff=True)
        assert (answer["changed"], answer["outcome"]) == (False, "ok")
        assert answer["msg"] == f"{dest} equals {answer['record']['set_time']} already."
        assert answer["record"]["files"] == odd.newest_record()["files"]
        assert (answer["diff"]["before"], answer["diff"]["after"]) == ("", "")
        assert (os.stat(dest).st_ino, os.stat(dest).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert runs == ["restore"]


def test_one_path_of_a_point_too(odd: Node, tmp_path: Path, runs: list[str]) -> None:
    for path in ("folder", "setuid", "dangling", "link \udcff"):
        dest = str(tmp_path / path)
        assert [odd.ask("restore", dest=dest, path=path, reader="duplicity")["changed"] for _ in range(2)] == [
            True,
            False,
        ]
    assert runs == ["restore"] * 4


def test_without_a_witness_duplicity_compares(odd: Node, bare: str, tmp_path: Path, runs: list[str]) -> None:
    dest = tmp_path / "tree"
    assert odd.ask("restore", dest=str(dest), target=bare, reader="duplicity")["changed"]
    assert not odd.ask("restore", dest=str(dest), target=bare, reader="duplicity")["changed"]
    assert runs == ["restore", "verify"]
    # whoever may replace needs no extra reading: the tree is compared when it is there
    assert not odd.ask("restore", dest=str(dest), target=bare, replace=True, reader="duplicity")["changed"]
    assert runs == ["restore", "verify", "restore"]
    (dest / "page.php").write_text("<?php echo 3;\n")
    with pytest.raises(
        Refused, match=r"exists and differs from \w+, first: page.php \((mtime|content)\): choose another"
    ):
        odd.ask("restore", dest=str(dest), target=bare)
    assert odd.ask("restore", dest=str(dest), target=bare, replace=True, reader="duplicity")["changed"]
    same(odd.source, dest)


def test_content_alone_makes_a_difference(odd: Node, tmp_path: Path) -> None:
    dest = odd.restore()
    page = dest / "page.php"
    status = page.stat()
    page.write_text("<?php echo 9;\n")
    os.utime(page, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(Refused, match=r"exists and differs from \w+, first: page.php \(content\)"):
        odd.ask("restore", dest=str(dest))
    answer = odd.ask("restore", dest=str(dest), replace=True, diff=True)
    assert answer["changed"]
    assert (answer["diff"]["before"], answer["diff"]["after"]) == ("page.php\n", "page.php (content)\n")
    same(odd.source, dest)
    shutil.rmtree(dest)


def test_a_link_to_an_equal_tree_is_not_that_tree(odd: Node, tmp_path: Path) -> None:
    tree = odd.restore()
    (tmp_path / "link").symlink_to(tree)
    with pytest.raises(Refused, match=r"link exists and differs from \w+, first: \. \(type\)"):
        odd.ask("restore", dest=str(tmp_path / "link"))
    assert odd.ask("restore", dest=str(tmp_path / "link"), replace=True)["changed"]
    assert not (tmp_path / "link").is_symlink()
    same(odd.source, tree)
    shutil.rmtree(tree)


# --- check and diff ---------------------------------------------------------------------------------------------------


def test_check_mode_tells_and_writes_nothing(odd: Node, bare: str, live: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    answer = odd.ask("restore", dest=str(live), replace=True, check=True, diff=True)
    assert answer["changed"]
    assert answer["diff"]["before"] == "old\n.\n" or "old\n" in answer["diff"]["before"]
    assert "page.php\n" in answer["diff"]["after"]
    assert "line\\nbreak\n" in answer["diff"]["after"]
    answer = odd.ask("restore", dest=str(tmp_path / "none"), check=True, diff=True)
    assert answer["changed"]
    assert "folder\n" in answer["diff"]["after"]
    with pytest.raises(Refused, match="exists and differs"):
        odd.ask("restore", dest=str(live), check=True)
    assert odd.ask("restore", dest=str(live), replace="in_place", check=True, target=bare)["changed"]
    assert state(tmp_path) == before
    tree = odd.restore()
    assert not odd.ask("restore", dest=str(tree), replace=True, check=True, target=bare)["changed"]
    shutil.rmtree(tree)


def test_a_diff_of_a_swap(odd: Node, bare: str, live: Path) -> None:
    answer = odd.ask("restore", dest=str(live), replace=True, diff=True, target=bare)
    assert answer["diff"]["before_header"] == str(live)
    assert "old\n" in answer["diff"]["before"]
    assert "old\n" not in answer["diff"]["after"]
    assert "page.php\n" in answer["diff"]["after"]


def test_a_wrong_replace_is_refused(odd: Node, live: Path) -> None:
    with pytest.raises(Refused, match="replace is false, true, in_place, not 'maybe'"):
        odd.ask("restore", dest=str(live), replace="maybe")


# --- selections -------------------------------------------------------------------------------------------------------


def test_a_selection(odd: Node, tmp_path: Path) -> None:
    answer = odd.ask("restore", dest=str(tmp_path / "some"), select=["- folder/**", "+ page.php", "+ empty*", "- **"])
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["empty file", "empty folder", "page.php"]
    assert answer["record"]["files"] == 2
    assert not odd.ask("restore", dest=str(tmp_path / "some"), select=["+ page.php", "+ empty*", "- **"], replace=True)[
        "changed"
    ]


def test_a_selection_that_is_there_is_left_alone(odd: Node, tmp_path: Path) -> None:
    """Without leave to replace anything; what differs is refused, and stays as it is."""
    wish = {"dest": str(tmp_path / "some"), "select": ["+ page.php", "+ empty*", "- **"]}
    assert odd.ask("restore", **wish)["changed"]
    answer = odd.ask("restore", **wish)
    assert (answer["changed"], answer["outcome"]) == (False, "ok")
    assert "already" in answer["msg"]
    (tmp_path / "some" / "page.php").write_text("mine")
    before = state(tmp_path)
    with pytest.raises(Refused, match=r"some exists and differs from \w+, first: page.php \(\w+\): choose another"):
        odd.ask("restore", **wish)
    answer = odd.ask("restore", **wish, check=True)
    assert not answer["changed"]
    assert "Only the restore itself tells" in answer["msg"]
    assert state(tmp_path) == before


def test_a_selection_with_something_beside_it_differs(odd: Node, tmp_path: Path) -> None:
    wish = {"dest": str(tmp_path / "some"), "select": ["+ page.php", "- **"]}
    odd.ask("restore", **wish)
    (tmp_path / "some" / "other").write_text("mine")
    with pytest.raises(Refused, match=r"some exists and differs from \w+, first: other \(extra\)"):
        odd.ask("restore", **wish)


@pytest.mark.parametrize("rule", ["page.php", "+ /page.php", "- ../x", "+ ", "* x", "+ a//b", "- a/"])
def test_a_selection_that_is_not_understood(odd: Node, tmp_path: Path, rule: str) -> None:
    with pytest.raises(Refused, match="is not understood: write '\\+ pattern' or '- pattern', relative to the source"):
        odd.ask("restore", dest=str(tmp_path / "some"), select=[rule])


def test_a_path_and_a_selection_are_refused(odd: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"give 'path' \(one file or folder\) or 'select' \(patterns\), not both"):
        odd.ask("restore", dest=str(tmp_path / "some"), select=["+ page.php"], path="folder")


# --- room -------------------------------------------------------------------------------------------------------------


def test_a_restore_that_cannot_fit_is_refused_at_once(
    odd: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(
        Refused, match=r"restore point \w+ needs 3 MiB and .* has 1 MiB free: free some space, or choose"
    ):
        odd.ask("restore", dest=str(tmp_path / "tree"))
    assert (runs, list(tmp_path.iterdir())) == ([], [])


_SLOW = """
import json, os, signal, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import destination, request
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
values, layout, where = json.load(sys.stdin)
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "before the swap":
    destination.put_in_place = die
if where == "after the swap":
    swap = destination.put_in_place
    destination.put_in_place = lambda *paths: (swap(*paths), die())
request.handle(values, Layout(*layout))
"""


@pytest.mark.parametrize("where", ["before the swap", "after the swap"])
def test_a_killed_restore_leaves_no_room_to_the_next(odd: Node, live: Path, where: str) -> None:
    values = odd.values("restore", dest=str(live), replace=True)
    done = odd.run_script(_SLOW, values, where)
    assert done.returncode == -9, done.stderr
    left = [path.name for path in live.parent.iterdir() if ".lifeboat-" in path.name]
    assert len(left) == 1
    assert (live / "old").exists() == (where == "before the swap")
    answer = odd.ask("restore", dest=str(live), replace=True)
    assert answer["changed"] == (where == "before the swap")
    same(odd.source, live)
    assert [path.name for path in live.parent.iterdir()] == ["live"]


def test_a_room_in_use_is_left_alone(tmp_path: Path) -> None:
    with destination.room(str(tmp_path / "tree")) as (one, _held):
        with destination.room(str(tmp_path / "tree")) as (two, _other):
            assert os.path.isdir(one)
            assert one != two
        assert os.path.isdir(one)
    assert list(tmp_path.iterdir()) == []


def test_a_very_long_name_has_a_room(tmp_path: Path) -> None:
    with destination.room(str(tmp_path / ("\u00fc\U0001f4be" * 40))) as (folder, _held):
        assert os.path.isdir(folder)


# --- in place ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def worn(odd: Node, tmp_path: Path) -> Path:
    """A restored tree that went its own way: changed, lost, added, of other types, with links that lead out of it."""
    tree = tmp_path / "worn"
    odd.ask("restore", dest=str(tree))
    (tree / "page.php").write_text("hacked")
    (tree / "new").unlink()
    (tree / "added").mkdir()
    (tree / "added" / "file").write_text("x")
    (tree / "setuid").unlink()
    (tree / "setuid").mkdir()
    (tree / "empty folder").rmdir()
    (tree / "empty folder").write_text("no folder")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "old").write_text("not ours")
    shutil.rmtree(tree / "folder")
    (tree / "folder").symlink_to(tmp_path / "outside")
    (tree / "sticky").chmod(0o700)
    return tree


@pytest.mark.parametrize("witnessed", [True, False])
def test_in_place(odd: Node, bare: str, worn: Path, tmp_path: Path, witnessed: bool) -> None:
    inode = worn.stat().st_ino
    more = {} if witnessed else {"target": bare}
    answer = odd.ask("restore", dest=str(worn), replace="in_place", diff=True, **more)
    assert (answer["changed"], answer["outcome"]) == (True, "ok"), answer
    assert worn.stat().st_ino == inode
    same(odd.source, worn)
    assert (tmp_path / "outside" / "old").read_text() == "not ours"
    if witnessed:
        assert "added/file\n" in answer["diff"]["before"]
        odd.proven(worn)
    assert not odd.ask("restore", dest=str(worn), replace="in_place", **more)["changed"] or not witnessed


def test_in_place_onto_nothing_is_a_plain_restore(odd: Node, tmp_path: Path) -> None:
    odd.ask("restore", dest=str(tmp_path / "tree"), replace="in_place")
    same(odd.source, tmp_path / "tree")


def test_in_place_of_one_folder(odd: Node, bare: str, tmp_path: Path) -> None:
    for number, target in enumerate((None, bare)):
        folder = tmp_path / f"sticky{number}"
        folder.mkdir()
        (folder / "added").touch()
        more = {"target": target} if target else {}
        odd.ask("restore", dest=str(folder), path="sticky", replace="in_place", **more)
        same(odd.source / "sticky", folder)


def test_a_failed_restore_in_place_says_so_and_goes_on_later(damaged: Node, worn: Path, runs: list[str]) -> None:
    (volume,) = damaged.repository.glob("duplicity-full.*.vol2.*")
    good = volume.read_bytes()
    volume.write_bytes(good[:1000] + b"?" + good[1001:])
    answer = damaged.ask("restore", dest=str(worn), replace="in_place")
    assert (answer["failed"], answer["changed"]) == (True, True)
    assert answer["msg"].startswith(f"The restore in place failed, {worn} is incomplete: a volume does not match")
    assert answer["msg"].endswith("Then run the same again.")
    assert (worn / in_place.MARK).is_dir()
    volume.write_bytes(good)
    answer = damaged.ask("restore", dest=str(worn), replace="in_place")
    assert answer["outcome"] == "ok"
    assert not (worn / in_place.MARK).exists()
    same(damaged.source, worn)


def test_two_at_a_time_in_one_place_are_refused(odd: Node, worn: Path) -> None:
    held = in_place._enter(str(worn / in_place.MARK))
    try:
        with pytest.raises(LifeboatError, match=r"another restore works in .*worn: wait for it to end"):
            odd.ask("restore", dest=str(worn), replace="in_place")
    finally:
        os.close(held)


def test_what_is_not_restored_in_place(odd: Node, bare: str, worn: Path) -> None:
    with pytest.raises(Refused, match="a selection is not restored in place"):
        odd.ask("restore", dest=str(worn), replace="in_place", select=["+ page.php", "- **"])
    with pytest.raises(Refused, match=r"what is to be restored is no folder, and .* is one: set replace to true"):
        odd.ask("restore", dest=str(worn), replace="in_place", path="page.php")
    before = state(worn)
    for more in ({}, {"target": bare}):
        with pytest.raises(Refused, match="the path is not in that restore point: list its files first"):
            odd.ask("restore", dest=str(worn), replace="in_place", path="no/such", **more)
    assert state(worn) == before
    assert not (worn / in_place.MARK).exists()


_MOUNTED = """
import json, os, subprocess, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import request
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
values, layout, where = json.load(sys.stdin)
subprocess.run(["mount", "-t", "tmpfs", "none", where], check=True)
open(where + "/old", "w").close()
answer = request.handle(values, Layout(*layout))
subprocess.run(["cp", "-a", where, where + ".copy"], check=True)
print(answer["msg"])
"""


@pytest.mark.usefixtures("may_mount")
def test_a_mount_point_can_be_restored_in_place(odd: Node, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    values = odd.values("restore", dest=str(tmp_path / "disk"), replace="in_place")
    done = odd.run_script(_MOUNTED, values, str(tmp_path / "disk"), before=("unshare", "--mount"))
    assert done.returncode == 0, done.stderr
    same(odd.source, tmp_path / "disk.copy")

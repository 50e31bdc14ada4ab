# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Options of a backup, with the real duplicity: what is stored, and what a restore must prove against the witness."""

from __future__ import annotations

import json
import os
import time
import typing as t
from datetime import timedelta
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    command,
    execute,
    fleet,
    priority,
    profile,
    request,
    space,
    times,
    unit,
    witness,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

OF_DIRECT_TARGETS = set(profile.FIELDS) - {"node", "store", "fingerprint", *profile.KEEPING}


def test_every_option_can_be_given_with_a_target() -> None:
    assert request._KEYS["backup"] | request._COMMON >= OF_DIRECT_TARGETS


def names(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))


def records(node: Node) -> list[dict[str, t.Any]]:
    return [json.loads(path.read_text()) for path in sorted((node.corner / "records/site").glob("*.json"))]


def next_second() -> None:
    time.sleep(1.001 - time.time() % 1)


# --- selection --------------------------------------------------------------------------------------------------------


def test_rules_are_taken_in_order_and_the_witness_agrees(node: Node) -> None:
    for name in ("var/cache/a", "var/cache/keep/b", "var/log/c", "x.tmp", "keep.tmp"):
        (node.source / name).parent.mkdir(parents=True, exist_ok=True)
        (node.source / name).write_text(name)
    node.backup(
        select=[f"+ {node.source}/var/cache/keep", f"- {node.source}/var/cache", "+ **keep.tmp"],
        exclude=["**.tmp"],
    )
    tree = node.restore()
    assert names(tree) == [
        *("folder", "folder/old", "keep.tmp", "page.php"),
        *("var", "var/cache", "var/cache/keep", "var/cache/keep/b", "var/log", "var/log/c"),
    ]
    assert node.proven(tree)["comparison"]["differences"] == 0


def test_an_include_does_not_drop_the_other_files(node: Node) -> None:
    """duplicity alone would: it takes them for folders to look into, in a backup and in a restore."""
    (node.source / "picture.jpg").touch()
    node.backup(select=["+ **.php", f"- {node.source}/folder"])
    assert names(node.restore()) == ["page.php", "picture.jpg"]
    (node.source / "late").touch()
    node.backup()
    tree = node.restore(select=["+ **.php", "- late"])
    assert names(tree) == ["folder", "folder/old", "page.php", "picture.jpg"]
    with pytest.raises(Refused, match=r"'select' ends with the include '\*\*.php', which changes nothing"):
        node.restore(select=["+ **.php"])


def test_marked_folders_and_presets_are_left_out(node: Node) -> None:
    for name in ("big/.nobackup", "big/x", "blog/wp-content/cache/p", "blog/wp-content/uploads/photo.jpg"):
        (node.source / name).parent.mkdir(parents=True, exist_ok=True)
        (node.source / name).write_text(name)
    node.backup(exclude_if_present=[".nobackup"], presets=["wordpress"])
    tree = node.restore()
    assert [name for name in names(tree) if name.startswith(("big", "blog"))] == [
        *("blog", "blog/wp-content", "blog/wp-content/uploads", "blog/wp-content/uploads/photo.jpg"),
    ]
    node.proven(tree)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"select": ["page.php"]}, "write '\\+ pattern' to include"),
        ({"presets": ["drupal"]}, "preset 'drupal' is unknown"),
        ({"nice": 20}, "'nice' must be at most 19"),
        ({"upload_kib_per_second": 9}, "works for an s3:// store only"),
        ({"store": {"storage_class": "DEEP_ARCHIVE"}}, "'storage_class' is 'DEEP_ARCHIVE': use one of STANDARD, "),
        ({"tmpdir": "/no/such/folder"}, "there is no folder /no/such/folder: correct 'tmpdir' of the profile"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_stored(node: Node, given: dict[str, t.Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        node.ask("backup", **given)
    assert not node.repository.exists()


# --- nothing has changed ----------------------------------------------------------------------------------------------


def test_an_unchanged_source_makes_no_set(node: Node) -> None:
    first = node.backup(skip_if_unchanged=True)
    stored = names(node.repository)
    next_second()
    answer = node.backup(skip_if_unchanged=True)
    newest = first["record"]["set_time"]
    assert (answer["changed"], answer["outcome"], answer["rc"]) == (False, "ok", None)
    assert answer["msg"] == f"Nothing has changed since {newest}: that restore point stands, no set was made."
    assert names(node.repository) == stored
    look = records(node)[-1]
    assert look == answer["record"]
    assert (look["mode"], look["set_time"], look["chain"], look["objects"]) == (None, newest, newest, [])
    assert (look["files"], look["bytes"]) == (first["record"]["files"], first["record"]["bytes"])
    # and the fleet's status takes it for a fresh look
    (found,) = fleet.read(Location(f"file://{node.root / 'store'}"), [fleet.Wanted("node1", "site")])
    seen = times.parse_stamp(look["started"])
    row = fleet.status(found, seen + timedelta(hours=25), 25.0)
    assert (row.state, row.age_hours, row.point, row.points) == ("ok", 25.0, newest, 1)
    assert fleet.status(found, seen + timedelta(hours=26), 25.0).state == "stale"


def test_a_change_or_other_rules_make_a_set(node: Node) -> None:
    """All kinds of changes are in test_witness.py; this is the one that duplicity itself would not see."""
    node.backup(skip_if_unchanged=True)
    page = node.source / "page.php"
    status = page.stat()
    page.write_text("<?php echo 2;\n")
    os.utime(page, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert node.backup(skip_if_unchanged=True)["changed"]
    assert (node.restore() / "page.php").read_text() == "<?php echo 2;\n"
    assert node.backup(skip_if_unchanged=True, exclude=["**.php"])["changed"]
    node.proven(node.restore())


def test_what_changed_during_the_last_run_is_no_base(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    run = execute.run

    def meddling(*arguments: t.Any, **options: t.Any) -> execute.Finished:
        done = run(*arguments, **options)
        (node.source / "page.php").write_text("<?php echo 3;\n")
        return done

    monkeypatch.setattr(execute, "run", meddling)
    node.backup(skip_if_unchanged=True)
    monkeypatch.setattr(execute, "run", run)
    assert node.backup(skip_if_unchanged=True)["changed"]
    assert (node.restore() / "page.php").read_text() == "<?php echo 3;\n"


def test_a_lost_volume_is_no_base(node: Node) -> None:
    node.backup(skip_if_unchanged=True)
    next(node.repository.glob("*.vol1.*")).unlink()
    answer = node.backup(skip_if_unchanged=True)
    assert (answer["changed"], answer["record"]["mode"], answer["outcome"]) == (True, "full", "warning")


def test_a_repository_elsewhere_is_skipped_too(node: Node, tmp_path: Path) -> None:
    target = f"file://{tmp_path / 'disk'}"
    node.backup(target=target, skip_if_unchanged=True)
    next_second()
    assert not node.backup(target=target, skip_if_unchanged=True)["changed"]


def test_a_set_is_made_when_hashes_are_old(node: Node) -> None:
    node.backup(skip_if_unchanged=True)
    path = node.state / "witness.gz"
    last = witness.parse(path.read_bytes())
    last.entries[b"page.php"]["H"] -= 60
    path.write_bytes(witness.dump(last))
    assert node.backup(skip_if_unchanged=True)["changed"]
    assert not node.backup(skip_if_unchanged=True)["changed"]


# --- a chain's length -------------------------------------------------------------------------------------------------


def test_a_full_comes_after_so_many_incrementals(node: Node) -> None:
    modes = []
    for number in range(3):
        (node.source / "page.php").write_text(f"<?php echo {number};\n")
        modes.append(node.backup(full_every_incrementals=1, full_every_days=3000)["record"]["mode"])
    assert modes == ["full", "incremental", "full"]
    tree = node.restore()
    assert (tree / "page.php").read_text() == "<?php echo 2;\n"


# --- room and places --------------------------------------------------------------------------------------------------


def test_too_little_room_is_refused_before_the_run(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space.check, "__defaults__", (lambda folder: (1, 5 << 20),))
    with pytest.raises(LifeboatError) as error:
        node.ask("backup", volume_mib=10)
    assert str(error.value).startswith(
        f"there is too little room for volumes in {node.cache.parents[1]}/tmp: needed are about 44 MiB, free are 5; "
    )
    assert not node.repository.exists()
    assert not (node.cache.parents[1] / "tmp").exists()


def test_temporary_files_go_where_they_may(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "other").write_text("of another program")
    (tmp_path / "scratch" / f"lifeboat-{node.local}").mkdir()
    (tmp_path / "scratch" / f"lifeboat-{node.local}" / "left").write_text("by a killed run")
    seen: list[t.Any] = []
    run = execute.run
    monkeypatch.setattr(execute, "run", lambda argv, env, **more: seen.append((argv, env)) or run(argv, env, **more))
    node.backup(tmpdir=str(tmp_path / "scratch"))
    ours = str(tmp_path / "scratch" / f"lifeboat-{node.local}")
    argv, env = next((argv, env) for argv, env in seen if command.LAUNCHER in argv)
    assert (argv[argv.index("--tempdir") + 1], env["TMPDIR"]) == (ours, ours)
    assert env["LC_ALL"] == "C.UTF-8"
    assert names(tmp_path / "scratch") == ["other"]


def test_a_link_in_place_of_the_temporary_folder_is_not_followed(node: Node, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").touch()
    (tmp_path / "scratch" / f"lifeboat-{node.local}").symlink_to(tmp_path / "victim")
    with pytest.raises(
        LifeboatError, match=r"cannot make .*/scratch/lifeboat-direct-\w+: File exists; let this run's user"
    ):
        node.ask("backup", tmpdir=str(tmp_path / "scratch"))
    assert names(tmp_path / "victim") == ["file"]


def test_a_run_steps_back_as_its_profile_says(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[t.Any] = []
    # for real it would last as long as this process; see test_priority.py
    monkeypatch.setattr(priority, "lower", lambda *wish: seen.append(wish) or ["no ionice."])
    answer = node.backup(nice=10, ionice="idle")
    assert seen == [(10, "idle")]
    assert answer["warnings"] == ["no ionice."]


def test_the_unit_reads_them_from_the_profile(node: Node) -> None:
    settings = {
        "node": "node1",
        "source": str(node.source),
        "store": {"url": f"file://{node.corner}"},
        "fingerprint": None,
        "exclude_if_present": ["old"],
        "skip_if_unchanged": True,
    }
    (node.root / "etc" / "site.json").write_text(json.dumps(settings))
    assert unit.run("site", node.layout).record.files == 1
    next_second()
    result = unit.run("site", node.layout)
    assert (result.changed, result.failed) == (False, False)
    assert unit.last("site", node.layout)["msg"].startswith("Nothing has changed since ")

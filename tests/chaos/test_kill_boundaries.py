# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""SIGKILL at every phase boundary, once each. Afterwards the next run succeeds by itself, every restore point is what the
source was, and nothing is left of the killed run: no temporary file, no process, no agent, no lock."""

from __future__ import annotations

import json
import typing as t

import pytest
from tests.chaos.conftest import Called, Launched, Site
from tests.unit.engine.test_backup import same

VOLUME = r"\.vol{}\.difftar"
SIGNATURE = r"signatures\..*\.sigtar"
MANIFEST = r"\.manifest"


class Case(t.NamedTuple):
    name: str
    mode: str
    plan: Launched | Called
    values: dict[str, t.Any] = {}  # noqa: RUF012 - a tuple's default, not a class's


BACKUPS = [
    Case("before the first volume", "full", Launched(VOLUME.format(1), "before", "engine")),
    Case("between volumes", "full", Launched(VOLUME.format(1), "after", "duplicity")),
    Case(
        "between volumes that workers upload", "full", Launched(VOLUME.format(2), "before", "both"), {"concurrency": 2}
    ),
    Case("while workers upload", "full", Launched(VOLUME.format(1), "after", "engine"), {"concurrency": 2}),
    Case("before the signature", "full", Launched(SIGNATURE, "before", "both")),
    Case("before the manifest", "full", Launched(MANIFEST, "before", "engine")),
    Case("after the manifest", "full", Launched(MANIFEST, "after", "both")),
    Case("before the key is noted", "full", Called("backup._write", "before", "/key")),
    Case("before the first volume", "incremental", Launched(VOLUME.format(1), "before", "both")),
    Case("between volumes", "incremental", Launched(VOLUME.format(1), "after", "engine")),
    Case("before the signature", "incremental", Launched(SIGNATURE, "before", "duplicity")),
    Case("before the manifest", "incremental", Launched(MANIFEST, "before", "both")),
    Case("within the manifest", "incremental", Launched(MANIFEST, "within", "both")),
    Case("after the manifest", "incremental", Launched(MANIFEST, "after", "engine")),
    Case("before the witness", "incremental", Called("store.FileStore.write", "before", "witness")),
    Case("before the record", "incremental", Called("store.FileStore.write", "before", r"-backup\.json")),
    Case("within the record", "incremental", Called("os.replace", "before", r"-backup\.json")),
    Case("after the record", "incremental", Called("store.FileStore.write", "after", r"-backup\.json")),
]


@pytest.mark.parametrize("case", BACKUPS, ids=[f"{case.mode}, {case.name}" for case in BACKUPS])
def test_a_killed_backup(site: Site, case: Case) -> None:
    site.change()
    attempt = site.copy()
    site.killed("backup", case.plan, mode=case.mode, **case.values)
    site.known(attempt)
    site.change()
    site.backup()
    site.clean()
    site.check()
    site.clean()


# --- restore ----------------------------------------------------------------------------------------------------------

RESTORES = [
    # name, replace, kill, further values, is the new tree there?
    ("before the first volume", False, Called("opening.Opener._fetched", "before"), {}, False),
    ("between volumes", True, Called("opening.Opener._fetched", "before", nth=3), {}, False),
    ("while a volume is unpacked", True, Called("fast._Reader._note", "after"), {}, False),
    (
        "while duplicity reads",
        True,
        Launched(VOLUME.format(2), "after", "engine", "get"),
        {"reader": "duplicity"},
        False,
    ),
    (
        "duplicity alone",
        False,
        Launched(VOLUME.format(1), "before", "duplicity", "get"),
        {"reader": "duplicity"},
        False,
    ),
    ("before the swap", True, Called("destination.put_in_place", "before"), {}, False),
    ("after the swap", True, Called("destination.put_in_place", "after"), {}, True),
    ("after the first name", False, Called("destination.put_in_place", "after"), {}, True),
]


@pytest.mark.parametrize("case", RESTORES, ids=[f"{case[0]}, replace {case[1]}" for case in RESTORES])
def test_a_killed_restore(site: Site, case: tuple[str, t.Any, Launched | Called, dict[str, t.Any], bool]) -> None:
    _name, replace, plan, values, done = case
    live = site.room / "live"
    if replace:
        live.mkdir()
        (live / "old").write_text("old")
    site.killed("restore", plan, dest=str(live), replace=replace, **values)
    if done:
        same(site.newest, live)
    elif replace:
        assert {path.name: path.read_text() for path in live.iterdir()} == {"old": "old"}
    else:
        assert not live.exists()
    answer = site.node.ask("restore", dest=str(live), replace=replace)
    assert (answer["failed"], answer["changed"]) == (False, not done)
    same(site.newest, live)
    site.clean()
    site.check()


IN_PLACE = [
    ("before anything is removed", Called("in_place._clear", "before")),
    ("when all is removed that does not belong", Called("in_place._clear", "after")),
    ("between volumes, the engine alone", Launched(VOLUME.format(2), "before", "engine", "get")),
    ("between volumes, duplicity alone", Launched(VOLUME.format(2), "before", "duplicity", "get")),
    ("before the mark goes", Called("in_place._leave", "before")),
    ("while the mark goes", Called("os.utime", "before", "live")),
]


@pytest.mark.parametrize(("name", "plan"), IN_PLACE, ids=[name for name, _plan in IN_PLACE])
def test_a_killed_restore_in_place(site: Site, name: str, plan: Launched | Called) -> None:
    live = site.room / "live"
    site.node.ask("restore", dest=str(live), time=min(site.copies))
    (live / "added").mkdir()
    (live / "added" / "file").write_text("x")
    inode = live.stat().st_ino
    site.killed("restore", plan, dest=str(live), replace="in_place")
    if name != "while the mark goes":
        assert (live / ".lifeboat-incomplete").is_dir()
    answer = site.node.ask("restore", dest=str(live), replace="in_place")
    assert not answer["failed"], answer
    same(site.newest, live)
    assert live.stat().st_ino == inode
    assert not (live / ".lifeboat-incomplete").exists()
    site.clean()
    site.check()


# --- prune ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 7, 9])
def test_a_killed_prune(site: Site, nth: int) -> None:
    """The first chain may go: two manifests, two witnesses, two records, then volumes and signatures."""
    site.change()
    site.backup(mode="full")
    site.change()
    site.backup(mode="incremental")
    old = sorted(site.copies)[:2]
    site.killed("prune", Called("pathlib.Path.unlink", "before", "nodes/node1", nth))
    seen = {point["time"] for point in site.node.ask("info", encryption=None)["points"]}
    for moment in old:
        if moment not in seen:
            del site.copies[moment]
    site.check()  # what still looks whole is
    again = site.start("prune")
    assert again.wait(300) == 0
    answer = json.loads(site.said())
    assert (answer["failed"], answer["changed"]) == (False, True), answer
    for moment in old:
        site.copies.pop(moment, None)
    site.clean()
    site.check()
    left = [path for path in site.node.corner.rglob("*") if any(moment in path.name for moment in old)]
    assert left == []

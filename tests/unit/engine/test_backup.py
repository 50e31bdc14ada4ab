# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Backups with the real duplicity: what comes back, what is chosen, what a crash leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import backup, chains, profile, witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair


def same(one: Path, two: Path) -> None:
    """Two trees are equal, as ``diff`` and ``lstat`` see it: nothing of the engine takes part."""
    done = subprocess.run(
        ["diff", "--recursive", "--no-dereference", "--brief", "--exclude=fifo", str(one), str(two)],
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout

    def facts(root: Path) -> dict[bytes, tuple[t.Any, ...]]:
        top = os.fsencode(root)
        found = {}
        for folder, folders, files in os.walk(top):
            for name in [*folders, *files, b"."]:
                status = os.lstat(os.path.join(folder, name))
                link = stat.S_ISLNK(status.st_mode)
                found[os.path.relpath(os.path.join(folder, name), top)] = (
                    stat.S_IFMT(status.st_mode),
                    0 if link else stat.S_IMODE(status.st_mode),
                    status.st_uid,
                    status.st_gid,
                    0 if link else int(status.st_mtime),
                    status.st_size if stat.S_ISREG(status.st_mode) else 0,
                )
        return found

    assert facts(one) == facts(two)


def leftovers(root: Path) -> list[str]:
    """What must not be there after a run: temporary folders, agents whose keyring we made, swapped trees."""
    found = [str(path) for path in root.glob("**/.lifeboat-*")] + [str(path) for path in root.glob("cache/*/tmp")]
    return found + [str(path) for path in root.glob("cache/**/*.part*")]


# --- what comes back ------------------------------------------------------------------------------------------------


def test_an_odd_tree_comes_back_byte_by_byte(odd: Node, tmp_path: Path) -> None:
    here = odd.copy(tmp_path / "node")
    tree = here.restore()
    same(odd.source, tree)
    assert sorted(os.listdir(os.fsencode(tree))) == sorted(os.listdir(os.fsencode(odd.source)))
    assert stat.S_ISFIFO((tree / "fifo").lstat().st_mode)
    assert stat.S_IMODE((tree / "setuid").stat().st_mode) == 0o4755
    # duplicity does not keep that two names are one file (see the facts): both have the content
    assert (tree / "hard link").read_bytes() == (tree / "setuid").read_bytes()
    assert here.proven(tree)["comparison"]["differences"] == 0
    assert leftovers(tmp_path) == []


def test_the_full_alone_comes_back_too(odd: Node, tmp_path: Path) -> None:
    here = odd.copy(tmp_path / "node")
    first = json.loads(min((here.corner / "records/site").glob("*.json")).read_text())
    tree = here.restore(time=first["set_time"])
    assert (tree / "page.php").read_text() == "<?php echo 1;\n"
    assert (tree / "folder" / "old").read_text() == "as ever\n"
    assert not (tree / "new").exists()
    answer = here.ask("verify", dest=str(tree), time=first["set_time"])
    assert answer["outcome"] == "ok"


def test_an_encrypted_tree_comes_back(sealed: Node, tmp_path: Path) -> None:
    here = sealed.copy(tmp_path / "node")
    tree = here.restore()
    same(sealed.source, tree)
    here.proven(tree)
    assert all(path.suffix == ".gpg" for path in here.repository.iterdir())
    stored = b"".join(path.read_bytes() for path in here.corner.rglob("*") if path.is_file())
    assert b"echo 2" not in stored
    assert b"page.php" not in stored


def test_a_record_says_what_is_stored(sealed: Node) -> None:
    records = [json.loads(path.read_text()) for path in sorted((sealed.corner / "records/site").glob("*.json"))]
    assert [entry["mode"] for entry in records] == ["full", "incremental"]
    assert {entry["chain"] for entry in records} == {records[0]["set_time"]}
    named = {item["name"]: item["bytes"] for entry in records for item in entry["objects"]}
    assert named == {path.name: path.stat().st_size for path in sealed.repository.iterdir()}
    assert all((sealed.corner / entry["witness"]).is_file() for entry in records)


def test_a_record_has_a_checksum_of_every_object(sealed: Node) -> None:
    records = [json.loads(path.read_text()) for path in sorted((sealed.corner / "records/site").glob("*.json"))]
    told = {item["name"]: item["checksum"] for entry in records for item in entry["objects"]}
    for path in sealed.repository.iterdir():
        algorithm = "sha1" if ".vol" in path.name else "sha256"
        assert told[path.name] == f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


def test_only_their_owner_reads_state_and_cache(sealed: Node) -> None:
    for path in (sealed.state, sealed.cache.parents[1]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((sealed.state / "witness.gz").stat().st_mode) == 0o600


def test_a_repository_elsewhere_keeps_no_records(node: Node, tmp_path: Path) -> None:
    target = f"file://{tmp_path / 'disk'}"
    answer = node.backup(target=target)
    assert (answer["record"]["node"], answer["record"]["profile"]) == (None, None)
    assert {path.name.split(".")[0] for path in (tmp_path / "disk").iterdir()} == {
        "duplicity-full",
        "duplicity-full-signatures",
    }
    tree = node.restore(target=target)
    same(node.source, tree)


def test_excluded_paths_are_neither_stored_nor_missed(node: Node) -> None:
    (node.source / "cache").mkdir()
    (node.source / "cache" / "x").write_text("x")
    (node.source / "a.tmp").write_text("x")
    node.backup(exclude=[f"{node.source}/cache", "**.tmp"])
    tree = node.restore()
    assert sorted(os.listdir(tree)) == ["folder", "page.php"]
    node.proven(tree)


# --- a file that duplicity would not look at --------------------------------------------------------------------------


def rewrite(path: Path, text: str) -> None:
    """Another content with the same size and mtime."""
    status = path.stat()
    assert len(text) == status.st_size
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_rewrite_with_the_same_mtime_is_kept(node: Node) -> None:
    node.backup()
    rewrite(node.source / "page.php", "<?php echo 7;\n")
    node.backup(mode="incremental")
    tree = node.restore()
    assert (tree / "page.php").read_text() == "<?php echo 7;\n"
    node.proven(tree)


def test_without_our_help_duplicity_loses_it_and_the_witness_tells(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.backup()
    rewrite(node.source / "page.php", "<?php echo 7;\n")
    monkeypatch.setattr(witness, "closely", lambda before, last, since: [])
    node.backup(mode="incremental")
    tree = node.restore()
    assert (tree / "page.php").read_text() == "<?php echo 1;\n"
    answer = node.ask("verify", dest=str(tree))
    assert answer["failed"]
    assert answer["comparison"]["first"] == [{"path": "page.php", "what": "content"}]


def test_bit_rot_in_the_source_is_a_warning(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.backup()
    last = witness.parse((node.state / "witness.gz").read_bytes())
    last.entries[b"page.php"] |= {"h": "0" * 64, "H": 0}  # as if the content had been another one, long ago
    (node.state / "witness.gz").write_bytes(witness.dump(last))
    answer = node.backup(mode="incremental")
    assert answer["outcome"] == "warning"
    (warning,) = answer["warnings"]
    assert warning == (
        "1 file(s) changed their content but not their times, so no incremental holds that: check the disk, then run a "
        "full (first: page.php)."
    )


# --- refused before anything starts -----------------------------------------------------------------------------------


def test_an_empty_source_is_refused(node: Node, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match=r"is empty: is it not mounted\?"):
        node.ask("backup", source=str(tmp_path / "empty"))
    assert not node.repository.exists()


def test_a_missing_source_is_refused(node: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot read the source .*/gone: No such file or directory; correct 'source'"):
        node.ask("backup", source=str(tmp_path / "gone"))


def test_patterns_that_leave_nothing_are_refused(node: Node) -> None:
    with pytest.raises(Refused, match="the exclude patterns leave nothing of "):
        node.ask("backup", exclude=["**"])
    assert not node.repository.exists()


def test_an_unknown_mode_is_refused(node: Node) -> None:
    with pytest.raises(Refused, match="mode 'differential' is unknown: use auto, full, incremental"):
        node.ask("backup", mode="differential")


def test_another_key_than_the_profiles_is_refused(node: Node, pair: Pair, stranger: Pair) -> None:
    settings = profile.from_dict(
        "site",
        {
            "node": "node1",
            "source": str(node.source),
            "store": {"url": f"file://{node.corner}"},
            "fingerprint": pair.fingerprint,
        },
    )
    for given_key in (stranger.public.encode(), None):
        with pytest.raises(LifeboatError, match="the node's public key is not the one in its profile"):
            backup.run(settings, "auto", given_key, node.layout)


def test_folders_that_cannot_be_made_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    layout = profile.Layout(*[str(tmp_path / "file")] * 4)
    with pytest.raises(
        LifeboatError, match=r"cannot make .*file/site: Not a directory; run as root or through the unit"
    ):
        backup.folders(layout, "site")


def test_a_clock_behind_the_newest_set_is_refused(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.repository.mkdir(parents=True)
    for part in ("vol1.difftar", "manifest"):
        (node.repository / f"duplicity-full.20991231T000000Z.{part}").touch()
    (node.repository / "duplicity-full-signatures.20991231T000000Z.sigtar.gz").touch()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(
        LifeboatError, match=r"the clock is behind the newest set \(20991231T000000Z\): set this node's"
    ):
        node.ask("backup")


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_while_another_process_holds_the_lock(node: Node) -> None:
    backup.folders(node.layout, node.local)
    path = node.state / "lock"
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(LifeboatError, match=r"another run holds .*/lock: wait for it to end"):
            node.ask("backup")
    finally:
        holder.communicate(b"\n")
    node.backup()


# --- a crash ----------------------------------------------------------------------------------------------------------

_RUN = """
import json, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import request
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
values, layout = json.load(sys.stdin)
request.handle(values, Layout(*layout))
"""


def whole(node: Node) -> list[chains.ObjectName]:
    """What the repository holds, but for an object on its way."""
    found = (chains.parse_name(path.name) for path in node.repository.glob("*"))
    return [name for name in found if name is not None]


def crash(node: Node, mode: str) -> None:
    """Start a backup and kill it with SIGKILL when it has stored two volumes: the engine alone, duplicity ends with it."""
    values = {
        "engine": backup.record.VERSION,
        "operation": "backup",
        "target": f"file://{node.repository}",
        "source": str(node.source),
        "mode": mode,
        "volume_mib": 1,
        "concurrency": 0,
    }
    layout = node.layout
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", _RUN], stdin=subprocess.PIPE, env=environment)
    assert parent.stdin is not None
    parent.stdin.write(json.dumps([values, [layout.etc, layout.state, layout.cache, layout.run]]).encode())
    parent.stdin.close()
    before = len(whole(node))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(whole(node)) < before + 2:
        time.sleep(0.002)
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    parent.kill()
    parent.wait()
    for _attempt in range(1000):
        if not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("duplicity outlives its engine, and holds the lock")


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_killed_run_leaves_nothing_that_the_next_one_trips_over(node: Node, mode: str) -> None:
    if mode == "incremental":
        node.backup(concurrency=0)
    for number in range(6):
        (node.source / f"f{number}").write_bytes(os.urandom(1_000_000))
    crash(node, mode)
    newest = max(name.time for name in whole(node))
    with pytest.raises(LifeboatError, match=f"{newest} cannot be restored: set {newest} lacks .*the manifest"):
        node.restore()
    # a resumed set would hold the old content of this file under the new record
    (node.source / "f0").write_bytes(b"changed since")
    (node.source / "f1").unlink()
    answer = node.backup(volume_mib=10)
    assert answer["record"]["mode"] == "full"
    assert answer["record"]["set_time"] > newest
    assert answer["warnings"][0].startswith(f"a full was made, since set {newest} lacks ")
    assert answer["outcome"] == "warning"
    tree = node.restore()
    same(node.source, tree)
    node.proven(tree)
    assert leftovers(node.root) == []


# --- full or incremental ----------------------------------------------------------------------------------------------


def test_a_lost_cache_makes_an_encrypted_auto_run_a_full(sealed: Node, tmp_path: Path) -> None:
    here = sealed.copy(tmp_path / "node")
    for path in here.cache.iterdir():
        path.unlink()
    with pytest.raises(
        Refused, match=r"an incremental is not possible: the cache does not hold the signatures of .*full"
    ):
        here.ask("backup", mode="incremental")
    answer = here.backup()
    assert answer["record"]["mode"] == "full"
    assert answer["outcome"] == "warning"
    assert answer["warnings"][0].startswith("a full was made, since the cache does not hold the signatures of ")
    assert len(list(here.repository.glob("duplicity-full.*.manifest.gpg"))) == 2


def test_a_lost_object_makes_an_auto_run_a_full(damaged: Node) -> None:
    lost = next(damaged.repository.glob("duplicity-full.*.vol3.difftar.gz"))  # the last one: only the record tells
    lost.unlink()
    with pytest.raises(Refused, match=r"an incremental is not possible: set .* lost duplicity-full"):
        damaged.ask("backup", mode="incremental")
    answer = damaged.backup()
    assert (answer["record"]["mode"], answer["outcome"]) == ("full", "warning")
    assert answer["warnings"] == [f"a full was made, since set {lost.name.split('.')[1]} lost {lost.name}."]

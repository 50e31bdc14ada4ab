# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The fast reader and repositories that are damaged or hostile: an error that says what is lost, nothing outside the
destination, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import typing as t
from pathlib import Path

import pytest
from tests.unit.engine.tree_histories import look

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import chains, crew, decrypt, difftar, fast, finish
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.delta_spool import DeltaSpool
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused, UnknownFormat
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.reading import Origin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, open_store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.tree import Attributes, Tree
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.unpack import Choice, Pending

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair


def read(repository: Path, destination: Path, key: str | None = None, **values: t.Any) -> fast.Counted:
    """The newest point; afterwards no process, thread or file of the reader is left."""
    location = Location(f"file://{repository}")
    chain = chains.collect(open_store(location).list()).chains[-1]
    spool = destination.parent / "spool"
    spool.mkdir(exist_ok=True)
    threads = threading.active_count()
    try:
        return fast.read(
            Origin(location, key.encode() if key else None),
            chain,
            chain.sets[-1],
            str(destination),
            **{"spool": str(spool), "workers": 2, **values},
        )
    finally:
        assert list(spool.iterdir()) == []
        assert threading.active_count() <= threads
        assert multiprocessing.active_children() == []
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert [child for child in children if "gpg" in Path(f"/proc/{child}/comm").read_text()] == []


def fails(repository: Path, tmp_path: Path, says: str, key: str | None = None, **values: t.Any) -> str:
    with pytest.raises(LifeboatError) as error:
        read(repository, tmp_path / "tree", key, **values)
    text = str(error.value)
    assert says in text
    assert text.endswith(".")
    assert "\n" not in text
    return text


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


# --- damage in real repositories --------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("hurt", [flip, cut, empty])
@pytest.mark.parametrize("volume", ["full.*.vol1", "full.*.vol2", "full.*.vol3", "inc.*.vol1"])
def test_a_volume_that_changed(damaged: Node, tmp_path: Path, hurt: t.Callable[[Path], None], volume: str) -> None:
    hurt(only(damaged.repository, f"duplicity-{volume}.*"))
    says = f"volume {volume[-1]} of set "
    text = fails(damaged.repository, tmp_path, "does not match its recorded hash; it holds ")
    assert text.startswith(says)


def test_swapped_volumes(damaged: Node, tmp_path: Path) -> None:
    one, two = (only(damaged.repository, f"duplicity-full.*.vol{number}.*") for number in (1, 2))
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    fails(damaged.repository, tmp_path, "does not match its recorded hash")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_volume(damaged: Node, tmp_path: Path, number: int) -> None:
    only(damaged.repository, f"duplicity-full.*.vol{number}.*").unlink()
    text = fails(damaged.repository, tmp_path, f"lacks volume {number}, which holds ")
    assert not (tmp_path / "tree").exists()
    assert "'volumes'" in text


def test_a_missing_manifest(damaged: Node, tmp_path: Path) -> None:
    only(damaged.repository, "duplicity-full.*.manifest").unlink()
    fails(damaged.repository, tmp_path, "has no manifests instead of one")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (rb"SHA1 \w", b"SHA1 f", "does not match its recorded hash"),
        (rb"Volume 3:(.|\n)*", b"", "holds volume 3, which its manifest does not name"),
        (rb"Volume 1:(.|\n)*?(?=Volume)", b"", "is damaged: it skips a volume"),
        (rb"(Volume 3:(?:.|\n)*)    Hash SHA1.*\n", rb"\1", "is damaged: what it says of volume 3 is incomplete"),
        (rb"(.|\n)*", b"", "is damaged: it is cut short"),
        (rb"\n\Z", b"", "is damaged: it is cut short"),
    ],
)
def test_another_manifest(damaged: Node, tmp_path: Path, old: bytes, new: bytes, says: str) -> None:
    path = only(damaged.repository, "duplicity-full.*.manifest")
    path.write_bytes(re.sub(old, new, path.read_bytes(), count=1))
    fails(damaged.repository, tmp_path, says)


def test_an_unknown_form_is_told_before_anything_is_written(damaged: Node, tmp_path: Path) -> None:
    path = only(damaged.repository, "duplicity-full.*.manifest")
    path.write_bytes(path.read_bytes().replace(b"SHA1", b"MD5"))
    with pytest.raises(UnknownFormat, match="its volumes have no SHA-1, but MD5"):
        read(damaged.repository, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_destination_that_exists_is_refused(odd: Node, live: Path) -> None:
    with pytest.raises(Refused, match="exists"):
        read(odd.repository, live)
    assert [path.name for path in live.iterdir()] == ["old"]


def test_a_path_that_is_not_there(odd: Node, tmp_path: Path) -> None:
    fails(odd.repository, tmp_path, "holds no 'no/such': check the path", path="no/such")


def test_keys(sealed: Node, stranger: Pair, tmp_path: Path) -> None:
    for key in (stranger.private, None):
        fails(sealed.repository, tmp_path, "none of these private keys is at hand", key)


def test_what_is_selected_comes_with_its_folders(odd: Node, tmp_path: Path) -> None:
    read(odd.repository, tmp_path / "all")
    read(odd.repository, tmp_path / "some", selected=lambda path: path in (b"page.php", b"new", b"sticky"))
    found, whole = look(tmp_path / "some"), look(tmp_path / "all")
    assert sorted(found) == [b".", b"new", b"page.php", b"sticky"]
    assert {path: whole[path] for path in found} == found


# --- the machine ------------------------------------------------------------------------------------------------------


def test_a_full_disk(odd: Node, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.fail("this test mounts a tmpfs: run it as root")
    try:
        for workers in (1, 2):
            shutil.rmtree(small / "tree", ignore_errors=True)
            with pytest.raises(LifeboatError, match=r"the disk of .*/tree is full: free space"):
                read(odd.repository, small / "tree", workers=workers, spool=str(tmp_path))
            assert sorted(path.name for path in small.iterdir()) == ["spool", "tree"]
        with pytest.raises(LifeboatError, match=r"the spool .* is full: free space"):
            read(odd.repository, tmp_path / "tree", spool=str(small))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_disk_that_has_room_for_half_a_delta(tmp_path: Path) -> None:
    """The kernel writes what it can and says how much: that is no damage of the repository."""
    delta = b"rs\x026" + b"\x43" + (50_000).to_bytes(4, "big") + bytes(50_000) + b"\0"
    entry = difftar.Entry("diff", 0, b"f", "file", (0o600, 0, 0), 0, b"", (0, 0), delta)

    def again(_number: int) -> t.Generator[difftar.Entry, None, None]:
        yield entry

    tree, spool = Tree(str(tmp_path / "tree")), DeltaSpool(str(tmp_path / "spool"))
    tree.write_part(b"f", 1, b"old")
    patch = {b"f": Pending(Attributes((0o600, 0, 0), 0), [], [1])}
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, usual[1]))  # stands for a disk with so many bytes left
    try:
        with pytest.raises(OSError, match="No space left on device"):
            finish.deferred(tree, patch, again, Choice(), spool)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        tree.close()
        spool.close()


def test_a_killed_gpg(sealed: Node, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(decrypt._Gpg):
        def __init__(self, path: str, name: str, home: str) -> None:
            super().__init__(path, name, home)
            if ".vol" in name:
                self._gpg.popen.kill()

    monkeypatch.setattr(decrypt, "_Gpg", Killed)
    fails(sealed.repository, tmp_path, "gpg was killed by signal 9: free memory, and try again", pair.private)


def test_a_killed_process(odd: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Doomed(fast.Worker):
        def _batch(self, value: t.Any) -> t.Any:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(fast, "Worker", Doomed)
    fails(odd.repository, tmp_path, "a process that unpacked volumes was killed: free memory, and try again")


def test_members_end_with_their_parent(tmp_path: Path) -> None:
    class Sleeper:
        def __call__(self, task: str, value: t.Any) -> t.Any:
            return os.getpid()

        def close(self) -> None:
            return

    read_end, write_end = os.pipe()
    parent = os.fork()
    if not parent:
        team = crew.Crew(2, Sleeper)
        os.write(write_end, " ".join(map(str, team.all(("x", None)))).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    os.close(write_end)
    members = os.read(read_end, 100).split()
    assert len(members) == 2
    assert os.read(read_end, 1) == b""  # the end: nobody holds the other side any more
    os.close(read_end)

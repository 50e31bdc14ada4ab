# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Comparing a restored tree with the witness: every difference is told, and nothing else proves a point."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import record, witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

Damage = t.Callable[[Path], None]


@pytest.fixture(scope="module")
def restored(odd: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("restored") / "tree"
    odd.ask("restore", dest=str(tree))
    return tree


def grow(path: Path) -> None:
    with path.open("ab") as handle:
        handle.write(b"x")


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def same_size(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"X" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "damage", "what"),
    [
        ("new", grow, "size"),
        ("new", same_size, "content"),
        ("new", touch, "mtime"),
        ("new", Path.unlink, "missing"),
        ("new", to_folder, "type"),
        ("new", lambda path: path.chmod(0o777), "mode"),
        ("setuid", lambda path: path.chmod(0o755), "mode"),
        ("new", lambda path: os.chown(path, 7, 7), "owner"),
        ("dangling", relink, "target"),
        ("empty folder", Path.rmdir, "missing"),
        ("extra", Path.touch, "extra"),
        (b"not \xff utf-8", grow, "size"),
    ],
)
def test_every_difference_is_told(
    odd: Node, restored: Path, tmp_path: Path, name: str | bytes, damage: Damage, what: str
) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["cp", "-a", str(restored), str(tree)], check=True)
    top = tree.stat()
    damage(tree / os.fsdecode(name))
    os.utime(tree, ns=(top.st_atime_ns, top.st_mtime_ns))
    answer = odd.ask("verify", dest=str(tree))
    assert answer["failed"]
    (first,) = answer["comparison"]["first"]
    assert first["what"] == what
    assert first["path"] == ("not \\xff utf-8" if isinstance(name, bytes) else name)
    assert ("path_base64" in first) == isinstance(name, bytes)
    assert answer["msg"].startswith(
        f"The tree is not what the node recorded: 1 path(s) differ from the witness, first: {what}"
    )
    json.dumps(answer).encode("utf-8")


def test_an_empty_tree_proves_nothing(odd: Node, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    answer = odd.ask("verify", dest=str(tmp_path / "tree"))
    assert answer["failed"]
    assert "nothing could be compared by content" in answer["msg"]


def test_a_tree_that_is_none_is_refused(odd: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is no folder: name the restored tree"):
        odd.ask("verify", dest=str(tmp_path / "none"))


def test_a_repository_without_a_corner_has_nothing_to_compare_with(odd: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="only a repository in a node's corner"):
        odd.ask("verify", dest=str(tmp_path), target="file:///srv/elsewhere")


def tampered(node: Node, change: t.Callable[[dict[str, t.Any]], None]) -> None:
    """Change the newest record."""
    path = max((node.corner / "records/site").glob("*.json"))
    entry = json.loads(path.read_text())
    change(entry)
    path.write_text(json.dumps(entry))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda entry: entry.update(outcome="failed"), "the store holds no record of point"),
        (lambda entry: entry.update(surprise=1), r"is not a run record \(ValueError\).*drill another one"),
        (lambda entry: entry.update(witness=None), "names no witness: it cannot be proven; drill another point"),
        (lambda entry: entry.update(node="node2"), "belongs to another point: this record is not to be trusted"),
        (lambda entry: entry.update(witness="records/site/none"), "cannot read .*/records/site/none: No such file"),
    ],
)
def test_a_record_that_does_not_fit_proves_nothing(
    damaged: Node, restored: Path, change: t.Callable[[dict[str, t.Any]], None], says: str
) -> None:
    tampered(damaged, change)
    with pytest.raises(LifeboatError, match=says):
        damaged.ask("verify", dest=str(restored))


def test_the_witness_of_another_point_is_not_believed(damaged: Node, restored: Path) -> None:
    first, last = sorted((damaged.corner / "records/site").glob("*.witness.gz"))
    shutil.copy(first, last)
    with pytest.raises(LifeboatError, match="belongs to another point"):
        damaged.ask("verify", dest=str(restored))


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(b"no json"), gzip.compress(b"[]\n[]\n")])
def test_a_damaged_witness_is_a_sentence(damaged: Node, restored: Path, data: bytes) -> None:
    max((damaged.corner / "records/site").glob("*.witness.gz")).write_bytes(data)
    with pytest.raises(LifeboatError, match=r"the witness is damaged .*: this point cannot be judged"):
        damaged.ask("verify", dest=str(restored))


def test_a_wrong_key_cannot_judge(sealed: Node, stranger: Pair, tmp_path: Path) -> None:
    with pytest.raises(LifeboatError, match="cannot decrypt: it is encrypted to "):
        sealed.ask("verify", dest=str(tmp_path), encryption={"private_key": stranger.private})


def test_witness_names_come_from_the_records_start(odd: Node) -> None:
    for path in (odd.corner / "records/site").glob("*.json"):
        entry = record.parse(path.read_bytes(), path.name)
        assert entry.witness == record.witness_name("records/site/", entry_start(entry)).removesuffix(".gpg")
        header = witness.parse((odd.corner / str(entry.witness)).read_bytes()).header
        assert header["set_time"] == entry.set_time
        assert header["source"] == str(odd.source)


def entry_start(entry: record.Record) -> t.Any:
    return record.parse_stamp(entry.started)

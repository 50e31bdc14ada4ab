# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Tables, and a node in a temporary folder that runs the real duplicity against ``file://`` targets.

``@pytest.mark.table("outcome.yml", "decide")`` runs a test once for each case in that list of the file beside it: the
case is the argument ``case``, its ``name`` is the test's id.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION, request
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout

HERE = Path(__file__).parent


# A busy machine is no failure, and the suite is to stay quick: tests that need more examples ask for them.
settings.register_profile("engine", deadline=None, max_examples=40)
settings.load_profile("engine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "table(file, list): run once for each case of that list in a YAML file")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("table")
    if marker is not None:
        file, name = marker.args
        cases = yaml.safe_load((HERE / file).read_text(encoding="utf-8"))[name]
        metafunc.parametrize("case", cases, ids=[case["name"] for case in cases])


@dataclass(frozen=True)
class Pair:
    """One OpenPGP key pair, armored."""

    fingerprint: str
    public: str
    private: str


@dataclass
class Node:
    """A node below ``root``: its source, its repository in a corner, and requests to its engine."""

    root: Path
    pair: Pair | None = None
    settings: dict[str, t.Any] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def corner(self) -> Path:
        return self.root / "store" / "nodes" / "node1"

    @property
    def repository(self) -> Path:
        return self.corner / "repo" / "site"

    @property
    def layout(self) -> Layout:
        return Layout(*(str(self.root / name) for name in ("etc", "state", "cache", "run")))

    @property
    def local(self) -> str:
        """Name of the folders that the engine keeps for this repository on the node."""
        return "direct-" + hashlib.sha256(f"file://{self.repository}".encode()).hexdigest()[:12]

    @property
    def state(self) -> Path:
        return self.root / "state" / self.local

    @property
    def cache(self) -> Path:
        return self.root / "cache" / self.local / "archive" / "repository"

    def ask(self, operation: str, **values: t.Any) -> dict[str, t.Any]:
        """One request, encrypted if the node has a key. Values given here win; None leaves one out."""
        return request.handle(self.values(operation, **values), self.layout)

    def values(self, operation: str, **values: t.Any) -> dict[str, t.Any]:
        """The request that :meth:`ask` makes."""
        key = "public_key" if operation == "backup" else "private_key"
        standard: dict[str, t.Any] = {"target": f"file://{self.repository}", **self.settings}
        if self.pair is not None:
            standard["encryption"] = {key: self.pair.public if operation == "backup" else self.pair.private}
        if operation == "backup":
            standard["source"] = str(self.source)
        return {"engine": VERSION, "operation": operation, **standard, **values}

    def run_script(
        self, script: str, values: dict[str, t.Any], where: str, before: t.Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """A process of its own that reads ``[values, layout, where]`` in JSON, to be killed or to see another world."""
        layout = self.layout
        return subprocess.run(
            [*before, sys.executable, "-c", script],
            input=json.dumps([values, [layout.etc, layout.state, layout.cache, layout.run], where]).encode(),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            timeout=120,
        )

    def newest_record(self) -> dict[str, t.Any]:
        """The last record in the store."""
        found: dict[str, t.Any] = json.loads(max((self.corner / "records/site").glob("*.json")).read_text())
        return found

    def backup(self, **values: t.Any) -> dict[str, t.Any]:
        """A backup that must end well."""
        answer = self.ask("backup", **values)
        assert not answer["failed"], answer
        return answer

    def restore(self, **values: t.Any) -> Path:
        """A restore that must end well; returns the restored tree."""
        destination = self.root / f"restored{len(list(self.root.glob('restored*')))}"
        answer = self.ask("restore", dest=str(destination), **values)
        assert not answer["failed"], answer
        return destination

    def proven(self, tree: Path) -> dict[str, t.Any]:
        """Our own comparison of a restored tree, which must find nothing."""
        answer = self.ask("verify", dest=str(tree))
        assert not answer["failed"], answer
        return answer

    def copy(self, root: Path) -> Node:
        """The same node elsewhere, to be damaged."""
        subprocess.run(["cp", "-a", str(self.root), str(root)], check=True)
        made = Node(root, self.pair, dict(self.settings))
        for name in ("state", "cache"):
            if (root / name / self.local).exists():
                (root / name / self.local).rename(root / name / made.local)
        return made


def make_node(root: Path, pair: Pair | None = None) -> Node:
    """A node with a small source and no backup yet."""
    node = Node(root, pair)
    for name in ("etc", "state", "cache", "run", "source/folder"):
        (root / name).mkdir(parents=True)
    (node.source / "page.php").write_text("<?php echo 1;\n")
    (node.source / "folder" / "old").write_text("as ever\n")
    return node


def make_pair(name: str) -> Pair:
    with Keyring() as ring:
        fingerprint = ring.generate(name)
        return Pair(fingerprint, ring.export_public(fingerprint).decode(), ring.export_secret(fingerprint).decode())


@pytest.fixture(scope="session")
def pair() -> Pair:
    return make_pair("Lifeboat node1")


@pytest.fixture(scope="session")
def stranger() -> Pair:
    return make_pair("Lifeboat stranger")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return make_node(tmp_path / "node")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with a file in a folder, one at the top, a link and a FIFO."""
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_text("one")
    (root / "top").write_text("two")
    (root / "link").symlink_to("top")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Not to be changed: a node in clear whose source holds every oddity, with one full and one incremental."""
    node = make_node(tmp_path_factory.mktemp("odd") / "node")
    make_odd(node.source)
    node.backup(mode="full", volume_mib=1)
    (node.source / "page.php").write_text("<?php echo 2;\n")
    (node.source / "new").write_text("new\n")
    (node.source / "folder" / "old").unlink()
    node.backup(mode="incremental")
    return node


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Node:
    """Not to be changed: an encrypted node with one full and one incremental."""
    node = make_node(tmp_path_factory.mktemp("sealed") / "node", pair)
    node.backup()
    (node.source / "page.php").write_text("<?php echo 2;\n")
    node.backup()
    return node


@pytest.fixture
def damaged(odd: Node, tmp_path: Path) -> Node:
    """A copy of ``odd`` to be damaged."""
    return odd.copy(tmp_path / "copy")


def make_odd(root: Path) -> None:
    """What people's trees hold: names of all kinds, links, modes, a FIFO, and one file over several volumes."""
    top = os.fsencode(root)
    for name in (
        b"line\nbreak",
        b"not \xff utf-8",
        b"-rf",
        b" blank ",
        b"\xc3\xbc",
        b"back\\slash",
        b"*?[a]",
        b"tab\there",
    ):
        Path(os.fsdecode(os.path.join(top, name))).write_bytes(b"in " + name)
    (root / "empty folder").mkdir()
    (root / "empty file").touch()
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "setuid").write_bytes(b"#!/bin/sh\n")
    (root / "setuid").chmod(0o4755)
    (root / "nobody reads").write_bytes(b"secret")
    (root / "nobody reads").chmod(0o000)
    (root / "dangling").symlink_to("no/such/place")
    os.symlink(b"to \xff", os.path.join(top, b"link \xff"))
    (root / "hard link").hardlink_to(root / "setuid")
    os.mkfifo(root / "fifo", 0o620)
    os.chown(root / "empty file", 1234, 4321)
    (root / "volumes").write_bytes(os.urandom(2_300_000))
    os.utime(root / "empty folder", (1_000_000_000, 1_000_000_000))
    assert stat.S_IMODE((root / "setuid").stat().st_mode) == 0o4755

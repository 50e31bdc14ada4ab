# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The archive that nodes install from. pip is a mock here; playbooks/rollout.yml runs the real one."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bundle
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError


@pytest.fixture
def parts(tmp_path: Path) -> tuple[str, str]:
    """A requirements file and an engine."""
    (tmp_path / "requirements.txt").write_text("x==1\n")
    (tmp_path / "engine").mkdir()
    for name in ("__init__.py", "cli.py", "notes.txt"):
        (tmp_path / "engine" / name).write_text(name)
    return str(tmp_path / "requirements.txt"), str(tmp_path / "engine")


def pip(monkeypatch: pytest.MonkeyPatch, code: int = 0, errors: str = "") -> list[list[str]]:
    """Each download leaves one wheel, the same for all."""
    calls: list[list[str]] = []

    def run(argv: list[str], **_: t.Any) -> subprocess.CompletedProcess[str]:
        calls.append(argv)
        folder = argv[argv.index("--dest") + 1]
        assert Path(argv[argv.index("--requirement") + 1]).read_text() == "x==1\n"
        Path(folder, "x-1-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(argv, code, "", errors)

    monkeypatch.setattr(bundle.subprocess, "run", run)
    return calls


def test_an_archive(parts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip(monkeypatch)
    what = bundle.recipe(*parts, "x86_64")
    cache = tmp_path / "cache"
    bundle.make(str(cache), what)
    assert [argv[argv.index("--python-version") + 1] for argv in calls] == list(bundle.PYTHONS)
    assert all({"--require-hashes", "--only-binary=:all:", "manylinux2014_x86_64"} <= set(argv) for argv in calls)
    with tarfile.open(cache / what.name) as archive:
        content = {entry.name: (entry.mode, entry.mtime, entry.uid) for entry in archive}
        command = archive.extractfile("bin/lifeboat").read().decode()  # type: ignore[union-attr]
        install = archive.extractfile("install").read()  # type: ignore[union-attr]
    assert content == {
        "bin/lifeboat": (0o755, 0, 0),
        "install": (0o755, 0, 0),
        "lifeboat_engine/__init__.py": (0o644, 0, 0),
        "lifeboat_engine/cli.py": (0o644, 0, 0),
        "requirements.txt": (0o644, 0, 0),
        "wheels/x-1-py3-none-any.whl": (0o644, 0, 0),
    }
    compile(command, "lifeboat", "exec")
    assert command.startswith("#!/opt/lifeboat/current/venv/bin/python -I\n")
    checker = subprocess.Popen(["sh", "-n"], stdin=subprocess.PIPE)
    checker.communicate(install)
    assert checker.returncode == 0
    assert (cache / what.name).stat().st_mode & 0o777 == 0o644
    assert len(os.listdir(cache)) == 2  # the archive and the wheels: nothing half-done


def test_two_controllers_make_the_same(parts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch)
    what = bundle.recipe(*parts, "x86_64")
    made = []
    for name in ("one", "two"):
        bundle.make(str(tmp_path / name), what)
        made.append((tmp_path / name / what.name).read_bytes())
    assert made[0] == made[1]


def test_wheels_are_downloaded_once(parts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip(monkeypatch)
    bundle.make(str(tmp_path / "cache"), bundle.recipe(*parts, "x86_64"))
    Path(parts[1], "cli.py").write_text("another engine")
    bundle.make(str(tmp_path / "cache"), bundle.recipe(*parts, "x86_64"))
    assert len(calls) == len(bundle.PYTHONS)
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 2
    bundle.make(str(tmp_path / "cache"), bundle.recipe(*parts, "aarch64"))
    assert len(calls) == 2 * len(bundle.PYTHONS)


def test_the_digest_stands_for_all_of_it(parts: tuple[str, str]) -> None:
    requirements, engine = parts
    digests = [
        bundle.recipe(requirements, engine, "x86_64").digest,
        bundle.recipe(requirements, engine, "aarch64").digest,
    ]
    Path(engine, "cli.py").write_text("changed")
    digests.append(bundle.recipe(requirements, engine, "x86_64").digest)
    Path(engine, "cli.py").rename(Path(engine, "other.py"))
    digests.append(bundle.recipe(requirements, engine, "x86_64").digest)
    Path(requirements).write_text("x==2\n")
    digests.append(bundle.recipe(requirements, engine, "x86_64").digest)
    assert len(set(digests)) == 5
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)
    Path(engine, "notes.txt").write_text("changed")  # nothing that is shipped
    assert bundle.recipe(requirements, engine, "x86_64").digest == digests[-1]


def test_a_failed_download_leaves_nothing(
    parts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip(monkeypatch, 1, "WARNING: slow\nERROR: no way out\nERROR: none at all\n")
    with pytest.raises(
        LifeboatError, match="cannot download the nodes' wheels: ERROR: no way out ERROR: none at all; check"
    ):
        bundle.make(str(tmp_path / "cache"), bundle.recipe(*parts, "x86_64"))
    assert os.listdir(tmp_path / "cache") == []
    pip(monkeypatch, 1, "something\nlast words\n")
    with pytest.raises(LifeboatError, match="wheels: last words; check this controller's way to its package index"):
        bundle.make(str(tmp_path / "cache"), bundle.recipe(*parts, "x86_64"))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a node installs, in one archive: wheels for every supported Python, the engine, the command, an installer.

Nodes have no way to a package index; the controller downloads once, checked by hash, and ships. The archive is known by
a digest of what it is made from, so a node that has it needs nothing, and two controllers make the same.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass

from . import VERSION
from .errors import LifeboatError

PYTHONS = ("3.10", "3.11", "3.12", "3.13")

_COMMAND = """\
#!/opt/lifeboat/current/venv/bin/python -I
import os
import sys

sys.path.insert(0, os.path.realpath("/opt/lifeboat/current"))
from lifeboat_engine.cli import main

sys.exit(main())
"""

# The virtualenv is made where it stays: its scripts hold its path. `complete` is written last, so that an installation
# that was cut short is done again.
_INSTALL = """\
#!/bin/sh
set -eu
cd "$(dirname "$0")"
rm -rf venv
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-index --find-links wheels --no-deps --require-hashes --only-binary=:all: \\
    --disable-pip-version-check --no-cache-dir -r requirements.txt
venv/bin/python -I -m compileall -q lifeboat_engine
rm -rf wheels
touch complete
"""


@dataclass(frozen=True)
class Recipe:
    """What an archive is made from: the requirements file's text, the engine's files by name, the architecture."""

    requirements: bytes
    engine: t.Mapping[str, bytes]
    architecture: str

    @property
    def digest(self) -> str:
        """16 hex digits that stand for all of it."""
        whole = hashlib.sha256()
        parts = [part for name in sorted(self.engine) for part in (name.encode(), self.engine[name])]
        for part in (self.requirements, self.architecture.encode(), _COMMAND.encode(), _INSTALL.encode(), *parts):
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()[:16]

    @property
    def name(self) -> str:
        """The archive's file name."""
        return f"lifeboat-{VERSION}-{self.architecture}-{self.digest}.tar"


def recipe(requirements: str, engine: str, architecture: str) -> Recipe:
    """Read the requirements file and the engine's folder."""
    files = {name: _read(os.path.join(engine, name)) for name in os.listdir(engine) if name.endswith(".py")}
    return Recipe(_read(requirements), files, architecture)


def _read(path: str) -> bytes:
    with open(path, "rb") as handle:
        return handle.read()


def make(cache: str, what: Recipe) -> None:
    """Download what is missing and write the archive, in one step at the end."""
    source = hashlib.sha256(what.requirements + what.architecture.encode()).hexdigest()[:16]
    wheels = os.path.join(cache, f"wheels-{source}")
    os.makedirs(cache, exist_ok=True)
    if not os.path.isdir(wheels):
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            for python in PYTHONS:
                _download(folder, what, python)
            os.chmod(folder, 0o755)  # noqa: S103 - wheels are public
            os.rename(folder, wheels)
            os.mkdir(folder)  # for the context manager to remove
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as handle:
        with tarfile.open(fileobj=handle, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data, mode in _content(what, wheels):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), mode
                archive.addfile(entry, io.BytesIO(data))
        os.fchmod(handle.fileno(), 0o644)
    os.replace(handle.name, os.path.join(cache, what.name))


def _content(what: Recipe, wheels: str) -> t.Iterator[tuple[str, bytes, int]]:
    yield "bin/lifeboat", _COMMAND.encode(), 0o755
    yield "install", _INSTALL.encode(), 0o755
    for name in sorted(what.engine):
        yield f"lifeboat_engine/{name}", what.engine[name], 0o644
    yield "requirements.txt", what.requirements, 0o644
    for name in sorted(os.listdir(wheels)):
        yield f"wheels/{name}", _read(os.path.join(wheels, name)), 0o644


def _download(folder: str, what: Recipe, python: str) -> None:
    listing = os.path.join(folder, ".requirements.txt")
    with open(listing, "wb") as handle:
        handle.write(what.requirements)
    argv = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--require-hashes", "--only-binary=:all:", "--python-version", python, "--implementation", "cp"),
        *("--platform", f"manylinux2014_{what.architecture}", "--dest", folder, "--requirement", listing),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    os.unlink(listing)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise LifeboatError(
            f"cannot download the nodes' wheels: {' '.join(said)[:400]}; check this controller's way to its package index."
        )

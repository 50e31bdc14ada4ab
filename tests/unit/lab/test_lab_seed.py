# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The data of a node, made in a scratch folder: every odd case is there, and changes repeat themselves."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "lab" / "seed_node.py"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the seed makes odd owners: only root may give files away")


def load(top: Path) -> ModuleType:
    """Return a fresh copy of the script that works below `top`."""
    spec = importlib.util.spec_from_file_location("seed_node", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TOP = os.fsencode(top / "www")
    module.ODD = module.TOP + b"/odd"
    module.MEMORY = top / "memory.json"
    module.BIG_MIB = 2
    for app, count in (("docs", 200), ("wordpress", 3)):
        (top / "www" / app).mkdir(parents=True)
        for number in range(count):
            (top / "www" / app / f"page{number}").write_text(f"page {number}\n" * number)
    return module


def digest(top: bytes) -> str:
    """Return a hash over names, kinds, modes, owners, targets and contents."""
    found = hashlib.sha256()
    for where, folders, names in os.walk(top):
        folders.sort()
        for path in sorted(where + b"/" + name for name in [*folders, *names]):
            status = os.lstat(path)
            found.update(path[len(top) :] + repr((status.st_mode, status.st_uid, status.st_gid)).encode())
            if stat.S_ISLNK(status.st_mode):
                found.update(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as stream:
                    found.update(stream.read())
    return found.hexdigest()


def test_odd_cases(tmp_path: Path) -> None:
    module = load(tmp_path)
    assert module.seed("docs", False) == {"seeded": True}
    assert module.seed("docs", False) == {"seeded": False}
    names = os.listdir(module.ODD)
    assert {b"line\nbreak", b"not-utf8-\xff\xfe\x80", b"--version", b"-rf"} <= set(names)
    assert max(len(name) for name in names) == 255
    status = {name: os.lstat(module.ODD + b"/" + name) for name in names}
    assert stat.S_ISFIFO(status[b"fifo"].st_mode)
    assert status[b"setuid"].st_mode & stat.S_ISUID
    assert status[b"sticky"].st_mode & stat.S_ISVTX
    assert status[b"uid-12345"].st_uid == 12345
    assert stat.S_IMODE(status[b"mode-000"].st_mode) == 0
    assert status[b"hard-one"].st_ino == status[b"hard-two"].st_ino
    assert status[b"sparse"].st_blocks * 512 < status[b"sparse"].st_size
    assert status[b"nanoseconds"].st_mtime_ns % 10**9 == 123_456_789
    assert not os.path.exists(module.ODD + b"/dangling")
    assert not os.path.exists(module.TOP + b"/wordpress")


def test_the_same_change_everywhere(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        module = load(tmp_path / name)
        module.seed("docs", True)
        states = [digest(module.TOP)]
        for generation in (1, 2):
            told = module.change()
            assert told["generation"] == generation
            states.append(digest(module.TOP))
        assert os.path.getsize(module.ODD + b"/big.bin") == 4 * module.MIB
        assert os.path.isfile(module.ODD + b"/becomes-dir") == os.path.isdir(module.ODD + b"/becomes-file")
        digests.append(states)
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 3

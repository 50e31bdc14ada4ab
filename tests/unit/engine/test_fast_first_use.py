# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The first use of an imported key: nobody else may use it at the same time."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

_GPG = """#!/bin/sh
case "$*" in *--no-auto-check-trustdb*) ;; *) exec {gpg} "$@" ;; esac
echo start >>{log}
sleep 0.1
{gpg} "$@"
code=$?
echo end >>{log}
exit $code
"""


def test_one_gpg_decrypts_alone_before_others_do(sealed: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gpg-agent 2.2 rewrites the key's file then; another one beside it failed now and then with 'No secret key'."""
    here = sealed.copy(tmp_path / "node")
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()
    (folder / "gpg").write_text(_GPG.format(gpg=shutil.which("gpg"), log=log))
    (folder / "gpg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    here.restore(reader="fast")
    steps = log.read_text().split()
    assert steps[:2] == ["start", "end"]
    assert len(steps) >= 6  # two manifests, which may share one, and two volumes

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The line on a terminal: a real one (a pty), which another end reads."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import terminal

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node

_RUN = f"""
import sys
from {terminal.__package__} import cli, profile, request, reporter, unit
from {terminal.__package__}.profile import Layout
layout = Layout(*sys.argv.pop(1).split(","))
for module in (cli, profile, request, unit):
    module.Layout = lambda: layout
reporter.INTERVAL = 0.01
if sys.argv[1] == "backup":
    unit.start = lambda name, wish: unit.run(name).to_dict()
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def site(node: Node) -> Node:
    for number in range(300):
        (node.source / f"file{number}").write_bytes(os.urandom(5000))
    settings = (
        f'"node": "n", "source": "{node.source}", "store": {{"url": "file://{node.corner}"}}, "fingerprint": null'
    )
    (node.root / "etc" / "site.json").write_text(f"{{{settings}}}")
    return node


def lifeboat(node: Node, *arguments: str, columns: int = 0, tty: bool = True) -> tuple[str, str]:
    """The command as a process: its standard output, and what a terminal gets on standard error."""
    mine, its = os.openpty() if tty else os.pipe()
    if tty:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    layout = ",".join(str(node.root / name) for name in ("etc", "state", "cache", "run"))
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, layout, *arguments],
        stdout=subprocess.PIPE,
        stderr=its,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        text=True,
    )
    os.close(its)
    shown = b""
    try:
        while block := os.read(mine, 65536):
            shown += block
    except OSError:  # EIO: the last process has closed the terminal
        pass
    os.close(mine)
    out, _ = process.communicate()
    assert process.returncode == 0, (out, shown)
    return out, shown.decode()


def test_a_backup_a_verify_and_a_restore(site: Node, tmp_path: Path) -> None:
    for arguments, phase in (
        (["backup", "site"], "backing up: "),
        (["verify", "site"], "verifying"),
        (["restore", "site", str(tmp_path / "tree")], "restoring"),
    ):
        out, shown = lifeboat(site, *arguments)
        lines = shown.split("\r\x1b[K")
        assert lines[0] == ""
        assert lines[-1] == "", "it is gone at the end"
        assert any(line.startswith(phase) for line in lines), lines
        assert "\n" not in shown
        assert out.count("\n") == 1


def test_a_line_is_never_wider_than_the_terminal(site: Node) -> None:
    _out, shown = lifeboat(site, "backup", "site", columns=30)
    widths = [len(line) for line in shown.split("\r\x1b[K")]
    assert max(widths) == 29


def test_quiet_and_no_terminal(site: Node, tmp_path: Path) -> None:
    out, shown = lifeboat(site, "backup", "site", "--quiet")
    assert shown == ""
    assert out.startswith("Backed up 302 files")
    out, shown = lifeboat(site, "verify", "site", tty=False)
    assert shown == ""
    _out, shown = lifeboat(site, "restore", "site", str(tmp_path / "tree"), "--quiet")
    assert shown == ""

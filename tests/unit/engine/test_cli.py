# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The command on a node: help, exit codes, one sentence for each mistake."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION, cli, profile, request, unit
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair

Said = tuple[int, str, str]


@pytest.fixture
def lifeboat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> t.Callable[..., Said]:
    """The command in this process, on a node whose folders are in ``tmp_path``: exit code, output, errors."""
    folders = [str(tmp_path / "node" / name) for name in ("etc", "state", "cache", "run")]
    for module in (profile, request, unit, cli):
        monkeypatch.setattr(module, "Layout", lambda: Layout(*folders))

    def run(*argv: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # not in the tests' own process
        try:
            code = cli.main(list(argv))
        except SystemExit as ended:  # argparse
            code = t.cast(int, ended.code)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def install(node: Node, **changes: t.Any) -> None:
    data = {"node": "node1", "source": str(node.source), "store": {"url": f"file://{node.corner}"}, "fingerprint": None}
    (node.root / "etc" / "site.json").write_text(json.dumps(data | changes))


@pytest.mark.parametrize("verb", [[], ["status"], ["points"], ["backup"], ["restore"], ["verify"], ["unit"]])
def test_help(lifeboat: t.Callable[..., Said], verb: list[str]) -> None:
    code, out, err = lifeboat(*verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(" ".join(["usage: lifeboat", *verb]))


def test_without_a_verb_the_help_is_shown(lifeboat: t.Callable[..., Said]) -> None:
    code, out, _err = lifeboat()
    assert code == 2
    assert "lifeboat restore site /srv/back --key-fd 3 3< key.asc" in out
    assert "==SUPPRESS==" not in out


@pytest.mark.parametrize(
    "argv", [["none"], ["backup"], ["backup", "site", "--mode", "x"], ["restore", "site"], ["--x"]]
)
def test_a_wrong_command_line(lifeboat: t.Callable[..., Said], argv: list[str]) -> None:
    code, out, err = lifeboat(*argv)
    assert (code, out) == (2, "")
    assert "error: " in err


def test_version(lifeboat: t.Callable[..., Said]) -> None:
    assert lifeboat("--version") == (0, f"lifeboat {VERSION}\n", "")


def test_errors_are_one_sentence(lifeboat: t.Callable[..., Said], node: Node) -> None:
    for argv in (["status"], ["points", "site"], ["restore", "site", "/x"], ["unit", "site"], ["backup", "si/te"]):
        code, out, err = lifeboat(*argv)
        assert (code, out) == (1, "")
        assert err.startswith("lifeboat: ")
        assert err.count("\n") == 1
        assert err.rstrip().endswith(".")


def test_interrupted(lifeboat: t.Callable[..., Said], node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    install(node)

    def interrupt(*_: object) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(request, "handle", interrupt)
    assert lifeboat("verify", "site") == (130, "", "lifeboat: interrupted.\n")


_TOLD_TO_END = """
import os, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import cli, execute, keyring, request

def slow(values, layout=None):
    with keyring.Keyring() as ring:
        print(ring.home, flush=True)
        execute.run(["sleep", "60"], {"PATH": os.environ["PATH"]})

request.handle = slow
sys.exit(cli.main(["verify", "site"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_told_to_end_it_takes_its_keys_along(number: signal.Signals, code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = [sys.executable, "-c", _TOLD_TO_END]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    home = process.stdout.readline().decode().strip()
    assert os.path.isdir(home)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert not os.path.exists(home)


def test_nohup_is_heeded() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = ["nohup", sys.executable, "-c", _TOLD_TO_END]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert os.path.isdir(process.stdout.readline().decode().strip())
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_nodes_day(lifeboat: t.Callable[..., Said], node: Node, tmp_path: Path) -> None:
    install(node)
    code, out, err = lifeboat("status")
    assert (code, out) == (1, "site: no backup was tried yet\n")
    code, out, err = lifeboat("unit", "site")
    assert (code, err) == (0, "")
    assert out.startswith("Backed up 2 files in a new full of ")
    code, out, err = lifeboat("status")
    assert code == 0
    assert out.startswith("site: full of ")
    assert out.endswith("(0.0 h old), 2 files\n")
    (node.corner / "records/site/20260101T000000Z-backup.json").write_text("junk")
    code, out, err = lifeboat("points", "site")
    assert code == 0
    assert out.count("\n") == 1
    assert "full                 2 files" in out
    assert err.startswith("warning: records/site/20260101T000000Z-backup.json is not a run record")
    code, out, err = lifeboat("restore", "site", str(tmp_path / "tree"))
    assert (code, err) == (0, "")
    code, out, err = lifeboat("verify", "site", "--dest", str(tmp_path / "tree"))
    assert (code, err) == (0, "")
    assert out.startswith("All 4 paths of ")
    (tmp_path / "tree" / "page.php").write_text("spoiled")
    code, out, err = lifeboat("verify", "site", "--dest", str(tmp_path / "tree"))
    assert (code, out) == (1, "")
    assert err.endswith("\n  size: page.php\n")
    code, out, err = lifeboat("restore", "site", str(tmp_path / "tree2"), "--path", "none")
    assert code == 1
    assert err.startswith("The restore failed, ")
    (node.root / "cache" / "site" / "archive").rename(tmp_path / "gone")
    for path in node.source.rglob("*"):
        if path.is_file():
            path.unlink()
    (node.source / "folder").rmdir()
    code, out, err = lifeboat("unit", "site")
    assert (code, out) == (1, "")
    code, out, err = lifeboat("status")
    assert code == 1
    assert "FAILED: the source " in out


def test_every_verb_answers_in_json(
    lifeboat: t.Callable[..., Said], node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(node)
    code, out, err = lifeboat("status", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["profiles"][0]["msg"] == "no backup was tried yet"
    lifeboat("unit", "site")
    monkeypatch.setattr(unit, "start", lambda name, mode: unit.last(name))
    tree = str(tmp_path / "tree")
    for words, changed in (
        (["status"], None),
        (["points", "site"], False),
        (["backup", "site"], True),
        (["files", "site"], False),
        (["restore", "site", tree, "--check"], True),
        (["restore", "site", tree], True),
        (["restore", "site", tree, "--in-place"], False),
        (["verify", "site"], False),
        (["verify", "site", "--dest", tree], False),
        (["verify", "site", "--live"], False),
    ):
        code, out, err = lifeboat(*words, "--json")
        answer = json.loads(out)
        assert (code, err, answer["failed"], answer.get("changed")) == (0, "", False, changed), words
    (tmp_path / "tree" / "page.php").write_text("x")
    code, out, err = lifeboat("verify", "site", "--dest", tree, "--json")
    assert (code, err, json.loads(out)["failed"]) == (1, "", True)


def test_files_and_selections(lifeboat: t.Callable[..., Said], node: Node, tmp_path: Path) -> None:
    install(node)
    lifeboat("unit", "site")
    code, out, err = lifeboat("files", "site", "--path", "folder")
    assert (code, err) == (0, "")
    assert [line.split("  ")[::2] for line in out.splitlines()] == [["d", "folder"], ["f", "folder/old"]]
    code, out, err = lifeboat("restore", "site", str(tmp_path / "some"), "--select", "+ page.php", "--select", "- **")
    assert (code, err) == (0, "")
    assert os.listdir(tmp_path / "some") == ["page.php"]
    code, out, err = lifeboat("restore", "site", str(tmp_path / "x"), "--path", "a", "--select", "- b")
    assert (code, out) == (2, "")


@pytest.mark.parametrize("verb", ["status", "points", "backup", "restore", "verify", "files"])
def test_every_verb_has_a_help_that_teaches(lifeboat: t.Callable[..., Said], verb: str) -> None:
    code, out, err = lifeboat(verb, "--help")
    assert (code, err) == (0, "")
    assert f"usage: lifeboat {verb}" in out
    assert "--json" in out


def test_status_of_an_unchanged_source(lifeboat: t.Callable[..., Said], node: Node) -> None:
    install(node, skip_if_unchanged=True)
    lifeboat("unit", "site")
    code, out, err = lifeboat("unit", "site")
    assert (code, err) == (0, "")
    assert out.startswith("Nothing has changed since ")
    code, out, err = lifeboat("status")
    assert (code, err) == (0, "")
    assert out.startswith("site: unchanged since ")
    assert out.endswith(" (looked 0.0 h ago), 2 files\n")


def test_a_backup_goes_through_the_unit(lifeboat: t.Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def start(*values: str) -> dict[str, t.Any]:
        asked.append(values)
        return {"failed": False, "msg": "done.", "warnings": ["look."]}

    monkeypatch.setattr(unit, "start", start)
    assert lifeboat("backup", "site", "--mode", "full") == (0, "done.\n", "warning: look.\n")
    assert asked == [("site", "full")]


def test_a_key_comes_by_descriptor(
    lifeboat: t.Callable[..., Said], sealed: Node, pair: Pair, node: Node, tmp_path: Path
) -> None:
    install(node, store={"url": f"file://{sealed.corner}"}, fingerprint=pair.fingerprint)
    code, _, err = lifeboat("verify", "site")
    assert code == 1
    assert "this needs the node's private key" in err
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as handle:
        handle.write(pair.private)
    code, out, err = lifeboat(
        "restore", "site", str(tmp_path / "tree"), "--key-fd", str(read_end), "--path", "page.php"
    )
    assert code == 0
    assert out.startswith("Restored 1 files of ")
    code, _, err = lifeboat("verify", "site", "--key-fd", "987")
    assert (code, err) == (1, "lifeboat: cannot read a key from descriptor 987: [Errno 9] Bad file descriptor.\n")


# --- the module's door ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", "[" * 100_000], ids=lambda text: text[:5] or "nothing")
def test_json_that_is_no_request(lifeboat: t.Callable[..., Said], text: str) -> None:
    code, out, err = lifeboat("--json", stdin=text)
    assert (code, err) == (1, "")
    assert json.loads(out) == {"failed": True, "msg": "the request on standard input is not a JSON object."}


def test_json_refused(lifeboat: t.Callable[..., Said]) -> None:
    values = {"engine": VERSION, "operation": "restore", "target": "caf\udcff", "dest": "/x"}
    code, out, _err = lifeboat("--json", stdin=json.dumps(values))
    assert code == 1
    assert json.loads(out)["msg"].startswith("target 'caf\\xff' is not a URL")


def test_json_of_a_bug_of_ours(lifeboat: t.Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(values: object) -> t.NoReturn:
        raise ValueError("no caf\udcff")

    monkeypatch.setattr(request, "handle", broken)
    code, out, err = lifeboat("--json", stdin="{}")
    assert (code, err) == (1, "")
    answer = json.loads(out)
    assert answer["msg"] == "the engine broke: ValueError: no caf\\xff; please report it."
    assert "Traceback" in answer["detail"]


def test_json_done(lifeboat: t.Callable[..., Said], odd: Node) -> None:
    values = {"engine": VERSION, "operation": "verify", "target": f"file://{odd.repository}", "check": True}
    code, out, err = lifeboat("--json", stdin=json.dumps(values))
    assert (code, err) == (0, "")
    assert json.loads(out)["msg"] == "A verify would run."


def test_json_with_a_watcher(lifeboat: t.Callable[..., Said], node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], t.Any]] = []

    def handle(values: t.Any) -> dict[str, t.Any]:
        path = node.root / "run" / f"{'a' * 32}.progress.json"
        while not path.exists():
            time.sleep(0.001)
        seen.append((sorted(values), json.loads(path.read_text())["operation"]))
        return {"failed": False}

    monkeypatch.setattr(request, "handle", handle)
    assert lifeboat("--json", stdin=json.dumps({"operation": "verify", "progress": "a" * 32}))[0] == 0
    assert seen == [(["operation"], "verify")]
    assert list((node.root / "run").iterdir()) == []
    code, out, _err = lifeboat("--json", stdin=json.dumps({"operation": "verify", "progress": "../x"}))
    assert (code, json.loads(out)["msg"]) == (1, "the progress id of a request is 32 hexadecimal digits.")


def test_as_a_program() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-m", cli.__name__, "--json"], input="{}", capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["msg"].startswith(f"this node's engine is {VERSION}, the request is for None")

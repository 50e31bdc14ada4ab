# Copyright: Lifeboat contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""House rules that no linter knows: licence headers, no trace of one machine, files that fit in a head."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE_SUFFIXES = {".cfg", ".j2", ".py", ".service", ".sh", ".timer", ".toml", ".yaml", ".yml"}
NOT_WRITTEN_BY_HAND = {"changelogs/changelog.yaml"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# Names are put together here, so that this file does not hold them.
TRACES = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|home/(?!ops/)\w+|root/\.\w+)/"),  # ops: the lab's user
    "a package index or mirror": re.compile(
        "|".join(
            [
                "py" + r"pi\.org",
                "python" + "hosted",
                r"(?:deb|security|snapshot)\.debian" + r"\.org",
                "npm" + r"js\.org",
            ]
        )
    ),
}


def tracked() -> Iterator[Path]:
    """Files that are in the repository, or would be after `git add`; links are followed nowhere."""
    listing = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in sorted(listing.decode().split("\0")):
        path = ROOT / name
        if name and path.is_file() and not path.is_symlink():
            yield path


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_source(path: Path) -> bool:
    """Code and settings: by suffix, or by a first line that names an interpreter."""
    if relative(path) in NOT_WRITTEN_BY_HAND:
        return False
    return path.suffix in SOURCE_SUFFIXES or path.name == "Makefile" or text_of(path).startswith("#!")


FILES = list(tracked())
SOURCES = [path for path in FILES if is_source(path)]


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 20


def test_every_source_names_its_licence() -> None:
    wanted = "SPDX-License-Identifier: " + "GPL-3.0-or-later"
    bare = [relative(path) for path in SOURCES if wanted not in "\n".join(text_of(path).splitlines()[:12])]
    # An empty file has nothing to license.
    assert [name for name in bare if (ROOT / name).stat().st_size > 0] == []


@pytest.mark.parametrize("what", TRACES)
def test_no_trace_of_one_machine(what: str) -> None:
    found = [
        f"{relative(path)}:{number}"
        for path in FILES
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if TRACES[what].search(line)
    ]
    assert found == []


def test_no_private_key_or_credentials() -> None:
    marker = re.compile("^-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----$", re.MULTILINE)
    assert [relative(path) for path in FILES if marker.search(text_of(path))] == []


def test_files_fit_in_a_head() -> None:
    long = {relative(path): text_of(path).count("\n") for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > MAX_FILE_LINES} == {}


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: str(path.name))
def test_a_playbook_says_what_it_does_and_how_to_call_it(playbook: Path) -> None:
    header = []
    for line in text_of(playbook).splitlines():
        if line.strip() and not line.startswith(("#", "---")):
            break
        header.append(line)
    said = [line for line in header if line.startswith("# ") and "SPDX" not in line and "Copyright" not in line]
    assert len(said) >= 2
    assert f"playbooks/{playbook.name}" in "\n".join(said), "the header shows the command that calls the playbook"


@pytest.mark.parametrize(
    "store", ["molecule/default/tests/test_default_94_powers.py", "tests/powers/test_powers_aws.py"]
)
def test_every_promise_of_the_powers_is_tried_on_each_store(store: str) -> None:
    """Tests run where they are imported: one that is forgotten there would run nowhere, and nobody would see."""
    promised = set(re.findall(r"^def (test_\w+)", (ROOT / "tests/powers/promises.py").read_text(), re.MULTILINE))
    assert len(promised) > 10
    assert promised <= set(re.findall(r"\btest_\w+", (ROOT / store).read_text()))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The witness: walks, hashes and their renewal, its stored form, comparisons."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import stat
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import witness
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.selection import Selection
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.witness import Witness

DAY = 20_000
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and b"/" not in name)


def seen(root: Path, last: Witness | None = None, day: int = DAY) -> Witness:
    before = witness.walk(str(root))
    return witness.observe(str(root), before, witness.walk(str(root)), last, day)


def test_a_walk_finds_what_duplicity_keeps(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        assert set(witness.walk(str(tree))) == {b".", b"folder", b"folder/file", b"top", b"link", b"fifo"}
    left = witness.walk(str(tree), Selection(((False, "**folder"),)))
    assert set(left) == {b".", b"top", b"link", b"fifo"}


def test_a_walk_passes_over_what_goes_away(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    class Gone:
        def __init__(self, entry: os.DirEntry[bytes]) -> None:
            self.path = entry.path

        def stat(self, **_: object) -> t.NoReturn:
            raise FileNotFoundError

    def some(folder: bytes) -> list[t.Any]:
        if folder.endswith(b"folder"):
            raise FileNotFoundError
        return [Gone(entry) if entry.name == b"top" else entry for entry in scan(folder)]

    monkeypatch.setattr(os, "scandir", some)
    assert set(witness.walk(str(tree))) == {b".", b"folder", b"link", b"fifo"}


def test_entries(tree: Path) -> None:
    (tree / "top").chmod(0o4750)
    found = seen(tree)
    assert {path: entry["t"] for path, entry in found.entries.items()} == {
        b".": "d",
        b"fifo": "p",
        b"folder": "d",
        b"folder/file": "f",
        b"link": "l",
        b"top": "f",
    }
    assert found.entries[b"top"]["m"] == 0o4750
    assert found.entries[b"top"]["h"] == hashlib.sha256(b"two").hexdigest()
    assert found.entries[b"link"]["l"] == ["top"]
    assert "T" not in found.entries[b"link"]
    assert (found.files, found.bytes) == (2, 6)
    assert (found.rotten, found.unread) == ([], [])


def test_devices_are_described() -> None:
    status = os.lstat("/dev/null")
    assert stat.S_ISCHR(status.st_mode)
    assert witness.entry_of("/dev", b"null", status)["r"] == [1, 3]


def test_what_changes_during_the_run_is_not_claimed(tree: Path) -> None:
    before = witness.walk(str(tree))
    (tree / "top").write_text("changed")
    (tree / "folder" / "file").unlink()
    (tree / "late").write_text("late")
    (tree / "link").unlink()
    found = witness.observe(str(tree), before, witness.walk(str(tree)), None, DAY)
    assert {path for path, entry in found.entries.items() if "x" in entry} == {
        b".", b"folder", b"top", b"folder/file", b"late", b"link",
    }  # fmt: skip
    assert not any("h" in entry for entry in found.entries.values())


def test_what_changes_after_the_second_walk_is_not_claimed(tree: Path) -> None:
    before = witness.walk(str(tree))
    after = witness.walk(str(tree))
    (tree / "top").write_text("changed")
    (tree / "folder" / "file").unlink()
    found = witness.observe(str(tree), before, after, None, DAY)
    assert found.entries[b"top"]["x"] == 1
    assert found.unread == [b"folder/file"]
    assert "h" not in found.entries[b"folder/file"]


def test_hashes_are_carried_over_and_renewed_within_thirty_days(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        (tree / f"f{number}").write_text(str(number))
    hashed: list[bytes] = []
    read = witness._hash
    monkeypatch.setattr(witness, "_hash", lambda path, status=None: hashed.append(path) or read(path, status))  # type: ignore[func-returns-value]
    last = seen(tree)
    assert len(hashed) == 62
    days: list[int] = []
    for day in range(1, witness.RENEW_DAYS + 1):
        hashed.clear()
        last = seen(tree, last, DAY + day)
        days.append(len(hashed))
        assert all(DAY + day - entry["H"] <= witness.RENEW_DAYS for entry in last.entries.values() if "H" in entry)
    assert 62 <= sum(days) <= 2 * 62
    assert max(days) < 31
    # a node that slept for months hashes all of it
    hashed.clear()
    seen(tree, last, DAY + 200)
    assert len(hashed) == 62
    # the same day again: nothing
    hashed.clear()
    seen(tree, seen(tree, None, DAY), DAY)
    assert len(hashed) == 62


def test_a_change_of_content_alone_is_told(tree: Path) -> None:
    last = seen(tree)
    last.entries[b"top"] |= {"h": "0" * 64, "H": 0}
    found = seen(tree, last)
    assert found.rotten == [b"top"]
    assert found.entries[b"top"]["h"] == hashlib.sha256(b"two").hexdigest()


def test_closely_names_what_duplicity_would_pass_over(tree: Path) -> None:
    last = seen(tree)
    later = os.stat(tree / "top").st_ctime + 100
    assert witness.closely(witness.walk(str(tree)), last, later) == []
    status = (tree / "top").stat()
    (tree / "top").write_text("TWO")  # the same size, and the same mtime in a moment
    os.utime(tree / "top", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert witness.closely(witness.walk(str(tree)), last, later) == [b"top"]
    assert witness.closely(witness.walk(str(tree)), None, later) == []
    assert sorted(witness.closely(witness.walk(str(tree)), None, 0)) == [b"folder/file", b"top"]


@st.composite
def witnesses(draw: st.DrawFn) -> Witness:
    files = st.fixed_dictionaries(
        {
            "t": st.just("f"),
            "m": st.integers(0, 0o7777),
            "u": st.just(0),
            "g": st.just(0),
            "s": st.integers(0, 2**50),
            "h": st.just("a" * 64),
        },
        optional={"x": st.just(1)},
    )
    links = st.fixed_dictionaries(
        {"t": st.just("l"), "l": NAMES.map(witness._text), "m": st.just(0), "u": st.just(0), "g": st.just(0)}
    )
    header = draw(st.dictionaries(st.sampled_from(["node", "profile", "source"]), st.text()))
    return Witness(header, draw(st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(b"/".join), files | links)))


@given(witnesses())
def test_what_is_dumped_comes_back(found: Witness) -> None:
    data = witness.dump(found)
    again = witness.parse(data)
    assert again.entries == found.entries
    assert again.header == {"schema": witness.SCHEMA, **found.header}
    assert witness.dump(found) == data  # no time of day in it


LINES = st.lists(
    st.sampled_from([b"{}", b"[]", b"5", b'"x"', b"null", b"", b"{", b'{"p": 1}', b'{"p": "x"}', b'{"b": "x"}']),
    max_size=4,
)


@settings(max_examples=200)
@given(LINES, st.sampled_from([b'{"schema": 1}', b'{"schema": 2}', b"[]", b"null", b"x"]))
def test_any_other_data_is_a_sentence(lines: list[bytes], header: bytes) -> None:
    try:
        witness.parse(gzip.compress(b"\n".join([header, *lines])))
    except LifeboatError:
        pass


def test_another_schema_is_told() -> None:
    data = gzip.compress(json.dumps({"schema": 2}).encode())
    with pytest.raises(LifeboatError, match="the witness has schema 2, this engine reads 1: use a newer engine"):
        witness.parse(data)


def test_a_cut_or_spoiled_witness_is_told() -> None:
    data = bytearray(witness.dump(Witness({}, {b"x": {"t": "f", "m": 0, "u": 0, "g": 0}})))
    for spoiled in (data[:-4], data[:15], data[:10] + b"\xff\xff" + data[12:]):
        with pytest.raises(LifeboatError, match="the witness is damaged"):
            witness.parse(bytes(spoiled))


def test_an_entry_without_its_fields_is_told(tree: Path) -> None:
    for line in (b'{"p": "top"}', b'{"p": "top", "t": "f"}', b'{"p": "top", "t": "s", "m": 1, "u": 0, "g": 0}'):
        with pytest.raises(LifeboatError):
            witness.compare(witness.parse(gzip.compress(b'{"schema": 1}\n' + line + b"\n")), str(tree))


def test_a_comparison_counts(tree: Path) -> None:
    found = seen(tree)
    found.entries[b"top"]["x"] = 1  # no claim
    found.entries[b"folder/file"].pop("h")  # nothing to compare its content with
    (tree / "top").write_text("anything")
    compared = witness.compare(found, str(tree))
    assert compared.differences == []
    assert (compared.paths, compared.files, compared.bytes, compared.hashed, compared.unjudged) == (6, 2, 11, 0, 2)


def test_a_file_that_cannot_be_read_differs(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(tree)
    monkeypatch.setattr(witness, "_hash", lambda path, status=None: None)
    assert {difference.what for difference in witness.compare(found, str(tree)).differences} == {"content"}


def test_names_for_people() -> None:
    assert witness.show(b"caf\xc3\xa9 \xff") == "café \\xff"

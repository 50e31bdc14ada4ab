# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Volumes: whatever tarfile writes, in each of its forms, is read as it was; tarfile is the oracle."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import difftar
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Damaged

TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "character": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}
names = st.binary(min_size=1, max_size=140).filter(
    lambda name: not {b".", b".."} & {name} and not {0, 0x2F} & set(name)
)
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
numbers = st.integers(0, 0o7777777) | st.integers(0, 2**32 - 1)
entry = st.fixed_dictionaries(
    {
        "path": paths,
        "type": st.sampled_from(sorted(TYPES)),
        "owner": st.tuples(st.integers(0, 0o7777), numbers, numbers),
        "mtime": st.integers(0, 2**34),
        "link": paths,
        "device": st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)),
        "data": st.binary(max_size=2000),
    }
)


def reader(data: bytes, step: int) -> difftar.Read:
    """A pipe that gives less than it is asked for."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, step))


def volume(items: list[dict[str, t.Any]], form: int, *, marker: bool = True) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for item in items:
            info = tarfile.TarInfo("snapshot/" + os.fsdecode(item["path"]))
            info.type = TYPES[item["type"]]
            info.mode, info.uid, info.gid = item["owner"]
            info.mtime, info.linkname = item["mtime"], os.fsdecode(item["link"]) if item["type"] == "link" else ""
            info.devmajor, info.devminor = item["device"]
            info.size = len(item["data"]) if item["type"] == "file" else 0
            archive.addfile(info, io.BytesIO(item["data"]))
        if not marker:
            return out.getvalue()
    return out.getvalue()


@given(
    st.lists(entry, max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from([1, 700, 1 << 20]),
    st.binary(max_size=600),
)
def test_what_tarfile_writes_is_read(items: list[dict[str, t.Any]], form: int, step: int, padding: bytes) -> None:
    found = list(difftar.entries(reader(volume(items, form) + padding, step)))
    assert len(found) == len(items)
    for mine, item in zip(found, items, strict=True):
        assert (mine.kind, mine.part, mine.path, mine.type) == ("snapshot", 0, item["path"], item["type"])
        assert (mine.owner, mine.mtime) == (item["owner"], item["mtime"])
        assert mine.data == (item["data"] if item["type"] == "file" else b"")
        assert mine.link == (item["link"] if item["type"] == "link" else b"")
        assert mine.device == (item["device"] if item["type"] in ("character", "block") else (0, 0))


@given(st.lists(entry, min_size=1, max_size=3), st.data())
def test_a_volume_that_is_cut_before_its_end_marker_is_an_error(
    items: list[dict[str, t.Any]], data: st.DataObject
) -> None:
    whole = volume(items, tarfile.PAX_FORMAT).rstrip(b"\0")
    end = data.draw(st.integers(0, len(whole)).filter(lambda end: end % 512))  # else it may end behind an entry
    with pytest.raises(Damaged):
        list(difftar.entries(reader(whole[:end], 1 << 20)))
    with pytest.raises(Damaged):
        list(in_pieces(whole[:end], 1 << 20, 700))


def test_a_volume_without_a_byte_has_no_entries() -> None:
    """So duplicity 0.8.22 writes in clear a set in which nothing changed."""
    assert list(difftar.entries(reader(b"", 1))) == list(in_pieces(b"", 1, 700)) == []


def in_pieces(data: bytes, step: int, wanted: int) -> t.Iterator[difftar.Entry]:
    """The entries of a volume that is cut between them, each piece read by itself."""
    cutter, room = difftar.Cutter(reader(data, step)), memoryview(bytearray(wanted + difftar.ROOM))
    while size := cutter.fill(room, wanted):
        for found in difftar.entries_in(room[:size]):
            yield found._replace(data=bytes(found.data))  # the room is used again
    assert cutter.fill(room, wanted) == 0


@given(
    st.lists(entry, max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from([1, 700, 1 << 20]),
    st.sampled_from([1, 600, 3000, 1 << 20]),
    st.binary(max_size=600),
)
def test_a_volume_in_pieces_has_the_same_entries(
    items: list[dict[str, t.Any]], form: int, step: int, wanted: int, padding: bytes
) -> None:
    whole = volume(items, form)
    expected = list(difftar.entries(reader(whole, 1 << 20)))
    assert list(in_pieces(whole + padding, step, wanted)) == expected
    if items:
        assert list(in_pieces(volume(items, form, marker=False), step, wanted)) == expected


def test_what_takes_more_room_than_any_entry_is_refused() -> None:
    info = tarfile.TarInfo("snapshot/a")
    info.size = 1 << 20
    largest = info.tobuf() + bytes(1 << 20)
    assert len(list(in_pieces(largest + bytes(1024), 1 << 20, 1))) == 1
    info.type = b"L"
    header = info.tobuf() + b"x" * (1 << 20)
    with pytest.raises(Damaged, match="which no known duplicity writes"):
        list(in_pieces(header + header + largest, 1 << 20, 1))
    info.size += 1
    with pytest.raises(Damaged, match="which no known duplicity writes"):
        list(in_pieces(info.tobuf() + bytes(2 << 20), 1 << 20, 1))


@pytest.mark.parametrize(
    ("name", "kind", "part", "path"),
    [
        (b"snapshot/", "snapshot", 0, b""),
        (b"snapshot/.", "snapshot", 0, b""),
        (b"snapshot/a", "snapshot", 0, b"a"),
        (b"diff/a/1", "diff", 0, b"a/1"),
        (b"deleted/a b", "deleted", 0, b"a b"),
        (b"multivol_snapshot/a/1", "snapshot", 1, b"a"),
        (b"multivol_snapshot/a/1/12", "snapshot", 12, b"a/1"),
        (b"multivol_diff/./3", "diff", 3, b""),
        (b"multivol_diff/a\nb/3", "diff", 3, b"a\nb"),
        (b"snapshot/multivol_diff/3", "snapshot", 0, b"multivol_diff/3"),
        (b"snapshot/...", "snapshot", 0, b"..."),
        (b"snapshot/..a/b..", "snapshot", 0, b"..a/b.."),
    ],
)
def test_names(name: bytes, kind: str, part: int, path: bytes) -> None:
    info = tarfile.TarInfo(os.fsdecode(name))
    (found,) = difftar.entries(reader(info.tobuf() + bytes(1024), 1 << 20))
    assert (found.kind, found.part, found.path) == (kind, part, path)


@pytest.mark.parametrize("label", ["snapshot/{}", "multivol_diff/{}/1"])
def test_no_path_holds_a_name_that_leads_elsewhere(label: str) -> None:
    """All paths of up to five bytes of three kinds; one slash may end a whole entry's name."""
    for length in range(1, 6):
        for letters in itertools.product("a./", repeat=length):
            path = "".join(letters)
            named = path[:-1] if path.endswith("/") and label.endswith("{}") else path
            good = named in ("", ".") or not {"", ".", ".."} & set(named.split("/"))
            data = tarfile.TarInfo(label.format(path)).tobuf() + bytes(1024)
            try:
                (found,) = difftar.entries(reader(data, 1 << 20))
            except Damaged:
                assert not good, path
            else:
                assert good, path
                assert found.path == os.fsencode(named if named != "." else ""), path


def test_a_path_with_a_nul_is_refused() -> None:
    info = tarfile.TarInfo("snapshot/a")
    info.pax_headers = {"path": "snapshot/a\0b"}
    data = info.create_pax_header(info.get_info(), "utf-8") + bytes(1024)
    with pytest.raises(Damaged, match="would leave the destination"):
        list(difftar.entries(reader(data, 1 << 20)))

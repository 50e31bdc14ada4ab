# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Files of a repository -> plain bytes: one by one and in groups, with the real gpg; and OpenPGP's forms around them."""

from __future__ import annotations

import bz2
import os
import subprocess
import typing as t
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import decrypt, inflate, openpgp
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import Damaged, LifeboatError, UnknownFormat
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Pair

TEXT = b"".join(b"line %d of a file\n" % number for number in range(40_000))


@pytest.fixture(scope="module")
def ring(pair: Pair) -> t.Iterator[Keyring]:
    with Keyring() as ring:
        ring.import_keys(pair.private.encode())
        yield ring


def seal(ring: Keyring, pair: Pair, data: bytes, path: Path, *options: str) -> tuple[str, str]:
    """A file encrypted to the pair's key, as (path, name)."""
    argv = [
        "gpg",
        "--batch",
        "--quiet",
        "--trust-model",
        "always",
        "--recipient",
        pair.fingerprint,
        *options,
        "--encrypt",
    ]
    env = {"PATH": os.environ["PATH"], "GNUPGHOME": ring.home}
    path.write_bytes(subprocess.run(argv, input=data, env=env, stdout=subprocess.PIPE, check=True).stdout)
    return str(path), path.name


@pytest.mark.parametrize(
    "options", [[], ["-z0"], ["--compress-algo=zip"], ["--compress-algo=zlib"], ["--compress-algo=bzip2"]]
)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, os.urandom(300_000)], ids=["empty", "one", "text", "random"])
def test_every_compression(options: list[str], data: bytes, ring: Keyring, pair: Pair, tmp_path: Path) -> None:
    file = seal(ring, pair, data, tmp_path / "x.gpg", *options)
    assert decrypt.whole(decrypt.opened(*file, ring.home)) == data


def test_a_signed_file_is_of_an_unknown_form(ring: Keyring, pair: Pair, tmp_path: Path) -> None:
    file = seal(ring, pair, b"data", tmp_path / "x.gpg", "--sign", "--local-user", pair.fingerprint)
    with pytest.raises(UnknownFormat, match="it is signed"):
        decrypt.whole(decrypt.opened(*file, ring.home))


def test_a_group_is_opened_by_one_gpg(
    ring: Keyring, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [seal(ring, pair, b"%d" % number * 9, tmp_path / f"{number}.gpg") for number in range(5)]
    started: list[t.Any] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: started.append(args) or popen(*args, **more))
    group = decrypt.Group(files, ring.home)
    assert [decrypt.whole(group.open(number)) for number in range(5)] == [b"%d" % number * 9 for number in range(5)]
    group.close()
    assert len(started) == 1
    assert {path.suffix for path in tmp_path.iterdir()} == {".gpg"}


def test_of_a_group_the_hurt_file_alone_is_refused(ring: Keyring, pair: Pair, tmp_path: Path) -> None:
    files = [seal(ring, pair, TEXT, tmp_path / f"{number}.gpg", "-z0") for number in range(3)]
    hurt = bytearray(Path(files[1][0]).read_bytes())
    hurt[-100] ^= 1
    Path(files[1][0]).write_bytes(hurt)
    group = decrypt.Group(files, ring.home)
    assert decrypt.whole(group.open(0)) == TEXT
    with pytest.raises(Damaged, match="it cannot be decrypted: the data was changed"):
        decrypt.whole(group.open(1))
    assert decrypt.whole(group.open(2)) == TEXT
    group.close()
    assert {path.suffix for path in tmp_path.iterdir()} == {".gpg"}


def test_a_group_without_the_key_says_so(ring: Keyring, pair: Pair, tmp_path: Path) -> None:
    files = [seal(ring, pair, b"x", tmp_path / f"{number}.gpg") for number in range(2)]
    with Keyring() as empty:
        group = decrypt.Group(files, empty.home)
        with pytest.raises(LifeboatError, match=r"cannot decrypt 0\.gpg: it is encrypted to "):
            decrypt.whole(group.open(0))
        group.close()


# --- the forms of OpenPGP, without gpg --------------------------------------------------------------------------------


def partial(data: bytes, power: int) -> bytes:
    """A body in parts of a power of two, and its rest."""
    parts, size = b"", 1 << power
    while len(data) > size:
        parts, data = parts + bytes([224 + power]) + data[:size], data[size:]
    return parts + length(len(data)) + data


def length(size: int) -> bytes:
    if size < 192:
        return bytes([size])
    if size < 8384:
        return bytes([(size - 192 >> 8) + 192, size - 192 & 0xFF])
    return b"\xff" + size.to_bytes(4, "big")


def packet(tag: int, body: bytes, form: str) -> bytes:
    new = bytes([0xC0 | tag])
    if form == "parts":
        return new + partial(body, 9)
    if form == "new":
        return new + length(len(body)) + body
    return (
        bytes([0x80 | tag << 2 | 3]) + body
        if form == "endless"
        else bytes([0x80 | tag << 2 | 2]) + len(body).to_bytes(4, "big") + body
    )


def message(data: bytes, inner: str, outer: str | None, algorithm: int = 2) -> bytes:
    literal = packet(11, b"b\x03abc\0\0\0\0" + data, inner)
    if outer is None:
        return literal
    pack = {1: lambda plain: zlib.compress(plain)[2:-4], 2: zlib.compress, 3: bz2.compress}[algorithm]
    return packet(8, bytes([algorithm]) + pack(literal), outer)


def read(data: bytes, piece: int = 1000) -> bytes:
    left = [data[at : at + piece] for at in range(0, len(data), piece)]
    literal = openpgp.Literal(lambda size: left.pop(0) if left else b"")
    found = b""
    while more := literal.read(700):
        found += more
    return found


FORMS = ("parts", "new", "endless", "old")


@given(
    data=st.binary(max_size=3000),
    inner=st.sampled_from(FORMS),
    outer=st.sampled_from((*FORMS, None)),
    algorithm=st.sampled_from((1, 2, 3)),
    piece=st.integers(1, 1500),
)
def test_all_forms_of_a_message(data: bytes, inner: str, outer: str | None, algorithm: int, piece: int) -> None:
    assert read(message(data, inner, outer, algorithm), piece) == data


@pytest.mark.parametrize("algorithm", [1, 2, 3])
@pytest.mark.parametrize("fastest", [zlib, inflate._fastest])
def test_lengths_around_those_that_are_read_at_once(
    algorithm: int, fastest: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what was asked for just fits, the library still holds a rest, and all of its input is taken in."""
    monkeypatch.setattr(inflate, "_fastest", fastest)
    monkeypatch.setattr(inflate, "_Error", fastest.error)
    words = b" ".join(b"%d" % number for number in range(60_000))
    for start in (b"", words):
        for more in range(-40, 40):
            data = (start + bytes(1 << 18))[: (1 << 18) + more]
            assert read(message(data, "parts", "parts", algorithm), 1 << 16) == data


@given(
    data=st.binary(min_size=1, max_size=2000),
    inner=st.sampled_from(("parts", "new", "old")),
    outer=st.sampled_from((*FORMS, None)),
    algorithm=st.sampled_from((2, 3)),
    part=st.floats(0, 1, exclude_max=True),
)
def test_what_is_cut_short_is_an_error(data: bytes, inner: str, outer: str | None, algorithm: int, part: float) -> None:
    whole = message(data, inner, outer, algorithm)
    with pytest.raises(Damaged):
        read(whole[: int(len(whole) * part)])


@pytest.mark.parametrize("outer", ["parts", "new", "old", None])
def test_what_follows_is_an_error(outer: str | None) -> None:
    with pytest.raises(Damaged, match="something follows behind the end"):
        read(message(b"data", "parts", outer) + b"x")
    with pytest.raises(Damaged, match="something follows behind the end"):
        read(packet(8, b"\2" + zlib.compress(packet(11, b"b\0\0\0\0\0data", "new") * 2), "endless"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x01", "it holds no OpenPGP packet"),
        (packet(8, b"\x09x", "new"), "compressed in the unknown way 9"),
        (packet(8, b"\2nothing", "new"), "its ZLIB form is damaged"),
        (packet(8, b"\3nothing", "new"), "its bzip2 form is damaged"),
        (packet(13, b"a user", "new"), "an OpenPGP packet of type 13 instead of data"),
    ],
)
def test_what_is_no_message(data: bytes, says: str) -> None:
    with pytest.raises(Damaged, match=says):
        read(data)


def test_a_flipped_sum_is_found() -> None:
    packed = bytearray(zlib.compress(TEXT))
    packed[-1] ^= 1
    left = [bytes(packed)]
    stream = inflate.Inflated(lambda size: left.pop() if left else b"", inflate.ZLIB, "ZLIB")
    with pytest.raises(Damaged, match="its ZLIB form is damaged"):
        list(iter(lambda: stream.read(100_000), b""))

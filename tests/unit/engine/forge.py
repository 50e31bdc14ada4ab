# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Repositories that no duplicity would write: sets in clear from lists of tar entries, with manifests that fit them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

Items = t.Sequence[tuple[t.Any, ...]]
KINDS = {"file": b"0", "folder": b"5", "link": b"2", "hard": b"1", "fifo": b"6", "odd": b"Z"}


def stamp(number: int) -> str:
    return (datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(days=number)).strftime("%Y%m%dT%H%M%SZ")


def tar(items: Items) -> bytes:
    """A volume: each item is (name, kind) or (name, kind, data or target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for name, kind, *rest in items:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = KINDS[kind], 0o755 if kind == "folder" else 0o644, 1_700_000_000
            info.uid, info.gid = os.getuid(), os.getgid()
            data = rest[0] if rest else b""
            if kind in ("link", "hard"):
                info.linkname, data = data, b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def manifest(volumes: t.Sequence[tuple[str, str, bytes]]) -> bytes:
    """What duplicity would write of volumes with these first and last paths and content."""
    text = b"Hostname node1\nLocaldir /srv\nFilelist 0\n"
    for number, (first, last, content) in enumerate(volumes, 1):
        text += b"Volume %d:\n    StartingPath   %s  \n    EndingPath     %s  \n    Hash SHA1 %s\n" % (
            number,
            first.encode(),
            last.encode(),
            hashlib.sha1(content, usedforsecurity=False).hexdigest().encode(),
        )
    return text


def write(folder: Path, *sets: t.Sequence[bytes | Items]) -> None:
    """A chain of these sets, each a list of volumes: items, or a tar's bytes. Manifests cover all paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, volumes in enumerate(sets):
        name = f"inc.{stamp(number - 1)}.to.{stamp(number)}" if number else f"full.{stamp(0)}"
        contents = [volume if isinstance(volume, bytes) else tar(volume) for volume in volumes]
        for at, content in enumerate(contents, 1):
            (folder / f"duplicity-{name}.vol{at}.difftar").write_bytes(content)
        (folder / f"duplicity-{name}.manifest").write_bytes(manifest([(".", "zz", content) for content in contents]))
        signature = f"new-signatures{name[3:]}" if number else f"full-signatures{name[4:]}"
        (folder / f"duplicity-{signature}.sigtar.gz").write_bytes(gzip.compress(b"\0" * 10240))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Counts of what duplicity does, for ``reporter``. Imported by the launcher alone, as a script's sibling."""

from __future__ import annotations

import functools
import json
import os
import time
import typing as t

from duplicity.path import ROPath

EVERY = 1.0  # seconds between two reports


class Counter:
    """Counts regular files, their bytes and volumes. It writes when it counts: a thread would be one that duplicity forks
    beside, for each gpg."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._due = 0.0
        self.counts = {"files": 0, "bytes": 0, "volumes": 0}

    def add(self, key: str, number: int = 1) -> None:
        self.counts[key] += number
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        self._due = time.monotonic() + EVERY
        try:
            with open(self._path + ".new", "w", encoding="ascii") as handle:
                json.dump(self.counts, handle)
            os.replace(self._path + ".new", self._path)
        except OSError:  # a full disk stops the backup, if it must, and not its progress
            self._due = float("inf")


class CountedFile:
    """A file whose reads are counted."""

    def __init__(self, inner: t.Any, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter

    def read(self, length: int = -1) -> bytes:
        data = t.cast(bytes, self._inner.read(length))
        self._counter.add("bytes", len(data))
        return data

    def close(self) -> t.Any:
        return self._inner.close()


def _before(owner: t.Any, name: str, count: t.Callable[..., None]) -> None:
    """Call ``count`` with the same arguments before each call of ``owner.name``."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def counted(*args: t.Any, **kwargs: t.Any) -> t.Any:
        count(*args)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def count_backup(counter: Counter) -> None:
    """Files that were looked at, bytes that were read of the changed ones."""
    from duplicity import diffdir, statistics

    def file(_stats: t.Any, path: t.Any) -> None:
        if path.isreg():
            counter.add("files")

    for name in ("add_new_file", "add_changed_file", "add_unchanged_file"):
        _before(statistics.StatsDeltaProcess, name, file)
    # what follows the last file are uploads, which may take long
    _before(statistics.StatsDeltaProcess, "close", lambda *_: counter.write())
    read = diffdir.FileWithReadCounter.read

    def counted(self: t.Any, length: int = -1) -> bytes:
        data = t.cast(bytes, read(self, length))
        counter.add("bytes", len(data))
        return data

    diffdir.FileWithReadCounter.read = counted


def count_restore(counter: Counter) -> None:
    """Volumes that were fetched; files and bytes that were written, files that a verify passed by (a
    patched one's size is not known then)."""
    from duplicity import dup_main, patchdir

    def file(_writer: t.Any, _index: t.Any, ropath: t.Any) -> None:
        if ropath.isreg():
            counter.add("files")
            if ropath.fileobj:
                ropath.fileobj = CountedFile(ropath.fileobj, counter)

    def compared(ropath: t.Any, *_: t.Any) -> None:
        if ropath.isreg():
            counter.add("files")

    _before(dup_main, "restore_get_enc_fileobj", lambda *_: counter.add("volumes"))
    _before(patchdir.ROPath_IterWriter, "fast_process", file)
    _before(patchdir.ROPath_IterWriter, "start_process", file)
    _before(ROPath, "compare_verbose", compared)

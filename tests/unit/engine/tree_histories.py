# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Random histories of a tree, saved by the real duplicity, and what a tree is made of: for the fast reader's referee.

Everything follows from a seed. Times are given to duplicity, so that nothing waits for the next second.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

START = 1_700_000_000  # of the first set; a day goes by between two
DAY = 86_400
NAMES = (
    *(
        b"a",
        b"b",
        b"a-b",
        b"a b",
        b"A",
        b"index.php",
        b"line\nbreak",
        b"not \xff utf-8",
        b"-rf",
        b'"quoted"',
        b"'",
        b"\\",
    ),
    *(
        "ü".encode(),
        b"tab\there",
        b"...",
        b".hidden",
        b"multivol_snapshot",
        b"x" * 120,
        b"y" * 250,
        b"1",
        b"\x01\x7f\r",
    ),
)
SIZES = (0, 1, 511, 512, 4000, 65_535, 65_536, 65_537, 131_072, 300_000, 2_300_000)


PINNED = os.path.join(os.path.dirname(sys.executable), "duplicity")
DEBIAN = "/usr/bin/duplicity"  # 0.8.22 in Debian 12


def duplicity(
    home: Path, *arguments: str, env: t.Mapping[str, str] | None = None, program: str = PINNED
) -> subprocess.CompletedProcess[bytes]:
    """Stock duplicity with a cache and a keyring in ``home``."""
    return subprocess.run(
        [program, *arguments, "--archive-dir", str(home / "cache")],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "PASSPHRASE": "", **(env or {})},
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )


def look(tree: Path) -> dict[bytes, tuple[t.Any, ...]]:
    """Everything that duplicity keeps of a tree (no times of links, whole seconds)."""
    found: dict[bytes, tuple[t.Any, ...]] = {}
    top = os.fsencode(tree)

    def note(path: bytes) -> None:
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        extra: t.Any = None
        if stat.S_ISREG(kind):
            with open(path, "rb") as handle:
                extra = hashlib.sha256(handle.read()).hexdigest(), status.st_size
        elif stat.S_ISLNK(kind):
            extra = os.readlink(path)
        elif stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
            extra = status.st_rdev
        times = () if stat.S_ISLNK(kind) else (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        found[os.path.relpath(path, top)] = (kind, status.st_uid, status.st_gid, *times, extra)

    note(top)
    for folder, folders, files in os.walk(top) if not os.path.islink(top) else ():
        for name in (*folders, *files):
            note(os.path.join(folder, name))
    return found


@dataclass
class History:
    """A source, changed at random, and the repository of its sets."""

    root: Path
    seed: int
    key: str | None = None  # fingerprint of a key in ``gnupghome``
    gnupghome: str = ""
    passphrase: str = ""  # seals the sets where there is no key
    program: str = PINNED  # the duplicity that saves and restores
    random: random.Random = field(init=False)
    sets: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.compress = self.random.random() < 0.5
        self.source.mkdir(parents=True)
        for _number in range(self.random.randint(1, 25)):
            self.create(self.folder())
        if self.random.random() < 0.15:
            self.crowd()

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def secrets(self) -> dict[str, str]:
        return {"GNUPGHOME": self.gnupghome, "PASSPHRASE": self.passphrase}

    def moment(self, number: int) -> int:
        return START + number * DAY

    # --- changes ------------------------------------------------------------------------------------------------------

    def folder(self) -> bytes:
        folders = [os.fsencode(self.source)]
        folders += [path for path in self.paths() if os.path.isdir(path) and not os.path.islink(path)]
        return self.random.choice(folders)

    def paths(self) -> list[bytes]:
        """All paths in the source, in a steady order."""
        top = os.fsencode(self.source)
        return sorted(os.path.join(at, name) for at, folders, files in os.walk(top) for name in (*folders, *files))

    def data(self, size: int) -> bytes:
        return (
            self.random.randbytes(size)
            if self.random.random() < 0.6
            else (b"text %d\n" % size * (size // 6 + 1))[:size]
        )

    def create(self, folder: bytes) -> None:
        path = os.path.join(folder, self.random.choice(NAMES))
        if os.path.lexists(path) or len(path) > 1500:
            return
        kind = self.random.choice(("file",) * 8 + ("folder",) * 4 + ("link", "link", "fifo", "device"))
        if kind == "file":
            Path(os.fsdecode(path)).write_bytes(
                self.data(self.random.choice(SIZES[: 11 if self.random.random() < 0.1 else 10]))
            )
        elif kind == "folder":
            os.mkdir(path)
        elif kind == "link":
            os.symlink(self.random.choice((b"a", b"../b", b"/etc", b"no where", b"l" * 200, b"\xff")), path)
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            with contextlib.suppress(PermissionError):  # containers may not make devices
                os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        self.touch(path)

    def touch(self, path: bytes) -> None:
        """Give the path another time, and sometimes mode and owner."""
        if not os.path.lexists(path):
            return
        if self.random.random() < 0.3:
            owner = self.random.choice((0, 1000, 70_000, 3_000_000))
            os.lchown(path, owner, self.random.choice((0, 1000)))
        if os.path.islink(path):
            return
        if self.random.random() < 0.4:
            os.chmod(path, self.random.choice((0o644, 0o4755, 0o000, 0o1777, 0o2750, 0o600)))
        seconds = self.moment(self.sets) - self.random.randint(0, DAY - 2)
        os.utime(path, (seconds, self.random.choice((seconds, seconds, seconds, 0, seconds + 2**33))))

    def crowd(self) -> None:
        folder = os.path.join(os.fsencode(self.source), b"crowd")
        os.makedirs(folder, exist_ok=True)
        for number in range(self.random.choice((300, 2000))):
            Path(os.fsdecode(folder), f"{number}").write_bytes(b"%d" % number)

    def change(self) -> None:
        """One random change."""
        paths = self.paths()
        if not paths or self.random.random() < 0.25:
            self.create(self.folder())
            return
        path = self.random.choice(paths)
        what = self.random.choice(
            ("edit", "edit", "edit", "append", "truncate", "remove", "replace", "touch", "rename")
        )
        if what in ("edit", "append", "truncate") and os.path.isfile(path) and not os.path.islink(path):
            self.edit(path, what)
            self.touch(path)
        elif what in ("remove", "replace"):
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
            if what == "replace":
                self.create(os.path.dirname(path))
                if not os.path.lexists(path):
                    self.random.choice((os.mkdir, lambda p: os.symlink(b"/tmp", p), self.empty))(path)
                    self.touch(path)
        elif what == "rename":
            new = os.path.join(os.path.dirname(path), self.random.choice(NAMES))
            if not os.path.lexists(new):
                os.rename(path, new)
        else:
            self.touch(path)

    @staticmethod
    def empty(path: bytes) -> None:
        Path(os.fsdecode(path)).touch()

    def edit(self, path: bytes, what: str) -> None:
        with open(path, "r+b") as handle:
            size = os.fstat(handle.fileno()).st_size
            if what == "append":
                handle.seek(size)
                handle.write(self.data(self.random.choice(SIZES[:10])))
            elif what == "truncate":
                handle.truncate(self.random.randint(0, size))
            else:
                for _number in range(self.random.randint(1, 5)):
                    handle.seek(self.random.randint(0, size))
                    handle.write(self.data(self.random.choice((1, 100, 3000))))

    # --- sets ---------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """One more set: the full first, then incrementals."""
        mode = "incremental" if self.sets else "full"
        if self.key:
            form = ["--encrypt-key", self.key, "--gpg-options=--trust-model=always --compress-level=1"]
        elif self.passphrase:
            form = ["--gpg-options=--compress-level=1 --s2k-count=65536"]
        else:
            form = ["--no-encryption", *(() if self.compress else ("--no-compression",))]
        done = duplicity(
            self.root,
            *(mode, *form, "--volsize", "1", "--current-time", str(self.moment(self.sets)), "--allow-source-mismatch"),
            *(str(self.source), f"file://{self.repository}"),
            env=self.secrets,
            program=self.program,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        self.sets += 1

    def run(self, sets: int) -> None:
        self.save()
        for _number in range(sets - 1):
            for _change in range(self.random.choice((0, 1, 5, 20))):
                self.change()
            self.save()

    def restore(self, number: int, destination: Path, path: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Point ``number`` by stock duplicity, from a cold cache; ``path``: of it only this."""
        part = () if path is None else (f"-r{os.fsdecode(path)}",)  # its long name is not the same in all versions
        shutil.rmtree(self.root / "cold", ignore_errors=True)
        (self.root / "cold").mkdir()
        form = ["--gpg-options=--s2k-count=65536"] if self.key or self.passphrase else ["--no-encryption"]
        return duplicity(
            self.root / "cold",
            *("restore", *form, "--time", str(self.moment(number)), "--numeric-owner", *part),
            *(f"file://{self.repository}", str(destination)),
            env=self.secrets,
            program=self.program,
        )

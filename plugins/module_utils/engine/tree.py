# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The tree that a restore writes: files at once, links and devices when no more file is written, folders' modes last.

No path can leave the destination: each folder is opened below the one before it, never through a link; and while files
are written there is no link in the tree that could be met. Several processes may write different files of one tree.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
import typing as t

from .delta import Segment
from .delta_spool import Window
from .difftar import PIECE, Data, Entry
from .errors import Damaged, LifeboatError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PART = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_COPIED = 1 << 26  # bytes that the kernel copies before it is told that something moves
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Attributes(t.NamedTuple):
    """What is set on a path beside its content."""

    owner: tuple[int, int, int]  # mode, uid, gid
    mtime: int


class Tree:
    """The tree at ``destination``, whose parent exists. Paths are relative to it; the empty path is itself. ``alive`` is told
    whenever something was written."""

    def __init__(self, destination: str, alive: t.Callable[[], None] = lambda: None) -> None:
        self.destination, self._alive = destination, alive
        top, name = os.path.split(os.fsencode(destination))
        self._name = name
        self._fds = [os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        self._at: list[bytes] = []  # the folders that are open, below the destination's parent
        self._folder: bytes | None = None  # the path of the last of them
        self._part: tuple[bytes, int] | None = None
        self.folders: set[bytes] = set()  # all that something was put into

    def close(self) -> None:
        self._end_part()
        while self._fds:
            os.close(self._fds.pop())

    # --- files --------------------------------------------------------------------------------------------------------

    def write(self, path: bytes, data: Data, attributes: Attributes) -> None:
        """A new file with all its content."""
        folder, name = self._parent(path)
        file = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            if data and os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _set(file, attributes)
        finally:
            os.close(file)
        self._alive()

    def write_part(self, path: bytes, part: int, data: Data) -> None:
        """Part ``part`` (from 1) of a file that is cut; parts may come from several processes, in any order."""
        if self._part is None or self._part[0] != path:
            self._end_part()
            folder, name = self._parent(path)
            self._part = path, os.open(name, _PART, 0o600, dir_fd=folder)
        if data and os.pwrite(self._part[1], data, (part - 1) * PIECE) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._alive()

    def end_parts(self, path: bytes, attributes: Attributes) -> None:
        """No more parts of ``path`` come, from no process."""
        if self._part is None or self._part[0] != path:
            self.write_part(path, 1, b"")
        _set(t.cast("tuple[bytes, int]", self._part)[1], attributes)
        self._end_part()

    def rewrite(self, path: bytes, make: t.Callable[[int], list[Segment]], deltas: Window) -> int:
        """Put a new version in the place of the file ``path``; ``make`` tells from the old one's size what it is made
        of. Returns its size. Attributes are set by :meth:`end_parts`."""
        self._end_part()
        folder, name = self._parent(path)
        old = os.open(name, _OLD, dir_fd=folder)
        try:
            version = make(os.fstat(old).st_size)
            if stays(version):
                return _assemble(version, None, deltas.descriptor, old, self._alive)
            temporary = b".lifeboat-" + secrets.token_hex(16).encode()
            new = os.open(temporary, _NEW, 0o600, dir_fd=folder)
            try:
                size = _assemble(version, old, deltas.descriptor, new, self._alive)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise
            finally:
                os.close(new)
        finally:
            os.close(old)
        return size

    # --- the rest -----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry, path: bytes) -> None:
        """A link, FIFO or device: only when all files are written."""
        self._alive()
        folder, name = self._parent(path)
        mode, uid, gid = entry.owner
        if entry.type == "link":
            os.symlink(entry.link, name, dir_fd=folder)
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
            return
        if entry.type == "fifo":
            os.mkfifo(name, 0o600, dir_fd=folder)
        else:
            kind = stat.S_IFCHR if entry.type == "character" else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(*entry.device), dir_fd=folder)
        # made a moment ago in a folder that nobody else may enter: it is no link
        os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
        os.chmod(name, mode, dir_fd=folder)
        os.utime(name, ns=(time.time_ns(), entry.mtime * 10**9), dir_fd=folder, follow_symlinks=False)

    def make_folder(self, path: bytes) -> None:
        self._open(path)

    def finish_folder(self, path: bytes, attributes: Attributes) -> None:
        """Set a folder's attributes: when nothing more is put in it, and those in it are finished."""
        self._alive()
        _set(self._open(path), attributes)

    # --- within -------------------------------------------------------------------------------------------------------

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        """The open folder that holds ``path``, and its name there."""
        if not path:
            self._leave(0)
            return self._fds[0], self._name
        folder, _slash, name = path.rpartition(b"/")
        return (self._fds[-1] if folder == self._folder else self._open(folder)), name

    def _open(self, path: bytes) -> int:
        """The folder ``path``, opened and, where it was missing, made."""
        names = [self._name, *path.split(b"/")] if path else [self._name]
        same = 0
        for mine, its in zip(self._at, names, strict=False):
            if mine != its:
                break
            same += 1
        self._leave(same)
        for name in names[same:]:
            try:
                os.mkdir(name, 0o700, dir_fd=self._fds[-1])
            except FileExistsError:
                pass
            try:
                self._fds.append(os.open(name, _FOLDER, dir_fd=self._fds[-1]))
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise Damaged(f"it holds {path!r} both as a folder and as something else") from None
                raise
            self._at.append(name)
        self._folder = path
        self.folders.add(path)
        return self._fds[-1]

    def _leave(self, depth: int) -> None:
        while len(self._at) > depth:
            os.close(self._fds.pop())
            self._at.pop()
            self._folder = None

    def _end_part(self) -> None:
        if self._part is not None:
            os.close(self._part[1])
            self._part = None


def failure(error: OSError, destination: str) -> LifeboatError:
    """One sentence for what the system said while the tree was written."""
    where = f" ({os.fsdecode(error.filename)!r})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LifeboatError(f"the disk of {destination} is full: free space, or choose another destination.")
    if error.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTDIR):
        return LifeboatError(f"the repository is damaged: it holds one path twice{where}.")
    step = "restore as root" if error.errno in (errno.EPERM, errno.EACCES) else "see the system's log"
    return LifeboatError(f"cannot write to {destination}{where}: {error.strerror}; {step}.")


def _set(descriptor: int, attributes: Attributes) -> None:
    """Owner first: a change of owner clears the set-id bits of the mode."""
    mode, uid, gid = attributes.owner
    os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(time.time_ns(), attributes.mtime * 10**9))


def join(version: list[Segment], base: Data, deltas: bytes) -> bytes:
    """A version whose base is in memory."""
    return b"".join((base if base_ else deltas)[start : start + length] for base_, start, length in version)


def stays(version: list[Segment]) -> bool:
    """Whether all that is kept of the base stays where it is: then the rest can be written over it."""
    at = 0
    for segment in version:
        if segment.base and segment.start != at:
            return False
        at += segment.length
    return True


def _assemble(version: list[Segment], base: int | None, deltas: int, new: int, alive: t.Callable[[], None]) -> int:
    """Write a version, copied from file to file within the kernel. Without ``base``, ``new`` is the base itself."""
    size = 0
    for segment in version:
        source = base if segment.base else deltas
        if source is not None:
            os.lseek(new, size, os.SEEK_SET)
            at, end = segment.start, segment.start + segment.length
            while at < end:
                done = os.sendfile(new, source, at, min(end - at, _COPIED))
                if not done:
                    raise Damaged("a delta in it copies what is not there")
                at += done
                alive()
        size += segment.length
    os.ftruncate(new, size)
    return size

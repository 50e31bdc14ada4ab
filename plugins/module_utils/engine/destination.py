# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Where a restored tree goes: what may be replaced, a room beside it to restore into, and the swap."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import typing as t
from contextlib import contextmanager

from .errors import LifeboatError, Refused

REPLACE = ("false", "true", "in_place")
NO, IN_PLACE = "false", "in_place"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check(destination: str, replace: str) -> str:
    """The normalised destination, if restoring to it can hurt nothing that was not named."""
    if not destination.startswith("/"):
        raise Refused(f"destination '{destination}' is not an absolute path.")
    path = os.path.normpath(destination)
    written = path if replace == IN_PLACE else os.path.dirname(path)
    if any("\ud800" <= sign <= "\udfff" for sign in written):
        raise Refused("the destination's path is not UTF-8, which duplicity cannot write to: choose another one.")
    if path == "/" or (os.path.ismount(path) and replace != IN_PLACE):
        raise Refused(
            f"{path} is a mount point, which cannot be swapped: restore into a folder below it"
            + ("." if path == "/" else ", or set replace to in_place.")
        )
    inside = next((mount for mount in _mounts() if mount.startswith(os.path.realpath(path) + "/")), None)
    if replace != NO and inside and not os.path.islink(path):
        raise Refused(f"{inside} is a mount point, and what is in {path} is replaced as a whole: unmount it first.")
    if not os.path.isdir(os.path.dirname(path)):
        raise Refused(f"{os.path.dirname(path)} does not exist: create it, or choose another destination.")
    if replace == IN_PLACE and os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
        raise Refused(f"{path} is no folder, so nothing is restored in place: set replace to true to swap it.")
    return path


def is_free(path: str) -> bool:
    """Whether nothing is there that a restore would replace: an empty folder is nothing."""
    return not os.path.lexists(path) or _is_empty_folder(path)


def _mounts() -> list[str]:
    """Every mount point that this process sees (proc(5): blanks and the like are octal)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as handle:
        return [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4]) for line in handle]


def _is_empty_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)


@contextmanager
def room(destination: str) -> t.Iterator[tuple[str, int]]:
    """A private folder beside ``destination``, removed at the end, and a descriptor that marks it as in use.

    Whoever works in it holds the descriptor, a child that outlives us too; a room that nobody holds was left by a run
    that was killed, and the next restore to the same place removes it.
    """
    parent = os.path.dirname(destination)
    try:
        sweep(destination)
        folder, descriptor = _make(parent, _prefix(destination))
    except OSError as error:
        raise LifeboatError(f"cannot write in {parent}: {error.strerror}; choose another destination.") from error
    try:
        yield folder, descriptor
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _make(parent: str, prefix: str) -> tuple[str, int]:
    while True:
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        descriptor = _hold(folder)
        if descriptor is not None:
            return folder, descriptor
        # another restore swept it in the instant before we held it


def _hold(folder: str) -> int | None:
    """An exclusive lock on a folder, or None when another has it or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(folder), os.fstat(descriptor)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _prefix(destination: str) -> str:
    # not the name itself: it may be as long as a name can be, or no UTF-8, which duplicity's destination must be
    return f".lifeboat-{hashlib.sha256(os.fsencode(os.path.basename(destination))).hexdigest()[:12]}-"


def sweep(destination: str) -> None:
    """Remove the rooms of killed restores to ``destination``."""
    for entry in os.scandir(os.path.dirname(destination)):
        if entry.name.startswith(_prefix(destination)) and entry.is_dir(follow_symlinks=False):
            descriptor = _hold(entry.path) if entry.stat(follow_symlinks=False).st_uid == os.geteuid() else None
            if descriptor is not None:
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(descriptor)


def check_space(folder: str, needed: int, what: str) -> None:
    """Refuse what cannot fit: better before than with a full disk. ``needed`` bytes at ``folder``."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refused(
            f"{what} needs {_mib(needed)} MiB and {folder} has {_mib(free)} MiB free: free some space, or choose another "
            "destination."
        )


def _mib(size: int) -> int:
    return -(-size // (1 << 20))


def put_in_place(tree: str, destination: str) -> None:
    """Give ``tree`` its name. What stood there ends up where ``tree`` was, and is deleted with it."""
    try:
        if _is_empty_folder(destination):
            os.rmdir(destination)
        if os.path.lexists(destination):
            _exchange(tree, destination)
        else:
            os.rename(tree, destination)
    except OSError as error:
        message = f"cannot put the restored tree at {destination}: {error.strerror}; it is as it was."
        if error.errno == errno.EXDEV:  # overlayfs: a folder of an image cannot be moved
            message += " This filesystem cannot exchange it: set replace to in_place, or move the folder away first."
        raise LifeboatError(message) from error


def _exchange(one: str, two: str) -> None:
    """Swap two paths in one step (renameat2, Linux 3.15): at no moment is there nothing at ``two``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

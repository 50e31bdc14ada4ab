# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""duplicity, started with our own S3 backend. Run as a script, never imported: ``python launcher.py <arguments>``.

These things differ from stock duplicity; repositories do not:

* Scheme ``lifeboat://bucket/prefix`` is duplicity's S3 backend without HeadBucket. That call carries no prefix, so a
  policy that limits ListBucket to a node's own prefix refuses it (facts, object stores: the HeadBucket trap).
* Uploads use the storage class, the server-side encryption and the bandwidth that LIFEBOAT_UPLOAD names (JSON, see
  ``command.environment``). duplicity's own options know no intelligent tiering, move manifests too, and set no bandwidth.
  A refused upload is tried again as often as any other call; duplicity's own backend gives up at once.
* A restore, a verify and a list of files fetch what they will need next while duplicity works on what it has (``Ahead``).
  duplicity fetches one object at a time and waits for it.
* What is uploaded is noted, one JSON line per object, in the file that LIFEBOAT_OBJECTS names: these lines become
  ``objects`` of the run record.
* ``os.access`` judges by the effective ids, so that a service user with CAP_DAC_READ_SEARCH may read what it can read;
  duplicity would leave such files out and end with success.
* The machine log takes every name: duplicity's own drops an event, a lost file's too, when a name in it is not UTF-8.
* A passphrase comes from the keyring's own file: in the environment, where duplicity looks, every gpg would have it too.
* With LIFEBOAT_ONTO set, a restore goes onto a folder that holds something (see ``in_place``, which prepares it).
* Files named in the file LIFEBOAT_CHANGED (relative, each ended by a NUL) count as changed even if mtime, mode and owner
  are as before: duplicity looks at nothing else (see ``witness.closely``).
* It ends with the engine that started it (LIFEBOAT_PARENT, see ``execute.run``): an orphan would hold the lock, and the
  next run would be refused.
* A copy to another disk gets its name when it is whole: duplicity copies to the name itself, and a kill in between leaves
  half a manifest that looks like a whole set.
* An unfinished set that the store's key may not delete is left where it is, with a warning, and a full is made beside it.
  duplicity would try to delete it for ever (facts: guard 19). Any other verb ends there with an error.

``--concurrency`` spawns workers that import this file anew: all of this therefore happens at module level.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import signal
import sys
import typing as t

_PR_SET_PDEATHSIG = 1


def _end_with_parent(parent: str) -> None:
    """SIGKILL this process when its parent ends; a worker ends with the process that spawned it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # it had ended before we asked; our own number: duplicity restarted itself, and has its parent still
    if int(parent) not in (os.getppid(), os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ["LIFEBOAT_PARENT"] = str(os.getpid())


if os.environ.get("LIFEBOAT_PARENT"):
    _end_with_parent(os.environ["LIFEBOAT_PARENT"])
os.access = functools.partial(os.access, effective_ids=True)

from duplicity import backend, config, dup_main, dup_time, file_naming, log  # os.access must be set before
from duplicity.backends.localbackend import LocalBackend
from duplicity.dup_collections import BackupSet
from duplicity.path import Path, ROPath

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # a script's own folder is there already
from launcher_count import Counter, count_backup, count_restore
from launcher_s3 import StrictS3Backend

# A warning of our own, which ``outcome`` knows by this number; duplicity's end at 13.
LEFT_BEHIND = 119
_left: set[bytes] = set()


def _move(self: t.Any, source_path: t.Any, remote_filename: bytes) -> bool:
    """``LocalBackend._move``, which falls back to copying by itself."""
    try:
        os.rename(source_path.name, self.remote_pathdir.append(remote_filename).name)
        return True
    except OSError:
        return False


def _copy_whole(self: t.Any, source_path: t.Any, remote_filename: bytes) -> None:
    """``LocalBackend._put``, first to a name that counts for nothing. What a kill leaves there goes with the next backup."""
    temporary = remote_filename + b".new"
    _copy(self, source_path, temporary)
    os.rename(self.remote_pathdir.append(temporary).name, self.remote_pathdir.append(remote_filename).name)


def _delete_or_leave(self: t.Any) -> None:
    """Delete a set, and see whether it is gone: duplicity takes no notice of a refusal."""
    # a second try after a pause, for each of hundreds of objects, would not help against a refusal; boto3 has its own
    retries, config.num_retries = config.num_retries, 1
    _delete_set(self)
    config.num_retries = retries
    mine = (self.time, self.start_time, self.end_time)
    named = ((name, file_naming.parse(name)) for name in self.backend.list())
    left = {name for name, seen in named if seen and (seen.time, seen.start_time, seen.end_time) == mine}
    if not left:
        return
    stamp = dup_time.timetostring(self.time or self.end_time)
    text = f"Cannot delete the unfinished set of {stamp} ({len(left)} objects)."
    if config.action != "full":
        log.FatalError(text, log.ErrorCode.backend_permission_denied)
    log.Warn(text, LEFT_BEHIND, stamp)
    _left.update(left)


def _list(self: t.Any) -> list[bytes]:
    """The repository without what could not be deleted, as if that were gone."""
    return [name for name in _list_all(self) if name not in _left]


def _restart(path: str, argv: list[str], env: t.Mapping[str, str]) -> t.NoReturn:
    """duplicity restarts itself by executing ``sys.argv[0]``: this file, which needs its interpreter before it."""
    _execve(sys.executable, [sys.executable, *argv], env)


def _log_every_name(filename: str) -> None:
    """``log.add_file`` (3.2.1), but for the handling of what is not UTF-8."""
    handler = logging.FileHandler(filename, encoding="utf8", errors="surrogateescape")
    handler.setFormatter(log.MachineFormatter())
    handler.addFilter(log.MachineFilter())
    log._logger.addHandler(handler)


def _passphrase(*_asked: t.Any, **_more: t.Any) -> str:
    """``dup_main.get_passphrase``; unset, it would ask for one on a terminal and fail without (facts: guard 17)."""
    try:
        with open(os.path.join(os.environ.get("GNUPGHOME", ""), "passphrase"), encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""  # started by hand, without a keyring


def _read_closely(listing: str) -> None:
    with open(listing, "rb") as handle:
        changed = {tuple(path.split(b"/")) for path in handle.read().split(b"\0") if path}
    compare = ROPath.__eq__
    ROPath.__eq__ = lambda mine, other: mine.index not in changed and compare(mine, other)


log.add_file = _log_every_name
dup_main.get_passphrase = _passphrase
if os.environ.get("LIFEBOAT_ONTO"):
    Path.isemptydir = lambda self: True  # all it is asked for: may a restore write here?
if os.environ.get("LIFEBOAT_CHANGED"):
    _read_closely(os.environ["LIFEBOAT_CHANGED"])
_delete_set, BackupSet.delete = BackupSet.delete, _delete_or_leave
_list_all, backend.BackendWrapper.list = backend.BackendWrapper.list, _list
LocalBackend._move = _move
_copy, LocalBackend._put = LocalBackend._put, _copy_whole
_execve = os.execve
os.execve = t.cast(t.Any, _restart)
backend.register_backend("lifeboat", StrictS3Backend)


def run() -> None:
    """duplicity itself. It closes its backend only when all went well; what was fetched ahead is to go in any case."""
    from duplicity.__main__ import dup_run

    try:
        dup_run()
    finally:
        if config.backend is not None:
            config.backend.close()


if __name__ == "__main__":
    if os.environ.get("LIFEBOAT_PROGRESS"):
        _counter = Counter(os.environ["LIFEBOAT_PROGRESS"])
        count_backup(_counter)
        count_restore(_counter)
    run()

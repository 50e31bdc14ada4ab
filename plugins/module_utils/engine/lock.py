# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One operation at a time per repository: an flock whose descriptor is handed on to duplicity.

duplicity's own lock file is no help: a second run unlinks the first one's (facts: guard 6). An flock is freed when its
last descriptor is closed, so a killed parent does not free it while its duplicity still writes.
"""

from __future__ import annotations

import fcntl
import os
import typing as t
from contextlib import contextmanager

from .errors import LifeboatError


@contextmanager
def held(path: str) -> t.Iterator[int]:
    """Hold the lock file at ``path``; yields the descriptor to pass on. Fails at once when another run holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LifeboatError(f"cannot open the lock {path}: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LifeboatError(
                f"another run holds {path}: wait for it to end (or see what it does: fuser -v {path})."
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)

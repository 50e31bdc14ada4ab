# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Progress for a person: one line on standard error that is written over every second, and is gone at the end."""

from __future__ import annotations

import os
import sys
import typing as t
from contextlib import contextmanager

from . import reporter
from .progress import State, line

_CLEAR = "\r\x1b[K"


@contextmanager
def shown(operation: str, profile: str, *, quiet: bool = False) -> t.Iterator[None]:
    """Show the progress of what runs in the body. Nothing is shown where standard error is no terminal (a log, a pipe)."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    stream = sys.stderr
    try:
        with reporter.reporting(lambda state: _show(stream, state), operation, profile):
            yield
    finally:
        try:
            stream.write(_CLEAR)
            stream.flush()
        except OSError:  # the terminal is gone, the operation is done
            pass


def _show(stream: t.TextIO, state: State) -> None:
    text = line(state, state.updated)
    stream.write(_CLEAR + text[: max(_columns(stream) - 1, 20)])  # a wrapped line could not be written over
    stream.flush()


def _columns(stream: t.TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80

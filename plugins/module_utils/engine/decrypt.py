# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one door to gpg for streams: a file of the repository -> its plain bytes, whatever it is wrapped in.

gpg runs beside us, from file to pipe; it takes off the encryption, we unpack what is in it. That counts only after
:meth:`Plain.finish`, which asks whether gpg saw the end of the message and found it unchanged.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import typing as t

from .errors import Damaged, LifeboatError, UnknownFormat
from .inflate import GZIP, Inflated
from .keyring import cause, statuses
from .openpgp import Literal
from .outcome import SYMMETRIC

_CHUNK = 1 << 20


class Plain(t.Protocol):
    """An open file: ``read`` gives at most that many bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...

    def finish(self) -> None:
        """Read the rest; an error if the file was not sound to its end."""

    def close(self) -> None:
        """Let go of it, finished or not."""


def opened(path: str, name: str, home: str) -> Plain:
    """The file ``path``, wrapped as the object's ``name`` says; ``home`` is the GNUPGHOME that holds the key."""
    if name.endswith(".gpg"):
        return _Gpg(path, name, home)
    return _Gzip(path) if name.endswith(".gz") else _File(path)


def whole(path: str, name: str, home: str) -> bytes:
    """All plain bytes of a small file."""
    plain = opened(path, name, home)
    try:
        pieces = []
        try:
            while piece := plain.read(_CHUNK):
                pieces.append(piece)
        except (Damaged, UnknownFormat):
            plain.finish()  # when gpg has failed, its own reason is the better one
            raise
        plain.finish()
        return b"".join(pieces)
    finally:
        plain.close()


class _File:
    def __init__(self, path: str) -> None:
        self.file: t.BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 - see `close`

    def read(self, size: int, /) -> bytes:
        return self.file.read(size)

    def finish(self) -> None:
        return

    def close(self) -> None:
        self.file.close()


class _Gzip(_File):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._plain = Inflated(self.file.read, GZIP, "gzip")

    def read(self, size: int, /) -> bytes:
        return self._plain.read(size)

    def finish(self) -> None:
        while self.read(_CHUNK):
            continue


class _Gpg:
    def __init__(self, path: str, name: str, home: str) -> None:
        self._name = name
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": home,
            "GNUPGHOME": home,
            "LC_ALL": "C.UTF-8",
        }
        # files in memory: a pipe that nobody reads could block gpg, and threads for two short texts are too many
        self._status, self._messages = os.memfd_create("status"), os.memfd_create("messages")
        try:
            with open(path, "rb") as source:
                self._process = subprocess.Popen(
                    [
                        *("gpg", "--batch", "--no-tty", "--quiet", "--status-fd", str(self._status)),
                        *("--pinentry-mode", "loopback", "--no-auto-check-trustdb", "--unwrap", "--decrypt"),
                    ],
                    env=environment,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=self._messages,
                    pass_fds=[self._status],
                    bufsize=0,
                )
        except OSError as error:
            self._close_files()
            raise LifeboatError(f"cannot start gpg: {error.strerror}; install gnupg.") from error
        self._pipe = t.cast(t.IO[bytes], self._process.stdout).fileno()
        try:
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _CHUNK)
        except (OSError, AttributeError):
            pass  # the user's share of large pipes is used up: a small one works too

        self._literal = Literal(lambda size: os.read(self._pipe, size))

    def read(self, size: int, /) -> bytes:
        return self._literal.read(size)

    def finish(self) -> None:
        trouble: LifeboatError | None = None
        try:
            while self._literal.read(_CHUNK):
                continue
        except (Damaged, UnknownFormat) as error:
            trouble = error
        while os.read(self._pipe, _CHUNK):
            continue
        self._check_gpg()
        if trouble is not None:
            raise trouble

    def _check_gpg(self) -> None:
        code = self._process.wait()
        status = statuses(_text(self._status))
        words = {word for word, rest in status}
        if code < 0:
            raise LifeboatError(f"gpg was killed by signal {-code}: free memory, and try again.")
        if code != 0:
            if "NEED_PASSPHRASE_SYM" in words and "ENC_TO" not in words:
                raise LifeboatError(SYMMETRIC)
            why = cause(status, _text(self._messages))
            if "DECRYPTION_FAILED" in words and "DECRYPTION_INFO" not in words:
                raise LifeboatError(f"cannot decrypt {self._name}: {why}; check that the right key was given.")
            raise Damaged(f"it cannot be decrypted: {why}")
        if "DECRYPTION_OKAY" not in words or "GOODMDC" not in words:
            raise Damaged("it is not protected against change")

    def close(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close_files()

    def _close_files(self) -> None:
        os.close(self._status)
        os.close(self._messages)


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 16, 0).decode("utf-8", "replace")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The one door to gpg for streams: a file of the repository -> its plain bytes, whatever it is wrapped in.

gpg runs beside us, from file to pipe; it takes off the encryption, we unpack what is in it. That counts only after
:meth:`Plain.finish`, which asks whether gpg saw the end of the message and found it unchanged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import typing as t

from .errors import Damaged, LifeboatError, UnknownFormat
from .inflate import GZIP, Inflated
from .keyring import cause, command, environment, statuses
from .openpgp import Literal
from .outcome import SYMMETRIC

_CHUNK = 1 << 20
# of a message that is sealed with a passphrase (gpg 2.2.40 and 2.4.7)
_WRONG = "symkey_decrypt.maybe_error 11_BAD_PASSPHRASE"


class Plain(t.Protocol):
    """An open file: ``read`` gives at most that many bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...

    def finish(self) -> None:
        """Read the rest; an error if the file was not sound to its end."""

    def skip(self) -> None:
        """The rest is not wanted; an error if gpg finds that the file was changed."""

    def stop(self) -> None:
        """From another thread: whoever reads it need not wait any longer, and gets an error or an end."""

    def close(self) -> None:
        """Let go of it, finished or not."""


def opened(path: str, name: str, home: str) -> Plain:
    """The file ``path``, wrapped as the object's ``name`` says; ``home`` is the GNUPGHOME that holds the key."""
    if name.endswith(".gpg"):
        return _Gpg(path, name, home)
    return _Gzip(path) if name.endswith(".gz") else _File(path)


def whole(plain: Plain) -> bytes:
    """All bytes of a small file, which is closed."""
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


class Group:
    """Files that are decrypted ahead; ``files`` are (path, object's name), in the order in which they are opened.

    Several encrypted ones go through one gpg: to start it costs ten times what it does for a small file. Each then lies
    beside its ciphertext, without its encryption, until it is closed. If anything in them is not well, each is given to a
    gpg of its own, which says what.
    """

    def __init__(self, files: t.Sequence[tuple[str, str]], home: str) -> None:
        self._files, self._home = files, home
        self._good: bool | None = None
        self._gpg: _Process | None = None
        self._single: Plain | None = None
        if len(files) == 1:
            self._single = opened(*files[0], home)
        elif all(name.endswith(".gpg") for _path, name in files):
            arguments = ["--unwrap", "--decrypt-files", *(path for path, name in files)]
            self._gpg = _Process(arguments, home, subprocess.DEVNULL, subprocess.DEVNULL)

    def open(self, number: int) -> Plain:
        """The file with this number, once."""
        if self._single is not None:
            plain, self._single = self._single, None
            return plain
        path, name = self._files[number]
        if self._gpg is not None and self._is_good(self._gpg):
            return _Unsealed(path.removesuffix(".gpg"))
        return opened(path, name, self._home)

    def _is_good(self, gpg: _Process) -> bool:
        if self._good is None:
            code, status = gpg.wait()
            each: list[set[str]] = []
            for word, _rest in status:
                if word == "FILE_START":
                    each.append(set())
                elif each:
                    each[-1].add(word)
            sound = {"DECRYPTION_OKAY", "GOODMDC", "FILE_DONE"}
            self._good = code == 0 and len(each) == len(self._files) and all(words >= sound for words in each)
        return self._good

    def close(self) -> None:
        """Let go of what was not opened."""
        if self._single is not None:
            self._single.close()
        if self._gpg is not None:
            self._gpg.close()
            for path, _name in self._files:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path.removesuffix(".gpg"))


class _File:
    def __init__(self, path: str) -> None:
        self.file: t.BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 - see `close`

    def read(self, size: int, /) -> bytes:
        return self.file.read(size)

    def finish(self) -> None:
        return

    def skip(self) -> None:
        return

    def stop(self) -> None:
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


class _Unsealed(_File):
    """A file that gpg has decrypted, and found sound."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._literal = Literal(self.file.read)

    def read(self, size: int, /) -> bytes:
        return self._literal.read(size)

    def finish(self) -> None:
        while self.read(_CHUNK):
            continue

    def close(self) -> None:
        super().close()
        os.unlink(self._path)


class _Gpg:
    def __init__(self, path: str, name: str, home: str) -> None:
        self._name = name
        with open(path, "rb") as source:
            self._gpg = _Process(["--unwrap", "--decrypt"], home, source, subprocess.PIPE)
        pipe = self._pipe = t.cast(t.IO[bytes], self._gpg.popen.stdout).fileno()
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK)
        except (OSError, AttributeError):
            pass  # the user's share of large pipes is used up: a small one works too
        self._literal = Literal(lambda size: os.read(pipe, size))

    def read(self, size: int, /) -> bytes:
        return self._literal.read(size)

    def finish(self) -> None:
        trouble: LifeboatError | None = None
        try:
            while self._literal.read(_CHUNK):
                continue
        except (Damaged, UnknownFormat) as error:
            trouble = error
        self.skip()
        if trouble is not None:
            raise trouble

    def skip(self) -> None:
        while os.read(self._pipe, _CHUNK):
            continue
        self._check()

    def _check(self) -> None:
        """Whether gpg is content with the whole message."""
        code, status = self._gpg.wait()
        words = {word for word, rest in status}
        if code < 0:
            raise LifeboatError(f"gpg was killed by signal {-code}: free memory, and try again.")
        if code != 0:
            unopened = "DECRYPTION_FAILED" in words and "DECRYPTION_INFO" not in words
            if ("ERROR", _WRONG) in status or (unopened and "ENC_TO" not in words):
                raise LifeboatError(SYMMETRIC)
            why = cause(status, self._gpg.words())
            if unopened:
                raise LifeboatError(f"cannot decrypt {self._name}: {why}; check that the right key was given.")
            raise Damaged(f"it cannot be decrypted: {why}")
        if "DECRYPTION_OKAY" not in words or "GOODMDC" not in words:
            raise Damaged("it is not protected against change")

    def stop(self) -> None:
        self._gpg.popen.kill()

    def close(self) -> None:
        self._gpg.close()


class _Process:
    """A gpg that works beside us, and what it says."""

    def __init__(self, arguments: t.Sequence[str], home: str, source: int | t.IO[bytes], to: int) -> None:
        # files in memory: a pipe that nobody reads could block gpg, and threads for two short texts are too many
        self._status, self._messages = os.memfd_create("status"), os.memfd_create("messages")
        try:
            self.popen = subprocess.Popen(
                [*command(home, self._status), "--no-auto-check-trustdb", *arguments],
                env=environment(home),
                stdin=source,
                stdout=to,
                stderr=self._messages,
                pass_fds=[self._status],
                bufsize=0,
            )
        except OSError as error:
            self._close_files()
            raise LifeboatError(f"cannot start gpg: {error.strerror}; install gnupg.") from error

    def wait(self) -> tuple[int, list[tuple[str, str]]]:
        """Its exit code and status lines."""
        code = self.popen.wait()
        return code, statuses(_text(self._status))

    def words(self) -> str:
        """What it said in words."""
        return _text(self._messages)

    def close(self) -> None:
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._close_files()

    def _close_files(self) -> None:
        os.close(self._status)
        os.close(self._messages)


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 20, 0).decode("utf-8", "replace")

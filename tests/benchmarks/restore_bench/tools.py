# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a tool is; ours, stock duplicity and the floor, which restore from one and the same repository."""

from __future__ import annotations

import abc
import functools
import json
import os
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .measure import Command, join_pieces

INSTALLED = "/opt/lifeboat"
PYTHON = f"{INSTALLED}/venv/bin/python"
DUPLICITY = f"{INSTALLED}/venv/bin/duplicity"
ASK = str(Path(__file__).with_name("ask.py"))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWORD = "lab"  # of repositories that live as long as the run
CA = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Lab:
    """The store, by its near name, and the keys to it; the OpenPGP pair; the room for what tools keep between runs."""

    near: str
    far: str
    region: str
    bucket: str
    access: str
    secret: str
    private: str
    public: str
    room: Path

    def env(self, **more: str) -> dict[str, str]:
        return {"PATH": PATH, "HOME": str(self.room), "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}

    def file(self, name: str, text: str) -> str:
        """A file only we can read: what holds a secret is in no argument list."""
        path = self.room / name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
        return str(path)


@dataclass(frozen=True)
class Restore:
    """What is asked for: ``path`` of the data set (or all of it, ""), from ``endpoint`` to ``dest``; ``scratch`` is an
    empty folder on the same file system, for caches and temporary files."""

    data: str
    source: Path
    path: str
    endpoint: str
    dest: Path
    scratch: Path


class Tool(abc.ABC):
    """One tool. Preparing and clearing away are not timed, :meth:`restore`'s command is."""

    name = ""
    settings = ""
    version_argv: tuple[str, ...] = ()

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @functools.cached_property
    def version(self) -> str:
        done = subprocess.run(self.version_argv, env=self.lab.env(), capture_output=True, text=True, check=False)
        return ((done.stdout or done.stderr).strip().splitlines() or ["?"])[0]

    def warm(self) -> list[Command]:
        """What loads the program."""
        return [Command(self.version_argv, self.lab.env())]

    def store(self, data: str, source: Path, day: int) -> None:
        """Back up ``source``, for the first time on day 0."""
        return

    @abc.abstractmethod
    def restore(self, wish: Restore) -> Command:
        """What is timed."""

    def finish(self, wish: Restore) -> None:
        """Clear away what a run leaves: mounts, agents."""
        return

    def result(self, wish: Restore) -> Path:
        """Where the restored tree is; called once, after the run."""
        return wish.dest


def run(argv: t.Sequence[str], env: t.Mapping[str, str], stdin: bytes = b"") -> str:
    """A step that is not timed and has to work."""
    done = subprocess.run(argv, env=dict(env), input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-600:]
        raise RuntimeError(f"{argv[0]} failed (code {done.returncode}): {words}")
    return done.stdout.decode("utf-8", "replace")


class Ours(Tool):
    """Lifeboat's engine, as a node has it installed; the repository lies in a node's corner, with records."""

    name = "ours"
    settings = "one request to the engine; its defaults"
    version_argv = (
        PYTHON,
        "-c",
        f"import sys; sys.path.insert(0, {INSTALLED!r}); import lifeboat_engine as e; print(e.VERSION)",
    )
    reader: str | None = "auto"

    def warm(self) -> list[Command]:
        return [
            Command((PYTHON, ASK, INSTALLED), self.lab.env(), b"broken"),
            *Duplicity(self.lab).warm(),
        ]  # ends at once

    def _request(self, endpoint: str, operation: str, data: str, **values: t.Any) -> bytes:
        request = {
            "engine": self.version,
            "operation": operation,
            "target": f"s3://{self.lab.bucket}/nodes/{data}/repo/site",
            "store": {
                "endpoint_url": endpoint,
                "region": self.lab.region,
                "ca_bundle": CA,
                "access_key": self.lab.access,
                "secret_key": self.lab.secret,
            },
            **values,
        }
        layout = [str(self.lab.room / "engine" / name) for name in ("etc", "state", "cache", "run")]
        for folder in layout:
            os.makedirs(folder, exist_ok=True)
        return json.dumps([request, layout, self.reader if operation == "restore" else None]).encode()

    def store(self, data: str, source: Path, day: int) -> None:
        given = self._request(
            self.lab.near,
            "backup",
            data,
            mode="incremental" if day else "full",
            source=str(source),
            encryption={"public_key": self.lab.public},
        )
        run((PYTHON, ASK, INSTALLED), self.lab.env(), given)

    def restore(self, wish: Restore) -> Command:
        given = self._request(
            wish.endpoint,
            "restore",
            wish.data,
            dest=str(wish.dest),
            path=wish.path or None,
            encryption={"private_key": self.lab.private},
        )
        return Command((PYTHON, ASK, INSTALLED), self.lab.env(TMPDIR=str(wish.scratch)), given)


class Fallback(Ours):
    """The same, told to read through duplicity."""

    name = "fallback"
    settings = "one request to the engine; reader: duplicity"
    reader = "duplicity"


class Duplicity(Tool):
    """Stock duplicity, without our launcher, on our repository."""

    name = "duplicity"
    settings = (
        "archive folder empty; agent not running; --gpg-options=--s2k-count=65536 (saves it a second); no --concurrency: "
        "that is for uploads"
    )
    version_argv = (DUPLICITY, "--version")

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.keyring = lab.room / "gnupg"
        self.environment = lab.env(GNUPGHOME=str(self.keyring), PASSPHRASE="", AWS_CA_BUNDLE=CA)
        self.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}

    def warm(self) -> list[Command]:
        client = "boto3.client('s3', region_name='x', aws_access_key_id='x', aws_secret_access_key='x')"
        argvs = (self.version_argv, (PYTHON, "-c", f"import boto3; {client}"), ("gpg", "--version"))
        return [Command(argv, self.lab.env()) for argv in argvs]

    def open_keyring(self) -> None:
        """The private key is there before the clock starts."""
        if not self.keyring.exists():
            self.keyring.mkdir(mode=0o700)
            run(("gpg", "--batch", "--import"), self.environment, self.lab.private.encode())
        run(("gpgconf", "--kill", "all"), self.environment)

    def restore(self, wish: Restore) -> Command:
        self.open_keyring()
        ini = f"[default]\naws_access_key_id = {self.lab.access}\naws_secret_access_key = {self.lab.secret}\n"
        env = {**self.environment, "AWS_SHARED_CREDENTIALS_FILE": self.lab.file("store.ini", ini)}
        argv = [DUPLICITY, "restore", "--archive-dir", str(wish.scratch / "archive"), "--name", "bench"]
        argv += ["--tempdir", str(wish.scratch), "--numeric-owner", "--gpg-options=--s2k-count=65536"]
        argv += ["--s3-endpoint-url", wish.endpoint, "--s3-region-name", self.lab.region]
        argv += ["--path-to-restore", wish.path] if wish.path else []
        return Command([*argv, f"s3://{self.lab.bucket}/nodes/{wish.data}/repo/site", str(wish.dest)], env)

    def finish(self, wish: Restore) -> None:
        run(("gpgconf", "--kill", "all"), self.environment)


class Floor(Tool):
    """What the repository's format costs at least: fetch | gpg -d | tar x, volume after volume, without any check."""

    name = "floor"
    settings = (
        "curl | gpg -d | tar x for each volume in turn; links and key made before, nothing checked, nothing joined"
    )
    version_argv = ("gpg", "--version")

    def warm(self) -> list[Command]:
        return [Command((tool, "--version"), self.lab.env()) for tool in ("curl", "gpg", "tar")]

    def restore(self, wish: Restore) -> Command:
        import boto3  # of the engine's virtualenv, as this process
        from botocore.config import Config

        stock = Duplicity(self.lab)
        stock.open_keyring()
        client = boto3.client(
            "s3",
            endpoint_url=wish.endpoint,
            region_name=self.lab.region,
            aws_access_key_id=self.lab.access,
            aws_secret_access_key=self.lab.secret,
            verify=CA,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self.lab.bucket, Prefix=f"nodes/{wish.data}/repo/site/duplicity-full."
        )
        keys = sorted(each["Key"] for page in pages for each in page.get("Contents", []) if ".difftar." in each["Key"])
        links = [
            client.generate_presigned_url("get_object", Params={"Bucket": self.lab.bucket, "Key": key}) for key in keys
        ]
        wish.dest.mkdir()
        script = (
            'set -o pipefail; while read -r link; do printf "url = \\"%s\\"\\n" "$link" | curl -sSf --cacert "$CA" -K - | '
            'gpg --batch -q -d | { tar -x -C "$DEST" && cat > /dev/null; } || exit 1; done'
        )
        env = {**stock.environment, "CA": CA, "DEST": str(wish.dest)}
        return Command(("bash", "-c", script), env, "".join(f"{link}\n" for link in links).encode())

    def finish(self, wish: Restore) -> None:
        Duplicity(self.lab).finish(wish)

    def result(self, wish: Restore) -> Path:
        join_pieces(str(wish.dest))
        return wish.dest / "snapshot"

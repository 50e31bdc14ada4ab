# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The tools that have stores of their own: restic, rclone, S3QL, s3fs, each with the settings that suit it best."""

from __future__ import annotations

import abc
import os
import shutil
from pathlib import Path

from .measure import Command
from .tools import CA, PASSWORD, Duplicity, Fallback, Floor, Ours, Restore, Tool, run


class Restic(Tool):
    """restic, encrypted and compressed as it comes."""

    name = "restic"
    settings = "-o s3.connections=16; cache empty; --no-lock"
    version_argv = ("restic", "version")

    def _argv(self, endpoint: str, data: str) -> list[str]:
        repository = f"s3:{endpoint}/{self.lab.bucket}/restic/{data}"
        return ["restic", "--repo", repository, "-o", "s3.connections=16", "-o", "s3.bucket-lookup=path", "--quiet"]

    def _env(self, cache: Path) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": self.lab.access, "AWS_SECRET_ACCESS_KEY": self.lab.secret}
        return self.lab.env(**keys, RESTIC_PASSWORD=PASSWORD, RESTIC_CACHE_DIR=str(cache))

    def store(self, data: str, source: Path, day: int) -> None:
        env = self._env(self.lab.room / "restic")
        if day == 0:
            run([*self._argv(self.lab.near, data), "init"], env)
        run([*self._argv(self.lab.near, data), "backup", "--no-scan", str(source)], env)

    def restore(self, wish: Restore) -> Command:
        inside = str(wish.source / wish.path) if wish.path else str(wish.source)
        argv = [*self._argv(wish.endpoint, wish.data), "restore", "--no-lock", f"latest:{inside}"]
        return Command([*argv, "--target", str(wish.dest)], self._env(wish.scratch / "restic"))


class Rclone(Tool):
    """rclone copy of the plain tree: one object for each file, not encrypted."""

    name = "rclone"
    settings = "--transfers 64 --checkers 64 --fast-list --no-check-dest --s3-no-head-object --multi-thread-streams 8"
    version_argv = ("rclone", "version")

    def _env(self, endpoint: str) -> dict[str, str]:
        given = {"TYPE": "s3", "PROVIDER": "Ceph", "ENDPOINT": endpoint, "REGION": self.lab.region}
        given |= {"ACCESS_KEY_ID": self.lab.access, "SECRET_ACCESS_KEY": self.lab.secret, "NO_CHECK_BUCKET": "true"}
        keys = {f"RCLONE_CONFIG_LAB_{key}": value for key, value in given.items()}
        return self.lab.env(**keys, RCLONE_CONFIG=os.devnull)

    def store(self, data: str, source: Path, day: int) -> None:
        there = f"lab:{self.lab.bucket}/rclone/{data}"
        argv = ["rclone", "sync", "--transfers", "32", "--checkers", "32", "--fast-list", "--s3-no-head"]
        run([*argv, str(source), there], self._env(self.lab.near))

    def restore(self, wish: Restore) -> Command:
        there = "/".join(part for part in (f"lab:{self.lab.bucket}/rclone", wish.data, wish.path) if part)
        return Command(["rclone", "copy", *self.settings.split(), there, str(wish.dest)], self._env(wish.endpoint))


class Mounted(Tool):
    """A file system on the store: mount it, then cp."""

    def folder(self, wish: Restore) -> Path:
        return wish.scratch / "mnt"

    @abc.abstractmethod
    def mount(self, endpoint: str, data: str, cache: Path, folder: Path) -> list[str]:
        """The command that mounts what was stored of ``data`` at ``folder``."""

    def env(self) -> dict[str, str]:
        return self.lab.env()

    def make(self, data: str) -> None:
        """Whatever comes before the first mount."""

    @abc.abstractmethod
    def unmount(self, folder: Path) -> None:
        """Let go of it, with all written."""

    def store(self, data: str, source: Path, day: int) -> None:
        self.make(data)
        cache, folder = self.lab.room / f"{self.name}-cache", self.lab.room / f"{self.name}-mnt"
        for each in (cache, folder):
            each.mkdir()
        run(self.mount(self.lab.near, data, cache, folder), self.env())
        try:
            run(("cp", "-a", f"{source}/.", str(folder)), self.env())
        finally:
            self.unmount(folder)
        shutil.rmtree(cache)

    def restore(self, wish: Restore) -> Command:
        cache = wish.scratch / "cache"
        for each in (cache, self.folder(wish), wish.dest):
            each.mkdir()
        mount = self.mount(wish.endpoint, wish.data, cache, self.folder(wish))
        script = '"$@" && cp -a "$FROM/." "$TO"'
        env = {**self.env(), "FROM": str(self.folder(wish)), "TO": str(wish.dest)}
        return Command(("bash", "-c", script, "mount", *mount), env)

    def finish(self, wish: Restore) -> None:
        self.unmount(self.folder(wish))


class S3ql(Mounted):
    """S3QL, encrypted and compressed."""

    name = "s3ql"
    settings = "s3c4://, --threads 8 --compress zlib-6, cache empty; mount and cp -a are timed, the unmount is not"
    version_argv = ("mount.s3ql", "--version")

    def _url(self, endpoint: str, data: str) -> str:
        return f"s3c4://{endpoint.removeprefix('https://')}/{self.lab.bucket}/s3ql/{data}/"

    def _login(self, endpoint: str, data: str) -> str:
        text = f"[lab]\nstorage-url: {self._url(endpoint, data)}\nbackend-login: {self.lab.access}\n"
        text += f"backend-password: {self.lab.secret}\nfs-passphrase: {PASSWORD}\n"
        return self.lab.file("authinfo2", text)

    def make(self, data: str) -> None:
        cache = str(self.lab.room / "s3ql-mkfs")
        argv = ["mkfs.s3ql", "--quiet", "--authfile", self._login(self.lab.near, data), "--cachedir", cache]
        run([*argv, self._url(self.lab.near, data)], self.env(), f"{PASSWORD}\n{PASSWORD}\n".encode())

    def mount(self, endpoint: str, data: str, cache: Path, folder: Path) -> list[str]:
        argv = ["mount.s3ql", "--quiet", "--authfile", self._login(endpoint, data), "--cachedir", str(cache)]
        argv += ["--threads", "8", "--compress", "zlib-6", "--log", str(cache / "mount.log")]
        return [*argv, self._url(endpoint, data), str(folder)]

    def unmount(self, folder: Path) -> None:
        if folder.is_mount():
            run(("umount.s3ql", str(folder)), self.env())

    def result(self, wish: Restore) -> Path:
        (wish.dest / "lost+found").rmdir()  # of the file system, not of the data
        return wish.dest


class S3fs(Mounted):
    """s3fs: one object for each file, not encrypted."""

    name = "s3fs"
    settings = "parallel_count=16,multireq_max=64,max_stat_cache_size=100000; mount and cp -a are timed"
    version_argv = ("s3fs", "--version")

    def mount(self, endpoint: str, data: str, cache: Path, folder: Path) -> list[str]:
        password = self.lab.file("passwd-s3fs", f"{self.lab.access}:{self.lab.secret}\n")
        options = f"passwd_file={password},url={endpoint},endpoint={self.lab.region},use_path_request_style"
        options += ",parallel_count=16,multireq_max=64,max_stat_cache_size=100000,compat_dir"
        return ["s3fs", f"{self.lab.bucket}:/s3fs/{data}", str(folder), "-o", options]

    def make(self, data: str) -> None:
        """s3fs mounts no prefix that is not there."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.lab.near,
            region_name=self.lab.region,
            aws_access_key_id=self.lab.access,
            aws_secret_access_key=self.lab.secret,
            verify=CA,
        )
        client.put_object(Bucket=self.lab.bucket, Key=f"s3fs/{data}/")

    def unmount(self, folder: Path) -> None:
        if folder.is_mount():
            run(("fusermount3", "-u", str(folder)), self.env())


ALL: dict[str, type[Tool]] = {
    each.name: each for each in (Ours, Duplicity, Restic, Rclone, Floor, S3ql, S3fs, Fallback)
}

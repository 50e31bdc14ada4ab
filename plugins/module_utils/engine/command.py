# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A profile and an operation -> argument vector and environment of one duplicity run. Pure.

Secrets are in neither: keys are in a private keyring (GNUPGHOME), the store's key in a credentials file.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import selection
from .profile import Profile
from .store import Location

# duplicity tries gpg with a passphrase first, for which a new agent measures this machine for a second. No set uses it.
_QUICK = "--s2k-count=65536"
# The real path: a rollout during a run moves the link to the current version.
LAUNCHER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "launcher.py")


@dataclass(frozen=True)
class Workspace:
    """The folders and files that one run may use: archive (duplicity's cache), temporary files, machine log, journal of
    uploaded objects, the keyring's home, a list of files that an incremental must read, whether a restore may go onto a
    folder that holds something, and the file that duplicity's counts go to where somebody watches (see the launcher)."""

    archive: str
    temporary: str
    log: str
    objects: str
    gnupghome: str
    changed: str | None = None
    onto: bool = False
    progress: str | None = None


def repository_url(location: Location) -> str:
    """duplicity's URL: S3 goes through our launcher's scheme."""
    parts = urlsplit(location.url)
    return f"lifeboat://{parts.netloc}{parts.path}" if parts.scheme == "s3" else location.url


def upload_share(profile: Profile) -> int:
    """Bytes per second that each uploading process may send; 0 sets no limit. Pure.

    With workers, the main process uploads no volumes, only what is small: manifests and signatures at the end.
    """
    if profile.upload_kib_per_second == 0:
        return 0
    return max(1, profile.upload_kib_per_second * 1024 // max(1, profile.concurrency))


def environment(
    location: Location, workspace: Workspace, base: t.Mapping[str, str], *, upload: int = 0
) -> dict[str, str]:
    """The whole environment: nothing of the caller's is inherited but PATH. ``upload`` limits each process's uploads."""
    env = {
        "PATH": base.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": workspace.temporary,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": workspace.temporary,
        "GNUPGHOME": workspace.gnupghome,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if workspace.changed:
        env["LIFEBOAT_CHANGED"] = workspace.changed
    if workspace.onto:
        env["LIFEBOAT_ONTO"] = "1"
    if workspace.progress:
        env["LIFEBOAT_PROGRESS"] = workspace.progress
    if location.scheme == "s3":
        env |= {
            "LIFEBOAT_OBJECTS": workspace.objects,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": str(location.max_attempts),
            "AWS_RETRY_MODE": "standard",
        }
        how = {"extra": location.server_side_encryption, "storage_class": location.storage_class, "bandwidth": upload}
        if any(how.values()):
            env["LIFEBOAT_UPLOAD"] = json.dumps(how)
        if location.credentials_file:
            env["AWS_SHARED_CREDENTIALS_FILE"] = location.credentials_file
        if location.ca_bundle:
            env["AWS_CA_BUNDLE"] = location.ca_bundle
    return env


def _common(location: Location, workspace: Workspace) -> tuple[str, ...]:
    arguments: tuple[str, ...] = (
        *("--archive-dir", workspace.archive, "--name", "repository"),
        *("--tempdir", workspace.temporary, "--log-file", workspace.log),
        *("--num-retries", str(location.num_retries), "--backend-retry-delay", str(location.retry_delay)),
    )
    if location.scheme == "s3":
        if location.endpoint_url:
            arguments += ("--s3-endpoint-url", location.endpoint_url)
        arguments += ("--s3-region-name", location.region)
    return arguments


def _encryption(fingerprint: str | None, level: int) -> tuple[str, ...]:
    if fingerprint is None:
        return ("--no-encryption",)
    # the key was imported from a trusted file a moment ago: there is no web of trust to ask
    return ("--encrypt-key", fingerprint, "--gpg-options", f"--trust-model=always --compress-level={level} {_QUICK}")


def _start(verb: str) -> tuple[str, ...]:
    return (sys.executable, LAUNCHER, verb)


def backup(profile: Profile, mode: str, workspace: Workspace) -> tuple[str, ...]:
    """``mode`` is ``full`` or ``incremental``; which one is due was decided before."""
    return (
        *_start(mode),
        *_common(profile.repository, workspace),
        *_encryption(profile.fingerprint, profile.compression_level),
        *("--volsize", str(profile.volume_mib), "--concurrency", str(profile.concurrency)),
        *selection.arguments(profile.selection),
        profile.source,
        repository_url(profile.repository),
    )


def restore(
    location: Location,
    time: str,
    destination: str,
    workspace: Workspace,
    *,
    encrypted: bool,
    path: str | None = None,
    selection: t.Sequence[str] = (),
) -> tuple[str, ...]:
    """Restore the point ``time`` (a stamp) into ``destination``, which must not exist yet (but see ``onto``)."""
    return (
        *_read("restore", location, workspace, time, encrypted=encrypted),
        "--numeric-owner",
        *(("--path-to-restore", path) if path else ()),
        *selection,
        repository_url(location),
        destination,
    )


def verify(
    location: Location,
    time: str,
    tree: str,
    workspace: Workspace,
    *,
    encrypted: bool,
    compare_data: bool = False,
    path: str | None = None,
    selection: t.Sequence[str] = (),
) -> tuple[str, ...]:
    """Read, hash, decrypt and unpack all volumes of the point, and compare names with ``tree``; with ``compare_data``
    metadata and contents too."""
    return (
        *_read("verify", location, workspace, time, encrypted=encrypted),
        *(("--compare-data",) if compare_data else ()),
        *(("--path-to-restore", path) if path else ()),
        *selection,
        repository_url(location),
        tree,
    )


def list_files(location: Location, time: str, workspace: Workspace, *, encrypted: bool) -> tuple[str, ...]:
    """List the files of the point into the machine log."""
    return (*_read("list-current-files", location, workspace, time, encrypted=encrypted), repository_url(location))


def _read(verb: str, location: Location, workspace: Workspace, time: str, *, encrypted: bool) -> tuple[str, ...]:
    return (
        *_start(verb),
        *_common(location, workspace),
        *((f"--gpg-options={_QUICK}",) if encrypted else ("--no-encryption",)),
        *("--time", time),
    )

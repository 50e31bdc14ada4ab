# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Images of the lab's hosts: recipe -> tag (pure), and mmdebstrap -> podman for those that are missing."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import mirror
from .errors import LabError
from .host import Host
from .process import last_words, run

PREFIX = "localhost/lifeboat-lab-"
IMAGE_LABEL = "lifeboat.lab.image"
# Not /tmp: a file tree of 600 MB may not fit into memory.
SCRATCH = Path("/var/tmp")  # noqa: S108 (folders in it are made by tempfile)
RECIPES = Path(__file__).resolve().parent.parent / "images"
COMMON = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# Lean and quick: no recommendations, no manuals, no fsync per package. The settings stay in the image, so that
# what Lifeboat installs on a host comes as fast.
APT_OPTIONS = ('Apt::Install-Recommends "false"', 'Acquire::Languages "none"')
# Package lists stay, as on any installed Debian: a role can install without an update first.
SKIPPED = "cleanup/apt/lists"
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


@dataclass(frozen=True)
class Recipe:
    """What an image is made of: suite, packages beside the common ones, file trees and scripts of `lab/images`."""

    name: str
    suite: str
    packages: tuple[str, ...]
    trees: tuple[str, ...]
    scripts: tuple[str, ...]


# The longest first: they are built two at a time.
ALL = (
    Recipe(
        "store",
        "trixie",
        ("ceph-mon", "ceph-osd", "radosgw", "ceph-common"),
        ("common", "store"),
        ("common.sh", "store.sh"),
    ),
    Recipe("node-bookworm", "bookworm", (), ("common",), ("common.sh", "apps-bookworm.sh")),
    Recipe("node-trixie", "trixie", (), ("common",), ("common.sh", "apps-trixie.sh")),
)


def tree_tar(folders: Iterable[Path]) -> bytes:
    """Return the files below `folders` as one tar that belongs to root, the same bytes for the same content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if not path.is_file():
                    continue
                content = path.read_bytes()
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = len(content)
                entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def tag(recipe: Recipe, sources: Iterable[str], files: bytes, scripts: bytes) -> str:
    """Return the image's name with a tag that changes whenever anything of its recipe does."""
    digest = hashlib.sha256()
    for part in (repr(recipe), repr(COMMON), repr(APT_OPTIONS), repr(DPKG_OPTIONS), SKIPPED, repr(tuple(sources))):
        digest.update(part.encode() + b"\0")
    digest.update(files + b"\0" + scripts)
    return f"{PREFIX}{recipe.name}:{digest.hexdigest()[:12]}"


def bootstrap_argv(recipe: Recipe, sources: Iterable[str], files: Path, target: Path) -> list[str]:
    """Return the mmdebstrap command line that writes the image's file tree to the tar `target`."""
    return [
        "mmdebstrap",
        "--variant=apt",
        "--format=tar",
        f"--skip={SKIPPED}",
        *(f"--aptopt={each}" for each in APT_OPTIONS),
        *(f"--dpkgopt={each}" for each in DPKG_OPTIONS),
        f"--include={','.join((*COMMON, *recipe.packages))}",
        f"--customize-hook=tar-in {shlex.quote(str(files))} /",
        *(f'--customize-hook={shlex.quote(str(RECIPES / each))} "$1"' for each in recipe.scripts),
        recipe.suite,
        str(target),
        *sources,
    ]


def import_argv(image: str, tarball: Path) -> list[str]:
    """Return podman's arguments that turn a tar into an image."""
    return [
        "import",
        "--quiet",
        "--change",
        'CMD ["/sbin/init"]',
        "--change",
        f"LABEL {IMAGE_LABEL}=1",
        str(tarball),
        image,
    ]


def wanted() -> dict[str, tuple[str, Recipe]]:
    """Return, by the name of the recipe, its image's name and the recipe itself, for this machine's mirror."""
    archives = mirror.archives()
    found = {}
    for recipe in ALL:
        scripts = b"\0".join((RECIPES / each).read_bytes() for each in recipe.scripts)
        files = tree_tar(RECIPES / "rootfs" / each for each in recipe.trees)
        found[recipe.name] = (
            tag(recipe, mirror.source_lines(archives, recipe.suite), files, scripts),
            recipe,
        )
    return found


def present(host: Host) -> set[str]:
    """Return the names with tag of all images of labs on this machine."""
    listed = run(host.podman("images", "--filter", f"reference={PREFIX}*", "--format", "{{.Repository}}:{{.Tag}}"))
    return set(listed.out.split())


def build(host: Host, image: str, recipe: Recipe, logs: Path) -> None:
    """Build one image. Raises LabError naming the log when it fails; a half-built image never gets its name."""
    sources = mirror.source_lines(mirror.archives(), recipe.suite)
    with tempfile.TemporaryDirectory(prefix="lifeboat-lab-", dir=SCRATCH) as scratch:
        files, tarball = Path(scratch) / "files.tar", Path(scratch) / "image.tar"
        files.write_bytes(tree_tar(RECIPES / "rootfs" / each for each in recipe.trees))
        argv = host.privileged(*bootstrap_argv(recipe, sources, files, tarball), tmpdir=scratch)
        done = run(argv, env={"LC_ALL": "C.UTF-8"}, check=False)
        log = logs / f"{recipe.name}.log"
        log.write_text(done.out + done.err, encoding="utf-8")
        if done.code != 0:
            errors = [line for line in done.err.splitlines() if line.startswith("E: ")]
            cause = errors[0] if errors else last_words(done.err)
            raise LabError(f"The image {recipe.name} could not be built ({cause}): see {log}.")
        run(host.podman(*import_argv(image, tarball)))


def ensure(host: Host, names: Iterable[str], logs: Path, say: Callable[[str, float], None]) -> dict[str, str]:
    """Build those of the images `names` that are missing, two at a time; return name -> image with tag."""
    known, recipes = present(host), wanted()
    missing = [
        recipes[recipe.name] for recipe in ALL if recipe.name in set(names) and recipes[recipe.name][0] not in known
    ]
    logs.mkdir(parents=True, exist_ok=True)

    def timed(job: tuple[str, Recipe]) -> None:
        start = time.monotonic()
        build(host, job[0], job[1], logs)
        say(f"image {job[1].name} built", time.monotonic() - start)

    if missing:
        with ThreadPoolExecutor(max_workers=2) as pool:
            for _each in pool.map(timed, missing):
                pass
    return {name: recipes[name][0] for name in recipes}


def remove_all(host: Host) -> list[str]:
    """Remove the images of labs that no container uses; return the names of those that stay, being in use."""
    return [image for image in sorted(present(host)) if run(host.podman("rmi", image), check=False).code != 0]

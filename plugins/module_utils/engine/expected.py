# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""How much it is to read a restore point, for those who watch: files and bytes from its record, volumes from the listing."""

from __future__ import annotations

from dataclasses import replace

from . import chains, record, reporter
from .errors import LifeboatError
from .reading import Origin
from .record import Record
from .store import Location, open_store


def announce(
    phase: str, origin: Origin, chain: chains.Chain, point: chains.BackupSet, entry: Record | None = None
) -> None:
    """Begin the phase with its totals; ``entry`` is the point's record, if it was read already. Where nobody watches, the
    store is not asked."""
    if not reporter.watched():
        return
    volumes = sum(len(item.volumes) for item in chain.sets if item.time <= point.time)
    entry = entry or _record_of(origin.repository, origin.profile, point.time)
    files, size = (entry.files, entry.bytes) if entry else (None, None)
    reporter.phase(phase, files=files, size=size if phase == "restoring" else None, volumes=volumes)


def _record_of(repository: Location, profile: str | None, set_time: str) -> Record | None:
    if profile is None:
        return None
    corner, found, _rest = repository.url.rstrip("/").rpartition(f"/repo/{profile}")
    if not found:
        return None
    try:
        return record.of_point(open_store(replace(repository, url=corner)), f"records/{profile}/", set_time)[0]
    except LifeboatError:
        return None  # whoever may read a repository need not be allowed to read records

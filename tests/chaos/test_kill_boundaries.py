# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""SIGKILL at every phase boundary, once each. Afterwards the next run succeeds by itself, every restore point is what the
source was, and nothing is left of the killed run: no temporary file, no process, no agent, no lock."""

from __future__ import annotations

import typing as t

import pytest
from tests.chaos.conftest import Called, Launched, Site

VOLUME = r"\.vol{}\.difftar"
SIGNATURE = r"signatures\..*\.sigtar"
MANIFEST = r"\.manifest"


class Case(t.NamedTuple):
    name: str
    mode: str
    plan: Launched | Called
    values: dict[str, t.Any] = {}  # noqa: RUF012 - a tuple's default, not a class's


BACKUPS = [
    Case("before the first volume", "full", Launched(VOLUME.format(1), "before", "engine")),
    Case("between volumes", "full", Launched(VOLUME.format(1), "after", "duplicity")),
    Case(
        "between volumes that workers upload", "full", Launched(VOLUME.format(2), "before", "both"), {"concurrency": 2}
    ),
    Case("while workers upload", "full", Launched(VOLUME.format(1), "after", "engine"), {"concurrency": 2}),
    Case("before the signature", "full", Launched(SIGNATURE, "before", "both")),
    Case("before the manifest", "full", Launched(MANIFEST, "before", "engine")),
    Case("after the manifest", "full", Launched(MANIFEST, "after", "both")),
    Case("before the key is noted", "full", Called("backup._write", "before", "/key")),
    Case("before the first volume", "incremental", Launched(VOLUME.format(1), "before", "both")),
    Case("between volumes", "incremental", Launched(VOLUME.format(1), "after", "engine")),
    Case("before the signature", "incremental", Launched(SIGNATURE, "before", "duplicity")),
    Case("before the manifest", "incremental", Launched(MANIFEST, "before", "both")),
    Case("within the manifest", "incremental", Launched(MANIFEST, "within", "both")),
    Case("after the manifest", "incremental", Launched(MANIFEST, "after", "engine")),
    Case("before the witness", "incremental", Called("store.FileStore.write", "before", "witness")),
    Case("before the record", "incremental", Called("store.FileStore.write", "before", r"-backup\.json")),
    Case("within the record", "incremental", Called("os.replace", "before", r"-backup\.json")),
    Case("after the record", "incremental", Called("store.FileStore.write", "after", r"-backup\.json")),
]


@pytest.mark.parametrize("case", BACKUPS, ids=[f"{case.mode}, {case.name}" for case in BACKUPS])
def test_a_killed_backup(site: Site, case: Case) -> None:
    site.change()
    attempt = site.copy()
    site.killed("backup", case.plan, mode=case.mode, **case.values)
    site.known(attempt)
    site.change()
    site.backup()
    site.clean()
    site.check()
    site.clean()

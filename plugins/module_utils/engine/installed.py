# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which duplicity is installed beside the engine. Only the pinned one is ever started.

What the engine knows of duplicity's command line, log, names and faults was tried with that version; another one may lose
data in ways that nobody has looked for. Asks the installed package's metadata: importing duplicity would take longer.
"""

from __future__ import annotations

from importlib import metadata

from . import DUPLICITY_VERSION
from .errors import Refused


def check_duplicity() -> None:
    """Refuse to go on unless the pinned duplicity is installed for this Python."""
    try:
        found = f"duplicity {metadata.version('duplicity')}"
    except metadata.PackageNotFoundError:
        found = "no duplicity"
    if found != f"duplicity {DUPLICITY_VERSION}":
        # a rollout leaves a finished installation alone, so the changed one must go first
        raise Refused(
            f"{found} is installed for this engine, which works with {DUPLICITY_VERSION} only: remove /opt/lifeboat "
            "(it holds no data) and roll the host out again (playbooks/rollout.yml)."
        )

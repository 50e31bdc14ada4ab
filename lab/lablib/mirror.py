# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Where Debian packages come from: the mirror and the proxy that this machine's apt uses, and no other."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from .errors import LabError
from .process import run

TARGETS = [
    "apt-get",
    "indextargets",
    "--format",
    "$(SITE)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
    "Created-By: Packages",
]
CODENAMES = ("bookworm", "trixie", "forky", "sid")


def parse_targets(text: str) -> tuple[tuple[str, str], ...]:
    """Return (site, suffix) pairs of this machine's Debian archives from apt's index targets.

    The suffix is what follows the code name of a suite: "", "-updates", "-security". Other vendors' archives
    are left out; order is kept, the plain suite first.
    """
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 4 or parts[2] != "main" or parts[3] not in ("Debian", ""):
            continue
        match = re.fullmatch(rf"(?:{'|'.join(CODENAMES)})(|-updates|-security)(?:/updates)?", parts[1].rstrip("/"))
        if match and (parts[0], match.group(1)) not in found:
            found.append((parts[0], match.group(1)))
    return tuple(sorted(found, key=lambda pair: pair[1]))


def source_lines(archives: tuple[tuple[str, str], ...], suite: str) -> tuple[str, ...]:
    """Return the `deb` lines for `suite` on those archives."""
    return tuple(f"deb {site} {suite}{suffix} main" for site, suffix in archives)


def archives() -> tuple[tuple[str, str], ...]:
    """Ask apt for its Debian archives. Raises LabError when it knows none."""
    found = parse_targets(run(TARGETS).out)
    if not any(suffix == "" for _site, suffix in found):
        raise LabError(
            "apt on this machine lists no Debian archive: configure a mirror and run `apt-get update` first."
        )
    return found


def parse_proxies(shell: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies for apt by scheme: apt's own setting first, then the environment's.

    `shell` is the output of `apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy`.
    """
    proxies: dict[str, str] = {}
    for scheme in ("http", "https"):
        match = re.search(rf"^{scheme}='([^']*)'", shell, re.MULTILINE)
        value = match.group(1) if match else ""
        value = value or environment.get(f"{scheme}_proxy", "") or environment.get(f"{scheme.upper()}_PROXY", "")
        if value and value != "DIRECT":
            proxies[scheme] = value
    return proxies


def proxy_configuration() -> str:
    """Return what to write to apt.conf.d of a host of the lab, "" when this machine uses no proxy."""
    shell = run(["apt-config", "shell", "http", "Acquire::http::Proxy", "https", "Acquire::https::Proxy"]).out
    proxies = parse_proxies(shell, os.environ)
    return "".join(f'Acquire::{scheme}::Proxy "{value}";\n' for scheme, value in proxies.items())

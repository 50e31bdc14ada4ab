# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""SSH to the fleet, as the controller of a real fleet does it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .errors import LabError
from .inventory import ssh_options
from .process import last_words, run
from .state import State


def known_hosts(keys: Mapping[str, str]) -> str:
    """Return a known_hosts file from address -> public key line (`ssh-ed25519 AAAA... comment`)."""
    return "".join(f"{address} {' '.join(key.split()[:2])}\n" for address, key in sorted(keys.items()))


def argv(state: State, address: str, command: tuple[str, ...] = ()) -> list[str]:
    """Return the ssh command line to one host; no command means a shell."""
    options = ["-F", "/dev/null", "-i", str(state.key), *ssh_options(str(state.folder))]
    return ["ssh", *options, f"ops@{address}", *command]


def wait(state: State, name: str, address: str, seconds: float = 30.0) -> None:
    """Wait until a host lets the controller in. Raises LabError with ssh's own words when it does not."""
    end = time.monotonic() + seconds
    line = argv(state, address, ("true",))
    line[1:1] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    while (done := run(line, check=False, timeout=60)).code != 0:
        if time.monotonic() > end:
            raise LabError(
                f"{name} does not let the controller in over ssh ({last_words(done.err)}): `lab/lab down`, then `lab/lab up`."
            )
        time.sleep(0.2)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The store's administrator and the question whether it answers."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from .containers import execute
from .errors import LabError
from .host import Host

MINTER = "lab-minter"
CAPS = "users=*;buckets=*;user-policy=*;roles=*;usage=*;metadata=*"


def answers(endpoint: str, ca: Path, timeout: float = 5.0) -> str:
    """Return "" when the store answers over TLS with a certificate of the lab's authority, else the cause."""
    context = ssl.create_default_context(cafile=str(ca))
    # No proxy: the store is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(endpoint, timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code < 500 else f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def wait(endpoint: str, ca: Path, seconds: float = 90.0) -> None:
    """Wait until the store answers. Raises LabError with the last cause when it does not."""
    end = time.monotonic() + seconds
    while cause := answers(endpoint, ca):
        if time.monotonic() > end:
            raise LabError(
                f"The store at {endpoint} did not answer within {seconds:.0f} s ({cause}): "
                "look at `journalctl -u 'lab-store-*'` with `lab/lab ssh store`."
            )
        time.sleep(0.1)


def parse_keys(text: str) -> str:
    """Return the AWS shared credentials file for a user as radosgw-admin describes it. Raises LabError."""
    try:
        key = json.loads(text)["keys"][0]
        return f"[default]\naws_access_key_id = {key['access_key']}\naws_secret_access_key = {key['secret_key']}\n"
    except (ValueError, KeyError, IndexError):
        raise LabError("radosgw-admin gave no keys for the administrator: `lab/lab down`, then `lab/lab up`.") from None


def minter(host: Host, container: str) -> str:
    """Return the administrator's credentials file, making the user if missing; the store invents its keys."""
    who = ["--uid", MINTER]
    known = execute(host, container, ["radosgw-admin", "user", "info", *who], check=False)
    if known.code == 0:
        return parse_keys(known.out)
    create = ["radosgw-admin", "user", "create", *who, "--display-name", "Lab administrator", "--caps", CAPS]
    return parse_keys(execute(host, container, create).out)

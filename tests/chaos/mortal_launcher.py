# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The real launcher, and SIGKILL at one moment of its run: as LIFEBOAT_KILL says (see ``conftest.Kill``).

It is started in the launcher's place. Workers of ``--concurrency`` import it anew, as they do the launcher.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sys
import time
import typing as t

PLAN = json.loads(os.environ["LIFEBOAT_KILL"])
spec = importlib.util.spec_from_file_location("launcher", PLAN["launcher"])
assert spec is not None
assert spec.loader is not None
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)

from duplicity.backends.localbackend import LocalBackend  # noqa: E402 - the launcher must be first


def strike() -> None:
    """Kill the engine, duplicity (with all of its group) or both. It does not come back."""
    with open(PLAN["struck"], "w", encoding="ascii") as handle:
        handle.write(str(os.getpid()))
    if PLAN["victim"] != "duplicity":
        os.kill(PLAN["engine"], signal.SIGKILL)
    if PLAN["victim"] != "engine":
        os.killpg(0, signal.SIGKILL)
    time.sleep(600)


def deadly(owner: t.Any, name: str, where: t.Callable[..., bytes]) -> None:
    original = getattr(owner, name)

    def mortal(*arguments: t.Any) -> t.Any:
        met = re.search(PLAN["name"], os.fsdecode(where(*arguments))) is not None
        if met and PLAN["when"] == "before":
            strike()
        result = original(*arguments)
        if met and PLAN["when"] == "after":
            strike()
        return result

    setattr(owner, name, mortal)


def half(self: t.Any, source_path: t.Any, remote_filename: bytes) -> None:
    """A copy that stops in its middle."""
    data = open(source_path.name, "rb").read()  # noqa: SIM115
    with open(self.remote_pathdir.append(remote_filename).name, "wb") as handle:
        handle.write(data[: len(data) // 2])
        handle.flush()
        if re.search(PLAN["name"], os.fsdecode(remote_filename)):
            strike()
        handle.write(data[len(data) // 2 :])


if PLAN["when"] == "within":  # the store is on another disk: objects are copied
    launcher._copy = half
    rename = os.rename

    def other_disk(one: t.Any, two: t.Any) -> None:
        if os.path.dirname(one) != os.path.dirname(two):
            raise OSError(18, "Invalid cross-device link")
        rename(one, two)

    os.rename = t.cast(t.Any, other_disk)
elif PLAN["verb"] == "put":
    for way in ("_move", "_put"):  # manifests and signatures, volumes
        deadly(LocalBackend, way, lambda self, source, name: name)
else:
    deadly(LocalBackend, "_get", lambda self, name, local: name)

if __name__ == "__main__":
    from duplicity.__main__ import dup_run

    sys.exit(dup_run())

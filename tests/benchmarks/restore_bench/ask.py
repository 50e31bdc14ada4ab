# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One request to an installed engine: ``ask.py FOLDER``, with ``[request, layout, reader]`` in JSON on stdin.

``reader`` is how a restore shall read (auto, fast, duplicity) or null; an engine that does not know the choice is asked
without it. Prints the answer; ends with 1 when the engine says that it failed.
"""

from __future__ import annotations

import json
import sys

sys.path.insert(0, sys.argv[1])

from lifeboat_engine import request
from lifeboat_engine.errors import LifeboatError
from lifeboat_engine.profile import Layout

READER = "reader"


def main() -> int:
    values, layout, reader = json.load(sys.stdin)
    if reader and READER in request._KEYS["restore"]:
        values[READER] = reader
    try:
        answer = request.handle(values, Layout(*layout))
    except LifeboatError as error:
        answer = {"failed": True, "msg": str(error)}
    print(json.dumps(answer))
    return int(answer["failed"])


if __name__ == "__main__":
    sys.exit(main())

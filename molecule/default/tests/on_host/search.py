# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Looks for needles in every file of some folders, names included, and in the journal.

Runs under a host's own Python as root. stdin: JSON {"needles": [base64], "folders": [...]}. stdout: JSON, a list of
[place, number of the needle].
"""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys

BLOCK = 8 << 20


def search(place, handle, needles):
    """Each block overlaps the one before, so that nothing is cut."""
    found, tail = set(), b""
    overlap = max(map(len, needles)) - 1
    while block := handle.read(BLOCK):
        data = tail + block
        found |= {number for number, needle in enumerate(needles) if needle in data}
        tail = data[-overlap:]
    return [[place, number] for number in sorted(found)]


def files(top):
    for folder, _folders, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield path
            except OSError:
                continue


def main():
    wanted = json.load(sys.stdin)
    needles = [base64.b64decode(needle) for needle in wanted["needles"]]
    found = []
    for path in (path for top in wanted["folders"] for path in files(top)):
        found += [[path, number] for number, needle in enumerate(needles) if needle in os.fsencode(path)]
        try:
            with open(path, "rb") as handle:
                found += search(path, handle, needles)
        except OSError:
            continue
    with subprocess.Popen(
        ["journalctl", "--no-pager", "--all", "--output", "export"], stdout=subprocess.PIPE
    ) as journal:
        found += search("the journal", journal.stdout, needles)
    print(json.dumps(found))


main()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Reads the command line and environment of every process, and every new file of some folders, again and again.

Runs under a host's own Python, knows nothing of the engine and writes no file. stdin: one line of JSON {"needles": [base64],
"folders": [...], "pause": seconds}; the end of stdin ends it. stdout: "ready", then what was seen, as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import select
import stat
import sys
import time

LARGEST = 4 << 20  # bytes of a file: what carries a key is small
FILES_EVERY = 0.03  # seconds


def read(path):
    try:
        with open(path, "rb") as handle:
            return handle.read(LARGEST)
    except OSError as error:
        return error


class Sampler:
    def __init__(self, needles, folders):
        self.needles = needles
        self.folders = folders
        self.processes = {}  # command line -> environments
        self.unreadable = set()  # command lines
        self.known = set()  # files in one state
        self.files = []  # [path, number of the needle]

    def look_at_processes(self):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            command = read(f"/proc/{name}/cmdline")
            if isinstance(command, OSError) or not command:
                continue  # gone, or the kernel's own
            seen = self.processes.setdefault(command, set())
            environment = read(f"/proc/{name}/environ")
            if isinstance(environment, PermissionError):
                self.unreadable.add(command)
            elif not isinstance(environment, OSError):
                seen.add(environment)

    def look_at_files(self):
        for top in self.folders:
            for folder, _folders, names in os.walk(top):
                for name in names:
                    self.look_at_file(os.path.join(folder, name))

    def look_at_file(self, path):
        try:
            status = os.lstat(path)
        except OSError:
            return
        state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if state in self.known or not stat.S_ISREG(status.st_mode):
            return
        self.known.add(state)
        data = read(path)
        if not isinstance(data, OSError):
            self.files += [[path, number] for number, needle in enumerate(self.needles) if needle in data]


def main():
    wanted = json.loads(sys.stdin.readline())
    sampler = Sampler([base64.b64decode(needle) for needle in wanted["needles"]], wanted["folders"])
    print("ready", flush=True)
    rounds, longest, files_at = 0, 0.0, 0.0
    while True:
        began = time.monotonic()
        sampler.look_at_processes()
        if began - files_at > FILES_EVERY:
            files_at = began
            sampler.look_at_files()
        rounds, longest = rounds + 1, max(longest, time.monotonic() - began)
        if select.select([sys.stdin], [], [], wanted["pause"])[0]:
            break
    processes = [
        [base64.b64encode(command).decode(), [base64.b64encode(one).decode() for one in environments]]
        for command, environments in sampler.processes.items()
    ]
    unreadable = sorted(command.decode("utf-8", "replace") for command in sampler.unreadable)
    seen = {"processes": processes, "unreadable": unreadable, "files": sampler.files}
    print(json.dumps({**seen, "rounds": rounds, "longest": longest}))


main()

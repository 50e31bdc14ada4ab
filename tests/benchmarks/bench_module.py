#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What Lifeboat costs beside what it wraps: the module beside the `lifeboat` command, the engine beside bare duplicity.

    make bench-module                    # both; about ten minutes, 14 GB of disk below $TMPDIR
    make bench-module ARGS='--gib 1'     # a quick look: short backups show the fixed costs only

Module: one request ten times more in a playbook, over SSH with pipelining to a node of the lab, and the same request by
`ssh node lifeboat --json` ten times more; the difference of the two is the module's own cost per call. Engine: a full of
the same tree to a folder by the engine and by bare duplicity with the very same options, in turn. hyperfine measures;
figures are ratios of one run, since machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "collections"))

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION, command, target  # noqa: E402
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring  # noqa: E402
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import location  # noqa: E402

CALLS = 10

_ENGINE = """
import json, sys
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import request
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout
values, layout = json.load(sys.stdin)
answer = request.handle(values, Layout(*layout))
sys.exit(answer["failed"] and answer["msg"])
"""

_PLAY = """
- hosts: node1
  gather_facts: false
  become: true
  tasks:
    - lifeboat.fleet.duplicity_info:
        profile: site
      loop: "{{ range(count | int) | list }}"
      loop_control: {label: call}
"""


def hyperfine(runs: int, commands: t.Sequence[str], *, prepare: str | None = None) -> list[float]:
    """Medians in seconds; the commands take turns, so that a noisy minute hits all of them."""
    seconds: list[list[float]] = [[] for _ in commands]
    with tempfile.TemporaryDirectory() as folder:
        export = os.path.join(folder, "out.json")
        for _round in range(runs):
            for number, one in enumerate(commands):
                argv = ["hyperfine", "--runs", "1", "--export-json", export, "--style", "none", one]
                subprocess.run(
                    argv + (["--prepare", prepare] if prepare else []), check=True, cwd=TOP, stdout=subprocess.DEVNULL
                )
                with open(export, encoding="utf-8") as handle:
                    seconds[number] += json.load(handle)["results"][0]["times"]
    return [statistics.median(times) for times in seconds]


def module(runs: int, lab: str) -> None:
    """The module's cost for each call, beside the command's."""
    subprocess.run(["lab/lab", "up", "--name", lab], cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    environment = {"LIFEBOAT_LAB": lab, "ANSIBLE_CONFIG": str(TOP / "ansible.cfg")}
    os.environ.update(environment)
    rollout = ["ansible-playbook", "-i", "inventories/lab", "playbooks/site.yml"]
    subprocess.run(rollout, cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    backup = ["ansible-playbook", "-i", "inventories/lab", "playbooks/backup.yml", "-e", "target=node1"]
    subprocess.run(backup, cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        play = Path(folder, "play.yml")
        play.write_text(_PLAY)
        request = Path(folder, "request.json")
        request.write_text(json.dumps({"engine": VERSION, "operation": "info", "profile": "site"}))
        playbook = f"ansible-playbook -i inventories/lab {play} -e count="
        once = f"echo {shlex.quote(request.read_text())} | sudo lifeboat --json > /dev/null"
        direct = f"lab/lab ssh --name {lab} node1 {shlex.quote(f'for n in $(seq COUNT); do {once}; done')}"
        one, many, short, long = hyperfine(
            runs,
            [
                f"{playbook}1",
                f"{playbook}{CALLS + 1}",
                direct.replace("COUNT", "1"),
                direct.replace("COUNT", str(CALLS + 1)),
            ],
        )
    by_module, by_command = (many - one) / CALLS, (long - short) / CALLS
    print("module, over SSH with pipelining        seconds for each call")
    print(f"  lifeboat --json                       {by_command:6.2f}")
    print(f"  lifeboat.fleet.duplicity_info         {by_module:6.2f}   ratio {by_module / by_command:.2f}")
    print(f"  the module's own                      {by_module - by_command:6.2f}   goal: at most 1.0")


def make_tree(root: Path, gib: float) -> None:
    """Half text in small files, half random bytes in large ones."""
    words = [f"{random.getrandbits(48):x}"[: random.randint(2, 10)] for _ in range(4000)]
    pool = " ".join(random.choices(words, k=4_000_000))  # files are cuts of it: gpg's window is far shorter
    half = int(gib * 2**30 / 2)
    made = number = 0
    while made < half:
        folder = root / f"{number // 500:04}"
        folder.mkdir(parents=True, exist_ok=True)
        size = random.randint(1_000, 50_000)
        start = random.randrange(len(pool) - size)
        text = pool[start : start + size]
        (folder / f"{number}.php").write_text(text)
        made += len(text)
        number += 1
    for number in range(int(half // (256 << 20)) + 1):
        with (root / f"{number}.bin").open("wb") as handle:
            for _ in range(min(256, half >> 20)):
                handle.write(os.urandom(1 << 20))


def engine(runs: int, gib: float) -> None:
    """The engine's cost beside bare duplicity's, on one full."""
    with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as name, Keyring() as ring:
        root = Path(name)
        source = root / "source"
        make_tree(source, gib)
        fingerprint = ring.generate("bench")
        for each in ("etc", "state", "cache", "run", "bare/archive", "bare/tmp"):
            (root / each).mkdir(parents=True)
        url = f"file://{root}/store/nodes/n1/repo/site"
        values = {"engine": VERSION, "operation": "backup", "mode": "full", "source": str(source), "target": url}
        values["encryption"] = {"public_key": ring.export_public(fingerprint).decode()}
        layout = [str(root / each) for each in ("etc", "state", "cache", "run")]
        (root / "request").write_text(json.dumps([values, layout]))
        (root / "engine.py").write_text(_ENGINE)
        settings = target.bare_profile({**values, "target": None}, location({"url": url}), fingerprint)
        work = command.Workspace(f"{root}/bare/archive", f"{root}/bare/tmp", f"{root}/bare/log", "/dev/null", ring.home)
        stock = [str(Path(sys.executable).with_name("duplicity")), *command.backup(settings, "full", work)[2:]]
        variables = {**command.environment(settings.store, work, os.environ), "PASSPHRASE": ""}
        bare = shlex.join(["env", "-i", *(f"{key}={value}" for key, value in variables.items()), *stock])
        ours = f"PYTHONPATH={TOP}/collections {sys.executable} {root}/engine.py < {root}/request"
        leftovers = " ".join(f"{root}/{each}" for each in ("store", "state/*", "cache/*", "bare/archive/*", "bare/log"))
        clean = f"rm -rf {leftovers}; mkdir -p {url.removeprefix('file://')}; sync"
        by_engine, by_duplicity = hyperfine(runs, [ours, bare], prepare=clean)
    print(f"engine, a full of {gib:g} GiB, encrypted      seconds")
    print(f"  duplicity                             {by_duplicity:6.1f}")
    print(
        f"  the engine                            {by_engine:6.1f}   {100 * (by_engine / by_duplicity - 1):+.1f} %, goal: at most +3 %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=7, help="size of the tree; a backup of two minutes wants about 7")
    parser.add_argument("--runs", type=int, default=2, help="rounds; medians are shown")
    parser.add_argument("--lab", default="bench", help="name of the lab to use")
    parser.add_argument("--only", choices=("module", "engine"))
    options = parser.parse_args()
    if shutil.which("hyperfine") is None:
        sys.exit("bench-module: this needs hyperfine: apt-get install hyperfine")
    if options.only != "module":
        engine(options.runs, options.gib)
    if options.only != "engine":
        module(options.runs + 1, options.lab)


if __name__ == "__main__":
    main()

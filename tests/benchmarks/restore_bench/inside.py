# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One data set from its making to its last restore: runs in the container, as root, with the engine's Python.

A job in JSON on stdin; events on stdout, one JSON object a line. The tools run here one after another, on one machine and
against one store.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from . import measure
from .cases import CASES, DATA, Case
from .other_tools import ALL
from .plan import SETTLED, STOLEN, TRIES, Setting, Step, turns
from .tools import CA, Lab, Ours, Restore, Tool

ROOMS = {"tmpfs": Path("/fast"), "disk": Path("/disk")}
SOURCE = Path("/disk/source")
OF_OURS = {"ours", "duplicity", "floor", "fallback"}  # all read the repository that ours made
EVERY_DAY = {"ours", "restic"}  # the others have no history: they store what is to be restored


def tell(event: str, **values: t.Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


class Bench:
    """What all restores of one data set share."""

    def __init__(self, job: dict[str, t.Any], lab: Lab) -> None:
        self.job, self.lab = job, lab
        self.data = DATA[job["data"]]
        self.source = SOURCE / self.data.name
        self.steps = [Step(each["case"], Setting(*each["setting"]), each["rounds"]) for each in job["steps"]]
        self.tools: dict[str, Tool] = {name: ALL[name](lab) for step in self.steps for name in step.rounds}
        self.tools.setdefault("ours", Ours(lab))
        for tool in self.tools.values():
            if isinstance(tool, Ours) and tool.name == "ours":
                tool.reader = job["reader"]

    def days(self, case: Case) -> int:
        most: int = self.job["days"]
        return min(case.days, most)

    def all(self) -> None:
        """Stage after stage: days go by, tools store, cases are restored."""
        started = time.monotonic()
        shutil.rmtree(self.source, ignore_errors=True)
        self.data.make(self.source, self.job["scale"])
        tell("made", data=self.data.name, seconds=time.monotonic() - started)
        day = -1
        for last in sorted({self.days(CASES[step.case]) for step in self.steps}):
            here = [step for step in self.steps if self.days(CASES[step.case]) == last]
            self._store(day + 1, last)
            day = last
            wanted = measure.tree(str(self.source))
            tell(
                "tree",
                data=self.data.name,
                day=day,
                files=sum(1 for entry in wanted.values() if entry[0]),
                bytes=self._bytes(),
            )
            for step in here:
                self._step(step, wanted)

    def _bytes(self) -> int:
        return sum(
            os.lstat(os.path.join(at, name)).st_size for at, _folders, names in os.walk(self.source) for name in names
        )

    def _store(self, first: int, last: int) -> None:
        """The days from ``first`` to ``last``; tools that keep a history store each of them, side by side."""
        started = time.monotonic()
        names = {"ours" if name in OF_OURS else name for name in self.tools}
        with ThreadPoolExecutor(4) as pool:
            for day in range(first, last + 1):
                if day and self.data.change is not None:
                    self.data.change(self.source, day, self.job["scale"])
                time.sleep(SETTLED)
                now = names if day == last else names & EVERY_DAY
                list(pool.map(lambda name, day=day: self._stored(name, day), sorted(now)))
        tell("stored", data=self.data.name, day=last, seconds=time.monotonic() - started)

    def _stored(self, name: str, day: int) -> None:
        begun = time.monotonic()
        self.tools[name].store(self.data.name, self.source, day)
        tell("backup", data=self.data.name, tool=name, day=day, seconds=time.monotonic() - begun)

    def _step(self, step: Step, wanted: dict[bytes, measure.Entry]) -> None:
        part = measure.below(wanted, CASES[step.case].path)
        for number, name in turns(step.rounds):
            tell("sample", **self._undisturbed(step, name, part), round=number)

    def _undisturbed(self, step: Step, name: str, wanted: dict[bytes, measure.Entry]) -> dict[str, t.Any]:
        """The sample that the hypervisor disturbed least, of as many as are worth it; every tool has the same chances."""
        samples = [self._sample(step, name, wanted)]
        while samples[-1]["stolen"] > STOLEN and not samples[-1]["error"] and len(samples) < TRIES:
            samples.append(self._sample(step, name, wanted))
        # an error counts, whatever disturbed it
        return {**min(samples, key=lambda each: (not each["error"], each["stolen"])), "tries": len(samples)}

    def _sample(self, step: Step, name: str, wanted: dict[bytes, measure.Entry]) -> dict[str, t.Any]:
        tool, setting = self.tools[name], step.setting
        room = ROOMS[setting.dest] / "run"
        shutil.rmtree(room, ignore_errors=True)
        (room / "scratch").mkdir(parents=True)
        case = CASES[step.case]
        endpoint = self.lab.far if setting.rtt else self.lab.near
        wish = Restore(self.data.name, self.source, case.path, endpoint, room / "dest", room / "scratch")
        cores = sorted(os.sched_getaffinity(0))[: setting.cores or None]
        command = tool.restore(wish)
        measure.cold(str(room), tool.warm())
        timing = measure.timed(command, str(room), cores, self.job["limit"])
        error, metadata = timing.error, False
        try:
            if not error:
                error, metadata = measure.compare(wanted, measure.tree(str(tool.result(wish))))
        finally:
            tool.finish(wish)
        shutil.rmtree(room)
        result = {"case": step.case, "tool": name, **asdict(setting), **asdict(timing), "metadata": metadata}
        del result["words"]
        return {**result, "error": error, **(reader_of(timing.words) if name in ("ours", "fallback") else {})}


def reader_of(words: str) -> dict[str, t.Any]:
    """What the engine says of a restore: which reader ran."""
    try:
        answer = json.loads(words.splitlines()[-1])
        return {
            "reader": (answer.get("record") or {}).get("engine", "?"),
            "warnings": answer.get("warnings", []),
        }
    except (ValueError, IndexError):
        return {"reader": "?"}


@contextmanager
def proxy(lab: Lab, milliseconds: int) -> t.Iterator[None]:
    """The delay proxy, on the far name's port."""
    near, far = urlsplit(lab.near), urlsplit(lab.far)
    script = str(Path(__file__).with_name("delay_proxy.py"))
    argv = [sys.executable, script, str(far.port), str(near.hostname), str(near.port), str(milliseconds)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the delay proxy did not start")
        yield
    finally:
        process.kill()
        process.wait()


def distance(endpoint: str, heads: int = 10) -> dict[str, float]:
    """Milliseconds: of a new TLS connection's first answer, and the median of serial HEADs after it."""
    where = urlsplit(endpoint)
    context = ssl.create_default_context(cafile=CA)
    connection = http.client.HTTPSConnection(str(where.hostname), where.port, context=context)
    times = []
    for _ in range(heads + 1):
        start = time.monotonic()
        connection.request("HEAD", "/")
        connection.getresponse().read()
        times.append(1000 * (time.monotonic() - start))
    connection.close()
    return {"first": round(times[0], 1), "head": round(statistics.median(times[1:]), 1)}


def bandwidth(client: t.Any, bucket: str, far: t.Any) -> dict[str, float]:
    """MB/s of one object of 128 MB over one connection, directly and through the proxy."""
    client.put_object(Bucket=bucket, Key="probe", Body=os.urandom(1 << 20) * 128)
    speeds: dict[str, float] = {}
    for name, each in (("near", client), ("far", far)):
        best = 0.0
        for _ in range(2):
            start = time.monotonic()
            body = each.get_object(Bucket=bucket, Key="probe")["Body"]
            while body.read(1 << 20):
                pass
            best = max(best, 134.2 / (time.monotonic() - start))
        speeds[name] = round(best)
    client.delete_object(Bucket=bucket, Key="probe")
    return speeds


def client_of(lab: Lab, endpoint: str) -> t.Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=lab.region,
        aws_access_key_id=lab.access,
        aws_secret_access_key=lab.secret,
        verify=CA,
        config=Config(s3={"addressing_style": "path"}),
    )


def key_pair() -> tuple[str, str]:
    sys.path.insert(0, "/opt/lifeboat")
    from lifeboat_engine.keyring import Keyring

    with Keyring() as ring:
        fingerprint = ring.generate("bench")
        return ring.export_secret(fingerprint).decode(), ring.export_public(fingerprint).decode()


def main() -> int:
    job = json.load(sys.stdin)
    room = Path("/root/bench") / job["data"]
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True, mode=0o700)
    private, public = key_pair()
    lab = Lab(**job["lab"], private=private, public=public, room=room)
    client = client_of(lab, lab.near)
    client.create_bucket(Bucket=lab.bucket)
    with proxy(lab, job["rtt"]):
        if job["first"]:
            tell("distance", near=distance(lab.near), far=distance(lab.far))
            tell("bandwidth", **bandwidth(client, lab.bucket, client_of(lab, lab.far)))
        bench = Bench(job, lab)
        tell(
            "tools",
            tools={name: {"version": tool.version, "settings": tool.settings} for name, tool in bench.tools.items()},
        )
        bench.all()
    shutil.rmtree(room)
    shutil.rmtree(bench.source)
    return 0


if __name__ == "__main__":
    sys.exit(main())

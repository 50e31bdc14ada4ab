# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Where it all runs: a Debian 13 container beside the lab's store, with every tool from Debian's own packages."""

from __future__ import annotations

import configparser
import json
import os
import platform
import subprocess
import sys
import typing as t
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(TOP / "collections"), str(TOP / "lab")]

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import bundle  # noqa: E402
from lablib import host as lab_host  # noqa: E402
from lablib.errors import LabError  # noqa: E402

PACKAGES = ("curl", "fuse3", "gnupg", "python3-venv", "restic", "rclone", "s3fs", "s3ql", "time")
NEAR, FAR = "store", "store.lifeboat.test"  # the store's certificate has both names


class Stage:
    """The container of one run. Everything of it is gone after :meth:`close`, the lab too if we started it."""

    def __init__(self, lab: str, work: Path, say: t.Callable[[str], None], *, keep: bool = False) -> None:
        self.lab, self.work, self.say, self.keep = lab, work, say, keep
        self.container = f"lifeboat-{lab}-restores"
        self.disk = work / "disk"
        self.found_lab = self._fleet_file().exists()
        self.fleet: dict[str, t.Any] = {}
        self.bucket = ""  # of the data set that is in the store
        try:
            self.host = lab_host.inspect()
        except LabError as error:
            raise SystemExit(f"bench-restore: {error}") from None

    def _fleet_file(self) -> Path:
        return TOP / "lab" / ".state" / self.lab / "fleet.json"

    def podman(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> str:
        done = subprocess.run(self.host.podman(*arguments), input=stdin, capture_output=True, check=False)
        if check and done.returncode != 0:
            words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()[-1:]
            raise SystemExit(f"bench-restore: `podman {arguments[0]}` failed: {' '.join(words)}")
        return done.stdout.decode("utf-8", "replace")

    def shell(self, script: str) -> str:
        return self.podman("exec", self.container, "bash", "-c", script)

    def open(self) -> None:
        """Lab, container, packages, the engine as a node has it."""
        self.say(f"lab '{self.lab}'")
        if subprocess.run(
            ["lab/lab", "up", "--name", self.lab], cwd=TOP, stdout=subprocess.DEVNULL, check=False
        ).returncode:
            raise SystemExit("bench-restore: the lab did not come up; it said why above.")
        self.fleet = json.loads(self._fleet_file().read_text())
        if not self.keep or not self._running():
            self.podman("rm", "--force", self.container, check=False)
            self._create()
            self.say(f"Debian 13 with {', '.join(PACKAGES)}")
            authority = Path(self.fleet["state_dir"], "ca.pem")
            self.podman("cp", str(authority), f"{self.container}:/usr/local/share/ca-certificates/lab.crt")
            install = f"apt-get install -qq --no-install-recommends {' '.join(PACKAGES)}"
            self.shell(
                f"export DEBIAN_FRONTEND=noninteractive; update-ca-certificates; apt-get update -qq && {install}"
            )
        self._install_engine()

    def _running(self) -> bool:
        state = self.podman("ps", "--filter", f"name=^{self.container}$", "--format", "{{.Status}}")
        return state.startswith("Up ")

    def _create(self) -> None:
        """It drops the page cache and mounts: hence what it may do. Its /fast is memory, its /disk this clone's disk."""
        self.disk.mkdir(parents=True, exist_ok=True)
        image = self.podman("inspect", f"lifeboat-{self.lab}-harbour", "--format", "{{.ImageName}}").strip()
        address = self.fleet["hosts"]["store"]["address"]
        arguments = ["--name", self.container, "--network", f"lifeboat-{self.lab}"]
        arguments += ["--add-host", f"{NEAR}:{address}", "--add-host", f"{FAR}:127.0.0.1"]
        arguments += ["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"]
        arguments += ["--security-opt", "apparmor=unconfined", "--security-opt", "unmask=ALL"]
        arguments += [word for limit in self.host.ulimits for word in ("--ulimit", limit)]
        arguments += ["--tmpfs", "/fast:size=90%", "--volume", f"{self.disk}:/disk", "--volume", f"{TOP}:/lifeboat:ro"]
        script = "sleep infinity & wait"  # bash buries orphans: agents and mounts' daemons are many
        self.podman("run", "--detach", "--pull=never", *arguments, "--entrypoint", "bash", image, "-c", script)

    def _install_engine(self) -> None:
        requirements = TOP / "roles/duplicity/files/node-requirements.txt"
        recipe = bundle.recipe(str(requirements), str(TOP / "plugins/module_utils/engine"), platform.machine())
        cache = self.work / "bundles"
        if not (cache / recipe.name).exists():
            self.say("the node's archive of wheels and engine")
            bundle.make(str(cache), recipe)
        done = f"/opt/lifeboat-{recipe.digest}"
        if self.shell(f"test -e {done} && echo there || true").strip() == "there":
            return
        self.podman("cp", str(cache / recipe.name), f"{self.container}:/opt/bundle.tar")
        unpack = "rm -rf /opt/lifeboat; mkdir /opt/lifeboat; tar -xf /opt/bundle.tar -C /opt/lifeboat --no-same-owner"
        self.shell(f"set -e; {unpack}; /opt/lifeboat/install; touch {done}")

    def lab_job(self, bucket: str) -> dict[str, t.Any]:
        """What `tools.Lab` is made of, but for keys and room."""
        keys = configparser.ConfigParser()
        keys.read(Path(self.fleet["state_dir"], "minter.ini"))
        port = self.fleet["store"]["endpoint_url"].rpartition(":")[2]
        return {
            "near": f"https://{NEAR}:{port}",
            "far": f"https://{FAR}:{port}",
            "region": self.fleet["store"]["region"],
            "bucket": bucket,
            "access": keys["default"]["aws_access_key_id"],
            "secret": keys["default"]["aws_secret_access_key"],
        }

    def run(self, job: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
        """One data set; yields its events. Leaves no bucket."""
        argv = self.host.podman("exec", "--interactive", "--workdir", "/lifeboat", self.container)
        argv += ["/opt/lifeboat/venv/bin/python", "-B", "-m", "tests.benchmarks.restore_bench.inside"]
        self.bucket = job["lab"]["bucket"]
        self.drop(self.bucket)
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            for line in process.stdout:
                yield json.loads(line)
            if process.wait() != 0:
                raise SystemExit(f"bench-restore: the data set {job['data']} ended with code {process.returncode}.")
        finally:
            if process.poll() is None:  # interrupted: what runs inside goes with the container
                process.kill()
                process.wait()
        self.drop(self.bucket)
        self.bucket = ""

    def drop(self, bucket: str) -> None:
        """Remove a bucket and what it holds at once: RGW's garbage collector would take hours to free the space."""
        remove = ["radosgw-admin", "bucket", "rm", "--bucket", bucket, "--purge-objects", "--bypass-gc"]
        self.podman("exec", f"lifeboat-{self.lab}-store", *remove, check=False)

    def store_version(self) -> str:
        return self.podman("exec", f"lifeboat-{self.lab}-store", "radosgw", "--version").strip()

    def close(self, *, whole: bool) -> None:
        """Leave nothing; of a run that is not ``whole`` something may still work in the container, so it goes anyway."""
        if self.keep and whole:
            self.say(f"kept: the container {self.container} and the lab '{self.lab}'")
            return
        self.podman("rm", "--force", "--time", "0", self.container, check=False)
        subprocess.run([*self.host.sudo, "rm", "-rf", str(self.disk)], check=False)
        if self.found_lab or self.keep:
            if self.bucket:
                self.drop(self.bucket)
        else:
            subprocess.run(["lab/lab", "down", "--name", self.lab], cwd=TOP, check=False, stdout=subprocess.DEVNULL)


def machine(disk: Path) -> dict[str, t.Any]:
    """This machine, as far as it matters for speed, without a name of it."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "disk": found.stdout.strip() or "?",
    }

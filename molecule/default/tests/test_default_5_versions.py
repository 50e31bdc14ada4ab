# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Repositories that the duplicity of Debian 12 or 13 began: we report, restore, scrub and extend them, and what we add is
read by the same stock tool. (That both read what we began: test_default_4_break_glass.)"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.keyring import Keyring

VERSIONS = {"node1": "0.8.22", "node3": "3.0.4"}  # Debian 12 and 13
WORK = "/root/versions"
PACKAGES = "duplicity python3-boto3 gnupg"

# What people's trees hold, and what changes from point to point: {generation}
SEED = r"""
import os, random, shutil, stat
top, generation = b"{top}/", {generation}
def put(name, content, mode=0o644, owner=(0, 0)):
    with open(top + name, "wb") as handle:
        handle.write(content)
    os.chown(top + name, *owner)
    os.chmod(top + name, mode)
if generation == 0:
    os.makedirs(top + b"folder/empty")
    big = random.Random(1).randbytes(2_300_000)
    for name in (b"line\nbreak", b"not \xff utf-8", b"-rf", b" blank ", b"\xc3\xbc", b"back\\slash", b"*?[a]", b"tab\there"):
        put(name, b"in " + name)
    put(b"volumes", big)
    put(b"setuid", b"#!/bin/sh\n", 0o4755, (4711, 4712))
    put(b"nobody reads", b"secret", 0)
    put(b"becomes a folder", b"file")
    put(b"goes", b"away")
    put(b"empty", b"")
    os.symlink(b"to \xff", top + b"link")
    os.mkfifo(top + b"fifo", 0o620)
    os.utime(top + b"folder/empty", (1_000_000_000, 1_000_000_000))
else:
    with open(top + b"volumes", "r+b") as handle:
        handle.seek(700_000 * generation)
        handle.write(b"changed in %d" % generation)
    put(b"new in %d \xfe" % generation, b"new")
    put(b"line\nbreak", b"other" * generation)
    os.chmod(top + b"setuid", 0o4750 + generation)
if generation == 1:
    os.unlink(top + b"goes")
    os.unlink(top + b"becomes a folder")
    os.mkdir(top + b"becomes a folder")
    os.unlink(top + b"link")
    os.symlink(b"elsewhere", top + b"link")
"""

# Debian's duplicity as the distribution's user runs it. The cache of `stock` is kept, that of `cold` is new.
STOCK = """
umask 077
export GNUPGHOME={home}/gnupg AWS_SHARED_CREDENTIALS_FILE={home}/store.ini AWS_CONFIG_FILE=/dev/null AWS_CA_BUNDLE={ca}
export PASSPHRASE= LC_ALL=C.UTF-8
mkdir -p {home}/gnupg {home}/tmp
stock() {{
  verb=$1; shift
  /usr/bin/duplicity $verb --archive-dir {home}/${{cache:-archive}} --name stock --tempdir {home}/tmp {options} "$@"
}}
cold() {{ cache=cold; rm -rf {home}/cold; stock "$@"; }}
"""


@dataclass
class Repository:
    """One that a distribution's duplicity began, with a full and an incremental."""

    fleet: Any
    bucket: Any
    host: str
    sealed: bool
    in_store: bool
    fingerprint: str = ""
    public: str = ""
    private: str = ""
    looks: list[dict[str, list[Any]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.host}-{'sealed' if self.sealed else 'clear'}"

    @property
    def home(self) -> str:
        return f"{WORK}/{self.name}"

    @property
    def source(self) -> str:
        return f"{self.home}/source"

    @property
    def path(self) -> str:
        return f"{self.bucket.name}/nodes/{self.name}/repo/versions"

    @property
    def stock_url(self) -> str:
        return f"boto3+s3://{self.path}" if self.in_store else f"file://{self.home}/repository"

    def begin(self) -> None:
        if self.sealed:
            with Keyring() as ring:
                self.fingerprint = ring.generate("a test's own")
                self.public = ring.export_public(self.fingerprint).decode()
                self.private = ring.export_secret(self.fingerprint).decode()
            self.stock("gpg --batch --quiet --import <<END\n" + self.private + "END")
        if self.in_store:
            key = self.bucket.user(self.name)
            ini = f"[default]\naws_access_key_id = {key.access_key}\naws_secret_access_key = {key.secret_key}\n"
            assert (
                self.fleet.feed(self.host, f"umask 077; mkdir -p {self.home}; cat > {self.home}/store.ini", ini).rc == 0
            )
        self.change()
        self.stock(f"stock full --volsize 1 {self.writing} {self.source} {self.stock_url}")
        self.change()
        self.stock(f"stock incremental {self.writing} {self.source} {self.stock_url}")

    @property
    def writing(self) -> str:
        return f"--encrypt-key {self.fingerprint} --gpg-options=--trust-model=always" if self.sealed else ""

    def change(self) -> None:
        """The next state of the source, a second after the last backup of it, since stock duplicity takes a file whose time
        has the same second for unchanged (guard 21); ``looks`` remembers all."""
        script = SEED.replace("{top}", self.source).replace("{generation}", str(len(self.looks)))
        run = self.fleet.feed(self.host, "sleep 1; python3 -", script)
        assert run.rc == 0, run.out
        self.looks.append(self.fleet.look(self.host, self.source))

    def stock(self, script: str) -> str:
        """Run shell with Debian's duplicity at hand; it must end well."""
        options = ["" if self.sealed else "--no-encryption"]
        if self.in_store:
            options += [f"--s3-endpoint-url {self.bucket.endpoint_url} --s3-region-name {self.bucket.region}"]
        prepare = STOCK.format(home=self.home, ca=self.bucket.node_ca_bundle, options=" ".join(options))
        run = self.fleet.feed(self.host, "sh -s", f"{prepare}set -e\n{script}\n")
        assert run.rc == 0, run.out
        out: str = run.out
        return out

    def ask(self, operation: str, **more: Any) -> dict[str, Any]:
        """One request to our engine on that host."""
        request: dict[str, Any] = {"target": f"file://{self.home}/repository"}
        if self.in_store:
            request = {"target": f"s3://{self.path}", "store": self.bucket.access(self.bucket.user(self.name))}
        if self.sealed and operation != "info":
            writes = operation == "backup"
            request["encryption"] = {"public_key": self.public} if writes else {"private_key": self.private}
        answer: dict[str, Any] = self.fleet.ask(self.host, operation=operation, **request, **more)
        return answer

    def back_up(self, mode: str) -> dict[str, Any]:
        return self.ask("backup", source=self.source, mode=mode, volume_mib=1)

    def same(self, folder: str, generation: int) -> None:
        """A restored folder is the source as it was then; it is removed."""
        seen, expected = self.fleet.look(self.host, folder), self.looks[generation]
        self.fleet.on(self.host, f"sudo rm -rf {folder}")
        assert seen.keys() == expected.keys()
        assert {path: (row, seen[path]) for path, row in expected.items() if seen[path] != row} == {}


def installed(fleet: Any, host: str) -> set[str]:
    listed = fleet.on(host, "dpkg-query --show --showformat '${db:Status-Status} ${binary:Package}\\n'")
    return {name for status, name in (line.split() for line in listed.splitlines()) if status == "installed"}


def install(fleet: Any, host: str) -> set[str]:
    """Install the distribution's packages; returns those that are new."""
    before = installed(fleet, host)
    get = f"apt-get install --yes --no-install-recommends {PACKAGES}"
    run = fleet.feed(host, f"export DEBIAN_FRONTEND=noninteractive; {get} || (apt-get update && {get})", "")
    assert run.rc == 0, run.out
    return installed(fleet, host) - before


def clean(fleet: Any, host: str, packages: set[str]) -> None:
    ours = " ".join(f"/var/{place}/lifeboat/{name}" for place in ("lib", "cache") for name in ("versions", "direct-*"))
    fleet.on(host, f"sudo sh -c 'GNUPGHOME={WORK} gpgconf --kill all; rm -rf {WORK} {ours}'")
    if packages:
        fleet.on(host, f"sudo apt-get purge --yes {' '.join(sorted(packages))}")


@pytest.fixture(scope="module")
def stock_duplicity(fleet: Any) -> Iterator[None]:
    """Both hosts have their distribution's duplicity; afterwards they are as they were."""
    with ThreadPoolExecutor() as pool:
        new: dict[str, set[str]] = {}
        try:
            new = dict(zip(VERSIONS, pool.map(lambda host: install(fleet, host), VERSIONS), strict=True))
            yield
        finally:
            list(pool.map(lambda host: clean(fleet, host, new.get(host, set())), VERSIONS))


# host, sealed, in the store: every version both ways of encryption and both kinds of place
CASES = [("node1", False, False), ("node1", True, True), ("node3", True, False), ("node3", False, True)]


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: f"{VERSIONS[case[0]]}-{'sealed' if case[1] else 'clear'}"
)
def repository(
    fleet: Any, own_bucket: Any, stock_duplicity: None, request: pytest.FixtureRequest
) -> Iterator[Repository]:
    host, sealed, in_store = request.param
    made = Repository(fleet, own_bucket, host, sealed, in_store)
    made.begin()
    yield made
    fleet.on(host, f"sudo sh -c 'GNUPGHOME={made.home}/gnupg gpgconf --kill all; rm -rf {made.home}'")


@pytest.fixture
def exchanged(fleet: Any) -> Iterator[str]:
    """A node whose duplicity says that it is another one."""
    host = "node2"
    metadata = "$(echo /opt/lifeboat/current/venv/lib/python3*/site-packages/duplicity-*.dist-info)/METADATA"
    change = 'f={}; cp -p "$f" "$f.kept" && sed -i "s/^Version: .*/Version: 3.2.2/" "$f"'
    assert fleet.feed(host, change.format(metadata), "").rc == 0
    yield host
    assert fleet.feed(host, f'f={metadata}; mv "$f.kept" "$f"', "").rc == 0


def test_an_unknown_version_is_refused(fleet: Any, exchanged: str) -> None:
    sentence = (
        "duplicity 3.2.2 is installed for this engine, which works with 3.2.1 only: remove /opt/lifeboat (it holds no data) and "
        "roll the host out again (playbooks/rollout.yml)."
    )
    run = fleet.play("backup.yml", target=exchanged)
    assert run.rc != 0
    assert sentence in " ".join(run.out.split())
    assert "Traceback" not in run.out
    assert sentence in fleet.on(exchanged, "sudo lifeboat backup site 2>&1 || true")
    assert sentence in fleet.on(exchanged, "sudo lifeboat status || true")


def test_distribution_version(repository: Repository) -> None:
    out = repository.stock("/usr/bin/duplicity --version")
    assert re.search(rf"^duplicity {re.escape(VERSIONS[repository.host])}\b", out, re.MULTILINE), out


def test_ours_reports_restores_and_scrubs_theirs(repository: Repository) -> None:
    info = repository.ask("info")
    (chain,) = info["chains"]
    assert [(one["kind"], one["missing"]) for one in chain["sets"]] == [("full", []), ("incremental", [])]
    assert chain["sets"][0]["volumes"] > 1
    assert [point["provable"] for point in info["points"]] == [False, False]
    assert info["foreign"] == []
    for generation, point in enumerate(info["points"]):
        folder = f"{repository.home}/restored"
        answer = repository.ask("restore", dest=folder, time=point["time"])
        assert (answer["failed"], answer["outcome"]) == (False, "ok"), answer
        repository.same(folder, generation)
    answer = repository.ask("verify")
    assert (answer["failed"], answer["outcome"]) == (False, "ok"), answer


def test_theirs_restores_what_ours_added(repository: Repository) -> None:
    """In clear our incremental goes on their chain. Encrypted it can't: a node holds no private key, so what their cache
    knows of the chain is not to be had, and a full of ours begins the next chain."""
    (first, second) = [point["time"] for point in repository.ask("info")["points"]]
    repository.change()
    answer = repository.back_up("incremental")
    kind = "incremental"
    if repository.sealed:
        assert answer["failed"]
        assert answer["msg"] == (
            f"an incremental is not possible: the cache does not hold the signatures of {first} for this key; run with mode "
            "full."
        )
        answer = repository.back_up("auto")
        assert answer["warnings"] == [
            f"a full was made, since the cache does not hold the signatures of {first} for this key."
        ]
        kind = "full"
    assert (answer["failed"], answer["record"]["mode"]) == (False, kind), answer
    third = answer["record"]["set_time"]
    for generation, time in [(2, third), (1, second)][: 2 if repository.sealed else 1]:  # in clear it is one chain
        repository.stock(f"cold restore --time {time} {repository.stock_url} {repository.home}/restored")
        repository.same(f"{repository.home}/restored", generation)
    # and theirs goes on: an incremental on what we added, which we restore
    repository.change()
    repository.stock(f"stock incremental {repository.writing} {repository.source} {repository.stock_url}")
    answer = repository.ask("restore", dest=f"{repository.home}/restored")
    assert (answer["failed"], answer["outcome"]) == (False, "ok"), answer
    repository.same(f"{repository.home}/restored", 3)

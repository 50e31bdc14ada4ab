# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Guard 19 where it lives: a store whose policy lets a key write and not delete. What stock duplicity does then, and what
we do. (tests/guards has it in small, without a store.)"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

HOST, WORK, PREFIX = "node1", "/root/guard-19", "nodes/guard/repo/guard/"

# Stock duplicity (the pinned one, without our launcher) on the node. $VERB and what follows it are the caller's.
STOCK = """
export AWS_SHARED_CREDENTIALS_FILE={work}/store.ini AWS_CONFIG_FILE=/dev/null AWS_CA_BUNDLE={ca} PASSPHRASE= LC_ALL=C.UTF-8
mkdir -p {work}/archive {work}/tmp
stock() {{
  /opt/lifeboat/current/venv/bin/duplicity "$@" --archive-dir {work}/archive --name stock --tempdir {work}/tmp \\
    --no-encryption --num-retries 1 --s3-endpoint-url {endpoint} --s3-region-name {region}
}}
"""
# SIGKILL when three volumes are up; then the host loses its cache
UNFINISHED = """
stock full --volsize 1 --concurrency 0 {source} {url} > /dev/null 2>&1 & pid=$!
part={work}/archive/stock/duplicity-full.*.manifest.part
while kill -0 $pid && [ "$(cat $part 2>/dev/null | grep -c ^Volume)" -lt 3 ]; do sleep 0.01; done
kill -KILL $(pgrep --parent $pid) $pid; wait $pid
rm -rf {work}/archive {work}/tmp
"""
# ended from outside after so many rounds: by itself it never ends (a minute is the bound if it does nothing at all)
LOOP = """
: > {work}/loop.log
stock {verb} --log-file {work}/loop.log {source} {url} > /dev/null 2>&1 & pid=$!
for try in $(seq 600); do
  sleep 0.1
  kill -0 $pid && [ "$(grep -c 'Cleaning up previous' {work}/loop.log)" -lt {rounds} ] || break
done
kill -0 $pid && echo still running
kill -KILL $(pgrep --parent $pid) $pid; wait $pid
cat {work}/loop.log; rm -rf {work}/loop.log {work}/archive {work}/tmp
"""


class Node:
    """A node of our own making on a lab host: a source, a key, stock duplicity and the engine for one repository."""

    source = f"{WORK}/source"

    def __init__(self, fleet: Any, bucket: Any) -> None:
        self.fleet, self.bucket = fleet, bucket
        self.url = f"s3://{bucket.name}/{PREFIX.rstrip('/')}"
        self.key = bucket.user("guard", without="s3:DeleteObject")
        ini = f"[default]\naws_access_key_id = {self.key.access_key}\naws_secret_access_key = {self.key.secret_key}\n"
        made = f"umask 077; mkdir -p {self.source} && cat > {WORK}/store.ini"
        assert fleet.feed(HOST, made, ini).rc == 0
        self.sh(f"for n in 1 2 3 4 5 6 7 8; do head -c 2000000 /dev/urandom > {self.source}/f$n; done")

    def sh(self, script: str, **more: Any) -> str:
        place = {"work": WORK, "source": self.source, "url": self.url}
        stock = STOCK.format(
            ca=self.bucket.node_ca_bundle, endpoint=self.bucket.endpoint_url, region=self.bucket.region, work=WORK
        )
        run = self.fleet.feed(HOST, "sh -s", stock + script.format(**place, **more))
        out: str = run.out
        return out

    def ask(self, operation: str, **more: Any) -> dict[str, Any]:
        store = self.bucket.access(self.key)
        answer: dict[str, Any] = self.fleet.ask(HOST, operation=operation, target=self.url, store=store, **more)
        return answer

    def names(self) -> set[str]:
        found: set[str] = self.bucket.names(PREFIX)
        return found

    def unfinished(self) -> tuple[str, set[str]]:
        """Leave an unfinished full in the store and nothing on the host: its time and its objects."""
        before = self.names()
        self.sh(UNFINISHED)
        left = self.names() - before
        (moment,) = {name.split(".")[1] for name in left}
        assert len(left) >= 2
        assert all(".difftar." in name for name in left)
        return moment, left


@pytest.fixture(scope="module")
def node(fleet: Any, own_bucket: Any) -> Iterator[Node]:
    try:
        yield Node(fleet, own_bucket)
    finally:
        fleet.on(HOST, f"sudo rm -rf {WORK} /var/lib/lifeboat/guard /var/cache/lifeboat/guard /srv/guard-19*")


def same(fleet: Any, folder: str) -> bool:
    return bool(fleet.look(HOST, folder) == fleet.look(HOST, Node.source))


def test_guard_19_a_key_that_may_not_delete(fleet: Any, node: Node) -> None:
    moment, left = node.unfinished()
    for verb, named in (("full", "full"), ("incremental", "inc")):
        log = node.sh(LOOP, verb=verb, rounds=50)
        assert "still running" in log
        rounds = log.count(f"Cleaning up previous partial {named} backup set, restarting.")
        assert rounds >= 50, log
        assert log.count("AccessDenied") >= rounds * len(left) - len(left), log
        assert node.names() == left  # nothing gone, nothing new: it does no work

    started = time.monotonic()
    answer = node.ask("backup", source=node.source, mode="auto")
    assert time.monotonic() - started < 60
    assert (answer["failed"], answer["outcome"], answer["record"]["mode"]) == (False, "warning", "full"), answer
    assert answer["warnings"][-1] == (
        f"the unfinished set of {moment} stays in the store, since this key may not delete it: it does no harm; delete it with a "
        "key that may."
    )
    assert left < node.names()


def test_guard_19_afterwards_all_is_well(fleet: Any, node: Node) -> None:
    """For our engine and, with the same key and a cold cache, for stock duplicity."""
    fleet.on(HOST, f"sudo sh -c 'echo new > {node.source}/page; rm {node.source}/f8'")
    answer = node.ask("backup", source=node.source, mode="auto")
    assert (answer["outcome"], answer["record"]["mode"]) == ("ok", "incremental"), answer
    assert not node.ask("restore", dest="/srv/guard-19")["failed"]
    assert same(fleet, "/srv/guard-19")
    out = node.sh("stock restore {url} /srv/guard-19-stock")
    assert same(fleet, "/srv/guard-19-stock"), out


def test_guard_19_a_nodes_own_policy_takes_it_away(node: Node, own_bucket: Any) -> None:
    """The control: with DeleteObject (without DeleteObjectVersion, as our nodes have it) the set goes."""
    _moment, left = node.unfinished()
    own_bucket.user("guard")
    answer = node.ask("backup", source=node.source, mode="auto")
    assert (answer["failed"], answer["record"]["mode"]) == (False, "full"), answer
    assert not any("stays in the store" in warning for warning in answer["warnings"])
    assert not left & node.names()

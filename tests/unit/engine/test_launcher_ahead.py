# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the launcher fetches ahead: the real duplicity and boto3, from a stand-in for the store on this machine."""

from __future__ import annotations

import collections
import filecmp
import json
import os
import random
import re
import subprocess
import sys
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.engine.test_launcher import launched

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command

PREFIX = "nodes/n1/repo/site/"


class Store(ThreadingHTTPServer):
    """Serves the files of a folder as a bucket's objects. ``spoiled`` and ``refused``: how many times each of these."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.lock = threading.Lock()
        self.got: list[str] = []
        self.spoiled: t.Counter[str] = collections.Counter()
        self.refused: t.Counter[str] = collections.Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/bucket":
            self.answer(200, self.listing())
            return
        name = path.removeprefix(f"/bucket/{PREFIX}")
        with self.server.lock:
            self.server.got.append(name)
            refused, spoiled = self.server.refused[name] > 0, self.server.spoiled[name] > 0
            self.server.refused[name] -= 1
            self.server.spoiled[name] -= not refused
        data = (self.server.folder / name).read_bytes()
        if refused:
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        else:
            self.answer(200, bytes(len(data)) if spoiled else data)

    def do_HEAD(self) -> None:
        self.answer(200, (self.server.folder / self.path.removeprefix(f"/bucket/{PREFIX}")).read_bytes())

    def listing(self) -> bytes:
        listed = sorted((file.name, file.stat().st_size) for file in self.server.folder.iterdir())
        found = "".join(f"<Contents><Key>{PREFIX}{name}</Key><Size>{size}</Size></Contents>" for name, size in listed)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

    def answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_arguments: t.Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def store(tmp_path: Path) -> t.Iterator[Store]:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "tmp").mkdir()
    server = Store(tmp_path / "bucket")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full and two incrementals of several volumes each; the last state is in ``source`` beside it."""
    here = tmp_path_factory.mktemp("repository")
    source, made = here / "source", random.Random(5)
    source.mkdir()
    rounds = [
        {"long": 2500, **{f"f{number:02}": 400 for number in range(10)}},
        {"f01": 700, "f05": 700, "f09": 400},
        {"a": 600, "f00": 600, "z": 1500},
    ]
    for number, files in enumerate(rounds):
        for name, kib in files.items():
            (source / name).write_bytes(made.randbytes(kib << 10))
            os.utime(source / name, (1_700_000_000 + number, 1_700_000_000 + number))
        duplicity(
            *(
                "incremental" if number else "full",
                "--volsize",
                "1",
                "--current-time",
                str(1_700_000_000 + 86_400 * number),
            ),
            *("--archive-dir", str(here / "archive"), str(source), f"file://{here}/bucket"),
        )
    return here


def duplicity(*arguments: str) -> None:
    argv = [sys.executable, command.LAUNCHER, arguments[0], "--no-encryption", *arguments[1:]]
    done = subprocess.run(argv, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


KEYS = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_MAX_ATTEMPTS": "1", "AWS_CONFIG_FILE": os.devnull}

# Run as the script would, and tell in which order duplicity asked and in which it was expected to.
_RUN = """
del sys.argv[1]
expected, asked, most = [], [], [0]
class Watched(launcher_s3.Ahead):
    def __init__(self, client, bucket, prefix, wanted):
        expected.append(list(wanted))
        super().__init__(client, bucket, prefix, wanted)
    def _fill(self):
        super()._fill()
        most[0] = max(most[0], len(self._under_way))
launcher_s3.Ahead = Watched
get = launcher_s3.StrictS3Backend._get
def noted(self, name, path):
    asked.append(os.fsdecode(name))
    get(self, name, path)
launcher_s3.StrictS3Backend._get = noted
if os.environ["HOW"] == "alone":
    launcher_s3.READING = ()
code = 0
try:
    launcher.run()
except SystemExit as end:
    code = end.code or 0
print(json.dumps({"code": code, "expected": expected, "asked": asked, "most": most[0]}))
"""


def restore(store: Store, here: Path, how: str = "ahead") -> dict[str, t.Any]:
    """Restore the newest point of the store: exit code, orders expected of each batch, order asked, most under way."""
    arguments = [
        *("restore", "--no-encryption", "--archive-dir", str(here / f"archive-{how}"), "--tempdir", str(here / "tmp")),
        *("--log-file", str(here / f"log-{how}"), "--num-retries", "2", "--backend-retry-delay", "0"),
        *("--s3-endpoint-url", store.url, "--s3-region-name", "eu-1", f"lifeboat://bucket/{PREFIX}"),
        str(here / f"tree-{how}"),
    ]
    seen = t.cast("dict[str, t.Any]", launched(_RUN, *arguments, HOW=how, **KEYS))
    assert os.listdir(here / "tmp") == []
    return seen


def volumes(names: t.Iterable[str]) -> list[str]:
    return [name for name in names if ".vol" in name]


def test_a_restore_fetches_ahead_in_the_order_in_which_duplicity_asks(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    store.folder = repository / "bucket"
    seen = restore(store, tmp_path)
    assert seen["code"] == 0
    same = filecmp.dircmp(repository / "source", tmp_path / "tree-ahead")
    assert (same.left_only, same.right_only, same.diff_files, same.funny_files) == ([], [], [], [])
    metadata, chain = seen["expected"]
    assert seen["asked"] == metadata + chain
    assert len(chain) > 10
    sets = [name.partition(".vol")[0] for name in chain]
    assert len(set(sets)) == 3
    assert sets != sorted(sets)  # not set after set
    assert sorted(store.got) == sorted(seen["asked"])  # nothing twice
    assert 1 < seen["most"] <= 8


@pytest.mark.parametrize(
    ("times", "fault", "code"),
    [
        pytest.param(1, "spoiled", 0, id="spoiled once"),
        pytest.param(9, "spoiled", 21, id="spoiled always"),
        pytest.param(9, "refused", 50, id="refused always"),
    ],
)
def test_errors_are_those_of_duplicity(
    store: Store, repository: Path, tmp_path: Path, times: int, fault: str, code: int
) -> None:
    """Exit code and machine log are the same as without."""
    store.folder = repository / "bucket"
    name = volumes(sorted(os.listdir(store.folder)))[3]
    ends, logs, counts = [], [], []
    for how in ("ahead", "alone"):
        store.got.clear()
        getattr(store, fault)[name] = times
        ends.append(restore(store, tmp_path, how)["code"])
        logs.append((tmp_path / f"log-{how}").read_text().replace(how, ""))
        counts.append(store.got.count(name))
    assert ends == [code, code]
    assert logs[0] == logs[1]
    assert ("ERROR" in logs[0]) == (fault == "spoiled" or code != 0)
    # a spoiled one is fetched anew, as often as without; a refused one costs one attempt more
    assert counts[0] == counts[1] + (fault == "refused")


def test_a_fault_that_passes_is_not_noticed(store: Store, repository: Path, tmp_path: Path) -> None:
    store.folder = repository / "bucket"
    name = volumes(sorted(os.listdir(store.folder)))[3]
    store.refused[name] = 1
    assert restore(store, tmp_path)["code"] == 0
    assert store.got.count(name) == 2
    assert not re.search(r"^(WARNING|ERROR) ", (tmp_path / "log-ahead").read_text(), re.MULTILINE)


_START = """
import random
from duplicity import config
config.temproot = sys.argv[2]
launcher_s3.OBJECTS, launcher_s3.SPOOL = json.loads(sys.argv[4])
client = launcher_s3.boto3.client("s3", region_name="eu-1", endpoint_url=sys.argv[3])
sizes = json.loads(sys.argv[5])
def start(wanted):
    return launcher_s3.Ahead(client, "bucket", "nodes/n1/repo/site/", wanted)
def left():
    return sorted(name for name in os.listdir(sys.argv[2]) if not name.endswith("-tempdir"))  # that is duplicity's
def settle(ahead):
    for transfer, _size in ahead._under_way.values():
        transfer.result()
    return sorted(os.listdir(ahead._folder))
"""


def ahead(store: Store, here: Path, sizes: t.Mapping[str, int], bound: tuple[int, int], code: str) -> t.Any:
    for name, size in sizes.items():
        (store.folder / name).write_bytes(name.encode().ljust(size))
    arguments = (str(here / "tmp"), store.url, json.dumps(bound), json.dumps(sizes))
    return launched(_START + code, *arguments, **KEYS)


_PAUSE = """
ahead = start(sizes)
seen = [settle(ahead)]
for name in ("a", "c", "g"):
    seen.append([name, ahead.take(name, sys.argv[2] + "/taken"), *settle(ahead)])
ahead.stop()
seen.append(left())
print(json.dumps(seen))
"""


def test_no_more_objects_than_the_bound(store: Store, tmp_path: Path) -> None:
    seen = ahead(store, tmp_path, dict.fromkeys("abcdefgh", 10), (3, 1000), _PAUSE)
    # g was not under way: who asks fetches it, and it is not fetched again
    assert seen == [[*"abc"], ["a", True, *"bcd"], ["c", True, *"bde"], ["g", False, *"bde"], ["taken"]]
    assert sorted(store.got) == [*"abcde"]


def test_no_more_bytes_than_the_bound(store: Store, tmp_path: Path) -> None:
    sizes = dict(zip("abcdefgh", (40, 40, 40, 200, 40, 80, 40, 40), strict=True))
    seen = ahead(store, tmp_path, sizes, (3, 100), _PAUSE)
    # d is larger than all the room and holds up nobody; f waits for room
    assert seen == [[*"ab"], ["a", True, *"bc"], ["c", True, *"be"], ["g", False, *"be"], ["taken"]]


_ORDERS = """
for seed in range(60):
    made = random.Random(seed)
    launcher_s3.OBJECTS, launcher_s3.SPOOL = made.randint(1, 9), made.randint(10, 400)
    ahead, order = start(dict(made.sample(list(sizes.items()), len(sizes)))), list(sizes)
    made.shuffle(order)
    for name in order[: made.randint(0, len(order))]:
        bytes_ahead = sum(size for _transfer, size in ahead._under_way.values())
        assert len(ahead._under_way) <= launcher_s3.OBJECTS and bytes_ahead <= launcher_s3.SPOOL
        known = name in ahead._under_way
        assert ahead.take(name, sys.argv[2] + "/taken") == known
        if known:
            with open(sys.argv[2] + "/taken", "rb") as handle:
                assert handle.read() == name.encode().ljust(sizes[name])
        assert ahead._under_way or not [name for name, size in ahead._wanted.items() if size <= launcher_s3.SPOOL]
    ahead.stop()
    assert left() in ([], ["taken"])
print(json.dumps(True))
"""


def test_any_order_is_served_and_nothing_is_left(store: Store, tmp_path: Path) -> None:
    sizes = {f"n{number}": 7 * number for number in range(30)}
    assert ahead(store, tmp_path, sizes, (8, 100), _ORDERS) is True


def test_a_backup_fetches_nothing_ahead(store: Store, tmp_path: Path) -> None:
    code = """
from duplicity import backend, config, log
log.setup()
config.s3_region_name, config.s3_endpoint_url, config.s3_unencrypted_connection = "eu-1", sys.argv[3], False
seen = []
for config.action in ("full", "inc", "restore"):
    made = backend.get_backend("lifeboat://bucket/nodes/n1/repo/site")
    assert made.list() == [b"a"]
    made.pre_process_download_batch([b"a"])
    seen.append(made.backend._ahead is not None)
    made.close()
print(json.dumps(seen))
"""
    assert ahead(store, tmp_path, {"a": 3}, (8, 100), code) == [False, False, True]


_ORDER = """
order = launcher_s3.opening_order
paths = [[(b"c",), (b"m", b"x"), (b"z",)], [(b"b",), (b"z",)], [], [(b"z",)]]
print(json.dumps([order(["1a", "1b", "1c", "2a", "2b", "3a"], paths), order(["2", "1"], paths)]))
"""


def test_the_order_of_opening() -> None:
    assert launched(_ORDER) == [["1a", "2a", "3a", "2b", "1b", "1c"], ["2", "1"]]

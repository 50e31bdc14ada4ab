# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Uploads that write over nothing: the real duplicity and boto3, against a listener that refuses what it has."""

from __future__ import annotations

import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.engine.serving import serving
from tests.unit.engine.test_launcher import launched

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, launcher_once, store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError

SET = "duplicity-full.20261123T021500Z."
VOLUME, MANIFEST, SIGNATURES = (
    SET + "vol1.difftar.gpg",
    SET + "manifest.gpg",
    "duplicity-full-signatures.20261123T021500Z.sigtar.gpg",
)
BELOW = "/bucket/nodes/n1/"


class Strict(ThreadingHTTPServer):
    """``held`` are its objects. ``knows`` is False for a store that does not know the condition."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held: dict[str, bytes] = {}
        self.knows = True
        self.done: list[tuple[str, str, str]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Strict

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 02:15:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def do_PUT(self) -> None:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        condition = self.headers.get("If-None-Match", "")
        self.server.done.append(("put", self.path.removeprefix(BELOW), condition))
        if condition and not self.server.knows:
            self.refuse(501, "NotImplemented")
        elif condition and self.path in self.server.held:
            self.refuse(412, "PreconditionFailed")
        else:
            self.server.held[self.path] = b"new"
            self.answer(200)

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path in self.server.held:
            self.answer(200, self.server.held[asked.path])
            return
        prefix = f"/bucket/{parse_qs(asked.query)['prefix'][0]}"
        found = "".join(
            f"<Contents><Key>{name[8:]}</Key></Contents>" for name in self.server.held if name.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())

    def do_HEAD(self) -> None:
        self.answer(200 if self.path in self.server.held else 404, self.server.held.get(self.path, b""))

    def do_DELETE(self) -> None:
        self.server.done.append(("delete", self.path.removeprefix(BELOW), ""))
        self.server.held.pop(self.path, None)
        self.answer(204)

    def log_message(self, *_arguments: t.Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def strict() -> t.Iterator[Strict]:
    with serving(Strict()) as server:
        yield server


_PUT = """
from duplicity import backend, config, errors, log, path
log.setup()
config.s3_region_name, config.s3_endpoint_url, config.s3_unencrypted_connection = "eu-1", sys.argv[2], False
config.s3_multipart_chunk_size, config.s3_multipart_max_procs = 20 << 20, 4
config.num_retries, config.backend_retry_delay = 1, 0
made = backend.get_backend("lifeboat://bucket/nodes/n1").backend
try:
    made._put(path.Path(os.fsencode(sys.argv[3])), os.fsencode(sys.argv[4]))
    print(json.dumps("done"))
except errors.BackendException as error:
    print(json.dumps(str(error)))
"""


def place(strict: Strict, here: Path) -> store.Location:
    (here / "store.ini").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    url = f"http://127.0.0.1:{strict.server_port}"
    return store.Location("s3://bucket/nodes/n1", url, credentials_file=str(here / "store.ini"), max_attempts=1)


def put(strict: Strict, here: Path, name: str) -> str:
    """Upload a file that holds ``one``, as a run of ours would; how that ended."""
    (here / "file").write_bytes(b"one")
    where = place(strict, here)
    work = command.Workspace("", "", "", str(here / "objects"), "")
    env = command.environment(where, work, {"PATH": "/usr/bin:/bin"}, upload=0)
    return str(launched(_PUT, str(where.endpoint_url), str(here / "file"), name, **env))


def test_an_upload_asks_not_to_write_over_anything(strict: Strict, tmp_path: Path) -> None:
    assert put(strict, tmp_path, VOLUME) == "done"
    assert strict.done == [("put", VOLUME, "*")]


def test_what_is_there_and_equal_is_a_success(strict: Strict, tmp_path: Path) -> None:
    strict.held = {BELOW + VOLUME: b"one", BELOW + MANIFEST: b"whole"}
    assert put(strict, tmp_path, VOLUME) == "done"
    assert strict.done == [("put", VOLUME, "*")]
    assert strict.held[BELOW + VOLUME] == b"one"


@pytest.mark.parametrize("left", [b"two", b"on", b"one more", b""])
@pytest.mark.parametrize("name", [VOLUME, SIGNATURES])
def test_what_a_crash_left_is_hidden_before_it_is_written_anew(
    strict: Strict, tmp_path: Path, left: bytes, name: str
) -> None:
    strict.held = {BELOW + name: left, BELOW + "duplicity-full.20261122T021500Z.manifest.gpg": b"of another set"}
    assert put(strict, tmp_path, name) == "done"
    assert strict.done == [("put", name, "*"), ("delete", name, ""), ("put", name, "*")]


@pytest.mark.parametrize("name", [VOLUME, SIGNATURES, MANIFEST])
def test_an_object_of_a_whole_backup_is_not_written_over(strict: Strict, tmp_path: Path, name: str) -> None:
    strict.held = {BELOW + name: b"two", BELOW + MANIFEST: b"whole"}
    assert "belongs to a backup that is whole" in put(strict, tmp_path, name)
    assert strict.done == [("put", name, "*")]


def test_a_store_that_knows_no_condition_is_asked_without(strict: Strict, tmp_path: Path) -> None:
    strict.knows = False
    assert put(strict, tmp_path, VOLUME) == "done"
    assert strict.done == [("put", VOLUME, "*"), ("put", VOLUME, "")]


@pytest.mark.parametrize("knows", [True, False])
def test_our_own_objects_are_written_once_too(strict: Strict, tmp_path: Path, knows: bool) -> None:
    strict.knows = knows
    target = store.open_store(place(strict, tmp_path))
    target.write("records/site/x.json", b"new", if_absent=True)
    target.write("records/site/x.json", b"new", if_absent=True)  # as after an answer that was lost
    if knows:
        with pytest.raises(LifeboatError, match="is never overwritten"):
            target.write("records/site/x.json", b"other", if_absent=True)


OF_INC = "20261123T021500Z.to.20261124T021500Z."


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        (VOLUME, SET + "manifest"),
        (SIGNATURES, SET + "manifest"),
        (f"duplicity-inc.{OF_INC}vol12.difftar", f"duplicity-inc.{OF_INC}manifest"),
        (f"duplicity-new-signatures.{OF_INC}sigtar.gpg", f"duplicity-inc.{OF_INC}manifest"),
        ("x", "x"),
    ],
)
def test_the_manifest_of_an_objects_set(name: str, manifest: str) -> None:
    assert launcher_once.manifest_of(name) == manifest

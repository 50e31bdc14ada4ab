# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the launcher's backend sends: the real duplicity and boto3, to a listener on this machine that notes requests."""

from __future__ import annotations

import typing as t
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.unit.engine.serving import serving
from tests.unit.engine.test_launcher import launched

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import command, store


class Listener(HTTPServer):
    """Takes every object. The first ``failures`` uploads get an error of the server."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures = 0
        self.uploads: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def do_PUT(self) -> None:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.uploads.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        failed = len(self.server.uploads) <= self.server.failures
        self.send_response(503 if failed else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()

    def log_message(self, *_arguments: t.Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def listener() -> t.Iterator[Listener]:
    with serving(Listener()) as server:
        yield server


_PUT = """
from duplicity import backend, config, log, path
log.setup()
config.s3_region_name, config.s3_endpoint_url, config.s3_unencrypted_connection = "eu-1", sys.argv[2], False
config.s3_multipart_chunk_size, config.s3_multipart_max_procs = 20 << 20, 4
config.num_retries, config.backend_retry_delay = 2, 0
made = backend.get_backend("lifeboat://bucket/nodes/n1")
for name in sys.argv[4:]:
    made.put(path.Path(os.fsencode(sys.argv[3])), os.fsencode(name))
print(json.dumps(None))
"""
VOLUME, MANIFEST = "duplicity-full.20261123T021500Z.vol1.difftar.gpg", "duplicity-full.20261123T021500Z.manifest.gpg"


def put(listener: Listener, here: Path, place: store.Location, upload: int, *names: str) -> list[str]:
    """Upload a file under these names as a run of ours would; returns the journal's lines."""
    (here / "volume").write_bytes(b"one")
    (here / "store.ini").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    work = command.Workspace("", "", "", str(here / "objects"), "")
    env = command.environment(place, work, {"PATH": "/usr/bin:/bin"}, upload=upload)
    launched(_PUT, listener.url, str(here / "volume"), *names, **env)
    return (here / "objects").read_text().splitlines()


def location(listener: Listener, here: Path, **options: t.Any) -> store.Location:
    return store.Location(
        "s3://bucket/nodes/n1", listener.url, credentials_file=str(here / "store.ini"), max_attempts=1, **options
    )


def test_class_and_encryption_reach_the_store(listener: Listener, tmp_path: Path) -> None:
    place = location(listener, tmp_path, storage_class="INTELLIGENT_TIERING", sse="aws:kms", sse_kms_key_id="key-1")
    assert len(put(listener, tmp_path, place, 1 << 20, VOLUME, MANIFEST)) == 2
    (volume, of_volume), (manifest, of_manifest) = listener.uploads
    assert (volume, manifest) == (f"/bucket/nodes/n1/{VOLUME}", f"/bucket/nodes/n1/{MANIFEST}")
    for headers in (of_volume, of_manifest):
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    assert of_volume["x-amz-storage-class"] == "INTELLIGENT_TIERING"
    assert "x-amz-storage-class" not in of_manifest  # read first, and small


def test_without_options_the_bucket_decides(listener: Listener, tmp_path: Path) -> None:
    put(listener, tmp_path, location(listener, tmp_path), 0, VOLUME)
    (_path, headers) = listener.uploads[0]
    assert not [name for name in headers if name.startswith(("x-amz-server-side", "x-amz-storage"))]


def test_a_refused_upload_is_tried_again(listener: Listener, tmp_path: Path) -> None:
    listener.failures = 1
    assert len(put(listener, tmp_path, location(listener, tmp_path), 0, VOLUME)) == 1
    assert [path for path, _headers in listener.uploads] == [f"/bucket/nodes/n1/{VOLUME}"] * 2


def test_our_own_objects_ask_for_encryption_too(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "store.ini").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    place = location(listener, tmp_path, storage_class="STANDARD_IA", sse="AES256")
    store.open_store(place).write("records/site/x.json", b"{}")
    (path, headers) = listener.uploads[0]
    assert path == "/bucket/nodes/n1/records/site/x.json"
    assert headers["x-amz-server-side-encryption"] == "AES256"
    assert "x-amz-storage-class" not in headers

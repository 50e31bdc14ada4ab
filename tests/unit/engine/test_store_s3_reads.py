# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Signed GETs without boto3's client: the same requests and answers as boto3's, against a small server of this test."""

from __future__ import annotations

import contextlib
import http.server
import re
import ssl
import subprocess
import threading
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from botocore import exceptions

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import store, store_base, store_s3_reads
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store_s3_reads import S3Reads

Answer = tuple[int, bytes]
CLOSED, SHORT, SHORT_503 = 298, 299, 297  # the connection ends behind it; before all that was promised


@dataclass
class Server:
    """Gives its answers in order, and notes what was asked."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> t.Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
            status, body = state.answers.pop(0)
            short = status in (SHORT, SHORT_503)
            self.send_response({CLOSED: 200, SHORT: 200, SHORT_503: 503}.get(status, status))
            self.send_header("Content-Length", str(len(body) + (10 if short else 0)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = short or status == CLOSED

        def log_message(self, *_: t.Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        if tls is not None:
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        state.url = f"http{'s' if tls else ''}://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield state
        finally:
            store_s3_reads._wire.cache_clear()
            listener.shutdown()
            thread.join()


@pytest.fixture
def server() -> t.Iterator[Server]:
    with serving() as state:
        yield state


@pytest.fixture
def place(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> store.Location:
    monkeypatch.setattr(store_s3_reads.time, "sleep", lambda _seconds: None)
    keys = tmp_path / "store.ini"
    keys.write_text("[default]\naws_access_key_id = ANNA\naws_secret_access_key = secret\n")
    return store.Location("s3://fleet/nodes/n1", endpoint_url=server.url, credentials_file=str(keys))


def page(*names: str, more: str = "") -> bytes:
    items = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-11-24T01:02:03.456Z</LastModified><ETag>&quot;ab-2&quot;</ETag>"
        f"<Size>7</Size></Contents>"
        for name in names
    )
    tail = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return (
        f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{items}{tail}'
        "<EncodingType>url</EncodingType></ListBucketResult>"
    ).encode()


def denied(code: str = "AccessDenied") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def signed(headers: t.Mapping[str, str]) -> tuple[str, str]:
    """Whose signature it is, and of which headers."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^,]*), SignedHeaders=([^,]*), Signature=[0-9a-f]{64}", headers["authorization"]
    )
    assert found is not None
    return found[1], found[2]


def test_a_location_with_an_endpoint_is_read_this_way(place: store.Location) -> None:
    assert type(store.open_store(place)) is S3Reads
    assert isinstance(store.open_store(place), store.S3Store)  # all the rest is boto3's


@pytest.mark.parametrize("kind", [S3Reads, store.S3Store])
def test_both_list_alike(kind: type[store.S3Store], server: Server, place: store.Location) -> None:
    server.answers = [
        (200, page("nodes/n1/a%20b", "nodes/n1/%C3%BC%2B", more="t/1+")),
        (200, page("nodes/n1/x%01")),
    ]
    found = kind(place).list("a")
    assert [item.name for item in found] == ["a b", "ü+", "x\x01"]
    first = found[0]
    assert (first.bytes, first.checksum, first.modified.isoformat()) == (
        7,
        "etag:ab-2",
        "2026-11-24T01:02:03.456000+00:00",
    )
    paths = [path for path, headers in server.asked]
    assert [path.partition("?")[0].rstrip("/") for path in paths] == ["/fleet", "/fleet"]
    assert [set(path.partition("?")[2].split("&")) for path in paths] == [
        {"list-type=2", "prefix=nodes%2Fn1%2Fa", "encoding-type=url"},
        {"list-type=2", "prefix=nodes%2Fn1%2Fa", "encoding-type=url", "continuation-token=t%2F1%2B"},
    ]
    assert {signed(headers)[0].partition("/")[0] for path, headers in server.asked} == {"ANNA"}


@pytest.mark.parametrize("kind", [S3Reads, store.S3Store])
def test_neither_lists_a_crowd(
    kind: type[store.S3Store], server: Server, place: store.Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_base, "MOST_LISTED", 3)
    server.answers = [(200, page(*(f"nodes/n1/{page_}{n}" for n in "12"), more="next")) for page_ in "abc"]
    with pytest.raises(LifeboatError, match=r"^nodes/n1/a holds more than 3 objects"):
        kind(place).list("a")
    assert len(server.asked) == 2


@pytest.mark.parametrize("kind", [S3Reads, store.S3Store])
def test_both_read_alike(kind: type[store.S3Store], server: Server, place: store.Location) -> None:
    server.answers = [(200, b"whole"), (206, b"part"), (200, b"x" * 3_000_000), (206, b"old")]
    bucket = kind(place)
    assert bucket.read("a b/ü~+") == b"whole"
    assert b"".join(bucket.stream("c", 2, 6)) == b"part"
    assert sum(len(piece) for piece in bucket.stream("c")) == 3_000_000
    assert b"".join(bucket.stream("c", 5, version_id="v/1")) == b"old"
    assert [path for path, headers in server.asked] == [
        "/fleet/nodes/n1/a%20b/%C3%BC~%2B",
        "/fleet/nodes/n1/c",
        "/fleet/nodes/n1/c",
        "/fleet/nodes/n1/c?versionId=v%2F1",
    ]
    assert [headers.get("range") for path, headers in server.asked] == [None, "bytes=2-5", None, "bytes=5-"]


@pytest.mark.parametrize("kind", [S3Reads, store.S3Store])
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([(403, denied())], "the store answered AccessDenied (403); check that this key"),
        ([(404, denied("NoSuchKey"))], "the store answered NoSuchKey (404); the object is not there."),
        ([(403, b"")], "the store answered AccessDenied (403)"),
        ([(500, b"<html>")] * 9, "(500); see the store's log."),
        ([(503, denied("SlowDown"))] * 9, "the store answered SlowDown (503); it is overloaded: wait some minutes"),
    ],
)
def test_both_say_the_same_of_an_error(
    kind: type[store.S3Store],
    answers: list[Answer],
    says: str,
    server: Server,
    place: store.Location,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    server.answers = list(answers)
    with pytest.raises(LifeboatError) as error:
        kind(place).read("x")
    assert str(error.value).startswith("cannot read 'nodes/n1/x' in s3://fleet: the store answered ")
    assert says in str(error.value)
    assert len(server.asked) == min(len(answers), 6)


def test_what_passes_is_tried_again(server: Server, place: store.Location) -> None:
    server.answers = [(500, b""), (503, denied("SlowDown")), (400, denied("RequestTimeout")), (200, b"there")]
    assert S3Reads(place).read("x") == b"there"


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="u"), 2),
        (exceptions.ConnectTimeoutError(endpoint_url="u"), 2),
        (exceptions.ReadTimeoutError(endpoint_url="u"), 2),
        (exceptions.ConnectionClosedError(endpoint_url="u"), 2),
        (exceptions.SSLError(endpoint_url="u", error="EOF occurred in violation of protocol"), 2),
        (exceptions.SSLError(endpoint_url="u", error="[SSL: CERTIFICATE_VERIFY_FAILED] unknown"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_connection_that_fails_once_is_tried_again(
    server: Server, place: store.Location, monkeypatch: pytest.MonkeyPatch, error: Exception, calls: int
) -> None:
    seen: list[str] = []
    real = store_s3_reads._Wire._once

    def once(wire: t.Any, key: str, *rest: t.Any) -> t.Any:
        seen.append(key)
        if len(seen) == 1:
            raise error
        return real(wire, key, *rest)

    monkeypatch.setattr(store_s3_reads._Wire, "_once", once)
    server.answers = [(200, b"data")]
    if calls == 1:
        with pytest.raises(LifeboatError, match="certificate is not trusted"):
            S3Reads(place).read("x")
    else:
        assert S3Reads(place).read("x") == b"data"
    assert len(seen) == calls


def authority(folder: Path, name: str, host: str = "IP:127.0.0.1") -> Path:
    """A new key and the certificate that it gave itself, in one file."""
    made = folder / f"{name}.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "1"]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={host}"]
    argv += ["-keyout", str(made), "-out", str(folder / "c.pem")]
    subprocess.run(argv, check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + (folder / "c.pem").read_bytes())
    return made


def test_a_bundle_is_loaded_once_and_checked_each_time(
    place: store.Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each connection, of which a restore has sixteen."""
    loaded: list[t.Any] = []
    load = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(
        ssl.SSLContext, "load_verify_locations", lambda self, *names: loaded.append(names) or load(self, *names)
    )
    ours, other = authority(tmp_path, "ours"), authority(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours)
    with serving(context) as server:
        server.answers = [(CLOSED, b"one"), (CLOSED, b"two"), (200, b"three")]
        trusted = replace(place, endpoint_url=server.url, ca_bundle=str(ours))
        assert [S3Reads(trusted).read(name) for name in ("x", "y", "z")] == [b"one", b"two", b"three"]
        assert len(loaded) == 1
        with pytest.raises(LifeboatError, match="certificate is not trusted; check ca_bundle"):
            S3Reads(replace(trusted, ca_bundle=str(other))).read("x")


@pytest.mark.parametrize("kind", [S3Reads, store.S3Store])
@pytest.mark.parametrize("host", ["DNS:elsewhere", "IP:127.0.0.2,DNS:elsewhere", "email:nobody@localhost"])
def test_a_certificate_for_another_name(
    kind: type[store.S3Store], host: str, place: store.Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # boto3 tries again
    waits: list[float] = []
    monkeypatch.setattr(store_s3_reads.time, "sleep", waits.append)
    other = authority(tmp_path, "other", host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other)
    with serving(context) as server, pytest.raises(LifeboatError, match="is for another name; check endpoint_url"):
        kind(replace(place, endpoint_url=server.url, ca_bundle=str(other))).read("x")
    assert kind is store.S3Store or waits == []


def test_stores_of_one_bucket_share_their_connections(server: Server, place: store.Location, tmp_path: Path) -> None:
    others = tmp_path / "others.ini"
    others.write_text("[default]\naws_access_key_id = BERTA\naws_secret_access_key = secret\n")
    wires = [
        S3Reads(each)._wire
        for each in (
            place,
            place.below("repo"),
            replace(place, credentials_file=str(others)),
            replace(place, region="r"),
        )
    ]
    assert wires[0] is wires[1]
    assert len(set(wires)) == 3


def test_a_body_that_is_cut_short_is_an_error(server: Server, place: store.Location) -> None:
    server.answers = [(SHORT, b"half")]
    with pytest.raises(LifeboatError, match="cannot read 'nodes/n1/x' in s3://fleet"):
        list(S3Reads(place).stream("x"))


def test_an_answer_that_is_cut_short_is_asked_for_again(server: Server, place: store.Location) -> None:
    server.answers = [(SHORT, page("nodes/n1/x")), (200, page("nodes/n1/x", "nodes/n1/y"))]
    assert [item.name for item in S3Reads(place).list()] == ["x", "y"]
    server.answers = [(SHORT, b"ha"), (200, b"half")]
    assert S3Reads(place).read("x") == b"half"
    server.answers = [(SHORT_503, b"<?xml"), (200, b"data")]
    assert b"".join(S3Reads(place).stream("x")) == b"data"
    assert server.answers == []


def test_what_is_no_list_is_an_error(server: Server, place: store.Location) -> None:
    server.answers = [(200, b"welcome")]
    with pytest.raises(LifeboatError, match="the answer is not S3's; check endpoint_url"):
        S3Reads(place).list()


def test_a_store_that_is_not_there(server: Server, place: store.Location) -> None:
    gone = store.Location(place.url, endpoint_url="http://127.0.0.1:9", credentials_file=place.credentials_file)
    with pytest.raises(LifeboatError, match="the store does not answer; check that it is up"):
        S3Reads(gone).list()

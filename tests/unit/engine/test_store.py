# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Objects in a folder and in a bucket. The bucket is botocore's Stubber, a mock: the real one is in molecule/default and tests/powers."""

from __future__ import annotations

import io
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import botocore.exceptions
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import store
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.versions import Version

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


@pytest.mark.table("store.yml", "urls")
def test_urls(case: dict[str, t.Any]) -> None:
    if "says" in case:
        with pytest.raises(Refused) as error:
            store.check_url(case["url"])
        assert case["says"] in str(error.value)
    else:
        assert store.check_url(case["url"]) == case["url"]


@given(st.text() | st.text().map("s3://{}".format) | st.text().map("file:///{}".format))
def test_any_url_is_used_as_it_is_or_refused(url: str) -> None:
    try:
        store.check_url(url)
    except Refused:
        return
    scheme, _, rest = url.partition("://")
    assert scheme.lower() in ("s3", "file")
    if scheme == "file":
        assert Path(rest) == store.FileStore(Location(url)).root


def error_of(case: dict[str, t.Any]) -> Exception:
    if "error" in case:
        kind = getattr(botocore.exceptions, case["error"])
        return kind(endpoint_url="https://s", error="e", proxy_url="https://p")
    metadata = {"HTTPStatusCode": case["status"]}
    return botocore.exceptions.ClientError({"Error": {"Code": case["code"]}, "ResponseMetadata": metadata}, "GetObject")


@pytest.mark.table("store.yml", "explain")
def test_explain(case: dict[str, t.Any]) -> None:
    text = store.explain("read 'x' in s3://b", error_of(case))
    assert text.startswith(f"cannot read 'x' in s3://b: {case['says']}")
    assert text.endswith(".")


def test_below() -> None:
    assert Location("s3://b/n/").below("/repo/site/").url == "s3://b/n/repo/site"
    assert Location("file:///s").below("x").url == "file:///s/x"


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.table("store.yml", "credentials")
def test_credentials_that_are_none(case: dict[str, t.Any], tmp_path: Path) -> None:
    path = tmp_path / "store.ini"
    path.write_text(case["text"])
    with pytest.raises(
        LifeboatError, match=r"is not a credentials file: it needs .default. with aws_access_key_id"
    ) as error:
        store.read_credentials(str(path))
    assert "TOPSECRET" not in str(error.value)


def test_credentials(tmp_path: Path) -> None:
    path = tmp_path / "store.ini"
    path.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = %(x)s%/+=\n")
    assert store.read_credentials(str(path)) == ("A", "%(x)s%/+=")
    with pytest.raises(LifeboatError, match=r"cannot read the store credentials .*: No such file or directory"):
        store.read_credentials(str(tmp_path / "none"))
    with pytest.raises(Refused, match="no credentials file was named for the store"):
        store.read_credentials(None)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LifeboatError, match="is not a credentials file"):
        store.read_credentials(str(path))


# --- a folder ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> store.ObjectStore:
    return store.open_store(Location(f"file://{tmp_path}/store"))


def test_a_folder_keeps_objects(folder: store.ObjectStore) -> None:
    assert folder.list() == []
    written = folder.write("a/b", b"one")
    assert (written.name, written.bytes) == ("a/b", 3)
    assert folder.read("a/b") == b"one"
    status = folder.stat("a/b")
    assert status is not None
    assert status.checksum == "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert status.modified.tzinfo is not None
    assert folder.stat("a") is None
    folder.write("a/b", b"two")
    with pytest.raises(LifeboatError, match="a/b exists and is never overwritten"):
        folder.write("a/b", b"three", if_absent=True)
    assert folder.read("a/b") == b"two"
    assert list(folder.stream("a/b")) == [b"two"]
    folder.write("large", bytes(range(256)) * 10_000)
    pieces = list(folder.stream("large"))
    assert len(pieces) == 3
    assert b"".join(pieces) == bytes(range(256)) * 10_000
    assert b"".join(folder.stream("large", 5, 2_000_000)) == (bytes(range(256)) * 10_000)[5:2_000_000]


def test_a_folder_lists_in_the_order_of_names(folder: store.ObjectStore) -> None:
    names = ["a/x", "a.b", "a-b", "a/a", "b"]
    for name in names:
        folder.write(name, b"")
    assert [item.name for item in folder.list()] == sorted(names)
    assert [item.name for item in folder.list("a/")] == ["a/a", "a/x"]
    assert [item.name for item in folder.list("a")] == sorted(names)[:-1]


def test_a_folder_that_fails_says_so(folder: store.ObjectStore) -> None:
    with pytest.raises(LifeboatError, match=r"cannot read .*/none: No such file or directory"):
        folder.read("none")
    with pytest.raises(LifeboatError, match=r"cannot read .*/none: No such file or directory"):
        list(folder.stream("none"))
    folder.write("file", b"")
    with pytest.raises(LifeboatError, match=r"cannot write .*/file/x: "):
        folder.write("file/x", b"")


def test_a_folder_deletes(folder: store.ObjectStore) -> None:
    for name in ("a/b", "a/c", "d"):
        folder.write(name, b"x")
    assert folder.delete(["a/b", "a/none", "a/c"]) == []
    assert [item.name for item in folder.list()] == ["d"]
    (refused,) = folder.delete(["a"])  # a folder is no object
    assert refused.startswith("cannot delete ")
    assert refused.endswith("/store/a: Is a directory.")


# --- a bucket (a mock) ------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path: Path) -> t.Iterator[tuple[store.S3Store, Stubber]]:
    path = tmp_path / "store.ini"
    path.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    location = Location("s3://b/nodes/n1", endpoint_url="https://store.invalid", credentials_file=str(path))
    found = store.S3Store(location)
    with Stubber(found.client) as stub:
        yield found, stub
        stub.assert_no_pending_responses()


def test_a_bucket_lists_all_pages_below_its_prefix(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    item = {"Key": "nodes/n1/repo/x", "Size": 3, "LastModified": NOON, "ETag": '"abc"'}
    first = {"IsTruncated": True, "NextContinuationToken": "t", "Contents": [item]}
    asked = {"Bucket": "b", "Prefix": "nodes/n1/repo/"}
    stub.add_response("list_objects_v2", first, asked)
    stub.add_response(
        "list_objects_v2",
        {"IsTruncated": False, "Contents": [{**item, "Key": "nodes/n1/repo/y"}]},
        {**asked, "ContinuationToken": "t"},
    )
    assert [(o.name, o.bytes, o.checksum) for o in found.list("repo/")] == [
        ("repo/x", 3, "etag:abc"),
        ("repo/y", 3, "etag:abc"),
    ]


def test_a_bucket_reads_writes_and_looks(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    key = {"Bucket": "b", "Key": "nodes/n1/x"}
    stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"one"), 3)}, key)
    assert found.read("x") == b"one"
    stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(bytes(3 << 20)), 3 << 20)}, key)
    assert [len(piece) for piece in found.stream("x")] == [1 << 20] * 3
    stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"ne"), 2)}, {**key, "Range": "bytes=1-2"})
    assert list(found.stream("x", 1, 3)) == [b"ne"]
    stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"on"), 3)}, key)
    with pytest.raises(LifeboatError, match="cannot read 'nodes/n1/x' in s3://b"):
        list(found.stream("x"))  # the connection ended too early
    stub.add_response("head_object", {"ContentLength": 3, "LastModified": NOON, "ETag": '"e"', "VersionId": "v"}, key)
    assert found.stat("x") == store.StoredObject("x", 3, NOON, "etag:e", "v")
    stub.add_client_error("head_object", "404", http_status_code=404)
    assert found.stat("x") is None
    stub.add_response("put_object", {"ETag": '"e"', "VersionId": "v"}, {**key, "Body": b"one"})
    written = found.write("x", b"one")
    assert (written.name, written.bytes, written.checksum, written.version_id) == ("x", 3, "etag:e", "v")
    stub.add_response("put_object", {}, {**key, "Body": b"one", "IfNoneMatch": "*"})
    found.write("x", b"one", if_absent=True)


def test_a_bucket_deletes_in_batches_and_tells_what_was_refused(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    names = [f"x{number}" for number in range(202)]

    def asked(part: list[str]) -> dict[str, t.Any]:
        return {"Bucket": "b", "Delete": {"Objects": [{"Key": f"nodes/n1/{name}"} for name in part], "Quiet": True}}

    stub.add_response("delete_objects", {}, asked(names[:200]))
    error = {"Key": "nodes/n1/x201", "Code": "AccessDenied", "Message": "no"}
    stub.add_response("delete_objects", {"Errors": [error]}, asked(names[200:]))
    (refused,) = found.delete(names)
    assert refused.startswith("cannot delete 'nodes/n1/x201' in s3://b: the store answered AccessDenied; check that")
    stub.add_client_error("delete_objects", "AccessDenied", http_status_code=403)
    (refused,) = found.delete(["y", "z"])
    assert refused.startswith(
        "cannot delete 'nodes/n1/y' and what follows in s3://b: the store answered AccessDenied (403)"
    )
    assert found.delete([]) == []


def test_a_bucket_that_refuses_says_so(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    calls: list[tuple[str, str, t.Callable[[], object]]] = [
        ("list_objects_v2", "list 'nodes/n1/x'", lambda: found.list("x")),
        ("get_object", "read 'nodes/n1/x'", lambda: found.read("x")),
        ("get_object", "read 'nodes/n1/x'", lambda: list(found.stream("x"))),
        ("head_object", "look at 'nodes/n1/x'", lambda: found.stat("x")),
        ("put_object", "write 'nodes/n1/x'", lambda: found.write("x", b"")),
    ]
    for name, doing, call in calls:
        stub.add_client_error(name, "AccessDenied", http_status_code=403)
        with pytest.raises(LifeboatError) as error:
            call()
        assert str(error.value).startswith(f"cannot {doing} in s3://b: the store answered AccessDenied (403); check ")


def test_a_store_that_is_not_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.ini"
    path.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    found = store.S3Store(Location("s3://b", endpoint_url="https://127.0.0.1:1", credentials_file=str(path)))
    assert found.prefix == ""

    def refuse(*_: object, **__: object) -> t.NoReturn:
        raise botocore.exceptions.EndpointConnectionError(endpoint_url="https://127.0.0.1:1")

    monkeypatch.setattr(found.client, "head_object", refuse)
    with pytest.raises(LifeboatError, match="cannot look at 'x' in s3://b: the store does not answer"):
        found.stat("x")


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    halves = ["duplicity-full.20260101T000000Z.vol1.difftar.gpg.new", "20260101T000000Z-backup.json.new"]
    others = ["notes.new", "duplicity-full.20260101T000000Z.manifest.gpg", "20260101T000000Z-backup.json"]
    for name in halves + others:
        (tmp_path / name).touch()
    store.sweep(store.Location(f"file://{tmp_path}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    store.sweep(store.Location(f"file://{tmp_path}/none"))
    store.sweep(store.Location("s3://bucket/prefix"))


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_bucket_lists_versions_page_by_page(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    asked = {"Bucket": "b", "Prefix": "nodes/n1/repo/"}
    later = NOON.replace(hour=13)
    first = {
        "IsTruncated": True,
        "NextKeyMarker": "nodes/n1/repo/x",
        "NextVersionIdMarker": "2",
        "Versions": [
            {
                "Key": "nodes/n1/repo/w",
                "VersionId": "9",
                "Size": 4,
                "LastModified": NOON,
                "ETag": '"d"',
                "IsLatest": True,
            },
            {
                "Key": "nodes/n1/repo/x",
                "VersionId": "2",
                "Size": 3,
                "LastModified": NOON,
                "ETag": '"c"',
                "IsLatest": False,
            },
        ],
        "DeleteMarkers": [{"Key": "nodes/n1/repo/x", "VersionId": "3", "LastModified": later, "IsLatest": True}],
    }
    last = {"IsTruncated": False, "Versions": [{**first["Versions"][1], "VersionId": "1"}]}  # type: ignore[index]
    stub.add_response("list_object_versions", first, asked)
    stub.add_response("list_object_versions", last, {**asked, "KeyMarker": "nodes/n1/repo/x", "VersionIdMarker": "2"})
    listed = found.list_versions("repo/")
    assert next(listed) == Version("repo/w", "9", NOON, 4, "etag:d", latest=True)
    assert next(listed) == Version("repo/x", "3", later, marker=True, latest=True)
    assert [item.version_id for item in listed] == ["2", "1"]


def test_a_bucket_reads_and_deletes_versions(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    key = {"Bucket": "b", "Key": "nodes/n1/x"}
    stub.add_response(
        "get_object", {"Body": StreamingBody(io.BytesIO(b"ne"), 2)}, {**key, "VersionId": "7", "Range": "bytes=1-2"}
    )
    assert list(found.stream("x", 1, 3, version_id="7")) == [b"ne"]
    stub.add_response(
        "delete_objects",
        {"Errors": [{"Key": "nodes/n1/y", "VersionId": "8", "Code": "AccessDenied", "Message": "AccessDenied"}]},
        {
            "Bucket": "b",
            "Delete": {
                "Objects": [{"Key": "nodes/n1/x", "VersionId": "7"}, {"Key": "nodes/n1/y", "VersionId": "8"}],
                "Quiet": True,
            },
        },
    )
    alone = {"Bucket": "b", "Key": "nodes/n1/y", "VersionId": "8"}  # RGW gives its reason only to one at a time
    stub.add_client_error("delete_object", "AccessDenied", "forbidden by object lock", 403, expected_params=alone)
    (refused,) = found.delete_versions([("x", "7"), ("y", "8")])
    assert refused.startswith(
        "cannot delete 'nodes/n1/y' (version 8) in s3://b: the store answered AccessDenied (403); Ob"
    )
    assert refused.endswith("; Object Lock holds it until its retention ends.")


def test_who_may_not_see_versions_hears_whose_right_that_is(bucket: tuple[store.S3Store, Stubber]) -> None:
    found, stub = bucket
    stub.add_client_error("list_object_versions", "AccessDenied", http_status_code=403)
    with pytest.raises(
        LifeboatError, match="a node's own key may not see versions: use the restorer's or the pruner's"
    ):
        next(found.list_versions())

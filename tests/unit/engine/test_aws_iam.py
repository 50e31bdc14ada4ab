# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What the emulator of tests/powers does not do: IAM that throttles, and answers in pages. A mock, since AWS can't be had."""

from __future__ import annotations

import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import botocore.endpoint
import pytest
from tests.unit.engine.serving import serving

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.aws_iam import AwsIam
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

THROTTLED = (
    400,
    "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>",
)
Answer = tuple[int, str]


def page(numbers: t.Iterable[int], marker: str = "") -> Answer:
    """A page of access keys, the odd ones inactive."""
    members = "".join(
        f"<member><UserName>u</UserName><AccessKeyId>AKIA{number:012}</AccessKeyId>"
        f"<Status>{'Inactive' if number % 2 else 'Active'}</Status></member>"
        for number in numbers
    )
    more = f"<IsTruncated>true</IsTruncated><Marker>{marker}</Marker>" if marker else "<IsTruncated>false</IsTruncated>"
    result = f"<AccessKeyMetadata>{members}</AccessKeyMetadata>{more}"
    return (
        200,
        f"<ListAccessKeysResponse><ListAccessKeysResult>{result}</ListAccessKeysResult></ListAccessKeysResponse>",
    )


@pytest.fixture
def iam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[tuple[AwsIam, list[Answer], list[dict[str, t.Any]]]]:
    """A client, the answers that it gets in turn (the last one for ever), and what it asked."""
    answers: list[Answer] = []
    asked: list[dict[str, t.Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            code, text = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_words: t.Any) -> None:
            return

    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda seconds: None)
    credentials = tmp_path / "minter.ini"
    credentials.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = S\n")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield AwsIam(Location("s3://bucket", url, credentials_file=str(credentials)), "bucket"), answers, asked


def test_all_pages_are_read(iam: t.Any) -> None:
    client, answers, asked = iam
    answers += [page(range(3), "m1"), page(range(3, 6), "m2"), page(range(6, 8))]
    assert client.keys("u") == [f"AKIA{number:012}" for number in (0, 2, 4, 6)]
    assert [one.get("Marker") for one in asked] == [None, ["m1"], ["m2"]]


def test_a_throttled_call_is_tried_again_in_the_middle_of_a_list_too(iam: t.Any) -> None:
    client, answers, asked = iam
    answers += [*[THROTTLED] * 9, page([0], "m1"), *[THROTTLED] * 9, page([2])]
    assert len(client.keys("u")) == 2
    assert len(asked) == 20


def test_what_is_throttled_for_ever_ends_with_a_sentence(iam: t.Any) -> None:
    client, answers, asked = iam
    answers.append(THROTTLED)
    with pytest.raises(LifeboatError, match="cannot look up user u: the store answered Throttling") as caught:
        client.keys("u")
    assert "wait some minutes, then run this again" in str(caught.value)
    assert len(asked) == 1 + 10

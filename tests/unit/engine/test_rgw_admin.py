# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The admin-ops client: what it asks for and what it makes of the answers."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import EndpointConnectionError, SSLError

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import rgw_admin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.rgw_admin import Answer, RgwAdmin
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location

LOCATION = Location("s3://fleet", endpoint_url="https://store.example:7443/")
ONE = {"user": "u", "access_key": "ONE", "secret_key": "s1"}
TWO = {"user": "u", "access_key": "TWO", "secret_key": "s2"}


class Script:
    """Answers in turn; keeps what was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, list[str]]]] = []

    def __call__(self, method: str, url: str) -> Answer:
        parts = urlsplit(url)
        self.asked.append((method, parts.path, parse_qs(parts.query, keep_blank_values=True)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(body: t.Any = None) -> Answer:
    return Answer(200, b"" if body is None else json.dumps(body).encode())


def no(status: int, code: str) -> Answer:
    return Answer(status, json.dumps({"Code": code}).encode())


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rgw_admin, "_PAUSE", 0.0)


def test_users_and_keys() -> None:
    script = Script(ok({"keys": [ONE, TWO]}), no(404, "NoSuchUser"), ok({}), no(409, "UserAlreadyExists"))
    admin = RgwAdmin(LOCATION, script)
    assert admin.keys("u") == ["ONE", "TWO"]
    assert admin.keys("u") is None
    admin.create_user("u", "Some one")
    admin.create_user("u", "Some one")
    method, path, query = script.asked[2]
    assert (method, path) == ("PUT", "/admin/user")
    assert query["generate-key"] == ["false"]
    assert query["max-buckets"] == ["-1"]


def test_the_new_key_is_told_from_the_old() -> None:
    script = Script(ok({"keys": [ONE]}), ok([ONE, TWO]))
    key = RgwAdmin(LOCATION, script).create_key("u")
    assert (key.access_key, key.secret_key) == ("TWO", "s2")
    with pytest.raises(LifeboatError, match="the store named none"):
        RgwAdmin(LOCATION, Script(ok({"keys": [ONE]}), ok([ONE]))).create_key("u")


def test_no_secret_is_in_a_url() -> None:
    script = Script(ok({"keys": [ONE]}), ok([ONE, TWO]), ok(), ok(), ok())
    admin = RgwAdmin(LOCATION, script)
    admin.create_key("u")
    admin.remove_key("u", "ONE")
    admin.remove_user("u")
    assert not any("secret" in key for _, _, query in script.asked for key in query)


def test_removals_of_what_is_gone_are_fine() -> None:
    admin = RgwAdmin(LOCATION, Script(no(404, "NoSuchKey"), no(404, "NoSuchUser")))
    admin.remove_key("u", "ONE")
    admin.remove_user("u")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (no(403, "AccessDenied"), "radosgw-admin caps add"),
        (no(403, "InvalidAccessKeyId"), "correct lifeboat_minter_credentials"),
        (no(403, "SignatureDoesNotMatch"), "secret key is wrong"),
        (Answer(400, b"<html>"), r"answered error \(400\)"),
        (SSLError(endpoint_url="x", error="y"), "TLS certificate is not trusted"),
    ],
)
def test_failures_are_one_sentence(answer: Answer | Exception, words: str) -> None:
    with pytest.raises(LifeboatError, match=words) as error:
        RgwAdmin(LOCATION, Script(answer)).keys("u")
    assert str(error.value).count("\n") == 0
    assert str(error.value).endswith(".")


def test_it_tries_again_where_that_may_help() -> None:
    down = EndpointConnectionError(endpoint_url="x")
    script = Script(down, no(503, "SlowDown"), no(429, "TooMany"), ok({"keys": []}))
    assert RgwAdmin(LOCATION, script).keys("u") == []
    with pytest.raises(LifeboatError, match="the store does not answer"):
        RgwAdmin(LOCATION, Script(down, down, down, down)).keys("u")
    with pytest.raises(LifeboatError, match=r"InternalError \(500\)"):
        RgwAdmin(LOCATION, Script(*[no(500, "InternalError")] * 4)).keys("u")


def test_it_needs_an_endpoint_and_credentials(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="endpoint_url"):
        RgwAdmin(Location("s3://fleet"))
    with pytest.raises(LifeboatError, match="cannot read the store credentials"):
        RgwAdmin(Location("s3://fleet", endpoint_url="https://x", credentials_file=str(tmp_path / "none.ini")))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Users of a Ceph RGW over its admin-ops REST API, and their inline policies over its part of the IAM API.

Written for RGW 16 to 20, tried on 18. The caller is the minter: an RGW user with the caps ``users=*;user-policy=*``. RGW makes the
keys: a key of our own would travel in the query string, and so into the store's access log.
"""

from __future__ import annotations

import json
import time
import typing as t
from urllib.parse import quote, urlencode

from .errors import LifeboatError, Refused
from .policies import Document
from .store import Location, explain, read_credentials, session_client
from .users import Key

_ATTEMPTS = 4
_PAUSE = 0.5  # seconds before the second attempt, doubled after each
_REFUSED = {
    # RGW with `rgw s3 auth use sts` says the same of a key that it does not know, and of a wrong secret
    "AccessDenied": "check the minter's key, and give it the caps users=*;user-policy=* (radosgw-admin caps add)",
    "InvalidAccessKeyId": "the store does not know the minter's key: correct lifeboat_minter_credentials",
    "SignatureDoesNotMatch": "the minter's secret key is wrong: correct lifeboat_minter_credentials",
}


class Answer(t.NamedTuple):
    """Status and body of one response."""

    status: int
    body: bytes


Send = t.Callable[[str, str], Answer]


class RgwAdmin:
    """A client for users and keys. ``send(method, url)`` does one signed request; tests put their own there."""

    settles = 0.0
    manages = True

    def __init__(self, location: Location, send: Send | None = None) -> None:
        if not location.endpoint_url:
            raise Refused("the store has no endpoint_url: Ceph RGW needs one (lifeboat_store.endpoint_url).")
        self._endpoint = location.endpoint_url.rstrip("/")
        self._send = send or _signed(location)
        self._location = location
        self._iam: t.Any = None

    def keys(self, user: str) -> list[str] | None:
        """The access key ids of a user, or None if there is no such user."""
        answer = self._call("GET", "user", {"uid": user}, f"look up store user {user}", missing=True)
        return None if answer is None else [key.access_key for key in _keys(answer["keys"])]

    def create_user(self, user: str, display_name: str) -> None:
        """Make a user without a key, who can own no bucket; an existing one is left as it is."""
        query = {"uid": user, "display-name": display_name, "generate-key": "false", "max-buckets": "-1"}
        self._call("PUT", "user", query, f"make store user {user}", exists=True)

    def create_key(self, user: str) -> Key:
        """A new key, beside those that the user has."""
        before = set(self.keys(user) or [])
        query = {"key": "", "uid": user, "key-type": "s3", "generate-key": "true"}
        answer = self._call("PUT", "user", query, f"make a key for store user {user}")
        new = [key for key in _keys(answer) if key.access_key not in before]
        if not new:
            raise LifeboatError(f"cannot make a key for store user {user}: the store named none; see its log.")
        return new[-1]

    def remove_key(self, user: str, access_key: str) -> None:
        """Take a key away; it works no longer."""
        query = {"key": "", "uid": user, "access-key": access_key, "key-type": "s3"}
        self._call("DELETE", "user", query, f"remove a key of store user {user}", missing=True)

    def remove_user(self, user: str) -> None:
        """Take a user away, with all keys and policies."""
        self._call("DELETE", "user", {"uid": user}, f"remove store user {user}", missing=True)

    def policy(self, user: str, name: str) -> Document | None:
        """The user's inline policy of that name, or None."""
        answer = self._policy_call("read", user, lambda client: client.get_user_policy(UserName=user, PolicyName=name))
        if answer is None:
            return None
        document = answer["PolicyDocument"]
        return t.cast(Document, document if isinstance(document, dict) else json.loads(document))

    def put_policy(self, user: str, name: str, document: Document) -> None:
        """Set the user's inline policy of that name."""
        text = json.dumps(document)
        self._policy_call(
            "write",
            user,
            lambda client: client.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=text),
        )

    def _policy_call(self, doing: str, user: str, call: t.Callable[[t.Any], t.Any]) -> t.Any:
        from botocore.exceptions import BotoCoreError, ClientError

        if self._iam is None:
            self._iam = session_client(self._location, "iam")
        try:
            return call(self._iam)
        except ClientError as error:
            if doing == "read" and error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return None
            raise LifeboatError(explain(f"{doing} the policy of store user {user}", error)) from error
        except BotoCoreError as error:
            raise LifeboatError(explain(f"{doing} the policy of store user {user}", error)) from error

    def _call(
        self,
        method: str,
        resource: str,
        query: dict[str, str],
        doing: str,
        *,
        missing: bool = False,
        exists: bool = False,
    ) -> t.Any:
        """One request; its JSON, or None when the thing is ``missing`` or ``exists`` already and that is fine."""
        # a space as + would break the signature: RGW signs what it decodes
        parameters = urlencode(query | {"format": "json"}, quote_via=quote)
        url = f"{self._endpoint}/admin/{resource}?{parameters}"
        status, body = self._send_with_retries(method, url, doing)
        if (missing and status == 404) or (exists and status == 409):
            return None
        try:
            answer = json.loads(body) if body.strip() else {}
        except ValueError:
            answer = {}
        if status >= 300:
            code = answer.get("Code", "error") if isinstance(answer, dict) else "error"
            step = _REFUSED.get(code, "see the store's log")
            raise LifeboatError(f"cannot {doing}: the store answered {code} ({status}); {step}.")
        return answer

    def _send_with_retries(self, method: str, url: str, doing: str) -> Answer:
        """Repeats what a second try may heal. Making a key twice does no harm: callers drop keys they do not use."""
        from botocore.exceptions import BotoCoreError, SSLError

        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                answer = self._send(method, url)
                if last or (answer.status < 500 and answer.status != 429):
                    return answer
            except BotoCoreError as error:
                if last or isinstance(error, SSLError):
                    raise LifeboatError(explain(doing, error)) from error
            time.sleep(_PAUSE * 2**attempt)
        raise AssertionError("unreachable")


def _signed(location: Location) -> Send:
    """Requests signed with the location's key (AWS signature version 4), over botocore's own HTTP session."""
    try:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        from botocore.httpsession import URLLib3Session
    except ImportError as error:
        raise LifeboatError(f"this Python lacks {error.name}: install requirements.txt into it.") from error
    access_key, secret_key = read_credentials(location.credentials_file)
    signer = S3SigV4Auth(Credentials(access_key, secret_key), "s3", location.region)
    trust: t.Any = location.ca_bundle or True  # its stubs know only the bool
    session = URLLib3Session(verify=trust, timeout=60)

    def send(method: str, url: str) -> Answer:
        request = AWSRequest(method, url, data=b"")
        signer.add_auth(request)
        response = session.send(request.prepare())
        return Answer(response.status_code, response.content)

    return send


def _keys(rows: t.Any) -> list[Key]:
    return [Key(row["access_key"], row["secret_key"]) for row in rows if row.get("access_key")]

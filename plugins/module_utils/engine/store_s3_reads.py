# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A bucket for whoever lists and reads it: signed GETs, without boto3's client.

Making that client takes 0.2 s, and each of its calls a millisecond of processor time: a restore from a near store is done
in little more. The signer, the connections with their TLS, and the kinds of errors are botocore's own, and so is the way
in which a call is tried again ("standard": five times more). Whatever is no plain read goes through the client.
"""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
import typing as t
from datetime import datetime
from urllib.parse import quote
from xml.etree import ElementTree

from .errors import LifeboatError
from .store_base import PIECE, Location, StoredObject, check_crowd
from .store_s3 import OTHER_NAME, S3Store, etag, read_credentials

_ATTEMPTS = 6  # the first one, and five more
_TIMEOUTS = (10, 60)  # seconds: to connect, and without a byte
_CONNECTIONS = 16
_AGAIN = frozenset({429, 500, 502, 503, 504})
_UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", *OTHER_NAME)  # it will be the next time, too
_LONGEST_WAIT = 20.0  # seconds between two attempts


class Key(t.NamedTuple):
    """What botocore's signer wants to know: its own class for it would take longer to import than the rest."""

    access_key: str
    secret_key: str
    token: str | None = None


class S3Reads(S3Store):
    """A prefix in a bucket at ``location.endpoint_url``, which is given."""

    def __init__(self, location: Location) -> None:
        super().__init__(location)
        self._key = Key(*read_credentials(location.credentials_file))

    @property
    def _wire(self) -> _Wire:
        place = self.location
        with _MAKING:  # one at a time: the others then find it
            return _wire(place.endpoint_url or "", place.region, place.ca_bundle, self._key, self.bucket)

    def list(self, prefix: str = "") -> list[StoredObject]:
        from botocore.exceptions import BotoCoreError, ClientError

        found: list[StoredObject] = []
        query = {"list-type": "2", "prefix": self.prefix + prefix, "encoding-type": "url"}
        try:
            while True:
                page = _parsed(self._wire.get("", query).content)
                found += self._objects(page)
                check_crowd(len(found), self.prefix + prefix)
                token = page.findtext("{*}NextContinuationToken")
                if page.findtext("{*}IsTruncated") != "true" or not token:
                    return found
                query["continuation-token"] = token
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"list {self.prefix + prefix!r}", error) from error
        except (ElementTree.ParseError, ValueError) as error:
            raise LifeboatError(
                f"cannot list {self.prefix + prefix!r} in s3://{self.bucket}: the answer is not S3's; check endpoint_url."
            ) from error

    def _objects(self, page: ElementTree.Element) -> t.Iterator[StoredObject]:
        from botocore.compat import unquote_str

        coded = page.findtext("{*}EncodingType") == "url"
        for item in page.iterfind("{*}Contents"):
            fields = {child.tag.rpartition("}")[2]: child.text or "" for child in item}
            name = unquote_str(fields["Key"]) if coded else fields["Key"]
            yield StoredObject(
                name[len(self.prefix) :], int(fields["Size"]), _moment(fields["LastModified"]), etag(fields)
            )

    def read(self, name: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return t.cast(bytes, self._wire.get(self.prefix + name).content)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"read {self.prefix + name!r}", error) from error

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]:
        from botocore.exceptions import BotoCoreError, ClientError

        headers = {} if not start and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        query = {} if version_id is None else {"versionId": version_id}
        try:
            with contextlib.closing(self._wire.open(self.prefix + name, query, headers)) as body:
                yield from body.iter_chunks(PIECE)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(f"read {self.prefix + name!r}", error) from error


class _Wire:
    """Signed GETs of one bucket, over connections that are kept."""

    def __init__(self, endpoint: str, region: str, ca_bundle: str | None, key: Key, bucket: str) -> None:
        try:
            from botocore.auth import S3SigV4Auth
            from botocore.awsrequest import AWSRequest
            from botocore.httpsession import URLLib3Session
            from botocore.utils import get_environ_proxies
        except ImportError as error:
            raise LifeboatError(f"this Python lacks {error.name}: install requirements.txt into it.") from error

        class Session(URLLib3Session):
            def _get_ssl_context(self) -> t.Any:  # the stubs leave it out
                """urllib3 2.x (``ssl_wrap_socket``) has it load the CA bundle again for each connection: once will do."""
                context = super()._get_ssl_context()  # type: ignore[misc]
                context.load_verify_locations = functools.cache(context.load_verify_locations)
                return context

        endpoint = endpoint.rstrip("/")
        self._url = f"{endpoint}/{quote(bucket)}/"
        self._request = AWSRequest
        self._sign = S3SigV4Auth(t.cast("t.Any", key), "s3", region).add_auth
        given: dict[str, t.Any] = {"verify": ca_bundle or True, "timeout": _TIMEOUTS}  # wider than its stubs say
        self._session = Session(proxies=get_environ_proxies(endpoint), max_pool_connections=_CONNECTIONS, **given)

    def open(self, key: str, query: t.Mapping[str, str], headers: t.Mapping[str, str]) -> t.Any:
        """The body of an object, as a stream of botocore's."""
        from botocore.response import StreamingBody

        answer = self.get(key, query, headers, stream=True)
        return StreamingBody(answer.raw, answer.headers.get("content-length"))

    def get(
        self,
        key: str,
        query: t.Mapping[str, str] | None = None,
        headers: t.Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> t.Any:
        """The answer (botocore's AWSResponse), if it is a good one; botocore's errors otherwise."""
        from botocore import exceptions

        # what botocore tries again: two families without a common base of their own
        transient = (exceptions.ConnectionError, exceptions.HTTPClientError)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._once(key, dict(query or {}), dict(headers or {}), stream)
            except transient as error:
                if attempt == _ATTEMPTS or any(words in str(error) for words in _UNTRUSTED):
                    raise
            else:
                if answer.status_code in (200, 206):
                    return answer
                code = _code(answer) or str(answer.status_code)
                again = answer.status_code in _AGAIN or code in ("SlowDown", "Throttling", "RequestTimeout")
                if attempt == _ATTEMPTS or not again:
                    told: t.Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": answer.status_code}}
                    raise exceptions.ClientError(told, "GetObject" if key else "ListObjectsV2")
            time.sleep(random.random() * min(2 ** (attempt - 1), _LONGEST_WAIT))

    def _once(self, key: str, query: dict[str, str], headers: dict[str, str], stream: bool) -> t.Any:
        from botocore.exceptions import ResponseStreamingError

        url = self._url + quote(key, safe="/~")
        headers = {"Accept-Encoding": "identity", "User-Agent": "lifeboat", **headers}
        request = self._request("GET", url, headers=headers, params=query, stream_output=stream)
        self._sign(request)
        answer = self._session.send(request.prepare())
        length = answer.headers.get("content-length")
        if not stream and length is not None and len(answer.content) != int(length):  # botocore's client looks at that
            raise ResponseStreamingError(error="the answer was cut short")
        return answer


# shared by the stores of one bucket: to list and then to read, or to look at one node's corner after the other
_wire = functools.lru_cache(maxsize=4)(_Wire)
_MAKING = threading.Lock()


def _parsed(content: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(content)  # noqa: S314 - as botocore does: expat itself bounds what entities may grow to


def _code(answer: t.Any) -> str:
    """The code in an error's XML, if it is one, and came."""
    from urllib3.exceptions import HTTPError

    try:
        return _parsed(answer.content).findtext("{*}Code") or ""
    except (ElementTree.ParseError, HTTPError):
        return ""


def _moment(text: str) -> datetime:
    """``2026-11-24T12:00:00.000Z``, or another form of a time that S3 may have."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        from botocore.utils import parse_timestamp

        return parse_timestamp(text)

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What someone who is root on a node can say to the store: reads a list of calls on stdin, prints what each was answered.

It runs on the node under the virtualenv that holds boto3, with the node's own key, and knows nothing of the engine:

    attacker.py /etc/lifeboat/store.ini < calls.json > answers.json

On stdin: ``{"endpoint", "region", "ca", "calls": {id: {"vars": {...}, "steps": [step...], "after": [step...]}}}``.
A step is ``{name: arguments}`` with at most one ``save: {variable: path of the answer}``. ``$variable`` in any string is
replaced; a call with ``keep`` answers what it saved.

``name`` is an operation of boto3's S3 client (``$bucket`` is added), of another service (``iam.list_users``), or

    presign   method, args, and the request that is made with it: verb, key, query, body
    post      args of a presigned form, and the key that the form is sent with
    raw       verb, path, query, headers, body, as: key, nobody; a request by hand
    become    names of variables with a key of someone's

Answers: ``{id: {"said": "done" or the store's code, "step": number of the last step done, "told": what was listed or read}}``.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import ssl
import string
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

ONCE = {"max_attempts": 1, "mode": "standard"}
# What RGW says in the body of an answer that has no other word than the status.
PLAIN = {"403": "AccessDenied", "404": "NotFound"}
NO_BUCKET = {"list_buckets"}


class Refusal(Exception):
    """The store's own code."""


def filled(value: Any, variables: dict[str, str]) -> Any:
    """``value`` with the variables in all its strings; ``{"random": 5}`` becomes five bytes."""
    if isinstance(value, str):
        return string.Template(value).safe_substitute(variables)
    if isinstance(value, dict):
        if set(value) == {"random"}:
            return os.urandom(int(value["random"]))
        return {key: filled(part, variables) for key, part in value.items()}
    return [filled(part, variables) for part in value] if isinstance(value, list) else value


class Store:
    """The store as the holder of one key reaches it."""

    def __init__(self, place: dict[str, str], key: tuple[str, str, str | None]) -> None:
        self.place, self.key = place, key
        self.session = boto3.Session(key[0], key[1], key[2], region_name=place["region"])
        self.clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self.clients:
            how = Config(
                retries=ONCE, parameter_validation=False, signature_version="s3v4" if service == "s3" else None
            )
            self.clients[service] = self.session.client(
                service, endpoint_url=self.place["endpoint"], verify=self.place["ca"], config=how
            )
        return self.clients[service]

    def call(self, name: str, arguments: dict[str, Any], variables: dict[str, str]) -> Any:
        """One step; raises Refusal."""
        if name in ("presign", "post", "raw"):
            return getattr(self, name)(variables, **arguments)
        service, _, operation = name.rpartition(".")
        if not service and operation not in NO_BUCKET:
            arguments = {"Bucket": variables["bucket"], **arguments}
        try:
            answer = getattr(self.client(service or "s3"), operation)(**arguments)
        except ClientError as error:
            code = str(
                error.response.get("Error", {}).get("Code") or error.response["ResponseMetadata"]["HTTPStatusCode"]
            )
            raise Refusal(PLAIN.get(code, code)) from None
        if answer.get("Errors"):  # of several objects: the answer itself is 200
            raise Refusal(",".join(sorted({item["Code"] for item in answer["Errors"]})))
        return answer

    def presign(
        self, variables: dict[str, str], method: str, args: dict[str, Any], verb: str = "GET", **change: Any
    ) -> Any:
        """Sign a request, and send it, maybe with another method, key or query than it was signed for."""
        arguments = {"Bucket": variables["bucket"], **args}
        url = self.client("s3").generate_presigned_url(method, Params=arguments, ExpiresIn=600)
        parts = urllib.parse.urlsplit(url)
        path = f"/{variables['bucket']}/{change['key']}" if change.get("key") else parts.path
        query = parts.query + change.get("query", "")
        return self.send(verb, parts._replace(path=path, query=query).geturl(), {}, change.get("body"))

    def post(self, variables: dict[str, str], key: str, signed_for: str) -> Any:
        """A form as a browser sends it, with a file in it."""
        form = self.client("s3").generate_presigned_post(variables["bucket"], signed_for)
        mark = "lifeboat-form"
        fields = {**form["fields"], "key": key}
        body = "".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        body += f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--{mark}--\r\n'
        return self.send("POST", form["url"], {"Content-Type": f"multipart/form-data; boundary={mark}"}, body)

    def raw(self, variables: dict[str, str], verb: str, path: str, query: str = "", **more: Any) -> Any:
        """A request by hand, signed with the key unless it is of nobody."""
        url = self.place["endpoint"] + path + ("?" + query if query else "")
        headers = dict(more.get("headers", {}))
        if more.get("who") != "nobody":
            request = AWSRequest(verb, url, headers=headers, data=more.get("body", "").encode())
            S3SigV4Auth(Credentials(*self.key), "s3", self.place["region"]).add_auth(request)
            headers = dict(request.headers)
        return self.send(verb, url, headers, more.get("body"))

    def send(self, verb: str, url: str, headers: dict[str, str], body: str | None) -> Any:
        context = ssl.create_default_context(cafile=self.place["ca"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        data = body.encode() if body is not None else None
        request = urllib.request.Request(url, data=data, headers=headers, method=verb)  # noqa: S310 (the store's)
        try:
            with opener.open(request, timeout=60) as answer:
                text = answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            found = re.search(r"<Code>(\w+)</Code>", text) or re.search(r'"Code":\s*"(\w+)"', text)
            raise Refusal(found[1] if found else PLAIN.get(str(error.code), str(error.code))) from None
        return {"text": text}


def dug(answer: Any, path: str) -> str:
    """The part of an answer that a dotted path leads to."""
    for part in path.split("."):
        answer = answer[int(part) if part.isdigit() else part]
    return str(answer)


def told(answer: Any) -> list[str]:
    """The names that an answer shows."""
    rows = [*answer.get("Contents", []), *answer.get("Versions", [])] if isinstance(answer, dict) else []
    names = [row["Key"] for row in rows]
    return names + [row["Name"] for row in answer.get("Buckets", [])] if isinstance(answer, dict) else names


def one(own: Store, call: dict[str, Any], shared: dict[str, str]) -> dict[str, Any]:
    """All steps of a call, up to the first that is refused; then those that tidy up."""
    variables = {**shared, **call.get("vars", {})}
    store, said, done, names = own, "done", 0, []

    def take(step: dict[str, Any]) -> None:
        nonlocal store, names
        (name,) = set(step) - {"save"}
        arguments = filled(step[name] or {}, variables)
        if name == "become":
            store = Store(own.place, (arguments["access"], arguments["secret"], arguments.get("token")))
            return
        answer = store.call(name, arguments, variables)
        names = told(answer)
        for variable, path in step.get("save", {}).items():
            variables[variable] = dug(answer, path)

    try:
        for step in call["steps"]:
            take(step)
            done += 1
    except Refusal as refusal:
        said = str(refusal)
    except (BotoCoreError, OSError, KeyError, IndexError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
    store = own
    for step in call.get("after", []):
        try:
            take(step)
        except (Refusal, BotoCoreError, OSError, KeyError):
            continue
    kept = {"saved": {key: value for key, value in variables.items() if key not in shared}} if call.get("keep") else {}
    return {"said": said, "step": done, "told": names, **kept}


def main() -> None:
    """Read, call, print."""
    asked = json.load(sys.stdin)
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(sys.argv[1])
    key = (ini["default"]["aws_access_key_id"], ini["default"]["aws_secret_access_key"], None)
    own = Store({name: asked[name] for name in ("endpoint", "region", "ca")}, key)
    json.dump({name: one(own, call, asked["vars"]) for name, call in asked["calls"].items()}, sys.stdout)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Users of AWS IAM: one per identity, under the path ``/lifeboat/<bucket>/``, with an inline policy.

The caller is the minter: an IAM user or role whose policy docs/security.md lists. Errors that pass (throttling) are tried
again by botocore.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from urllib.parse import urlsplit

from .errors import LifeboatError, Refused
from .policies import Document, check_bucket
from .store import Location, explain, key_client, read_credentials
from .users import Key

_ATTEMPTS = 10  # IAM throttles a rollout of many nodes at once
_MISSING = "NoSuchEntity"


class AwsIam:
    """A client for users, keys and inline policies. ``client`` is boto3's for ``iam``; tests put their own there."""

    settles = 60.0  # IAM tells its regions, in seconds as a rule
    manages = True

    def __init__(self, location: Location, bucket: str, client: t.Any = None) -> None:
        self.path = f"/lifeboat/{check_bucket(bucket)}/"
        self._client = client or _client(location)

    def keys(self, user: str) -> list[str] | None:
        """The ids of the user's active keys."""
        found = self._access_keys(user)
        if not found:  # an emulator lists no keys of a user who is not there, where AWS says so
            there = self._call(f"look up user {user}", "get_user", unless=_MISSING, UserName=user)
            return None if there is None else []
        return [row["AccessKeyId"] for row in found if row["Status"] == "Active"]

    def create_user(self, user: str, display_name: str) -> None:
        doing = f"make user {user}"
        made = self._call(doing, "create_user", unless="EntityAlreadyExists", Path=self.path, UserName=user)
        if made is None:
            path = self._call(f"look up user {user}", "get_user", UserName=user)["User"]["Path"]
            if path != self.path:
                raise Refused(f"IAM user {user} exists under the path {path}, not {self.path}: remove or rename it.")

    def create_key(self, user: str) -> Key:
        """A new key. AWS has room for two, so inactive ones are removed before."""
        for row in self._access_keys(user) or []:
            if row["Status"] != "Active":
                self.remove_key(user, row["AccessKeyId"])
        made = self._call(f"make a key for user {user}", "create_access_key", UserName=user)["AccessKey"]
        return Key(made["AccessKeyId"], made["SecretAccessKey"])

    def remove_key(self, user: str, access_key: str) -> None:
        doing = f"remove key {access_key} of user {user}"
        self._call(doing, "delete_access_key", unless=_MISSING, UserName=user, AccessKeyId=access_key)

    def remove_user(self, user: str) -> None:
        """Keys first, then what else the user has (AWS refuses to remove a user who has anything)."""
        if self.keys(user) is None:
            return
        for row in self._access_keys(user) or []:
            self.remove_key(user, row["AccessKeyId"])
        for name in self._all(user, "list_user_policies", "PolicyNames") or []:
            doing = f"remove the policy {name} of user {user}"
            self._call(doing, "delete_user_policy", unless=_MISSING, UserName=user, PolicyName=name)
        self._call(f"remove user {user}", "delete_user", unless=_MISSING, UserName=user)

    def policy(self, user: str, name: str) -> Document | None:
        doing = f"read the policy of user {user}"
        answer = self._call(doing, "get_user_policy", unless=_MISSING, UserName=user, PolicyName=name)
        if answer is None:
            return None
        document = answer["PolicyDocument"]  # botocore has decoded it
        return t.cast(Document, document if isinstance(document, dict) else json.loads(document))

    def put_policy(self, user: str, name: str, document: Document) -> None:
        # AWS counts the characters: 2,048 for all inline policies of a user
        text = json.dumps(document, separators=(",", ":"))
        self._call(
            f"write the policy of user {user}", "put_user_policy", UserName=user, PolicyName=name, PolicyDocument=text
        )

    def _access_keys(self, user: str) -> list[t.Any] | None:
        return self._all(user, "list_access_keys", "AccessKeyMetadata")

    def _all(self, user: str, name: str, field: str) -> list[t.Any] | None:
        """Every page of a list, or None if there is no such user."""
        pages = self._client.get_paginator(name).paginate(UserName=user)
        doing = f"look up user {user}"
        found = self._try(doing, lambda: [item for page in pages for item in page[field]], unless=_MISSING)
        return t.cast("list[t.Any] | None", found)

    def _call(self, doing: str, name: str, *, unless: str = "", **arguments: t.Any) -> t.Any:
        return self._try(doing, lambda: getattr(self._client, name)(**arguments), unless=unless)

    def _try(self, doing: str, call: t.Callable[[], t.Any], *, unless: str) -> t.Any:
        """What the call answers; None if IAM says ``unless``."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except ClientError as error:
            if unless and error.response.get("Error", {}).get("Code") == unless:
                return None
            raise LifeboatError(explain(doing, error)) from error
        except BotoCoreError as error:
            raise LifeboatError(explain(doing, error)) from error


def _client(location: Location) -> t.Any:
    """AWS has one IAM per partition, which is not at the address of S3; what is not AWS answers both at one."""
    host = urlsplit(location.endpoint_url or "").hostname or ""
    if not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        location = replace(location, endpoint_url=None)
    return key_client(location, "iam", *read_credentials(location.credentials_file), attempts=_ATTEMPTS)

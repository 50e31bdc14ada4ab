# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Private to this collection: what the modules that run on the controller share."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .engine.errors import LifeboatError
from .engine.fleet import Wanted
from .engine.identities import Wanted as Identity
from .engine.policies import check_node_id
from .engine.profile import check_name
from .engine.providers import PROVIDERS, user_admin
from .engine.store import Location
from .engine.users import UserAdmin

Arguments = dict[str, t.Any]

# documented in doc_fragments/store.py
STORE: Arguments = {
    "type": "dict",
    "required": True,
    "options": {
        "type": {"type": "str", "choices": ["s3"], "default": "s3"},
        "bucket": {"type": "str", "required": True},
        "endpoint_url": {"type": "str"},
        "region": {"type": "str", "default": "us-east-1"},
        "ca_bundle": {"type": "path"},
        "node_ca_bundle": {"type": "path"},
    },
}


def argument_spec(**options: Arguments) -> Arguments:
    """The options that every one of these modules has, and its own."""
    return {"store": STORE, "minter_credentials": {"type": "path", "required": True}, **options}


def provider_spec(**options: Arguments) -> Arguments:
    """The options of modules that make or end identities, and their own."""
    provider: Arguments = {"type": "str", "choices": list(PROVIDERS), "default": "ceph_rgw"}
    return argument_spec(provider=provider, static_keys_dir={"type": "path", "default": "", "no_log": False}, **options)


def users(params: t.Mapping[str, t.Any], wanted: Identity) -> UserAdmin:
    """The provider that these options name."""
    place = location(params["store"], params["minter_credentials"])
    return user_admin(params["provider"], place, wanted, params["static_keys_dir"])


def reader_spec(**options: Arguments) -> Arguments:
    """The options of modules that read the fleet's state, and their own."""
    return {
        "store": STORE,
        "credentials": {"type": "path", "required": True},
        "profiles": {"type": "dict", "required": True},
        "ids": {"type": "dict", "default": {}},
        **options,
    }


def wanted(params: t.Mapping[str, t.Any]) -> list[Wanted]:
    """What the inventory says must be backed up, in its order."""
    return [
        Wanted(check_node_id(params["ids"].get(host) or host), check_name(profile))
        for host, profiles in params["profiles"].items()
        for profile in profiles or ()
    ]


def location(store: t.Mapping[str, t.Any], credentials_file: str) -> Location:
    """The bucket's root, for the holder of these credentials. Empty settings count as not given."""
    return Location(
        url=f"s3://{store['bucket']}",
        endpoint_url=store["endpoint_url"] or None,
        region=store["region"],
        ca_bundle=store["ca_bundle"] or None,
        credentials_file=os.path.expanduser(credentials_file),
    )


def run(module: AnsibleModule, work: t.Callable[[AnsibleModule], Arguments]) -> t.NoReturn:
    """Do the module's work; a failure that the user can act on is one sentence."""
    try:
        result = work(module)
    except LifeboatError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def diff_of(changes: t.Sequence[str]) -> dict[str, str]:
    """A diff that shows the changes as lines that come."""
    return {"before": "", "after": "".join(f"{change}\n" for change in changes)}

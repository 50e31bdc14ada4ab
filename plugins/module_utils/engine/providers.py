# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Which provider makes the store's users, by its name in the settings."""

from __future__ import annotations

import functools

from . import probe
from .aws_iam import AwsIam
from .errors import Refused
from .identities import Prove, Wanted
from .rgw_admin import RgwAdmin
from .static_keys import StaticKeys
from .store import Location
from .users import UserAdmin

PROVIDERS = ("ceph_rgw", "aws_iam", "static")


def user_admin(provider: str, location: Location, wanted: Wanted, keys_dir: str = "") -> UserAdmin:
    """The provider ``provider``, asked with the credentials of ``location`` (the minter's). ``keys_dir`` is for ``static``."""
    if provider == "ceph_rgw":
        return RgwAdmin(location)
    if provider == "aws_iam":
        return AwsIam(location, wanted.bucket)
    if provider == "static":
        return StaticKeys(location, keys_dir, wanted)
    raise Refused(f"identity provider '{provider}' is unknown: use {', '.join(PROVIDERS)}.")


def check_write_once(provider: str, write_once: bool) -> None:
    """Refuse a policy that this provider's store would take and not enforce (see docs/security.md)."""
    if write_once and provider == "ceph_rgw":
        raise Refused(
            "Ceph RGW takes no notice of s3:if-none-match in a policy, so nodes there could write over objects all the same: "
            "unset lifeboat_write_once. Overwrites are found by playbooks/status.yml."
        )


def prover(admin: UserAdmin, location: Location) -> Prove:
    """What shows that a new key of this provider works, and does no more than it should."""
    return functools.partial(probe.prove, location, settles=admin.settles)

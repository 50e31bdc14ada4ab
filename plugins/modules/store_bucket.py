#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep the bucket as Lifeboat needs it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: store_bucket
short_description: Create the fleet's bucket and keep it safe
version_added: 0.1.0
description:
  - Creates the bucket if it is missing, enables versioning, blocks public access and refuses plain http.
  - Settings that the store does not have are named in RV(unsupported) and in a warning.
  - Never removes a bucket, and leaves other statements of the bucket's policy as they are.
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - lifeboat.fleet.store
  - lifeboat.fleet.store.minter
options:
  state:
    description: The bucket is there.
    type: str
    choices: [present]
    default: present
  tls_only:
    description:
      - Refuse all data over plain http by the bucket's policy. With V(false) an existing rule is left alone.
      - If the store then refuses TLS as well (a proxy ends TLS and the store is not told), the rule is taken back and
        named in RV(unsupported). Set V(false) for such a store, so that this is not tried each time.
    type: bool
    default: true
  provider:
    description: What kind of store it is, because each lacks something else.
    type: str
    choices: [ceph_rgw]
    default: ceph_rgw
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Create the bucket
  lifeboat.fleet.store_bucket:
    store: "{{ lifeboat_store }}"
    minter_credentials: "{{ lifeboat_minter_credentials }}"
  delegate_to: localhost
"""

RETURN = r"""
bucket:
  description: The bucket's settings (in check mode, as they would be).
  returned: success
  type: dict
  contains:
    exists:
      description: Whether the bucket is there.
      type: bool
    versioning:
      description: V(Enabled), V(Suspended) or V(off).
      type: str
    public_access_blocked:
      description: Whether the public access blocks that this store has are on.
      type: bool
    tls_only:
      description: Whether plain http is refused by the bucket's policy.
      type: bool
unsupported:
  description:
    - Settings that this store cannot keep, of V(block_public_acls) (RGW refuses every upload with it; public ACLs are
      ignored instead), V(public_access_block) and V(tls_only).
  returned: success
  type: list
  elements: str
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import argument_spec, location, run
from ..module_utils.engine import bucket


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    place = location(module.params["store"], module.params["minter_credentials"])
    result = bucket.ensure(
        place, provider=module.params["provider"], tls_only=module.params["tls_only"], check=module.check_mode
    )
    for name in result.unsupported:
        module.warn(f"this store does not support {name}: see ansible-doc lifeboat.fleet.store_bucket.")
    before, after = asdict(result.before), asdict(result.after)
    return {
        "changed": before != after,
        "bucket": after,
        "unsupported": list(result.unsupported),
        "diff": {"before": before, "after": after},
    }


def main() -> t.NoReturn:
    """The module's entry point."""
    options = argument_spec(
        state={"type": "str", "choices": ["present"], "default": "present"},
        provider={"type": "str", "choices": ["ceph_rgw"], "default": "ceph_rgw"},
        tls_only={"type": "bool", "default": True},
    )
    run(AnsibleModule(argument_spec=options, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

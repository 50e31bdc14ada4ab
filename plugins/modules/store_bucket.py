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
  - Creates the bucket if it is missing, enables versioning, blocks public access and refuses plain http; on wish, with Object
    Lock, default encryption and a lifecycle.
  - Settings that the store does not have are named in RV(unsupported) and in a warning. They are never skipped silently.
  - Never removes a bucket, and leaves other statements of the bucket's policy and other lifecycle rules as they are. A rule
    of others that makes objects expire, or moves them where they cannot be read at once, is a warning.
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
  object_lock:
    description:
      - Default retention of every new version. A bucket that was made without Object Lock gets it where the store allows that;
        if not, the module says what is needed. It cannot be switched off again, so leaving this out changes nothing.
      - O(object_lock.days) must be at least O(keep_days), the longest chain of O(profiles) and 14 days together.
    type: dict
    suboptions:
      mode:
        description:
          - With V(compliance) nobody can delete a version before its time, the store's administrator included.
          - With V(governance) whoever may bypass it can. The minter may not, by the policy that Lifeboat documents for it.
        type: str
        choices: [governance, compliance]
        required: true
      days:
        description: Days from each upload.
        type: int
        required: true
  encryption:
    description: What the store encrypts new objects with by default, besides Lifeboat's own encryption. Left alone if not given.
    type: str
    choices: [AES256, 'aws:kms']
  kms_key_id:
    description: The key for C(aws:kms).
    type: str
  abort_multipart_days:
    description: Incomplete multipart uploads are removed after so many days, in the whole bucket. V(0) makes no rule.
    type: int
    default: 7
  noncurrent_days:
    description:
      - Versions below C(nodes/) that were overwritten or hidden so many days ago expire. No rule if not given.
      - At least O(keep_days), the longest chain of O(profiles) and 14 days together. After that time an overwritten version cannot
        be repaired any more.
    type: int
  transition:
    description:
      - Move nodes' large objects to another storage class, one that gives them back at once. Escrow, ledger and drills stay.
      - A lifecycle rule cannot tell a volume from a manifest by name, so it picks by size. To have volumes there and nothing
        else, from the first day, set C(lifeboat_store_options.storage_class) instead.
    type: dict
    suboptions:
      storage_class:
        description: The class.
        type: str
        choices: [STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR]
        required: true
      days:
        description: Days after the upload.
        type: int
        required: true
      min_bytes:
        description: Only objects larger than this.
        type: int
        default: 1048576
  keep_days:
    description:
      - How long the fleet keeps restore points, at the most. Lock and expiry may not be shorter.
      - A longer C(keep_days) of a profile in O(profiles) counts.
    type: float
    default: 30
  profiles:
    description: What is backed up, as the inventory says. For each host its profiles by name. The longest chain is taken from it.
    type: dict
    default: {}
  provider:
    description: What kind of store it is, because each lacks something else.
    type: str
    choices: [ceph_rgw, aws_iam, static]
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

- name: Create one that not even the store's administrator can empty
  lifeboat.fleet.store_bucket:
    store: "{{ lifeboat_store }}"
    minter_credentials: "{{ lifeboat_minter_credentials }}"
    object_lock:
      mode: compliance
      days: 60
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
    lock:
      description: V(off), V(on) (without a default retention), or mode and days, as in C(compliance, 60 days).
      type: str
    encryption:
      description: The default encryption, empty if there is none.
      type: str
    lifecycle:
      description: Lifeboat's lifecycle rules, a line for each.
      type: list
      elements: str
unsupported:
  description:
    - Settings that this store cannot keep, of V(block_public_acls) (RGW refuses every upload with it; public ACLs are
      ignored instead), V(public_access_block), V(tls_only), V(object_lock), V(encryption), V(lifecycle),
      V(lifecycle_multipart), V(lifecycle_noncurrent) and V(lifecycle_volumes).
  returned: success
  type: list
  elements: str
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._controller import argument_spec, location, run
from ..module_utils.engine import bucket
from ..module_utils.engine.bucket_rules import LOCK_MODES, TRANSITION_CLASSES, Lock, Rules, Transition
from ..module_utils.engine.profile import Profile
from ..module_utils.engine.providers import PROVIDERS


def longest(profiles: t.Mapping[str, t.Any], name: str, default: float) -> float:
    """The largest value of a setting in any of these profiles, or the default, where one does not say it."""
    every = [settings or {} for of_host in profiles.values() for settings in (of_host or {}).values()]
    return max((float(settings.get(name, default)) for settings in every), default=default)


def rules(params: t.Mapping[str, t.Any]) -> Rules:
    """The wish in the engine's words."""
    lock, transition = params["object_lock"], params["transition"]
    return Rules(
        tls_only=params["tls_only"],
        lock=Lock(**lock) if lock else None,
        encryption=params["encryption"],
        kms_key_id=params["kms_key_id"],
        abort_multipart_days=params["abort_multipart_days"],
        noncurrent_days=params["noncurrent_days"],
        transition=Transition(**transition) if transition else None,
        keep_days=max(params["keep_days"], longest(params["profiles"], "keep_days", params["keep_days"])),
        chain_days=longest(params["profiles"], "full_every_days", Profile.full_every_days),
    )


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Arguments in, result out."""
    params = module.params
    place = location(params["store"], params["minter_credentials"])
    result = bucket.ensure(place, provider=params["provider"], rules=rules(params), check=module.check_mode)
    for name in result.unsupported:
        module.warn(f"this store does not support {name}: see ansible-doc lifeboat.fleet.store_bucket.")
    for sentence in result.hazards:
        module.warn(sentence)
    before, after = ({**asdict(state), "lifecycle": list(state.lifecycle)} for state in (result.before, result.after))
    return {
        "changed": before != after,
        "bucket": after,
        "unsupported": list(result.unsupported),
        "diff": {"before": before, "after": after},
    }


def main() -> t.NoReturn:
    """The module's entry point."""
    lock = {
        "mode": {"type": "str", "choices": list(LOCK_MODES), "required": True},
        "days": {"type": "int", "required": True},
    }
    transition = {
        "storage_class": {"type": "str", "choices": list(TRANSITION_CLASSES), "required": True},
        "days": {"type": "int", "required": True},
        "min_bytes": {"type": "int", "default": 1 << 20},
    }
    options = argument_spec(
        state={"type": "str", "choices": ["present"], "default": "present"},
        provider={"type": "str", "choices": list(PROVIDERS), "default": "ceph_rgw"},
        tls_only={"type": "bool", "default": True},
        object_lock={"type": "dict", "options": lock},
        encryption={"type": "str", "choices": ["AES256", "aws:kms"]},
        kms_key_id={"type": "str", "no_log": False},
        abort_multipart_days={"type": "int", "default": 7},
        noncurrent_days={"type": "int"},
        transition={"type": "dict", "options": transition},
        keep_days={"type": "float", "default": 30},
        profiles={"type": "dict", "default": {}},
    )
    run(AnsibleModule(argument_spec=options, supports_check_mode=True), work)


if __name__ == "__main__":
    main()

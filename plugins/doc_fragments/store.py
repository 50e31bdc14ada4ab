# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Options of all modules that work on the store from the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared documentation."""

    DOCUMENTATION = r"""
options:
  store:
    description: Where the store is. It holds no secret; in a fleet this is C(lifeboat_store).
    type: dict
    required: true
    suboptions:
      type:
        description: The protocol.
        type: str
        choices: [s3]
        default: s3
      bucket:
        description: The bucket's name, 3 to 63 of a-z, 0-9, C(.) and C(-).
        type: str
        required: true
      endpoint_url:
        description: The store's address.
        type: str
      region:
        description: The store's region.
        type: str
        default: us-east-1
      ca_bundle:
        description: PEM file on the controller with the authorities that the store's certificate is checked with.
        type: path
      node_ca_bundle:
        description: The same on nodes. Not used here.
        type: path
requirements:
  - boto3 and botocore (requirements.txt) in the Python that runs the module
notes:
  - Runs on the controller. Call it with C(delegate_to=localhost).
attributes:
  platform:
    platforms: posix
"""

    READER = r"""
options:
  credentials:
    description: Credentials of the restorer (read-only), a file in AWS form with a profile C(default).
    type: path
    required: true
  profiles:
    description: What must be backed up, as the inventory says. For each host its profiles by name (C(lifeboat_profiles)).
    type: dict
    required: true
  ids:
    description: Node ids of hosts whose id is not their name.
    type: dict
    default: {}
"""

    MINTER = r"""
options:
  minter_credentials:
    description:
      - Credentials of the store's administrator, an AWS shared-credentials file with a C([default]) profile.
      - On Ceph RGW, a user with the caps C(users=*;user-policy=*) who owns the bucket. On AWS, a user with the policy
        that docs/security.md shows.
    type: path
    required: true
"""

    PROVIDER = r"""
options:
  provider:
    description:
      - How store users are made.
      - V(ceph_rgw) uses RGW's admin-ops and IAM APIs.
      - V(aws_iam) makes a user per identity under the path C(/lifeboat/<bucket>/), with an inline policy.
      - V(static) takes the keys that you bring in O(static_keys_dir). Each must prove that it works and that it is refused
        what its power does not include. Ending a key is then yours to do.
    type: str
    choices: [ceph_rgw, aws_iam, static]
    default: ceph_rgw
  static_keys_dir:
    description:
      - For the provider V(static), a folder with C(<node id>.ini) for each node, and C(restorer.ini), C(evidence.ini) and
        C(pruner.ini), mode 0600.
    type: path
    default: ''
"""

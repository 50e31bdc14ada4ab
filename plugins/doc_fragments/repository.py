# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Options of modules that work on one repository from the node."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared documentation."""

    DOCUMENTATION = r"""
options:
  profile:
    description: Profile that is installed on the host. Give either this or O(target).
    type: str
  target:
    description: URL of a repository, V(s3://bucket/prefix) or V(file:///folder).
    type: str
  store:
    description:
      - How to reach an V(s3://) O(target).
      - Keys given here cross SSH; they reach the host on standard input only with C(pipelining = true).
    type: dict
    suboptions:
      endpoint_url:
        description: Endpoint of a store that is not AWS.
        type: str
      region:
        description: Region.
        type: str
      ca_bundle:
        description: Path on the host of the certificates to trust (PEM).
        type: str
      access_key:
        description: Access key.
        type: str
      secret_key:
        description: Secret key.
        type: str
      credentials_file:
        description: Path on the host of a credentials file in AWS form, instead of the two keys.
        type: str
requirements:
  - The Lifeboat engine of the same version on the host (role P(lifeboat.fleet.duplicity#role)).
"""

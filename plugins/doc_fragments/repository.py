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
      - Keys given here cross SSH and reach the host on standard input. Without pipelining and with C(async) they are refused.
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
      storage_class:
        description: Storage class of volumes. Only those that give an object back at once.
        type: str
        choices: [STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR]
      sse:
        description: Server-side encryption to ask for with every object.
        type: str
        choices: [AES256, 'aws:kms']
      sse_kms_key_id:
        description: Id of the key for C(sse=aws:kms), which needs one.
        type: str
      num_retries:
        description: How often duplicity tries a call. The engine's default is 3.
        type: int
      retry_delay:
        description: Seconds between these. The engine's default is 5.
        type: int
      max_attempts:
        description: How often boto3 tries each of them, with growing pauses. The engine's default is 10.
        type: int
requirements:
  - The Lifeboat engine of the same version on the host (role P(lifeboat.fleet.duplicity#role)).
"""

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

    # What only a backup to a target takes; a profile has its own.
    BACKUP = r"""
options:
  exclude:
    description:
      - Patterns to leave out of a backup to a O(target), as duplicity understands them. Relative to O(source), or starting
        with it or with V(**).
    type: list
    elements: str
  presets:
    description: Applications whose caches, sessions and generated media are left out. C(docs/options.md) lists the patterns.
    type: list
    elements: str
    choices: [magento, wordpress, mediawiki]
  exclude_if_present:
    description: Names of files. A folder that holds one of them is left out whole.
    type: list
    elements: str
  exclude_device_files:
    description: Leave out block and character devices.
    type: bool
  one_file_system:
    description: Leave out what is mounted below O(source).
    type: bool
  volume_mib:
    description: Size of a volume in MiB. A backup needs room for about O(concurrency) + 2 of them. The engine's default is 50.
    type: int
  compression_level:
    description: Of encrypted sets, 0 to 9. The engine's default is 1.
    type: int
  concurrency:
    description: Uploads at a time beside the main process. The engine's default is 2.
    type: int
  upload_kib_per_second:
    description: Limit of all uploads together to an V(s3://) O(target). 0 sets none.
    type: int
  full_every_days:
    description: With O(mode=auto), the period in which one full is made. The engine's default is 7.
    type: float
  full_every_incrementals:
    description: With O(mode=auto), make a full also when the newest chain has so many incrementals. 0 sets no limit.
    type: int
  skip_if_unchanged:
    description: With O(mode=auto), make no set while the source is what the newest set holds; C(changed) is then false.
    type: bool
  nice:
    description: How far the run steps back for the processor, 0 to 19.
    type: int
  ionice:
    description: How far it steps back for the disk.
    type: str
    choices: [idle, best-effort]
  tmpdir:
    description: Folder for temporary files, instead of the engine's cache.
    type: path
"""

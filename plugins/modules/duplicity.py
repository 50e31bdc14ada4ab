#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: duplicity
short_description: Back up, restore and verify with duplicity
description:
  - Runs one operation of the Lifeboat engine that the role P(lifeboat.fleet.duplicity#role) installed on the host,
    and returns its run record.
  - Outcomes are judged by exit code, machine log and a look at the store afterwards; duplicity alone reports success over
    several kinds of loss.
  - A backup of a O(profile) runs as the unit C(lifeboat-backup@<profile>), as its timer would run it.
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
options:
  operation:
    description:
      - V(backup) makes a full or an incremental.
      - V(restore) restores a restore point to O(dest).
      - V(verify) reads, hashes, decrypts and unpacks all volumes of a restore point. With O(dest) it compares a restored tree
        with the witness that the node recorded when the point was made.
    type: str
    choices: [backup, restore, verify]
    required: true
  profile:
    description: Profile that is installed on the host. Give either this or O(target).
    type: str
  target:
    description: URL of a repository, V(s3://bucket/prefix) or V(file:///folder).
    type: str
  source:
    description: Folder to back up. Needed with O(target) and O(operation=backup).
    type: path
  exclude:
    description: Patterns to leave out of a backup to a O(target), as duplicity understands them.
    type: list
    elements: str
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
  encryption:
    description: OpenPGP keys for a O(target), or the private key for reading a O(profile). Without any, sets are stored in clear.
    type: dict
    suboptions:
      public_key:
        description: Armored public key that a backup is encrypted to.
        type: str
      private_key:
        description: Armored private key (without passphrase) for reading. It is kept in memory for this one operation.
        type: str
  mode:
    description: V(auto) makes a full when it is due and an incremental otherwise.
    type: str
    choices: [auto, full, incremental]
    default: auto
  dest:
    description: Path that the restored tree gets; with O(operation=verify) the restored tree to compare.
    type: path
  path:
    description: Restore only this file or folder, relative to the source.
    type: str
  time:
    description: Restore the newest point not after this time (UTC stamp, ISO 8601 or seconds since 1970); default is the newest.
    type: str
  replace:
    description: Exchange an existing O(dest) for the restored tree, in one step and only when it is complete.
    type: bool
    default: false
  timeout:
    description: Seconds after which the run is ended.
    type: int
  stall_timeout:
    description: Seconds without progress after which the run is ended.
    type: int
requirements:
  - The Lifeboat engine of the same version on the host (role P(lifeboat.fleet.duplicity#role)).
attributes:
  check_mode:
    support: full
    details: It checks request and restore point; it does not compare an existing O(dest).
  diff_mode:
    support: none
  platform:
    platforms: posix
notes:
  - Needs root on the host, for owners and modes of restored files and for starting the unit.
seealso:
  - module: lifeboat.fleet.fleet_info
"""

EXAMPLES = r"""
- name: Back up the profile 'site' now, as its timer would
  lifeboat.fleet.duplicity:
    operation: backup
    profile: site

- name: Back up a folder to another disk, in clear
  lifeboat.fleet.duplicity:
    operation: backup
    source: /srv/www
    target: file:///mnt/backup/www

- name: Restore the state of the morning beside the live tree
  lifeboat.fleet.duplicity:
    operation: restore
    target: file:///mnt/backup/www
    dest: /srv/www.restored
    time: "2026-11-23T06:00:00Z"
"""

RETURN = r"""
msg:
  description: One sentence with what was done, or with the cause of the failure and the next step.
  type: str
  returned: always
  sample: Backed up 23017 files in a new incremental of 20261123T021500Z.
outcome:
  description: V(ok), V(warning) (complete, but look at it) or V(failed).
  type: str
  returned: when the operation ran
  sample: ok
rc:
  description: Exit code of duplicity.
  type: int
  returned: when duplicity ran
  sample: 0
record:
  description: The run record (schemas/run_record.schema.json).
  type: dict
  returned: when the operation ran
  sample: {"operation": "backup", "outcome": "ok", "set_time": "20261123T021500Z", "files": 23017}
detail:
  description: What duplicity itself said about a failure.
  type: str
  returned: when the operation ran
  sample: ""
comparison:
  description: Counts and the first differences of a tree from its witness. Names that are no UTF-8 are escaped, with base64 beside.
  type: dict
  returned: with O(operation=verify) and O(dest)
  sample: {"paths": 23041, "hashed": 23017, "unjudged": 0, "differences": 0, "first": []}
"""

import json

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engine import VERSION

COMMAND = "/usr/local/bin/lifeboat"


def argument_spec():
    store = {key: {"type": "str"} for key in ("endpoint_url", "region", "ca_bundle", "credentials_file")}
    store["access_key"] = {"type": "str", "no_log": False}  # an id, not a secret
    return {
        "operation": {"type": "str", "choices": ["backup", "restore", "verify"], "required": True},
        "profile": {"type": "str"},
        "target": {"type": "str"},
        "source": {"type": "path"},
        "exclude": {"type": "list", "elements": "str"},
        "store": {"type": "dict", "options": {**store, "secret_key": {"type": "str", "no_log": True}}},
        "encryption": {
            "type": "dict",
            "options": {
                "public_key": {"type": "str", "no_log": False},
                "private_key": {"type": "str", "no_log": True},
            },
        },
        "mode": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
        "dest": {"type": "path"},
        "path": {"type": "str"},
        "time": {"type": "str"},
        "replace": {"type": "bool", "default": False},
        "timeout": {"type": "int"},
        "stall_timeout": {"type": "int"},
    }


def request(params, check):
    """The module's parameters as one request to the engine: only what the operation knows, nothing that is unset."""
    mine = {
        "backup": ("source", "exclude", "mode"),
        "restore": ("dest", "path", "time", "replace"),
        "verify": ("dest", "time"),
    }
    keys = ("operation", "profile", "target", "store", "encryption", "timeout", "stall_timeout")
    values = {key: params[key] for key in (*keys, *mine[params["operation"]]) if params[key] is not None}
    for group in ("store", "encryption"):
        if group in values:
            values[group] = {key: value for key, value in values[group].items() if value is not None}
    return {"engine": VERSION, "check": check, **values}


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_one_of=[("profile", "target")],
        mutually_exclusive=[("profile", "target")],
        required_if=[("operation", "restore", ("dest",))],
    )
    try:
        rc, out, err = module.run_command(
            [COMMAND, "--json"],
            data=json.dumps(request(module.params, module.check_mode)),
            handle_exceptions=False,
        )
    except OSError as error:
        module.fail_json(
            msg=f"the Lifeboat engine is not installed here ({COMMAND}: {error.strerror}): apply the role lifeboat.fleet.duplicity first."
        )
    try:
        answer = json.loads(out)
    except ValueError:
        module.fail_json(msg=f"{COMMAND} gave no answer (exit code {rc}): roll the host out again.", detail=err[-2000:])
    for warning in answer.pop("warnings", []):
        module.warn(warning)
    failed = answer.pop("failed", True)
    if answer.get("rc") is None or (answer["rc"] != 0 and not failed):
        answer.pop("rc", None)  # Ansible takes any other for a failure; a scrub may end with 1, a comparison has none
    if failed:
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()

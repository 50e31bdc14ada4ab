#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: duplicity
short_description: Back up, restore, verify and prune with duplicity
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
  - ansible.builtin.action_common_attributes.flow
  - lifeboat.fleet.repository
  - lifeboat.fleet.repository.backup
options:
  operation:
    description:
      - V(backup) makes a full or an incremental.
      - V(restore) restores a restore point to O(dest).
      - V(verify) reads, hashes, decrypts and unpacks all volumes of a restore point. With O(dest) it compares a restored tree
        with the witness that the node recorded when the point was made, with O(compare_data) the live tree with the point.
      - V(prune) drops whole chains that nothing promised needs (O(keep_days), O(keep_chains), O(keep_points)) and that a newer
        complete chain replaced 48 hours ago, and what V(cleanup) drops. It judges by the store's times, never by names.
      - V(cleanup) drops what crashes left, once it is older than O(incomplete_days); no chain and no restore point.
      - V(prune) and V(cleanup) are for stores with one key. With O(profile) and an V(s3://) store they are refused, since a node
        may not delete its own history.
    type: str
    choices: [backup, restore, verify, prune, cleanup]
    required: true
  source:
    description: Folder to back up. Needed with O(target) for O(operation=backup) and for O(compare_data).
    type: path
  encryption:
    description: OpenPGP keys for a O(target), or the private key for reading a O(profile). Without any, sets are stored in clear.
    type: dict
    suboptions:
      public_key:
        description: Armored public key that a backup is encrypted to.
        type: str
      private_key:
        description: Armored private key for reading. It is kept in memory for this one operation.
        type: str
      passphrase:
        description:
          - Opens what is sealed with a passphrase and no key, as duplicity's sets are by default, or a protected O(encryption.private_key).
          - It is for reading (a backup is sealed with O(encryption.public_key) only), and kept in memory for this one operation.
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
  select:
    description:
      - Take only a selection of the paths, by rules V(+ pattern) and V(- pattern), relative to the source. The first rule
        that matches decides; what no rule matches is taken. End with V(- **) to take nothing else.
      - With O(operation=backup) and a O(target), O(exclude) and O(presets) come after these rules.
    type: list
    elements: str
  time:
    description:
      - The newest point not after this time. UTC stamp (V(20261123T021500Z)), ISO 8601, seconds since 1970, or how long ago
        (V(3D), V(12h)). Default is the newest.
    type: str
  as_of:
    description:
      - Read the store as it was at this time, by the versions that were current then, whatever was overwritten or deleted since.
        It takes the forms of O(time), which then means a point of those.
      - For an V(s3://) bucket that keeps versions, and a key that may see them, such as the restorer's.
      - Stock duplicity reads no versions, so for it the chain is first fetched to a private folder beside O(dest).
    type: str
  replace:
    description:
      - What may become of an O(dest) that exists and differs from the restore point. One that equals it is left alone.
      - V(false) refuses. V(true) exchanges it for the restored tree, in one step and only when that is complete; it needs
        room for both, and refuses a mount point.
      - V(in_place) restores onto what is there, where there is no such room. That is not atomic. Until it is complete, the
        folder C(.lifeboat-incomplete) in O(dest) says so; after a failure, run the same again.
    type: str
    choices: ["false", "true", in_place]
    default: "false"
  engine:
    description:
      - Who reads a restore point. V(auto) is V(fast), our own reader of duplicity's repositories, and falls back to stock
        duplicity before the first write for O(select) and for a form that it does not know, and says so.
      - V(duplicity) is always stock duplicity. O(replace=in_place) is too.
    type: str
    choices: [auto, fast, duplicity]
    default: auto
  referee:
    description:
      - After a restore by the fast reader, let stock duplicity restore the same and compare both. It takes room for both
        trees. A difference is a failure.
    type: bool
    default: false
  compare_data:
    description:
      - With O(operation=verify), compare the point with the live tree (the profile's source, or O(source)), contents
        included. Any difference is a failure.
    type: bool
    default: false
  keep_days:
    description:
      - Every restore point of this many days before the newest one stays, and the newest one that is older.
      - The engine's default is 30.
    type: float
  keep_chains:
    description: At least this many complete chains stay. The engine's default is 1.
    type: int
  keep_points:
    description: At least this many restore points stay. The engine's default is 1.
    type: int
  incomplete_days:
    description:
      - Days without a new object after which an unfinished set is a crash's leftover. The engine's default is 7.
      - With V(0) a running backup would lose its set.
    type: float
  settle_hours:
    description:
      - Hours for which a newer complete chain must have been restorable before an older one goes. The engine's default is 48.
      - It must be longer than the longest run of a backup, which may still build on the older chain.
    type: float
  timeout:
    description: Seconds after which the run is ended.
    type: int
  stall_timeout:
    description: Seconds without progress after which the run is ended.
    type: int
  show_progress:
    description:
      - While the module runs, show files, bytes, rate and the time that is left, every 15 seconds.
      - Nothing is shown in check mode, with C(async) or with C(no_log).
    type: bool
    default: false
  _progress_id:
    description: Used internally by the action plugin, which reads the progress under this name.
    type: str
attributes:
  action:
    support: full
    details:
      - It refuses what O(store.secret_key), O(encryption.private_key) and O(encryption.passphrase) rule out, and shows progress
        (O(show_progress)).
  async:
    support: partial
    details:
      - Not with O(store.secret_key), O(encryption.private_key) or O(encryption.passphrase), since Ansible writes the arguments of
        such a task to the host's disk. With a profile, or O(store.credentials_file), it works.
  check_mode:
    support: full
    details:
      - Nothing is written but temporary files. Request, restore point and O(dest) are checked; without a witness of the point,
        duplicity reads the whole chain to compare an existing O(dest). With O(select) nothing compares it.
      - Of a backup it tells only that it would run. A prune makes its plan.
  diff_mode:
    support: partial
    details:
      - Paths that come, go or change with O(operation=restore); in check mode only where the point has a witness or O(dest) exists.
      - Sets and records that go with O(operation=prune) and O(operation=cleanup).
  platform:
    platforms: posix
  bypass_host_loop:
    support: none
notes:
  - A task with O(store.secret_key), O(encryption.private_key) or O(encryption.passphrase) needs pipelining
    (C(pipelining = true) in C([connection]) of ansible.cfg), without which Ansible writes its arguments to the host's disk. It is
    refused before anything is sent.
  - Needs root on the host, for owners and modes of restored files and for starting the unit.
seealso:
  - module: lifeboat.fleet.duplicity_info
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

- name: Bring back the uploads of three days ago, and nothing else
  lifeboat.fleet.duplicity:
    operation: restore
    target: file:///mnt/backup/www
    dest: /srv/uploads.restored
    select: ["+ wp-content/uploads", "- **"]
    time: 3D

- name: Roll a folder back, if it differs
  lifeboat.fleet.duplicity:
    operation: restore
    target: file:///mnt/backup/www
    dest: /srv/www
    replace: true
  diff: true

- name: Was anything changed since the last backup?
  lifeboat.fleet.duplicity:
    operation: verify
    target: file:///mnt/backup/www
    source: /srv/www
    compare_data: true
  register: compared
  failed_when: compared.comparison is not defined

- name: Make a full and see how far it is
  lifeboat.fleet.duplicity:
    operation: backup
    profile: site
    mode: full
    show_progress: true

- name: See what a prune would drop (with --check --diff), and why
  lifeboat.fleet.duplicity:
    operation: prune
    target: file:///mnt/backup/www
    keep_days: 60
    keep_chains: 2
"""

RETURN = r"""
plan:
  description: What stays and what goes (in check mode, would go), each with its reason.
  type: list
  elements: dict
  returned: with O(operation=prune) and O(operation=cleanup)
  sample:
    - kind: chain
      chain: 20261001T021500Z
      action: drop
      reason: superseded by chain 20261119T021512Z; every promised point remains without it.
      points: 7
      stored: 73400320
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
  returned: with O(operation=verify) and O(dest) or O(compare_data)
  sample: {"paths": 23041, "hashed": 23017, "unjudged": 0, "differences": 0, "first": []}
diff:
  description: Paths that go or change (C(before)) and that come or change (C(after)), at most 1000 each.
  type: dict
  returned: in diff mode
  sample: {"before": "page.php\n", "after": "page.php (content)\n"}
"""

from ..module_utils._engine import STORE, EngineModule, ask, request

# What a backup takes of its source, and how it runs: with a target only, a profile has its own.
SELECTING = {
    "select": {"type": "list", "elements": "str"},
    "exclude": {"type": "list", "elements": "str"},
    "presets": {"type": "list", "elements": "str", "choices": ["magento", "wordpress", "mediawiki"]},
    "exclude_if_present": {"type": "list", "elements": "str"},
    "exclude_device_files": {"type": "bool"},
    "one_file_system": {"type": "bool"},
}
RUNNING = {
    "volume_mib": {"type": "int"},
    "compression_level": {"type": "int"},
    "concurrency": {"type": "int"},
    "upload_kib_per_second": {"type": "int"},
    "full_every_days": {"type": "float"},
    "full_every_incrementals": {"type": "int"},
    "skip_if_unchanged": {"type": "bool"},
    "nice": {"type": "int"},
    "ionice": {"type": "str", "choices": ["idle", "best-effort"]},
    "tmpdir": {"type": "path"},
}
# What each operation takes, beside the options that all of them have.
OPTIONS = {
    "backup": ("source", *SELECTING, *RUNNING, "mode"),
    "restore": ("dest", "path", "select", "time", "as_of", "replace", "referee"),
    "verify": ("dest", "time", "as_of", "compare_data", "source", *SELECTING),
    "prune": ("keep_days", "keep_chains", "keep_points", "incomplete_days", "settle_hours"),
    "cleanup": ("incomplete_days",),
}
COMMON = ("operation", "profile", "target", "store", "encryption", "timeout", "stall_timeout")


def argument_spec():
    return {
        "operation": {"type": "str", "choices": list(OPTIONS), "required": True},
        "profile": {"type": "str"},
        "target": {"type": "str"},
        "source": {"type": "path"},
        **SELECTING,
        **RUNNING,
        "store": STORE,
        "encryption": {
            "type": "dict",
            "options": {
                "public_key": {"type": "str", "no_log": False},
                "private_key": {"type": "str", "no_log": True},
                "passphrase": {"type": "str", "no_log": True},
            },
        },
        "mode": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
        "dest": {"type": "path"},
        "path": {"type": "str"},
        "time": {"type": "str"},
        "as_of": {"type": "str"},
        "replace": {"type": "str", "choices": ["false", "true", "in_place"], "default": "false"},
        "engine": {"type": "str", "choices": ["auto", "fast", "duplicity"], "default": "auto"},
        "referee": {"type": "bool", "default": False},
        "compare_data": {"type": "bool", "default": False},
        "keep_days": {"type": "float"},
        "keep_chains": {"type": "int"},
        "keep_points": {"type": "int"},
        "incomplete_days": {"type": "float"},
        "settle_hours": {"type": "float"},
        "timeout": {"type": "int"},
        "stall_timeout": {"type": "int"},
        "show_progress": {"type": "bool", "default": False},
        "_progress_id": {"type": "str"},
    }


def main():
    module = EngineModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_one_of=[("profile", "target")],
        mutually_exclusive=[("profile", "target")],
        required_if=[("operation", "restore", ("dest",))],
    )
    operation = module.params["operation"]
    more = {"diff": True} if module._diff and operation == "restore" else {}
    if operation == "restore":
        more["reader"] = module.params["engine"]  # in a request, "engine" is the version
    if module.params["_progress_id"]:
        more["progress"] = module.params["_progress_id"]
    ask(module, request(module.params, (*COMMON, *OPTIONS[operation]), check=module.check_mode, **more))


if __name__ == "__main__":
    main()

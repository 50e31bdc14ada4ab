# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Open nodes' private keys from escrow, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_private_key
short_description: A node's private key, opened from escrow
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
description:
  - Reads the node's escrow entry with the restorer's credentials and opens it with the drill key, or with the recovery
    key if one is named.
  - The answer is a secret. Use it only in a parameter of a task with C(no_log=true), so that it is never in a variable,
    a log or a file.
options:
  _terms:
    description: Ids of nodes.
    required: true
  store:
    description: Where the store is, with C(bucket), C(endpoint_url), C(region) and C(ca_bundle).
    type: dict
    required: true
  controller_dir:
    description:
      - The controller's folder with C(restorer.ini) and C(drill.key.asc).
      - Not needed if both O(credentials) and O(recovery_key) are given, as after the loss of the controller.
    type: str
    default: ''
  recovery_key:
    description: Private recovery key (a file) to use instead of the drill key. Empty means the drill key.
    type: str
    default: ''
  passphrase:
    description: The recovery key's passphrase, if it has one.
    type: str
    default: ''
  credentials:
    description: Credentials that may read the store, instead of C(restorer.ini). Empty means that file.
    type: str
    default: ''
  fingerprint:
    description: Which of the node's keys. Empty means the newest.
    type: str
    default: ''
requirements:
  - boto3, botocore
  - gnupg 2.2 or newer
"""

EXAMPLES = r"""
- name: Restore a node elsewhere
  lifeboat.fleet.duplicity:
    operation: restore
    profile: site
    encryption:
      private_key: >-
        {{ lookup('lifeboat.fleet.node_private_key', 'node1', store=lifeboat_store,
        controller_dir=lifeboat_controller_dir, recovery_key=lifeboat_recovery_key | default('')) }}
    dest: /srv/www.restored
  no_log: true
"""

RETURN = r"""
_raw:
  description: One armored private key per node.
  type: list
  elements: str
"""

import os
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.escrow import open_key
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.key_files import DRILL_KEY
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location


class LookupModule(LookupBase):
    """The plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """One armored private key per id."""
        self.set_options(var_options=variables, direct=kwargs)
        store = self.get_option("store")
        try:
            key_file = self._file("recovery_key", DRILL_KEY)
            credentials = self._file("credentials", "restorer.ini")
            place = Location(
                url=f"s3://{store['bucket']}",
                endpoint_url=store.get("endpoint_url") or None,
                region=store.get("region") or "us-east-1",
                ca_bundle=store.get("ca_bundle") or None,
                credentials_file=credentials,
            )
            fingerprint, passphrase = self.get_option("fingerprint") or None, self.get_option("passphrase") or None
            return [open_key(place, term, fingerprint, key_file, passphrase).decode("ascii") for term in terms]
        except KeyError:
            raise AnsibleError("node_private_key: 'store' lacks 'bucket': pass lifeboat_store.") from None
        except LifeboatError as error:
            raise AnsibleError(str(error)) from error

    def _file(self, option: str, name: str) -> str:
        """The file that an option names, else the one of that name in the controller's folder."""
        given, folder = self.get_option(option), self.get_option("controller_dir")
        if not given and not folder:
            raise AnsibleError(f"node_private_key: give '{option}', or 'controller_dir' with its {name}.")
        return os.path.expanduser(given or os.path.join(folder, name))

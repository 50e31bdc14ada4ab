# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask for the passphrase of an OpenPGP key, on the controller, if the key has one."""

from __future__ import annotations

DOCUMENTATION = r"""
name: key_passphrase
short_description: The passphrase of a private OpenPGP key, if it has one
version_added: 0.1.0
author: Lifeboat contributors (@lifeboat)
description:
  - Looks whether the private key in a file is protected. If so, reads its passphrase from a file or asks the person at the
    terminal for it. It is in no argument list and in no environment.
  - The answer is a secret, or empty for a key without one. Use it only in a task with C(no_log=true).
options:
  _terms:
    description: Files with one private key each. An empty name has no passphrase.
    required: true
  file:
    description:
      - A file (mode 0600) whose first line is the passphrase. Empty means to ask.
      - It is not read for a key that needs none.
    type: str
    default: ''
requirements:
  - gnupg 2.2 or newer
"""

EXAMPLES = r"""
- name: Ask once, before anything is done
  ansible.builtin.set_fact:
    recovery_passphrase: "{{ lookup('lifeboat.fleet.key_passphrase', '/media/key/recovery.key.asc') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: One passphrase per key; empty for a key that has none.
  type: list
  elements: str
"""

import os
import typing as t

from ansible.errors import AnsibleError, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.key_files import is_protected, read_passphrase


class LookupModule(LookupBase):
    """The plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """One passphrase per key."""
        self.set_options(var_options=variables, direct=kwargs)
        file = os.path.expanduser(self.get_option("file") or "")
        try:
            return [_passphrase(os.path.expanduser(term), file) if term else "" for term in terms]
        except LifeboatError as error:
            raise AnsibleError(str(error)) from error


def _passphrase(key: str, file: str) -> str:
    if not is_protected(key):
        return ""
    return read_passphrase(file) if file else _ask(key)


def _ask(key: str) -> str:
    """What the person at the terminal types; nothing of it is shown."""
    try:
        return Display().prompt_until(f"Passphrase of {key}:", private=True).decode()
    except AnsiblePromptNoninteractive:
        raise AnsibleError(
            f"{key} has a passphrase, and there is no terminal to ask for it: write it into a file (mode 0600) and name "
            "that (lifeboat_recovery_passphrase_file)."
        ) from None
    except AnsiblePromptInterrupt:
        raise AnsibleError("interrupted: nothing was restored.") from None

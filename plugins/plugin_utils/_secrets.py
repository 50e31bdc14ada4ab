# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Private to this collection: a task whose arguments hold a secret runs only where Ansible hands them over in memory."""

from __future__ import annotations

import re
import typing as t

from ansible import constants
from ansible.module_utils.common.validation import check_type_dict

# option and suboption of the modules that are secret
SECRETS = (("store", "secret_key"), ("encryption", "private_key"), ("encryption", "passphrase"))


def given(arguments: t.Mapping[str, t.Any]) -> list[str]:
    """Which of the secrets a task's arguments hold. Pure."""
    return [f"{option}.{name}" for option, name in SECRETS if _holds(arguments.get(option), name)]


def _holds(value: t.Any, name: str) -> bool:
    if isinstance(value, t.Mapping):
        return bool(value.get(name))
    return name in str(value or "")  # the module takes JSON and k=v as well


def misspelt(arguments: t.Mapping[str, t.Any], known: t.Mapping[str, t.Collection[str]]) -> str | None:
    """Why the options that may hold a secret are not what they should be, or None. Pure.

    The module would say so as well, but Ansible would show its arguments then, and hides only what it knows to be secret.
    """
    as_dict: t.Any = check_type_dict
    for option, names in known.items():
        value = arguments.get(option)
        try:
            given = as_dict(value) if value else {}
        except TypeError:
            return f"'{option}' is not a dictionary: give it as one."
        wrong = sorted(str(name) for name in set(given) - set(names))
        if wrong:
            what = f" '{wrong[0]}'" if re.fullmatch("[a-z_]{1,32}", wrong[0]) else " of that name"
            return f"'{option}' has no option{what}: it has {', '.join(sorted(names))}."
    return None


def refusal(arguments: t.Mapping[str, t.Any], is_async: bool, connection: t.Any) -> str | None:
    """Why the task may not run, in one sentence with the next step, or None."""
    found = " and ".join(given(arguments))
    if not found:
        return None
    if is_async:
        return (
            f"a task with {found} cannot be async, since Ansible would write its arguments to the host's disk: remove async "
            "from the task."
        )
    if connection.is_pipelining_enabled(False):
        return None
    return (
        f"a task with {found} needs pipelining, without which Ansible would write its arguments to the host's disk: "
        f"{_step(connection)}."
    )


def _step(connection: t.Any) -> str:
    """What the user does to have pipelining."""
    settings: t.Any = constants  # its names are made when it is loaded
    if settings.DEFAULT_KEEP_REMOTE_FILES:
        return "unset ANSIBLE_KEEP_REMOTE_FILES (keep_remote_files in ansible.cfg)"
    if not connection.has_pipelining:
        return f"the connection '{connection.ansible_name}' has none, so use ssh"
    if connection.transport == "ssh" and connection.has_tty:
        return "ssh asks for a terminal, which rules it out, so take -t and RequestTTY out of its arguments"
    if connection.become and not connection.become.pipelining:
        return f"become by '{connection.become.name}' has none, so use sudo"
    return "set pipelining = true in [connection] of ansible.cfg, or ansible_pipelining: true for the host"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Private to this collection: a task whose arguments hold a secret runs only where Ansible hands them over in memory."""

from __future__ import annotations

import typing as t

from ansible import constants

# option and suboption of the modules that are secret
SECRETS = (("store", "secret_key"), ("encryption", "private_key"))


def given(arguments: t.Mapping[str, t.Any]) -> list[str]:
    """Which of the secrets a task's arguments hold. Pure."""
    return [f"{option}.{name}" for option, name in SECRETS if _holds(arguments.get(option), name)]


def _holds(value: t.Any, name: str) -> bool:
    if isinstance(value, t.Mapping):
        return bool(value.get(name))
    return name in str(value or "")  # the module takes JSON and k=v as well


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

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Private to this collection: what the action plugins of the modules that talk to the engine share."""

from __future__ import annotations

import typing as t
from contextlib import AbstractContextManager, nullcontext

from ansible.plugins.action import ActionBase
from ansible.utils.vars import merge_hash

from ..module_utils._engine import ENCRYPTION, STORE
from ._secrets import misspelt, refusal

KNOWN = {"store": tuple(STORE["options"]), "encryption": ENCRYPTION}


class EngineAction(ActionBase):
    """As the action ``normal``, but a task that would leave a secret on the host's disk is refused before it is sent."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        reason = misspelt(arguments, KNOWN) or refusal(arguments, bool(self._task.async_val), self._connection)
        if reason:
            return merge_hash(result, {"failed": True, "msg": reason})
        wrap_async = self._task.async_val and not self._connection.has_native_async
        with self._watched(arguments, str((task_vars or {}).get("inventory_hostname", "host"))) as sent:
            done = self._execute_module(module_args=sent, task_vars=task_vars, wrap_async=wrap_async)
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return merge_hash(result, done)

    def _watched(self, arguments: dict[str, t.Any], host: str) -> AbstractContextManager[dict[str, t.Any]]:
        """What goes on while the module runs; it gets the arguments that this gives."""
        return nullcontext(arguments)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name as any other, unless a secret of its arguments would come to the host's disk, and shows
its progress meanwhile where `show_progress` asks for that.

The module runs in the main thread, without async, which would write its arguments to the node's disk. A second thread
reads the small file in which the engine counts (``engine/reporter.py``) over a connection of its own. Whatever happens to
that thread, the task does not notice.
"""

from __future__ import annotations

import os
import shlex
import threading
import typing as t
import uuid
from contextlib import contextmanager

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.display import Display

from ..module_utils.engine.progress import line, parse
from ..plugin_utils._engine_action import EngineAction

FOLDER = "/run/lifeboat"  # profile.Layout.run
_LONGEST = 4096
# Seconds between two lines. The variable is for tests.
_INTERVAL = max(float(os.environ.get("LIFEBOAT_PROGRESS_SECONDS", "15")), 0.1)
_PATIENCE = 2.0  # seconds that the end of the task waits for a last look

display = Display()


class ActionModule(EngineAction):
    """With somebody who looks in now and then."""

    def _is_wanted(self, arguments: dict[str, t.Any]) -> bool:
        """An async task does not wait, and a task with no_log shows nothing."""
        try:
            wanted = boolean(arguments.get("show_progress", False))
        except TypeError:
            return False  # the module says what is wrong with it
        return wanted and not self._task.no_log and not self._task.async_val and not self._task.check_mode

    @contextmanager
    def _watched(self, arguments: dict[str, t.Any], host: str) -> t.Iterator[dict[str, t.Any]]:
        if not self._is_wanted(arguments):
            yield arguments
            return
        identifier = uuid.uuid4().hex
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(identifier, host, ended), daemon=True)
        thread.start()
        try:
            yield {**arguments, "_progress_id": identifier}
        finally:
            ended.set()
            thread.join(_PATIENCE)

    def _watch(self, identifier: str, host: str, ended: threading.Event) -> None:
        command = f"head -c {_LONGEST} -- {shlex.quote(f'{FOLDER}/{identifier}.progress.json')}"
        seen = 0.0
        connection = None
        try:
            while not ended.wait(_INTERVAL):
                if connection is None:
                    connection = self._own_connection()
                _code, out, _err = connection.exec_command(command, sudoable=False)
                state = parse(out)
                # an engine that lives writes every second
                if state is not None and state.updated > seen and not ended.is_set():
                    seen = state.updated
                    display.display(f"{host}: {line(state, state.updated)}")
            if connection is not None:
                connection.close()
        except Exception as error:  # noqa: BLE001 - progress is a courtesy: it never hurts the task
            display.vv(f"{host}: no progress can be shown: {error}")

    def _own_connection(self) -> t.Any:
        """Another connection to where the module runs, with the same options and without become: the file is readable for
        everybody. With ssh's ControlPersist it costs no new handshake."""
        loader = self._shared_loader_obj.connection_loader
        found = loader.get(
            self._connection.ansible_name,
            self._play_context,
            new_stdin=None,
            task_uuid=self._task._uuid,
            ansible_playbook_pid=str(os.getppid()),
        )
        if found is None:
            raise AnsibleError(f"the connection plugin {self._connection.ansible_name} was not found a second time")
        found.set_options(direct=self._connection.get_options())
        return found

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name as any other, unless a secret of its arguments would come to the host's disk."""

from __future__ import annotations

from ..plugin_utils._engine_action import EngineAction


class ActionModule(EngineAction):
    """All of it is shared."""

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a module logs on the host about how it was called."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils import _engine
from ansible_collections.lifeboat.fleet.plugins.modules import duplicity, duplicity_info

KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFgE/sentinel\n-----END PGP PRIVATE KEY BLOCK-----\n"


class Logging(_engine.EngineModule):
    """Only what logs, with the call kept instead of sent to the journal."""

    def __init__(self, spec: dict[str, t.Any], params: dict[str, t.Any]) -> None:
        self.argument_spec, self.params, self.aliases = spec, params, {}
        self.no_log_values = {KEY}
        self.lines: list[str] = []
        self._log_invocation()

    def log(self, msg: str, log_args: t.Any = None) -> None:
        self.lines.append(f"{msg} {log_args}")


@pytest.mark.parametrize("module", [duplicity, duplicity_info])
def test_nothing_of_a_secret_is_logged(module: t.Any) -> None:
    params = {
        "target": "s3://bucket/repository",
        "store": {"access_key": "AKIA", "secret_key": "with 'quote' and \\ sentinel", "region": None},
        "encryption": {"private_key": KEY},
        "time": None,
    }
    before = copy.deepcopy(params)
    made = Logging(module.argument_spec(), params)
    (line,) = made.lines
    assert "sentinel" not in line
    assert "PRIVATE KEY BLOCK" not in line
    assert "AKIA" in line
    assert "s3://bucket/repository" in line
    assert made.params == before


def test_without_it_ansible_logs_a_private_key() -> None:
    """The control: when this fails, Ansible was mended and ours can go."""
    bare = type("Bare", (Logging,), {"_log_invocation": _engine.AnsibleModule._log_invocation})
    (line,) = bare(duplicity.argument_spec(), {"encryption": {"private_key": KEY}}).lines
    assert "sentinel" in line

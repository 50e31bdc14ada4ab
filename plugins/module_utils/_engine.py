# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Private to this collection: how modules on a node talk to the engine that is installed there."""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .engine import VERSION

COMMAND = "/usr/local/bin/lifeboat"

# documented in doc_fragments/repository.py
STORE: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "endpoint_url": {"type": "str"},
        "region": {"type": "str"},
        "ca_bundle": {"type": "str"},
        "access_key": {"type": "str", "no_log": False},  # an id, not a secret
        "secret_key": {"type": "str", "no_log": True},
        "credentials_file": {"type": "str"},
        "storage_class": {
            "type": "str",
            "choices": ["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"],
        },
        "sse": {"type": "str", "choices": ["AES256", "aws:kms"]},
        "sse_kms_key_id": {"type": "str"},
        "num_retries": {"type": "int"},
        "retry_delay": {"type": "int"},
        "max_attempts": {"type": "int"},
    },
}


ENCRYPTION = ("public_key", "private_key", "passphrase")


class EngineModule(AnsibleModule):
    """A module that logs no secret to the host's journal. Ansible logs how it was called, and takes out a secret as it is, but
    not as ``repr`` writes it within a dict: of a private key, with ``\\n`` for each new line, it logged all."""

    def _log_invocation(self) -> None:
        given = self.params
        self.params = shown(given, self.argument_spec)
        try:
            log: t.Any = super()._log_invocation
            log()
        finally:
            self.params = given


def shown(params: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Parameters without what the options within options hide. Pure."""
    values = dict(params)
    for option, value in params.items():
        within = spec.get(option, {}).get("options")
        if within and isinstance(value, dict):
            hidden = [name for name, part in value.items() if part is not None and within.get(name, {}).get("no_log")]
            values[option] = {**value, **dict.fromkeys(hidden, "NOT_LOGGING_PARAMETER")}
    return values


def request(params: t.Mapping[str, t.Any], keys: t.Iterable[str], **more: t.Any) -> dict[str, t.Any]:
    """One request to the engine: only the parameters named, nothing that is unset."""
    values: dict[str, t.Any] = {"engine": VERSION, **more}
    for key in keys:
        value = params[key]
        if isinstance(value, dict):
            value = {name: part for name, part in value.items() if part is not None}
        if value is not None:
            values[key] = value
    return values


def ask(module: AnsibleModule, values: t.Mapping[str, t.Any]) -> t.NoReturn:
    """Send the request to the engine on standard input, and end the module with its answer."""
    try:
        command: t.Any = module.run_command
        code, out, err = command([COMMAND, "--json"], data=json.dumps(values), handle_exceptions=False)
    except OSError as error:
        module.fail_json(
            msg=f"the Lifeboat engine is not installed here ({COMMAND}: {error.strerror}): "
            "apply the role lifeboat.fleet.duplicity first."
        )
    try:
        answer = json.loads(out)
    except ValueError:
        module.fail_json(
            msg=f"{COMMAND} gave no answer (exit code {code}): roll the host out again.", detail=err[-2000:]
        )
    for warning in answer.pop("warnings", []):
        module.warn(warning)
    if not module._diff:
        answer.pop("diff", None)
    failed = answer.pop("failed", True)
    if answer.get("rc") is None or (answer["rc"] != 0 and not failed):
        answer.pop("rc", None)  # Ansible takes any other for a failure; a scrub may end with 1, a comparison has none
    if failed:
        module.fail_json(**answer)
    module.exit_json(**answer)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The module ``duplicity`` as Ansible runs it: a process with its arguments in JSON. The engine's command is a stand-in
that notes the request and gives a prepared answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.lifeboat.fleet.plugins.doc_fragments.repository import ModuleDocFragment
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import VERSION, profile
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.presets import PRESETS
from ansible_collections.lifeboat.fleet.plugins.modules import duplicity

Answer = dict[str, t.Any]
Ask = t.Callable[..., Answer]

_RUN = """
import sys
from ansible_collections.lifeboat.fleet.plugins.module_utils import _engine
from ansible_collections.lifeboat.fleet.plugins.modules import duplicity
_engine.COMMAND = sys.argv.pop(1)
duplicity.main()
"""
_COMMAND = """#!/bin/sh
test "$*" = --json || exit 9
cat > {here}/request
cat {here}/answer
exit "$(cat {here}/code)"
"""


@pytest.fixture
def command(tmp_path: Path) -> Path:
    path = tmp_path / "lifeboat"
    path.write_text(_COMMAND.format(here=tmp_path))
    path.chmod(0o755)
    return path


@pytest.fixture
def ask(tmp_path: Path, command: Path) -> Ask:
    """Run the module; the request that reached the engine is in ``tmp_path / "request"``."""

    def run(answer: object, *, check: bool = False, code: int = 0, **arguments: t.Any) -> Answer:
        (tmp_path / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
        (tmp_path / "code").write_text(str(code))
        values = {"_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path / "remote"), **arguments}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(command)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": values}),
            env=environment,
            capture_output=True,
            text=True,
        )
        said = t.cast(Answer, json.loads(done.stdout))
        assert done.returncode == (1 if said.get("failed") else 0)
        return said

    return run


DONE: Answer = {
    "failed": False,
    "changed": True,
    "msg": "done.",
    "outcome": "ok",
    "rc": 0,
    "record": {},
    "detail": "",
    "warnings": ["look."],
}


def test_a_backup_of_a_profile(ask: Ask, tmp_path: Path) -> None:
    said = ask(DONE, operation="backup", profile="site", mode="full")
    assert json.loads((tmp_path / "request").read_text()) == {
        "engine": VERSION,
        "operation": "backup",
        "check": False,
        "profile": "site",
        "mode": "full",
    }
    assert (said["changed"], said["msg"], said["outcome"], said["rc"]) == (True, "done.", "ok", 0)
    assert "look." in json.dumps(said["warnings"])


def test_a_restore_in_check_mode(ask: Ask, tmp_path: Path) -> None:
    store = {"endpoint_url": "https://s", "access_key": "A", "secret_key": "TOPSECRET"}
    encryption = {"private_key": "PRIVATE"}
    said = ask(
        DONE,
        check=True,
        operation="restore",
        target="s3://b/x",
        store=store,
        encryption=encryption,
        dest="/srv/x",
        timeout=100,
    )
    request = json.loads((tmp_path / "request").read_text())
    assert request == {
        "engine": VERSION,
        "operation": "restore",
        "check": True,
        "target": "s3://b/x",
        "store": store,
        "encryption": encryption,
        "dest": "/srv/x",
        "replace": "false",
        "reader": "auto",
        "referee": False,
        "timeout": 100,
    }
    assert "TOPSECRET" not in json.dumps(said)
    assert "PRIVATE" not in json.dumps(said)


@pytest.mark.parametrize("diff", [True, False])
def test_a_prune(ask: Ask, tmp_path: Path, diff: bool) -> None:
    plan = [{"chain": "20261001T021500Z", "action": "drop"}]
    answer = DONE | {"plan": plan, "diff": {"before": "chain\n", "after": ""}}
    said = ask(
        answer, _ansible_diff=diff, operation="prune", target="file:///x", keep_days=60, keep_points=3, mode="full"
    )
    assert json.loads((tmp_path / "request").read_text()) == {
        "engine": VERSION,
        "operation": "prune",
        "check": False,
        "target": "file:///x",
        "keep_days": 60,
        "keep_points": 3,
    }
    assert said["plan"] == plan
    assert said.get("diff") == (answer["diff"] if diff else None)
    ask(DONE, operation="cleanup", profile="site", keep_days=60, incomplete_days=0)
    assert json.loads((tmp_path / "request").read_text())["incomplete_days"] == 0
    assert "keep_days" not in (tmp_path / "request").read_text()


def test_a_verify_sends_nothing_of_the_others(ask: Ask, tmp_path: Path) -> None:
    ask(DONE, operation="verify", profile="site", mode="full", replace=True, path="x")
    sent = json.loads((tmp_path / "request").read_text())
    assert set(sent) == {"engine", "operation", "check", "profile", "compare_data"}


@pytest.mark.parametrize(("given", "sent"), [(True, "true"), (False, "false"), ("in_place", "in_place")])
def test_what_may_become_of_the_destination(ask: Ask, tmp_path: Path, given: object, sent: str) -> None:
    ask(DONE, operation="restore", target="file:///x", dest="/srv/x", replace=given)
    assert json.loads((tmp_path / "request").read_text())["replace"] == sent


def test_diff_mode_is_asked_for_and_shown(ask: Ask, tmp_path: Path) -> None:
    diff = {"before": "a\n", "after": "b\n"}
    answer = DONE | {"diff": diff}
    assert ask(answer, operation="restore", target="file:///x", dest="/srv/x", _ansible_diff=True)["diff"] == diff
    assert json.loads((tmp_path / "request").read_text())["diff"] is True


def test_a_watcher_reaches_the_engine(ask: Ask, tmp_path: Path) -> None:
    ask(DONE, operation="verify", profile="site", show_progress=True, _progress_id="0" * 32)
    request = json.loads((tmp_path / "request").read_text())
    assert (request["progress"], "show_progress" in request) == ("0" * 32, False)


def test_a_failure_keeps_its_sentence_and_record(ask: Ask) -> None:
    answer = DONE | {
        "failed": True,
        "msg": "The backup failed: x.",
        "outcome": "failed",
        "record": {"outcome": "failed"},
    }
    said = ask(answer, code=1, operation="backup", profile="site")
    assert said["failed"]
    assert (said["msg"], said["record"]) == ("The backup failed: x.", {"outcome": "failed"})


def test_a_refusal(ask: Ask) -> None:
    said = ask({"failed": True, "msg": "mode 'x' is unknown."}, code=1, operation="backup", profile="site")
    assert (said["failed"], said["msg"]) == (True, "mode 'x' is unknown.")


def test_an_answer_without_a_verdict_has_failed(ask: Ask) -> None:
    assert ask({"msg": "hm."}, operation="verify", profile="site")["failed"]


@pytest.mark.parametrize("text", ["", "Traceback (most recent call last):"])
def test_no_answer_is_a_sentence(ask: Ask, command: Path, text: str) -> None:
    said = ask(text, code=3, operation="verify", profile="site")
    assert said["failed"]
    assert said["msg"] == f"{command} gave no answer (exit code 3): roll the host out again."


def test_a_missing_command_is_a_sentence(ask: Ask, command: Path) -> None:
    command.unlink()
    said = ask("", operation="verify", profile="site")
    assert said["failed"]
    assert said["msg"] == (
        f"the Lifeboat engine is not installed here ({command}: No such file or directory): "
        "apply the role lifeboat.fleet.duplicity first."
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "missing required arguments: operation"),
        (
            {"operation": "drop", "profile": "x"},
            "value of operation must be one of: backup, restore, verify, prune, cleanup",
        ),
        ({"operation": "prune", "profile": "x", "keep_points": "all"}, "keep_points"),
        ({"operation": "backup"}, "one of the following is required: profile, target"),
        ({"operation": "backup", "profile": "x", "target": "y"}, "parameters are mutually exclusive: profile|target"),
        ({"operation": "restore", "profile": "x"}, "operation is restore but all of the following are missing: dest"),
        (
            {"operation": "backup", "profile": "x", "mode": "half"},
            "value of mode must be one of: auto, full, incremental",
        ),
        ({"operation": "backup", "profile": "x", "surprise": 1}, "Unsupported parameters"),
        ({"operation": "backup", "target": "x", "store": {"surprise": 1}}, "Unsupported parameters"),
    ],
)
def test_wrong_arguments(ask: Ask, tmp_path: Path, arguments: dict[str, t.Any], says: str) -> None:
    said = ask(DONE, **arguments)
    assert said["failed"]
    assert says in said["msg"]
    assert not (tmp_path / "request").exists()


def test_the_documentation_and_the_arguments_are_the_same() -> None:
    shared = ModuleDocFragment.DOCUMENTATION, ModuleDocFragment.BACKUP
    documented: dict[str, t.Any] = {}
    for text in (*shared, duplicity.DOCUMENTATION):
        documented |= yaml.safe_load(text)["options"]

    def compare(spec: dict[str, t.Any], options: dict[str, t.Any]) -> None:
        assert set(spec) == set(options)
        for name, rule in spec.items():
            for key in ("type", "choices", "default", "required", "elements"):
                assert rule.get(key) == options[name].get(key), (name, key)
            if "options" in rule:
                compare(rule["options"], options[name]["suboptions"])

    compare(duplicity.argument_spec(), documented)


def test_secrets_are_marked() -> None:
    spec = duplicity.argument_spec()
    assert spec["store"]["options"]["secret_key"]["no_log"]
    assert spec["encryption"]["options"]["private_key"]["no_log"]


def test_every_option_of_a_profile_can_be_given_for_a_target() -> None:
    own = set(profile.FIELDS) - {"node", "store", "fingerprint", *profile.KEEPING}
    assert own == {"source", "timeout", "stall_timeout", *duplicity.SELECTING, *duplicity.RUNNING}
    assert set(duplicity.SELECTING) == set(profile.SELECTING)
    spec = duplicity.argument_spec()
    assert spec["presets"]["choices"] == list(PRESETS)
    assert tuple(spec["ionice"]["choices"]) == profile.FIELDS["ionice"].choices
    of_store = spec["store"]["options"]
    assert set(of_store) - {"access_key", "secret_key"} == set(profile.STORE_FIELDS) - {"url"}
    for name in ("storage_class", "sse"):
        assert tuple(of_store[name]["choices"]) == profile.STORE_FIELDS[name].choices


def test_options_reach_the_engine_as_they_are(ask: Ask, tmp_path: Path) -> None:
    given = {"select": ["- var"], "one_file_system": True, "full_every_days": 0.5, "nice": 19, "ionice": "idle"}
    ask(DONE, operation="backup", target="file:///x", source="/srv", store={"num_retries": 9}, **given)
    request = json.loads((tmp_path / "request").read_text())
    assert {key: request[key] for key in given} == given
    assert request["store"] == {"num_retries": 9}

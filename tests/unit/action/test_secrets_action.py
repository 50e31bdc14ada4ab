# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""A task that holds a secret is refused on the controller wherever Ansible would write its arguments to the host's disk."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.lifeboat.fleet.plugins.modules import duplicity, duplicity_info
from ansible_collections.lifeboat.fleet.plugins.plugin_utils._engine_action import KNOWN
from ansible_collections.lifeboat.fleet.plugins.plugin_utils._secrets import SECRETS

SECRET = "Sentinel/4711+zXq"
TARGET = {"target": "s3://bucket/repository"}
STORE = {**TARGET, "store": {"access_key": "A", "secret_key": SECRET}}
KEY = {"profile": "site", "encryption": {"private_key": SECRET}}
BOTH = {**STORE, "encryption": {"private_key": SECRET}}
STRING = {**TARGET, "store": f"access_key=A secret_key={SECRET}"}
JSON = {**TARGET, "store": json.dumps(STORE["store"])}
ON = {"ANSIBLE_PIPELINING": "1"}
SET = "set pipelining = true in [connection] of ansible.cfg, or ansible_pipelining: true for the host."
OPERATION = {"duplicity": {"operation": "verify"}, "duplicity_info": {}}


def said(done: t.Any) -> str:
    """Ansible folds long lines."""
    return " ".join((done.stdout + done.stderr).split())


def refused(site: t.Any, done: t.Any, sentence: str) -> None:
    assert done.returncode == 2, said(done)
    assert sentence in said(done)
    assert SECRET not in said(done)
    assert site.requests == []
    assert not (site.root / "remote").exists()  # nothing was sent: not even the folder was made


@pytest.mark.parametrize("module", OPERATION)
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (STORE, "store.secret_key"),
        (KEY, "encryption.private_key"),
        (BOTH, "store.secret_key and encryption.private_key"),
        (STRING, "store.secret_key"),
        (JSON, "store.secret_key"),
    ],
    ids=["store", "key", "both", "k=v", "json"],
)
def test_without_pipelining(site: t.Any, module: str, arguments: dict[str, t.Any], names: str) -> None:
    done = site.task(module, {**OPERATION[module], **arguments}, flags=["-vvv"])
    cause = (
        f"a task with {names} needs pipelining, without which Ansible would write its arguments to the host's disk: "
    )
    refused(site, done, cause + SET)


@pytest.mark.parametrize("module", OPERATION)
def test_async(site: t.Any, module: str) -> None:
    done = site.task(module, {**OPERATION[module], **STORE}, {"async": 60, "poll": 1}, **ON)
    refused(
        site,
        done,
        "a task with store.secret_key cannot be async, since Ansible would write its arguments to the host's disk: "
        "remove async from the task.",
    )
    assert not (site.root / "home" / "async").exists()


def test_kept_files(site: t.Any) -> None:
    done = site.task("duplicity_info", STORE, ANSIBLE_KEEP_REMOTE_FILES="1", **ON)
    refused(site, done, ": unset ANSIBLE_KEEP_REMOTE_FILES (keep_remote_files in ansible.cfg).")


def test_a_become_method_that_does_not_pipeline(site: t.Any) -> None:
    done = site.task("duplicity_info", STORE, {"become": True, "become_method": "su"}, **ON)
    refused(site, done, ": become by 'su' has none, so use sudo.")


def test_ssh_with_a_terminal(site: t.Any) -> None:
    """Refused before a connection is made: the address answers nobody."""
    hosts = "node1 ansible_connection=ssh ansible_host=192.0.2.1 ansible_python_interpreter=/usr/bin/python3\n"
    (site.root / "hosts").write_text(hosts)
    done = site.task("duplicity_info", STORE, ANSIBLE_SSH_ARGS="-tt", **ON)
    refused(
        site, done, ": ssh asks for a terminal, which rules it out, so take -t and RequestTTY out of its arguments."
    )


def test_a_secret_of_module_defaults_counts(site: t.Any) -> None:
    defaults = {"group/lifeboat.fleet.fleet": {"store": STORE["store"]}}
    done = site.task("duplicity_info", TARGET, {"module_defaults": [defaults]})
    refused(site, done, SET)


@pytest.mark.parametrize("module", OPERATION)
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"encryption": {"password": SECRET}},
            "'encryption' has no option 'password': it has passphrase, private_key, public_key.",
        ),
        ({"store": {"secretkey": SECRET}}, "'store' has no option 'secretkey': it has access_key,"),
        ({"store": {SECRET: "x"}}, "'store' has no option of that name: it has access_key,"),
        ({"store": SECRET}, "'store' is not a dictionary: give it as one."),
        ({"store": [SECRET]}, "'store' is not a dictionary: give it as one."),
    ],
    ids=["password", "misspelt", "odd", "string", "list"],
)
def test_a_secret_at_a_wrong_place(site: t.Any, module: str, wrong: dict[str, t.Any], sentence: str) -> None:
    """The module would fail, and Ansible show its arguments."""
    done = site.task(module, {**OPERATION[module], **TARGET, **wrong}, flags=["-vvv"], **ON)
    refused(site, done, sentence)


def test_these_are_the_secrets_of_the_modules() -> None:
    for module in (duplicity, duplicity_info):
        spec = module.argument_spec()
        hidden = {
            (name, part) for name in spec for part, one in spec[name].get("options", {}).items() if one.get("no_log")
        }
        assert hidden == set(SECRETS)
        assert {name: set(spec[name]["options"]) - set(KNOWN[name]) for name in KNOWN} == {
            "store": set(),
            "encryption": set(),
        }


@pytest.mark.parametrize("module", OPERATION)
def test_with_pipelining_it_runs_and_nothing_is_written(site: t.Any, module: str) -> None:
    done = site.task(module, {**OPERATION[module], **BOTH}, flags=["-vvv"], **ON)
    assert done.returncode == 0, said(done)
    assert SECRET not in said(done)
    (request,) = site.requests
    assert (request["store"]["secret_key"], request["encryption"]["private_key"]) == (SECRET, SECRET)
    assert not (site.root / "remote").exists()


@pytest.mark.parametrize("keywords", [{}, {"async": 60, "poll": 1}], ids=["plain", "async"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"profile": "site"},
        {**TARGET, "store": {"credentials_file": "/etc/store.ini"}},
        {**TARGET, "store": {"access_key": "A", "secret_key": ""}, "encryption": {"private_key": None}},
        {**TARGET, "store": "credentials_file=/etc/store.ini"},
        {**TARGET, "store": {"secret_key": "{{ omit }}", "access_key": "A"}},
    ],
    ids=["profile", "file", "empty", "k=v", "omitted"],
)
def test_without_a_secret_nothing_is_asked(
    site: t.Any, arguments: dict[str, t.Any], keywords: dict[str, t.Any]
) -> None:
    done = site.task("duplicity_info", arguments, keywords)
    assert done.returncode == 0, said(done)
    assert len(site.requests) == 1

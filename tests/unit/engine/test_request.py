# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One request -> one answer: what is refused, what check mode says, where secrets go."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import (
    VERSION,
    chains,
    profile,
    reading,
    request,
    target,
)
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.errors import LifeboatError, Refused
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.profile import Layout

if t.TYPE_CHECKING:
    from tests.unit.engine.conftest import Node, Pair


def fill(value: t.Any, here: str) -> t.Any:
    """The same values with {here} filled in."""
    if isinstance(value, dict):
        return {key: fill(item, here) for key, item in value.items()}
    return value.replace("{here}", here) if isinstance(value, str) else value


@pytest.mark.table("request.yml", "refused")
def test_refused(case: dict[str, t.Any], tmp_path: Path) -> None:
    layout = Layout(*(str(tmp_path / name) for name in ("etc", "state", "cache", "run")))
    with pytest.raises(LifeboatError) as error:
        request.handle({"engine": VERSION, **fill(case["ask"], str(tmp_path))}, layout)
    assert case["says"] in str(error.value)
    assert "TOPSECRET" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_two_keys_in_one_are_refused(node: Node, pair: Pair, stranger: Pair) -> None:
    with pytest.raises(Refused, match=r"encryption.public_key holds 2 keys: give exactly one"):
        node.ask("backup", encryption={"public_key": pair.public + stranger.public})


def install(node: Node, **changes: t.Any) -> None:
    """A profile 'site' on this node."""
    data = {"node": "node1", "source": str(node.source), "store": {"url": f"file://{node.corner}"}, "fingerprint": None}
    (node.root / "etc" / "site.json").write_text(json.dumps(data | changes))


def test_a_node_prunes_its_own_profile_only_without_separated_powers(odd: Node, tmp_path: Path) -> None:
    install(here := odd.copy(tmp_path / "node"))
    for operation in ("prune", "cleanup"):
        asked = {"engine": VERSION, "operation": operation, "profile": "site"}
        answer = request.handle(asked, here.layout)
        assert (answer["failed"], answer["changed"], answer["msg"]) == (False, False, "There is nothing to drop.")
        assert (answer["record"]["operation"], answer["record"]["node"]) == (operation, "node1")
    assert [item["action"] for item in request.handle(asked | {"operation": "prune"}, here.layout)["plan"]] == ["keep"]
    install(here, store={"url": "s3://bucket/nodes/node1", "credentials_file": "/none"})
    for operation in ("prune", "cleanup"):
        with pytest.raises(
            Refused, match=r"^a node may not delete its own history from an s3:// store: prune on the contr"
        ):
            request.handle({"engine": VERSION, "operation": operation, "profile": "site"}, here.layout)


def test_check_mode_changes_nothing(odd: Node, tmp_path: Path) -> None:
    before = sorted(path for path in odd.root.rglob("*"))
    install(here := odd.copy(tmp_path / "node"))
    answers = [
        odd.ask("backup", check=True),
        here.ask("backup", target=None, source=None, profile="site", check=True),
        odd.ask("restore", dest=str(tmp_path / "new"), check=True),
        odd.ask("verify", check=True),
    ]
    assert [answer["changed"] for answer in answers] == [True, True, True, False]
    assert not any(answer["failed"] for answer in answers)
    assert answers[0]["msg"] == f"A backup of {odd.source} would run."
    assert answers[2]["msg"].endswith(f"Z would be restored to {tmp_path / 'new'}.")
    assert not (tmp_path / "new").exists()
    assert sorted(path for path in odd.root.rglob("*")) == before
    for answer in answers:
        json.dumps(answer)


def test_reading_a_profile(odd: Node, sealed: Node, pair: Pair, tmp_path: Path) -> None:
    install(plain := odd.copy(tmp_path / "plain"))
    install(closed := sealed.copy(tmp_path / "sealed"), fingerprint=pair.fingerprint)
    values = {"target": None, "profile": "site", "dest": str(tmp_path / "tree")}
    assert plain.ask("restore", **values, path="page.php", encryption=None)["outcome"] == "ok"
    with pytest.raises(Refused, match="this needs the node's private key, which is not on the node"):
        closed.ask("restore", **(values | {"dest": str(tmp_path / "other")}), encryption=None)
    answer = closed.ask("restore", **(values | {"dest": str(tmp_path / "other")}))
    assert (answer["record"]["node"], answer["record"]["profile"]) == ("node1", "site")
    assert not closed.ask("verify", target=None, profile="site", dest=str(tmp_path / "other"))["failed"]


def test_time_latest_is_the_newest(odd: Node) -> None:
    assert request._moment({"time": "latest"}) is None
    assert request._moment({"time": ""}) is None
    assert request._moment({}) is None
    assert request._moment({"time": 1795400100}).year == 2026


@pytest.mark.parametrize(
    ("url", "corner", "node", "name"),
    [
        ("s3://b/nodes/n1/repo/site", "s3://b/nodes/n1", "n1", "site"),
        ("s3://b/nodes/n1/repo/site/", "s3://b/nodes/n1", "n1", "site"),
        ("file:///mnt/nodes/n1/repo/site", "file:///mnt/nodes/n1", "n1", "site"),
        ("s3://b/nodes/n1/repo/Not-a-profile", None, None, None),
        ("s3://b/nodes/n1/repo/site/deeper", None, None, None),
        ("file:///mnt/backup", None, None, None),
    ],
)
def test_corners(url: str, corner: str | None, node: str | None, name: str | None) -> None:
    values = {"target": url, "store": {"credentials_file": "/x"}}
    with target.origin(values, Layout()) as (origin, place):
        assert (origin.node, origin.profile) == (node, name)
        assert (place.place.url if place else None) == corner
    location = profile.location({"url": url, "credentials_file": "/x"})
    settings = target.bare_profile({"source": "/srv"}, location, None)
    assert settings.bare == (corner is None)
    assert settings.node == node
    assert settings.repository.url == url.rstrip("/")
    assert settings.store.credentials_file == "/x"
    assert settings.name == name or settings.name.startswith("direct-")


def test_a_stores_key_lies_in_memory_while_it_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Path] = []

    def locate(place: t.Any, moment: t.Any) -> t.Any:
        path = Path(place.credentials_file)
        seen.append(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.read_text() == "[default]\naws_access_key_id = A\naws_secret_access_key = TOP%SECRET\n"
        return chains.choose_point(chains.collect([]), moment)

    monkeypatch.setattr(reading, "locate", locate)
    values = {
        "target": "s3://b/x",
        "store": {"access_key": "A", "secret_key": "TOP%SECRET", "region": ""},
        "dest": f"{tmp_path}/x",
    }
    with pytest.raises(LifeboatError, match="holds no backup"):
        request.handle({"engine": VERSION, "operation": "restore", **values}, Layout())
    assert seen
    assert not seen[0].parent.exists()


def test_limits_are_passed_on(odd: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import execute

    asked = []

    def run(argv: t.Any, env: t.Any, **more: t.Any) -> execute.Finished:
        asked.append((more["timeout"], more["stall_timeout"]))
        return execute.Finished(-15, ended_by="stall")

    monkeypatch.setattr(execute, "run", run)
    answer = odd.ask("restore", dest=str(tmp_path / "x"), timeout=100, stall_timeout=20, reader="duplicity")
    assert answer["msg"].endswith(
        "duplicity was stopped, since it made no progress; check the store and the source, then run again."
    )
    odd.ask("verify")
    assert asked == [(100, 20), (20 * 3600, 1800)]
    assert os.listdir(tmp_path) == []


def test_a_target_uses_nothing_of_a_profile_of_the_same_name(node: Node) -> None:
    """Else a backup by root would leave files that the profile's unit cannot open."""
    install(node)
    node.backup()
    assert not (node.root / "state" / "site").exists()
    assert not (node.root / "cache" / "site").exists()
    assert sorted(path.name for path in (node.root / "state").iterdir()) == [node.local]

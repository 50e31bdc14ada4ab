# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Command lines for podman and mmdebstrap, and what is read from their answers."""

from __future__ import annotations

import io
import json
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
from lab.lablib import containers, images, ssh, state, store, topology, up
from lab.lablib.containers import File
from lab.lablib.errors import LabError

STATE = Path("/clone/lab/.state/demo")
LISTED = json.dumps(
    [
        {
            "Id": "abc",
            "Names": ["lifeboat-demo-node1"],
            "State": "exited",
            "Image": "localhost/x:1",
            "Labels": {"lifeboat.lab": "demo", "lifeboat.lab.state": str(STATE), "lifeboat.lab.host": "node1"},
        },
        {"Id": "def", "Names": ["other"], "State": "running", "Image": "x", "Labels": None},
    ]
)


def test_list() -> None:
    first, second = containers.parse_list(LISTED)
    assert (first.host, first.state, first.lab, first.state_dir) == ("node1", "exited", "demo", str(STATE))
    assert second.lab == ""
    assert containers.parse_list("null") == ()


def test_create() -> None:
    limits = ("nofile=4096:4096",)
    argv = containers.create_argv("demo", STATE, topology.machine("store"), "10.197.7.0/24", "image:1", limits)
    assert argv[0] == "create"
    assert argv[-2:] == ["image:1", containers.INIT]
    network = argv[argv.index("--network") + 1]
    assert network == ("lifeboat-demo:ip=10.197.7.10,mac=02:4c:0a:c5:07:0a,alias=store,alias=store.lifeboat.test")
    for pair in (("--label", "lifeboat.lab=demo"), ("--ulimit", "nofile=4096:4096"), ("--cap-add", "SYS_ADMIN")):
        assert pair in pairwise(argv)
    assert "--privileged" not in argv


def test_a_lab_of_another_clone_is_refused() -> None:
    found = containers.parse_list(LISTED)[:1]
    containers.refuse_foreign(found, None, "demo", STATE)
    with pytest.raises(LabError, match="lab/lab down --name demo"):
        containers.refuse_foreign(found, None, "demo", Path("/elsewhere/lab/.state/demo"))
    network = {"labels": {"lifeboat.lab.state": str(STATE)}}
    with pytest.raises(LabError, match="/clone/lab"):
        containers.refuse_foreign((), network, "demo", Path("/elsewhere"))


def test_a_strangers_container_is_not_touched() -> None:
    found = containers.parse_list(LISTED)[:1]
    containers.refuse_named(["lifeboat-demo-node1", "other"], found, "demo")
    with pytest.raises(LabError, match="not ours is called lifeboat-demo-store"):
        containers.refuse_named(["lifeboat-demo-store"], found, "demo")


def test_subnets_in_use() -> None:
    networks = [{"subnets": [{"subnet": "10.88.0.0/16"}]}, {"name": "none"}]
    routes = json.dumps([{"dst": "default"}, {"dst": "192.0.2.0/24"}])
    assert containers.taken_subnets(networks, routes) == ["10.88.0.0/16", "default", "192.0.2.0/24"]


def test_files_keep_mode_and_owner() -> None:
    data = containers.files_tar([File("/a", None, 0o700, 1000), File("/a/b", b"x", 0o600, 1000)])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        folder, file = tar.getmembers()
    assert folder.isdir()
    assert (file.name, file.mode, file.uid, file.gid, file.size) == ("a/b", 0o600, 1000, 1000, 1)


def test_image_tag_follows_the_recipe() -> None:
    recipe = images.ALL[0]
    tag = images.tag(recipe, ["deb a"], b"files", b"scripts")
    assert tag == images.tag(recipe, ["deb a"], b"files", b"scripts")
    assert tag.startswith("localhost/lifeboat-lab-store:")
    others = {
        images.tag(recipe, ["deb b"], b"files", b"scripts"),
        images.tag(recipe, ["deb a"], b"other", b"scripts"),
        images.tag(recipe, ["deb a"], b"files", b"other"),
        images.tag(images.ALL[1], ["deb a"], b"files", b"scripts"),
    }
    assert len(others - {tag}) == 4


def test_bootstrap_names_no_host_of_its_own() -> None:
    recipe = images.Recipe("x", "trixie", ("ceph-mon",), (), ("common.sh",))
    argv = images.bootstrap_argv(recipe, ["deb http://m trixie main"], Path("/t/f.tar"), Path("/t/i.tar"))
    assert argv[-3:] == ["trixie", "/t/i.tar", "deb http://m trixie main"]
    assert "--customize-hook=tar-in /t/f.tar /" in argv
    assert any(each.startswith("--include=") and each.endswith(",ceph-mon") for each in argv)
    assert not any("gnupg" in each or "python3-venv" in each for each in argv)


def test_recipes_exist_and_are_reproducible() -> None:
    for recipe in images.ALL:
        folders = [images.RECIPES / "rootfs" / each for each in recipe.trees]
        assert images.tree_tar(folders) == images.tree_tar(folders) != images.tree_tar([])
        assert all((images.RECIPES / each).is_file() for each in recipe.scripts)


def test_boot_report() -> None:
    booted = up.parse_boot("node1", "degraded\nfoo.service \nssh-ed25519 AAAA node1\n")
    assert (booted.state, booted.failed, booted.key) == ("degraded", "foo.service", "ssh-ed25519 AAAA node1")
    for text in ("", "starting\n\nssh-ed25519 AAAA\n", "running\n\n\n"):
        with pytest.raises(LabError, match="did not boot"):
            up.parse_boot("node1", text)


def test_known_hosts() -> None:
    keys = {"10.0.0.2": "ssh-ed25519 BBBB node2", "10.0.0.1": "ssh-ed25519 AAAA node1"}
    assert ssh.known_hosts(keys) == "10.0.0.1 ssh-ed25519 AAAA\n10.0.0.2 ssh-ed25519 BBBB\n"


def test_ssh_checks_host_keys() -> None:
    argv = ssh.argv(state.State(STATE), "10.0.0.1", ("id",))
    assert argv[-2:] == ["ops@10.0.0.1", "id"]
    assert "StrictHostKeyChecking=yes" in argv


def test_store_keys() -> None:
    text = json.dumps({"keys": [{"access_key": "A", "secret_key": "B"}]})
    assert store.parse_keys(text) == "[default]\naws_access_key_id = A\naws_secret_access_key = B\n"
    for broken in ("", "{}", '{"keys": []}'):
        with pytest.raises(LabError, match="gave no keys"):
            store.parse_keys(broken)


def test_state_files_are_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "x" / "minter.ini"
    state.write(path, "secret\n", 0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("secret\n", 0o600)
    assert [each.name for each in path.parent.iterdir()] == ["minter.ini"]


def test_only_a_state_folder_is_removed(tmp_path: Path) -> None:
    wrong, right = tmp_path / "demo", tmp_path / "lab" / ".state" / "demo"
    for each in (wrong, right):
        each.mkdir(parents=True)
        state.remove(each, "demo")
    assert wrong.exists()
    assert not right.exists()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Root on a node overwrites and deletes that node's backups, with the node's own key. All of it is seen, every point comes
back as of the time before, and a repair makes the repository what it was. In this order; no other test is needed before."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import fleet as engine_fleet
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import times
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.fleet import Wanted
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine.store import Location, S3Store, s3_client

NODE, SOURCE = "node2", "/srv/www"
REPO, RECORDS = f"nodes/{NODE}/repo/site/", f"nodes/{NODE}/records/site/"
JUNK = "20300101T000000Z"
known: dict[str, Any] = {}


class Bucket:
    """The lab's bucket in the hands of the restorer, and of root on the node."""

    def __init__(self, fleet: Any, ini: str, credentials: str) -> None:
        store = json.loads((fleet.state / "fleet.json").read_text())["store"]
        self.name = store["bucket"]
        self.place = Location(
            f"s3://{self.name}", store["endpoint_url"], store["region"], store["ca_bundle"], credentials_file=ini
        )
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(credentials)
        assert parser["default"]["aws_secret_access_key"]
        self.client: Any = s3_client(self.place)

    def versions(self) -> dict[str, dict[str, datetime]]:
        """Every version and delete marker of the node, by object, with its time."""
        found: dict[str, dict[str, datetime]] = {}
        for item in S3Store(self.place).list_versions(f"nodes/{NODE}/"):
            found.setdefault(item.name, {})[item.version_id] = item.modified
        return found

    def current(self) -> dict[str, str]:
        """What a plain reader finds, by checksum."""
        return {item.name: item.checksum for item in S3Store(self.place).list(f"nodes/{NODE}/")}


@pytest.fixture(scope="module")
def reader(fleet: Any) -> Bucket:
    ini = fleet.state / "controller/restorer.ini"
    return Bucket(fleet, str(ini), ini.read_text())


@pytest.fixture(scope="module")
def intruder(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """Root on the node has what the node has."""
    ini = tmp_path_factory.mktemp("intruder") / "store.ini"
    ini.touch(mode=0o600)
    ini.write_text(fleet.on(NODE, "sudo cat /etc/lifeboat/store.ini"))
    return Bucket(fleet, str(ini), ini.read_text())


def alarms(reader: Bucket) -> set[tuple[str, str]]:
    (corner,) = engine_fleet.read(reader.place, [Wanted(NODE, "site")], history=True)
    return {(item.name, item.what) for item in corner.alarms}


def restore(fleet: Any, dest: str, **extra: Any) -> dict[str, list[Any]]:
    run = fleet.play("restore.yml", target=NODE, on="harbour", dest=dest, **extra)
    assert run.rc == 0, run.out
    found: dict[str, list[Any]] = fleet.look("harbour", dest)
    beside = fleet.on("harbour", f"sudo sh -c 'rm -rf {dest}; ls -A /srv /dev/shm; pgrep gpg-agent || true'")
    assert "lifeboat" not in beside
    return found


def repair(fleet: Any, *arguments: str, **extra: Any) -> Any:
    return fleet.play("repair.yml", *arguments, target=NODE, as_of=known["good"], confirm=True, **extra)


def test_a_crash_and_its_clean_up_are_no_alarm(fleet: Any, reader: Bucket, intruder: Bucket) -> None:
    """What a killed full leaves, its second try included; duplicity itself takes it away at the next full."""
    known["before"] = alarms(reader)
    left = f"{REPO}duplicity-full.{times.stamp(times.now())}.vol{{}}.difftar.gpg"
    for number, body in ((1, b"one"), (2, b"two"), (2, b"two again")):
        intruder.client.put_object(Bucket=intruder.name, Key=left.format(number), Body=body)
    run = fleet.play("backup.yml", target=NODE, mode="full")
    assert run.rc == 0, run.out
    gone = {item.name for item in S3Store(reader.place).list_versions(REPO) if item.marker and item.latest}
    assert {left.format(1), left.format(2)} <= gone
    assert alarms(reader) == known["before"]


def test_two_points_are_made_and_nothing_is_alarming(fleet: Any, reader: Bucket) -> None:
    for mode in ("full", "incremental"):
        fleet.on(NODE, f"sudo sh -c 'echo {mode} > {SOURCE}/marked-{mode}; rm -f {SOURCE}/marked-gone'")
        known[mode] = fleet.look(NODE, SOURCE)
        run = fleet.play("backup.yml", target=NODE, mode=mode)
        assert run.rc == 0, run.out
        known[mode, "time"] = json.loads(fleet.on(NODE, "sudo cat /var/lib/lifeboat/site/last.json"))["record"][
            "set_time"
        ]
    assert alarms(reader) == known["before"]
    last = max(moment for found in reader.versions().values() for moment in found.values())
    known["good"] = times.stamp(last + timedelta(seconds=1))
    known["versions"], known["current"] = reader.versions(), reader.current()
    while times.now() < last + timedelta(seconds=3):
        time.sleep(0.5)


def test_root_on_the_node_ruins_what_it_can(intruder: Bucket, reader: Bucket) -> None:
    """Volumes and manifests become garbage, signatures and records vanish, and a chain of 2030 turns up."""
    touched = 0
    for name in known["current"]:
        if ".difftar" in name or ".manifest" in name:
            intruder.client.put_object(Bucket=intruder.name, Key=name, Body=b"garbage of " + name.encode())
        elif ".sigtar" in name or name.startswith(RECORDS):
            intruder.client.delete_object(Bucket=intruder.name, Key=name)
        touched += 1
    twice = next(name for name in known["current"] if ".vol1." in name)
    intruder.client.put_object(Bucket=intruder.name, Key=twice, Body=b"garbage once more")
    intruder.client.delete_object(Bucket=intruder.name, Key=twice)
    for kind in ("full.{}.vol1.difftar", "full.{}.manifest", "full-signatures.{}.sigtar"):
        intruder.client.put_object(Bucket=intruder.name, Key=f"{REPO}duplicity-{kind.format(JUNK)}.gpg", Body=b"junk")
    assert touched > 8
    # the past itself is out of its reach
    for name, found in list(known["versions"].items())[:2]:
        with pytest.raises(Exception, match="AccessDenied"):
            intruder.client.delete_object(Bucket=intruder.name, Key=name, VersionId=next(iter(found)))
    with pytest.raises(Exception, match="AccessDenied"):
        intruder.client.list_object_versions(Bucket=intruder.name, Prefix=REPO)
    assert all(found.items() <= reader.versions()[name].items() for name, found in known["versions"].items())


def test_status_names_what_was_done(fleet: Any, reader: Bucket) -> None:
    found = alarms(reader)
    names = {(name.rpartition("/")[2], name) for name in known["current"]}
    for short, name in names:
        what = "hidden" if ".sigtar" in name or name.startswith(RECORDS) else "overwritten"
        assert (short, what) in found, name
    new = {name for name, _what in found - known["before"]}
    assert new <= {short for short, _name in names}  # junk alone overwrites nothing
    run = fleet.play("status.yml", target=NODE)
    assert run.rc != 0
    assert run.out.count("ALARM: ") >= 5
    assert re.search(r"ALARM: \S+ was (overwritten|hidden) at 2", run.out)


@pytest.mark.parametrize("engine", ["fast", "duplicity"])
def test_without_as_of_nothing_comes_back(fleet: Any, engine: str) -> None:
    run = fleet.play("restore.yml", target=NODE, on="harbour", dest="/srv/ruined", engine=engine)
    assert run.rc != 0
    assert "Traceback" not in run.out
    assert "ruined" not in fleet.on("harbour", "ls -A /srv")


@pytest.mark.parametrize("engine", ["fast", "duplicity"])
def test_both_points_come_back_as_of_before(fleet: Any, engine: str) -> None:
    newest = restore(fleet, f"/srv/as-of-{engine}", engine=engine, as_of=known["good"])
    assert newest == known["incremental"]
    older = restore(fleet, f"/srv/as-of-{engine}-full", engine=engine, as_of=known["good"], time=known["full", "time"])
    assert older == known["full"]


GLASS = "/dev/shm/break-glass-as-of"


def page(fleet: Any) -> str:
    """docs/break-glass.md as it is to be pasted for an overwritten repository, with this lab's variables."""
    text = (Path(__file__).resolve().parents[3] / "docs/break-glass.md").read_text(encoding="utf-8")
    _variables, install, room, key, opened, _choose, _take, _look, again, count, compare, wipe = re.findall(
        r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    (then,) = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (instead,) = re.findall(r"`(cp .*)`\.$", text, re.MULTILINE)
    again, flags = re.subn(r' --s3-endpoint-url "\$ENDPOINT" --s3-region-name "\$REGION"', "", again)
    compare, fetched = re.subn(r"^aws .*$", lambda _line: instead, compare, flags=re.MULTILINE)
    then, moments = re.subn(r"^AS_OF=\S+", f"AS_OF={times.parse_stamp(known['good']).isoformat()}", then)
    assert (flags, fetched, moments) == (1, 1, 1)
    store = json.loads((fleet.state / "fleet.json").read_text())["store"]
    values = {
        "ENDPOINT": store["endpoint_url"],
        "REGION": store["region"],
        "BUCKET": store["bucket"],
        "CA": store["node_ca_bundle"],
        "CREDENTIALS": f"{GLASS}/restorer.ini",
        "RECOVERY_KEY": f"{GLASS}/recovery.key.asc",
        "NODE": NODE,
        "PROFILE": "site",
        "DEST": "/srv/broken-glass",
    }
    given = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    return "\n".join([given, install, room, key, opened, then, again, count, compare, wipe])


def packages(fleet: Any) -> set[str]:
    return set(fleet.on("harbour", "dpkg-query --show --showformat '${binary:Package}\\n'").split())


def test_the_break_glass_page_reads_then_as_well(fleet: Any) -> None:
    """With Debian's packages alone, as the page says."""
    before = packages(fleet)
    try:
        for name in ("controller/restorer.ini", "recovery.key.asc"):
            path = fleet.state / name
            fleet.feed("harbour", f"umask 077 && mkdir -p {GLASS} && cat > {GLASS}/{path.name}", path.read_text())
        run = fleet.feed("harbour", 'script=$(cat) && exec sh -eu -c "$script" < /dev/null', page(fleet))
        if run.rc == 139:  # Debian's aws (2.23.6) crashed once: the page says to begin again then
            fleet.on("harbour", "sudo sh -c 'rm -rf /dev/shm/break-glass.?????? /srv/broken-glass*'")
            run = fleet.feed("harbour", 'script=$(cat) && exec sh -eu -c "$script" < /dev/null', page(fleet))
        assert run.rc == 0, run.out
        restored = fleet.look("harbour", "/srv/broken-glass")
    finally:
        fleet.on("harbour", f"sudo rm -rf {GLASS} /srv/broken-glass*")
        if new := sorted(packages(fleet) - before):
            fleet.on("harbour", f"sudo apt-get purge --yes {' '.join(new)}")
    assert f"restore point: {known['incremental', 'time']}" in run.out
    assert run.out.rstrip().endswith(" 0 differences")
    assert restored == known["incremental"]


def test_points_and_verify_are_of_then_too(fleet: Any, reader: Bucket) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(fleet.state / "controller/restorer.ini")
    store = json.loads((fleet.state / "fleet.json").read_text())["store"]
    access = {
        "endpoint_url": store["endpoint_url"],
        "region": store["region"],
        "ca_bundle": store["node_ca_bundle"],
        "access_key": parser["default"]["aws_access_key_id"],
        "secret_key": parser["default"]["aws_secret_access_key"],
    }
    target = f"s3://{store['bucket']}/{REPO.rstrip('/')}"
    then = fleet.ask("harbour", operation="info", target=target, store=access, as_of=known["good"])
    assert then["newest"] == known["incremental", "time"]
    assert {known["full", "time"], known["incremental", "time"]} <= {point["time"] for point in then["points"]}
    assert fleet.ask("harbour", operation="info", target=target, store=access)["newest"] == JUNK


def test_a_nodes_own_key_cannot_look_back(fleet: Any) -> None:
    said = fleet.feed(NODE, "lifeboat points site --as-of 1m", "").out
    assert "a node's own key may not see versions" in said


def test_a_repair_that_only_tells_changes_nothing(fleet: Any, reader: Bucket) -> None:
    before = reader.versions()
    run = repair(fleet, "--check", "--diff")
    assert run.rc == 0, run.out
    assert "would be repaired" in run.out
    assert ", 1 version(s) since then" in run.out
    assert reader.versions() == before
    early = fleet.play("repair.yml", target=NODE, as_of="2020-01-01", confirm=True)
    assert early.rc != 0
    assert "the store held no whole restore point of node2/site at 20200101T000000Z" in " ".join(early.out.split())
    assert reader.versions() == before
    nobody = fleet.play("repair.yml", as_of=known["good"], confirm=True)
    assert nobody.rc != 0
    assert "Name nodes and the last good time" in nobody.out


def test_a_repair_makes_the_good_versions_current(fleet: Any, reader: Bucket) -> None:
    ruined = reader.versions()
    run = repair(fleet)
    assert run.rc == 0, run.out
    now = reader.current()
    assert {name: now.get(name) for name in known["current"]} == known["current"]
    assert {name for name in now if name not in known["current"]} == {name for name in now if JUNK in name}
    # with the times at which the store got them
    assert {name: found for name, found in reader.versions().items() if JUNK not in name} == known["versions"]
    removed = {version for name, found in ruined.items() for version in found} - {
        version for found in reader.versions().values() for version in found
    }
    client: Any = s3_client(reader.place)
    listed = client.list_objects_v2(Bucket=reader.name, Prefix=f"ledger/repair/{NODE}/")["Contents"]
    entries = [json.loads(client.get_object(Bucket=reader.name, Key=item["Key"])["Body"].read()) for item in listed]
    noted = {item["version_id"] for entry in entries if entry["as_of"] == known["good"] for item in entry["versions"]}
    assert noted == removed
    again = repair(fleet)
    assert again.rc == 0
    assert "changed=0 " in again.out
    assert alarms(reader) == known["before"]


def test_junk_goes_when_that_is_asked_for(fleet: Any, reader: Bucket) -> None:
    run = repair(fleet, remove_new=True)
    assert run.rc == 0, run.out
    assert reader.current() == known["current"]
    assert reader.versions() == known["versions"]


@pytest.mark.parametrize("engine", ["fast", "duplicity"])
def test_then_a_plain_restore_works(fleet: Any, engine: str) -> None:
    assert restore(fleet, f"/srv/plain-{engine}", engine=engine) == known["incremental"]


def test_and_the_node_goes_on_backing_up(fleet: Any, reader: Bucket) -> None:
    fleet.on(NODE, f"sudo touch {SOURCE}/marked-later")
    run = fleet.play("backup.yml", target=NODE, mode="incremental")
    assert run.rc == 0, run.out
    assert alarms(reader) == known["before"]
    fleet.on(NODE, f"sudo sh -c 'rm {SOURCE}/marked-*'")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""``docs/break-glass.md`` is true: its commands, as they stand, bring a node's files back with Debian's packages alone."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[3]
NODE, SOURCE, DEST, KEYS = "node3", "/srv/www", "/srv/broken-glass", "/dev/shm/break-glass-test"

# Alters a copy of what was restored; the page's own comparison (`{check}`) must find each of these.
SPOIL = """
cp -a "$DEST" "$DEST.altered"
(
  cd "$DEST.altered" && set -- $(find . -type f -name '*.html' -size +1k | sort | head -n 4)
  then=$(stat -c @%Y "$1") && printf x | dd of="$1" conv=notrunc status=none && touch -d "$then" "$1"
  rm "$2" && chmod 4711 "$3" && chown 4711 "$4" && touch extra
)
echo "altered:"
if (
DEST=$DEST.altered
{check}
); then exit 99; fi
rm -rf "$DEST.altered"
"""


def blocks() -> list[str]:
    """What the page tells to paste: its fenced blocks of shell; the first one holds the variables."""
    page = (TOP / "docs" / "break-glass.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def script(fleet: Any) -> str:
    """The page for this lab: the lab's variables in place of the page's, and one more comparison before the wipe."""
    variables, *steps = blocks()
    store = json.loads((fleet.state / "fleet.json").read_text())["store"]
    values = {
        "ENDPOINT": store["endpoint_url"],
        "REGION": store["region"],
        "BUCKET": store["bucket"],
        "CA": store["node_ca_bundle"],
        "CREDENTIALS": f"{KEYS}/restorer.ini",
        "RECOVERY_KEY": f"{KEYS}/recovery.key.asc",
        "NODE": NODE,
        "PROFILE": "site",
        "DEST": DEST,
    }
    assert [line.split("=")[0] for line in variables.splitlines()] == list(values)
    (wipe,) = (number for number, step in enumerate(steps) if "rm -rf" in step and '"$WORK"' in step)
    steps.insert(wipe, SPOIL.format(check=steps[wipe - 1]))
    return "\n".join([*(f"{name}={shlex.quote(value)}" for name, value in values.items()), *steps])


def feed(fleet: Any, host: str, command: str, data: bytes) -> subprocess.CompletedProcess[str]:
    """Run a command on a host with ``data`` on its stdin: what is secret is in no argument."""
    argv = [str(TOP / "lab" / "lab"), "ssh", "--name", fleet.state.name, host, command]
    done = subprocess.run(argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    return subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode("utf-8", "replace"))


def packages(fleet: Any, host: str) -> set[str]:
    listed = fleet.on(host, "dpkg-query --show --showformat '${db:Status-Status} ${binary:Package}\\n'")
    return {name for status, name in (line.split() for line in listed.splitlines()) if status == "installed"}


@contextmanager
def keys_at_hand(fleet: Any, host: str) -> Iterator[None]:
    """What the operator brings is on the host; afterwards the host is as it was: no keys, files or new packages."""
    before = packages(fleet, host)
    try:
        for source in ("controller/restorer.ini", "recovery.key.asc"):
            path = fleet.state / source
            command = f"sudo sh -c 'umask 077 && mkdir -p {KEYS} && cat > {KEYS}/{path.name}'"
            assert feed(fleet, host, command, path.read_bytes()).returncode == 0
        yield
    finally:
        fleet.on(host, f"sudo sh -c 'rm -rf {KEYS} {DEST} {DEST}.* /dev/shm/break-glass.*'")
        new = sorted(packages(fleet, host) - before)
        if new:
            fleet.on(host, f"sudo apt-get purge --yes {' '.join(new)}")


def test_page_needs_nothing_of_ours() -> None:
    text = "".join(blocks()[1:])
    assert not re.search("ansible|/opt/|lifeboat", text)
    assert "apt-get install" in text


# harbour is Debian 13; node1 is Debian 12, whose duplicity is another generation
@pytest.mark.parametrize(("host", "version"), [("harbour", "3."), ("node1", "0.8.22")])
def test_page_brings_every_file_back(fleet: Any, host: str, version: str) -> None:
    backup = fleet.play("backup.yml", target=NODE)
    assert backup.rc == 0, backup.out
    point = json.loads(fleet.on(NODE, "sudo cat /var/lib/lifeboat/site/last.json"))["record"]["set_time"]
    expected = fleet.look(NODE, SOURCE)
    with keys_at_hand(fleet, host):
        # its stdin is empty, so that no step can wait for an answer or swallow the next one
        run = feed(fleet, host, 'sudo sh -eu -c "$(cat)" < /dev/null', script(fleet).encode())
        if run.returncode == 139:  # Debian's aws (2.23.6) crashed once: the page says to begin again then
            fleet.on(host, f"sudo sh -c 'rm -rf /dev/shm/break-glass.?????? {DEST}*'")
            run = feed(fleet, host, 'sudo sh -eu -c "$(cat)" < /dev/null', script(fleet).encode())
        assert run.returncode == 0, run.stdout
        assert fleet.on(host, "dpkg-query --search $(command -v duplicity)").startswith("duplicity: /usr/bin/")
        restored = fleet.look(host, DEST)
        left = fleet.on(host, f"sudo find /dev/shm -mindepth 1 -not -path '{KEYS}*'; ls /srv; pgrep gpg-agent || true")
    assert f"duplicity {version}" in run.stdout
    assert f"restore point: {point}" in run.stdout
    assert restored.keys() == expected.keys()
    assert {path: (row, restored[path]) for path, row in expected.items() if restored[path] != row} == {}
    page, altered = run.stdout.split("altered:\n")
    assert page.rstrip().endswith(" 0 differences")
    for what in ("content", "missing", "mode", "owner", "extra"):
        assert re.search(f"^{what} b'", altered, re.MULTILINE), altered
    counts = dict(re.findall(r"^(recorded|restored): (\d+ files, \d+ bytes)$", page, re.MULTILINE))
    assert counts["recorded"] == counts["restored"]
    assert not re.search(r"break-glass|\.work\.|^\d+$", left, re.MULTILINE), left

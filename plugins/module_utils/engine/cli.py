# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The ``lifeboat`` command on a node: the same operations for people (verbs) and for the module (``--json``)."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import traceback
import typing as t

from . import VERSION, profile, record, reporter, request, terminal, times, unit
from .errors import LifeboatError
from .profile import Layout
from .result import utf8
from .store import open_store

_ABOUT = """\
Backups of this node, and what can be restored from them.

  lifeboat status                     how old the newest restore point of each profile is
  lifeboat points site                the restore points of profile 'site'
  lifeboat backup site                run its backup now (through its unit, as the timer does)
  lifeboat restore site /srv/back --key-fd 3 3< key.asc
                                      restore the newest point into a new folder

Restoring needs the node's private key, which is never on the node: an operator opens it from escrow
(playbooks/restore.yml does all of this from the controller)."""


def main(argv: t.Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 it failed (one sentence on stderr), 2 the command line is wrong."""
    # the default would end us without wiping keys from memory
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    arguments = _parser().parse_args(argv)
    try:
        if arguments.json:
            return _json()
        if not arguments.verb:
            _parser().print_help()
            return 2
        return int(arguments.action(arguments))
    except LifeboatError as error:
        print(f"lifeboat: {utf8(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lifeboat: interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lifeboat", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"lifeboat {VERSION}")
    parser.add_argument(
        "--json", action="store_true", help="read one request in JSON from standard input, answer in JSON"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    status = verbs.add_parser("status", help="age of the newest restore point of each profile")
    status.set_defaults(action=_status)
    points = verbs.add_parser("points", help="restore points of a profile")
    points.set_defaults(action=_points)
    points.add_argument("profile")
    backup = verbs.add_parser("backup", help="run a profile's backup now")
    backup.set_defaults(action=_backup)
    backup.add_argument("profile")
    backup.add_argument("--mode", choices=("auto", "full", "incremental"), default="auto")
    restore = verbs.add_parser("restore", help="restore a point into a folder")
    restore.set_defaults(action=_restore)
    restore.add_argument("profile")
    restore.add_argument("dest", help="the folder that appears when the restore is complete")
    restore.add_argument("--path", help="only this file or folder of the source")
    restore.add_argument("--replace", action="store_true", help="swap an existing folder")
    verify = verbs.add_parser("verify", help="read all volumes of a point; with --dest compare a restored tree")
    verify.set_defaults(action=_verify)
    verify.add_argument("profile")
    verify.add_argument("--dest", help="a restored tree to compare with what the node recorded")
    for reader in (restore, verify):
        reader.add_argument("--time", help="the newest point not after this (UTC; default: the newest of all)")
        reader.add_argument("--key-fd", type=int, metavar="FD", help="descriptor to read the node's private key from")
    for worker in (backup, restore, verify):
        worker.add_argument("--quiet", action="store_true", help="no progress on a terminal")
    run = verbs.add_parser("unit")  # for the unit: without a help it is not listed
    run.set_defaults(action=_unit)
    run.add_argument("profile")
    return parser


def _json() -> int:
    """Whatever happens, one JSON object is printed: the module never has to guess from text."""
    try:
        values = _request()
        with reporter.published(_progress_path(values), str(values.get("operation", ""))):
            answer = request.handle(values)
    except LifeboatError as error:
        answer = {"failed": True, "msg": utf8(str(error))}
    except Exception as error:  # noqa: BLE001 - a bug of ours must reach the user as an answer too
        answer = {
            "failed": True,
            "msg": f"the engine broke: {type(error).__name__}: {utf8(str(error))}; please report it.",
            "detail": utf8(traceback.format_exc()),
        }
    json.dump(answer, sys.stdout)
    print()
    return 1 if answer.get("failed") else 0


def _request() -> dict[str, t.Any]:
    try:
        values = json.load(sys.stdin)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise LifeboatError("the request on standard input is not a JSON object.")
    return values


def _progress_path(values: dict[str, t.Any]) -> str | None:
    """Where the one who asks wants to watch: ``progress`` of the request is an id of his."""
    identifier = values.pop("progress", None)
    return None if identifier is None else reporter.public_path(Layout().run, str(identifier))


def _show(answer: t.Mapping[str, t.Any]) -> int:
    for warning in answer.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
    print(answer["msg"], file=sys.stderr if answer["failed"] else sys.stdout)
    for line in str(answer.get("detail") or "").splitlines():
        print(f"  {line}", file=sys.stderr)
    for item in answer.get("comparison", {}).get("first", []):
        print(f"  {item['what']}: {item['path']}", file=sys.stderr)
    return 1 if answer["failed"] else 0


def _status(arguments: argparse.Namespace) -> int:
    names = profile.names()
    if not names:
        raise LifeboatError("this node has no profile yet: roll it out (playbooks/rollout.yml).")
    worst = 0
    for name in names:
        answer = unit.last(name)
        entry = answer.get("record") or {}
        if not entry:
            print(f"{name}: no backup was tried yet")
            worst = 1
        elif answer.get("failed"):
            print(f"{name}: the run of {entry['started']} FAILED: {answer['msg']}")
            worst = 1
        else:
            made = entry["mode"] is not None  # else it looked, and nothing had changed
            hours = (times.now() - times.parse_stamp(entry["set_time" if made else "started"])).total_seconds() / 3600
            what = f"{entry['mode']} of" if made else "unchanged since"
            age = f"{hours:.1f} h old" if made else f"looked {hours:.1f} h ago"
            print(f"{name}: {what} {entry['set_time']} ({age}), {entry['files']} files")
    return worst


def _points(arguments: argparse.Namespace) -> int:
    settings = profile.load(arguments.profile)
    records, complaints = record.read_all(open_store(settings.store), settings.records)
    for entry in record.points(records):
        print(f"{entry.set_time}  {entry.mode:<11}  {entry.files:>9} files  {entry.bytes:>15} bytes")
    for complaint in complaints:
        print(f"warning: {complaint}", file=sys.stderr)
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    with terminal.shown("backup", arguments.profile, quiet=arguments.quiet):
        answer = unit.start(arguments.profile, arguments.mode)
    return _show(answer)


def _read(arguments: argparse.Namespace, operation: str, **more: t.Any) -> int:
    values: dict[str, t.Any] = {
        "engine": VERSION,
        "operation": operation,
        "profile": arguments.profile,
        **more,
    }
    values["time"] = arguments.time
    if arguments.key_fd is not None:
        try:
            with open(arguments.key_fd, encoding="ascii") as handle:
                values["encryption"] = {"private_key": handle.read()}
        except (OSError, ValueError) as error:
            raise LifeboatError(f"cannot read a key from descriptor {arguments.key_fd}: {error}.") from error
    with terminal.shown(operation, arguments.profile, quiet=arguments.quiet):
        answer = request.handle(values)
    return _show(answer)


def _restore(arguments: argparse.Namespace) -> int:
    return _read(arguments, "restore", dest=arguments.dest, path=arguments.path, replace=arguments.replace)


def _verify(arguments: argparse.Namespace) -> int:
    return _read(arguments, "verify", dest=arguments.dest)


def _unit(arguments: argparse.Namespace) -> int:
    result = unit.run(arguments.profile, Layout())
    return _show(result.to_dict())


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The ``lifeboat`` command on a node: the same operations for people (verbs) and for the module (``lifeboat --json``)."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import traceback
import typing as t

from . import VERSION, cli_parser, profile, reporter, request, terminal, times, unit
from .errors import LifeboatError
from .profile import Layout
from .result import utf8


def main(argv: t.Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 it failed (one sentence on stderr), 2 the command line is wrong."""
    # the default would end us without wiping keys from memory
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    parser = cli_parser.parser(VERBS)
    arguments = parser.parse_args(argv)
    try:
        if arguments.door:
            return _json()
        if not arguments.verb:
            parser.print_help()
            return 2
        return int(arguments.action(arguments))
    except LifeboatError as error:
        print(f"lifeboat: {utf8(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lifeboat: interrupted.", file=sys.stderr)
        return 130


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


def _show(answer: t.Mapping[str, t.Any], as_json: bool = False) -> int:
    if as_json:
        print(json.dumps(answer))
        return 1 if answer["failed"] else 0
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
    rows = [_row(name) for name in names]
    failed = any(row["failed"] for row in rows)
    if arguments.as_json:
        return _show({"failed": failed, "profiles": rows}, as_json=True)
    for row in rows:
        print(f"{row['profile']}: {row['msg']}")
    return 1 if failed else 0


def _row(name: str) -> dict[str, t.Any]:
    """One profile's last run on this node, and what it says of the newest restore point."""
    answer = unit.last(name)
    entry = answer.get("record") or {}
    row = {"profile": name, "failed": True, "record": entry or None, "age": None}
    if not entry:
        return {**row, "msg": "no backup was tried yet"}
    if answer.get("failed"):
        return {**row, "msg": f"the run of {entry['started']} FAILED: {answer['msg']}"}
    made = entry["mode"] is not None  # else it looked, and nothing had changed
    age = int((times.now() - times.parse_stamp(entry["set_time" if made else "started"])).total_seconds())
    what = f"{entry['mode']} of" if made else "unchanged since"
    when = f"{age / 3600:.1f} h old" if made else f"looked {age / 3600:.1f} h ago"
    message = f"{what} {entry['set_time']} ({when}), {entry['files']} files"
    return {**row, "failed": False, "age": age, "msg": message}


def _points(arguments: argparse.Namespace) -> int:
    asked = {"engine": VERSION, "operation": "info", "profile": arguments.profile, "as_of": arguments.as_of}
    answer = request.handle(asked)
    if arguments.as_json:
        return _show(answer, as_json=True)
    for point in answer["points"]:
        files, size = (point[key] if point[key] is not None else "?" for key in ("files", "bytes"))
        print(f"{point['time']}  {point['kind']:<11}  {files:>9} files  {size:>15} bytes")
    for warning in answer["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    with terminal.shown("backup", arguments.profile, quiet=arguments.quiet or arguments.as_json):
        answer = unit.start(arguments.profile, arguments.mode)
    return _show(answer, arguments.as_json)


def _ask(arguments: argparse.Namespace, operation: str, **more: t.Any) -> dict[str, t.Any]:
    values = {"engine": VERSION, "operation": operation, "profile": arguments.profile, **more}
    values |= {"time": arguments.time, "as_of": arguments.as_of}
    if arguments.key_fd is not None:
        try:
            with open(arguments.key_fd, encoding="ascii") as handle:
                values["encryption"] = {"private_key": handle.read()}
        except (OSError, ValueError) as error:
            raise LifeboatError(f"cannot read a key from descriptor {arguments.key_fd}: {error}.") from error
    quiet = arguments.as_json or getattr(arguments, "quiet", True)
    with terminal.shown(operation, arguments.profile, quiet=quiet):
        return request.handle(values)


def _restore(arguments: argparse.Namespace) -> int:
    given = {key: getattr(arguments, key) for key in ("dest", "path", "select", "replace", "check")}
    return _show(_ask(arguments, "restore", **given), arguments.as_json)


def _verify(arguments: argparse.Namespace) -> int:
    answer = _ask(arguments, "verify", dest=arguments.dest, compare_data=arguments.live or None)
    return _show(answer, arguments.as_json)


def _files(arguments: argparse.Namespace) -> int:
    answer = _ask(arguments, "info", files=True, path=arguments.path)
    if arguments.as_json:
        return _show(answer, as_json=True)
    for item in answer["files"]:
        print(f"{item['type']}  {item['mtime']}  {item['path']}")
    return 0


def _unit(arguments: argparse.Namespace) -> int:
    result = unit.run(arguments.profile, Layout())
    return _show(result.to_dict())


VERBS: dict[str, cli_parser.Verb] = {
    "status": _status,
    "points": _points,
    "backup": _backup,
    "restore": _restore,
    "verify": _verify,
    "files": _files,
    "unit": _unit,
}


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""The command line of ``lifeboat``: its verbs, what each takes, and the help that teaches them."""

from __future__ import annotations

import argparse
import typing as t

from . import VERSION

Verb = t.Callable[[argparse.Namespace], int]

_ABOUT = """\
Backups of this node, and what can be restored from them.

  lifeboat status                  how old the newest restore point of each profile is
  lifeboat points site             the restore points of profile 'site'
  lifeboat backup site             run its backup now (through its unit, as the timer does)
  lifeboat files site --key-fd 3 3< key.asc
                                   the files of the newest point
  lifeboat restore site /srv/back --key-fd 3 3< key.asc
                                   restore it into a new folder

Reading what is encrypted needs the node's private key, which is never on the node: an operator opens it from
escrow and hands it over on a descriptor. playbooks/restore.yml does all of this from the controller.
'lifeboat VERB --help' says more of each. Exit codes: 0 done, 1 it failed or is not well (one sentence says
why), 2 the command line is wrong, 130 interrupted."""

_RESTORE = """\
Restore the newest point, or the newest one not after --time, to DEST.

  lifeboat restore site /srv/www.back --time 3D --key-fd 3 3< key.asc      three days ago, beside the live tree
  lifeboat restore site /root/conf --path etc/app.ini --key-fd 3 3< key.asc     one file
  lifeboat restore site /srv/up --select '+ uploads' --select '- **' ...        a selection
  lifeboat restore site /srv/www --replace ...       exchange the live tree, in one step at the end
  lifeboat restore site /srv/www --in-place ...      the same where there is no room for two trees; not atomic

DEST appears or changes only when everything is there (but see --in-place). One that equals the point already
is left alone. --check only tells."""

_VERIFY = """\
Without an option, read, hash, decrypt and unpack all volumes of a point.

  lifeboat verify site --key-fd 3 3< key.asc
  lifeboat verify site --dest /srv/www.back ...      compare a restored tree with what the node recorded
  lifeboat verify site --live ...                    compare the live source with the point, contents included"""


def parser(actions: t.Mapping[str, Verb]) -> argparse.ArgumentParser:
    """The parser; the chosen verb's function is ``arguments.action``."""
    top = argparse.ArgumentParser(
        prog="lifeboat", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"lifeboat {VERSION}")
    top.add_argument(
        "--json",
        dest="door",
        action="store_true",
        help="read one request in JSON from standard input, answer in JSON (what the Ansible module does)",
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB")

    def verb(name: str, brief: str, about: str = "") -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name,
            help=brief,
            description=about or f"{brief[0].upper()}{brief[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(action=actions[name])
        made.add_argument("--json", dest="as_json", action="store_true", help="answer in JSON")
        return made

    verb("status", "age of the newest restore point of each profile")
    points = verb("points", "restore points of a profile")
    backup = verb("backup", "run a profile's backup now")
    restore = verb("restore", "restore a point into a folder", _RESTORE)
    verify = verb("verify", "read all volumes of a point, or compare it", _VERIFY)
    files = verb("files", "list the files of a point")
    for each in (points, backup, restore, verify, files):
        each.add_argument("profile")
    backup.add_argument(
        "--mode", choices=("auto", "full", "incremental"), default="auto", help="default: what is due (auto)"
    )
    _restore_options(restore)
    verify.add_argument("--dest", help="a restored tree to compare with what the node recorded")
    verify.add_argument("--live", action="store_true", help="compare with the live source")
    files.add_argument("--path", help="only what is at or below this path of the source")
    for each in (points, restore, verify, files):
        each.add_argument(
            "--as-of",
            metavar="TIME",
            help="read the store as it was then, whatever was overwritten or deleted since (needs a key that sees versions)",
        )
    for each in (restore, verify, files):
        each.add_argument("--time", help="the newest point not after this: 20261123T021500Z, ISO 8601, 3D, 12h")
        each.add_argument("--key-fd", type=int, metavar="FD", help="descriptor to read the node's private key from")
    for each in (backup, restore, verify):
        each.add_argument("--quiet", action="store_true", help="no progress on a terminal")
    unit = verbs.add_parser("unit")  # for the unit: without a help it is not listed
    unit.set_defaults(action=actions["unit"], as_json=False)
    unit.add_argument("profile")
    return top


def _restore_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument("dest", help="the path that the restored tree gets")
    what = restore.add_mutually_exclusive_group()
    what.add_argument("--path", help="only this file or folder of the source")
    what.add_argument(
        "--select", action="append", metavar="RULE", help="'+ pattern' or '- pattern', the first that matches decides"
    )
    how = restore.add_mutually_exclusive_group()
    how.add_argument("--replace", action="store_const", const="true", help="exchange an existing DEST")
    how.add_argument(
        "--in-place", dest="replace", action="store_const", const="in_place", help="restore onto an existing DEST"
    )
    restore.add_argument("--check", action="store_true", help="only tell what would be done")

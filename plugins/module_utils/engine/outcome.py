# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""ok, warning or failed: decided here and nowhere else, from exit code, machine log and a look at the store. Pure.

duplicity ends with 0 after losses (facts: guards 1, 3, 9, 13, 18), so an exit code alone proves nothing.
"""

from __future__ import annotations

import enum
import re
import typing as t
from dataclasses import dataclass

from .execute import Finished
from .machine_log import Event, of

LOSSES = {
    8: "a folder could not be listed",
    9: "a path could not be looked at",
    10: "a file could not be read",
    12: "a path could not be processed",
    13: "a path was skipped",
    39: "a resumed backup did not find the file it had stopped at",
}

LEFT_BEHIND = 119  # the launcher's own warning: a set that could not be deleted

_CAUSES = {
    2: ("duplicity did not understand its command line", "roll the node out again"),
    3: ("the host's name differs from the one in the repository", "run a full backup"),
    11: ("the destination exists", "choose another one"),
    13: ("the source folder does not exist", "correct 'source' of the profile"),
    17: ("the cache holds no signatures to build an incremental on", "run with mode full"),
    19: ("the path is not in that restore point", "list its files first"),
    20: ("nothing was restored", "list its files first"),
    21: ("a volume does not match its recorded hash: the repository is damaged", "restore an older point"),
    23: ("another duplicity holds this archive folder, or it refused the request", "wait and try again"),
    31: ("gpg failed", "check that the right key was given"),
    35: (
        "there is too little room for temporary files",
        "free some where the run works (backup: cache, restore: destination)",
    ),
    37: ("too few open files are allowed", "raise the limit to 1024 or more"),
    38: ("the connection failed", "check that the store is reachable"),
    42: ("the source path differs from the one in the repository", "run a full backup"),
    45: ("the set's encryption differs from its chain's", "run a full backup"),
    50: ("the store refused or did not answer", "check that it is up and that this key is valid"),
    51: ("the store denied permission", "check this key's policy"),
    52: ("the bucket or folder does not exist", "check the target"),
    53: ("the store is out of space", "free some, or raise the quota"),
}


SYMMETRIC = "the set is encrypted with a passphrase: give the right one as encryption.passphrase."
_PASSPHRASE = re.compile(r"^gpg: encrypted with [0-9]+ passphrase", re.MULTILINE)


class Outcome(str, enum.Enum):
    """What a run came to. A warning means: complete, but look at it."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """The outcome, and for a failure its cause in a sentence without paths."""

    outcome: Outcome
    failure: str | None = None


def decide(
    finished: Finished,
    *,
    missing: t.Sequence[str] = (),
    allowed: t.Container[int] = (0,),
    last_word: str | None = None,
) -> Verdict:
    """Judge a run. ``missing``: what the look at the store afterwards did not find; ``allowed``: exit codes that are
    no failure by themselves; ``last_word``: how the notice begins with which such a run ends. A program that did not
    even start may end with an allowed code and without an error."""
    if finished.ended_by in ("timeout", "stall"):
        why = "it made no progress" if finished.ended_by == "stall" else "it ran into its time limit"
        return Verdict(
            Outcome.FAILED,
            f"duplicity was stopped, since {why}; check the store and the source, then run again.",
        )
    errors = of(finished.events, "ERROR")
    if finished.exit_code not in allowed or errors:
        return Verdict(Outcome.FAILED, _failure(finished.exit_code, errors))
    if last_word is not None and not any(e.text.startswith(last_word) for e in of(finished.events, "NOTICE")):
        return Verdict(
            Outcome.FAILED, "duplicity ended before its work did: see the run's journal, roll the node out again."
        )
    lost = losses(finished.events)
    if lost:
        what = LOSSES.get(lost[0].code, "a file could not be saved or restored")
        return Verdict(Outcome.FAILED, f"{what} ({len(lost)} in all): see the run's journal for the paths.")
    if missing:
        return Verdict(
            Outcome.FAILED,
            f"the store lacks {', '.join(missing)} after the run: run again, and check the store.",
        )
    warnings = of(finished.events, "WARNING")
    return Verdict(Outcome.WARNING if warnings else Outcome.OK)


def losses(events: t.Iterable[Event]) -> list[Event]:
    """The warnings that mean a lost file. Errors on single files while a delta is made or applied are only told by the
    text of a general warning (duplicity 3.2.1, ``diffdir.py`` and ``patchdir.py``)."""
    return [e for e in of(events, "WARNING") if e.code in LOSSES or (e.code == 1 and e.text.startswith("Error "))]


def left_behind(events: t.Iterable[Event]) -> list[str]:
    """A sentence on each unfinished set that was to be deleted and is still in the store (facts: guard 19)."""
    return [
        f"the unfinished set of {event.extra} stays in the store, since this key may not delete it: it does no harm; delete it "
        "with a key that may."
        for event in of(events, "WARNING", {LEFT_BEHIND})
    ]


def _failure(exit_code: int, errors: list[Event]) -> str:
    if any(event.code == 30 and "No space left on device" in event.text for event in errors):  # a mere exception to it
        return "a disk was full on this host: free some space where the run writes, then run again."
    if any(_PASSPHRASE.search(event.text) and "key, ID" not in event.text for event in errors):
        return SYMMETRIC
    for code in (exit_code, *(event.code for event in errors)):
        if code in _CAUSES:
            cause, step = _CAUSES[code]
            return f"{cause} (duplicity's code {code}): {step}."
    if exit_code < 0 and errors:
        return f"duplicity failed with code {errors[0].code} and had to be ended: see the run's journal."
    if exit_code < 0:
        return f"duplicity was killed by signal {-exit_code}: run again."
    return f"duplicity failed with exit code {exit_code}: see the run's journal."


def detail(finished: Finished) -> str:
    """What duplicity itself said, for people: error texts, else the end of its output. May hold paths."""
    said = [event.text for event in of(finished.events, "ERROR") if event.text]
    said += [event.text for event in losses(finished.events)]
    return "\n".join(said[:20]) or finished.output.strip()[-1000:]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Carry out what ``repair`` decides, with a key that may delete versions, and prove it by another listing.

A listing is read once and its plan kept in a file, so that neither a node's junk nor a fleet's size need memory. What goes
is written to the ledger before it goes, in entries of up to a thousand versions. A kill at any moment loses nothing: the
versions of the good time are never touched, and the next run goes on.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import chains, ledger, repair, versions
from .errors import LifeboatError
from .fleet import Wanted
from .repair import BACK, NEW, Step
from .report import columns
from .store import ObjectStore
from .times import now, stamp
from .versions import Version

_BATCH = 1000  # versions of one ledger entry and of one deletion
_SHOWN = 200  # objects of one profile that an answer names


@dataclass(frozen=True)
class Wish:
    """What is to be current again: all that was at ``moment``. ``remove_new``: what did not exist then goes as well.
    ``check``: only tell."""

    moment: datetime
    remove_new: bool = False
    check: bool = False


class Copier(t.Protocol):
    """A store that can make an earlier version of an object its newest one as well."""

    def stream(
        self, name: str, start: int = 0, end: int | None = None, *, version_id: str | None = None
    ) -> t.Iterator[bytes]: ...

    def copy_version(self, name: str, version_id: str) -> None: ...


@dataclass(frozen=True)
class Keys:
    """The bucket in the hands of those who may: list and delete versions, add to the ledger, and, if that is wanted, store
    a good version once more."""

    pruner: ObjectStore
    ledger: ObjectStore
    copier: Copier | None = None


@dataclass
class Outcome:
    """What became of one profile. ``back`` and ``new`` name objects (at most 200 each), of which there are so many in all;
    ``removed`` versions went, of so many ``bytes``; ``failure`` is a sentence, or None; ``diff`` has a line for each object."""

    wanted: Wanted
    back: list[str] = field(default_factory=list)
    back_count: int = 0
    new: list[str] = field(default_factory=list)
    new_count: int = 0
    removed: int = 0
    copied: int = 0
    failure: str | None = None
    warnings: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    check: bool = False

    @property
    def changed(self) -> bool:
        return self.removed + self.copied > 0

    def to_dict(self) -> dict[str, t.Any]:
        """``{node, profile, state, back, back_count, new, new_count, removed, copied, reason}``."""
        done = "would be repaired" if self.check else "repaired"
        return {
            "node": self.wanted.node,
            "profile": self.wanted.profile,
            "state": "failed" if self.failure else done if self.changed else "good",
            "back": self.back,
            "back_count": self.back_count,
            "new": self.new,
            "new_count": self.new_count,
            "removed": self.removed,
            "copied": self.copied,
            "reason": self.failure or "",
        }


@dataclass
class _Pass:
    """What one listing showed: so many versions to go; the first of the ``back`` and ``new`` objects; the objects that a plain
    reader finds other than they were (``lies``), and the ``junk`` that it finds and that should go."""

    count: int = 0
    back: int = 0
    new: int = 0
    shown: list[Step] = field(default_factory=list)
    lies: list[Step] = field(default_factory=list)
    junk: list[str] = field(default_factory=list)


def run(keys: Keys, wanted: Wanted, wish: Wish) -> Outcome:
    """Repair one profile of one node. What goes wrong is in the outcome, so that one node never stops a fleet's repair."""
    outcome = Outcome(wanted, check=wish.check)
    try:
        _Repair(keys, wanted, wish, outcome).all()
    except LifeboatError as error:
        outcome.failure = str(error)
    return outcome


class _Repair:
    """One profile of one node."""

    def __init__(self, keys: Keys, wanted: Wanted, wish: Wish, outcome: Outcome) -> None:
        self.keys, self.wanted, self.wish, self.outcome = keys, wanted, wish, outcome
        corner = f"nodes/{wanted.node}/"
        self.repository = f"{corner}repo/{wanted.profile}/"
        self.prefixes = (self.repository, f"{corner}records/{wanted.profile}/")
        self.started, self.part = now(), 0
        self.sets: set[repair.SetKey] = set()

    def all(self) -> None:
        self._look_back()
        refused: list[str] = []
        first, before = None, 0
        while True:
            with _Plan(self) as (found, lines):
                if first is None:
                    first = found
                    self._tell(first)
                # each listing must show less than the one before: what a store refuses, or a node goes on writing, does not
                if self.wish.check or not found.count or 0 < before <= found.count:
                    break
                before = found.count
                refused += self._remove(lines)
        self.outcome.removed = first.count - (0 if self.wish.check else found.count)
        if not self.wish.check:
            self._judge(found, refused)

    def _look_back(self) -> None:
        """What there was then. A time at which nothing could be restored is a mistake, and never a reason to remove."""
        view = versions.as_of(self.keys.pruner.list_versions(self.repository), self.wish.moment)
        if not chains.collect(view, self.repository).points:
            raise LifeboatError(
                f"the store held no whole restore point of {self.wanted.node}/{self.wanted.profile} at "
                f"{stamp(self.wish.moment)}: choose another as_of; playbooks/status.yml shows when the first change was."
            )
        self.sets = repair.finished(view, self.repository)

    def steps(self) -> t.Iterator[Step]:
        for prefix in self.prefixes:
            listed = self.keys.pruner.list_versions(prefix)
            yield from repair.steps(listed, self.wish.moment, self.sets, self.repository)

    def goes(self, step: Step) -> bool:
        return step.action == BACK or self.wish.remove_new

    def _remove(self, plan: t.Iterable[str]) -> list[str]:
        """Delete the plan's versions, batch by batch, each after its entry in the ledger. After a refusal the others are
        still tried: a lock holds one version and not the delete marker above the next one."""
        refused: list[str] = []
        batch: list[dict[str, t.Any]] = []

        def flush() -> None:
            if not batch:
                return
            self.part += 1
            node, profile = self.wanted.node, self.wanted.profile
            entry = ledger.repair(
                self.started, node, profile=profile, as_of=self.wish.moment, part=self.part, versions=batch
            )
            ledger.add(self.keys.ledger, entry)
            pairs = [(item["object"], item["version_id"]) for item in batch]
            refused.extend(self.keys.pruner.delete_versions(pairs)[:10])
            batch.clear()

        for line in plan:
            batch.append(json.loads(line))
            if len(batch) == _BATCH:
                flush()
        flush()
        return refused

    # --- what is said -------------------------------------------------------------------------------------------------

    def _tell(self, first: _Pass) -> None:
        outcome = self.outcome
        outcome.back_count, outcome.new_count = first.back, first.new
        for step in first.shown:
            name = step.name.removeprefix(f"nodes/{self.wanted.node}/")
            (outcome.back if step.action == BACK else outcome.new).append(name)
            if self.goes(step):
                outcome.before.append(f"{step.name}: {_told(step.shows)}, {step.count} version(s) since then")
                outcome.after.append(f"{step.name}: {_told(step.good)}" if step.good else f"{step.name}: not there")

    def _judge(self, last: _Pass, refused: t.Sequence[str]) -> None:
        """By the last listing, whatever the store answered."""
        lies = last.lies if self.keys.copier is None else self._copied(self.keys.copier, last.lies)
        why = "the store accepted the deletions: check this key's policy and locks, and that nobody writes there any more."
        why = refused[0] if refused else why
        wrong = [step.name for step in lies] + last.junk
        if wrong:
            more = (
                "" if self.keys.copier else " Or store the good versions once more, with the minter's key (copy=yes)."
            )
            self.outcome.failure = f"{len(wrong)} object(s) are not as they were then, first {wrong[0]}: {why}{more}"
        elif last.count:
            self.outcome.warnings.append(
                f"{self.wanted.node}/{self.wanted.profile}: all good versions are current; {last.count} bad version(s) below "
                f"them stay: {why}"
            )

    def _copied(self, copier: Copier, lies: t.Sequence[Step]) -> list[Step]:
        """Store good versions once more, unless what is current has their content already; returns what is still wrong."""
        wrong = []
        for step in lies:
            if step.good is None or _equal(copier, step.good, step.shows):
                continue
            copier.copy_version(step.name, step.good.version_id)
            self.outcome.copied += 1
            newest = next(item for item in self.keys.pruner.list_versions(step.name) if item.name == step.name)
            if not _equal(copier, step.good, newest):
                wrong.append(step)
        return wrong


def _equal(copier: Copier, good: Version, shows: Version) -> bool:
    """By content: a copy, or an upload in other parts, has another checksum."""

    def digest(item: Version) -> str:
        read = hashlib.sha256()
        for piece in copier.stream(item.name, version_id=item.version_id):
            read.update(piece)
        return read.hexdigest()

    return not shows.marker and shows.bytes == good.bytes and digest(good) == digest(shows)


class _Plan:
    """``with _Plan(repair) as (found, lines)``: one listing, and the versions that it says must go, a JSON line each, in a
    file. The listing is over before the first of them goes."""

    def __init__(self, repair_of: _Repair) -> None:
        self.repair = repair_of
        self.file = tempfile.TemporaryFile("w+", encoding="utf-8", prefix="lifeboat-repair-")  # noqa: SIM115 - closed below

    def __enter__(self) -> tuple[_Pass, t.IO[str]]:
        try:
            found = self._read()
        except BaseException:
            self.file.close()
            raise
        self.file.seek(0)
        return found, self.file

    def __exit__(self, *_error: object) -> None:
        self.file.close()

    def _read(self) -> _Pass:
        found = _Pass()
        for step in self.repair.steps():
            small = replace(step, newer=step.newer[:1])
            if step.action == BACK:
                found.back += 1
                if step.lies:
                    found.lies.append(small)
            elif step.lies:
                found.new += 1
            count = found.back if step.action == BACK else found.new
            if count <= _SHOWN and (step.action == BACK or step.lies):
                found.shown.append(small)
            if not self.repair.goes(step):
                continue
            found.count += step.count
            if step.action == NEW and step.lies and len(found.junk) < _SHOWN:
                found.junk.append(step.name)
            for item in step.removable:
                self.file.write(json.dumps(ledger.version(item)) + "\n")
        return found


def _told(item: Version | None) -> str:
    if item is None or item.marker:
        return f"hidden at {stamp(item.modified)}" if item else "not there"
    return f"{item.bytes} bytes of {stamp(item.modified)} ({item.checksum})"


def summary(outcomes: t.Sequence[Outcome]) -> str:
    """One sentence for all."""
    failed = [item for item in outcomes if item.failure]
    if failed:
        return f"{len(failed)} of {len(outcomes)} profile(s) are not repaired: {failed[0].failure}"
    if not any(item.changed for item in outcomes):
        return "Everything is as it was then; there is nothing to repair."
    removed, copied = sum(item.removed for item in outcomes), sum(item.copied for item in outcomes)
    back = sum(item.back_count for item in outcomes)
    again = f", {copied} stored once more" if copied else ""
    if any(item.check for item in outcomes):
        return (
            f"{removed} version(s) would be removed, so that the good versions of {back} object(s) are current again."
        )
    return f"{removed} version(s) removed{again}; the good versions of {back} object(s) are current again."


def diff(outcomes: t.Sequence[Outcome]) -> dict[str, str]:
    """What a plain reader finds before and after, a line for each object."""
    texts = {side: [line for item in outcomes for line in getattr(item, side)] for side in ("before", "after")}
    return {side: "".join(f"{line}\n" for line in lines) for side, lines in texts.items()}


def table(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The outcomes as text, failures first."""
    head = ("node", "profile", "state", "good again", "versions removed", "stored again", "new since then")
    order = sorted(rows, key=lambda row: (row["state"] != "failed", row["node"], row["profile"]))
    body = [
        (
            row["node"],
            row["profile"],
            row["state"],
            *(str(row[key]) for key in ("back_count", "removed", "copied", "new_count")),
        )
        for row in order
    ]
    reasons = [f"{row['node']}/{row['profile']}: {row['reason']}" for row in order if row["reason"]]
    return "\n".join([columns(head, body), *reasons])

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""One backup of one profile: choose the mode, run duplicity, look at the store, write witness and record."""

from __future__ import annotations

import glob
import os
import shutil
import time
from dataclasses import dataclass, replace
from datetime import datetime

from . import chains, command, execute, installed, lock, outcome, priority, record, reporter, space, uploaded, witness
from .beside import Beside
from .choice import MODES, Choice, choose, still_stands
from .errors import LifeboatError, Refused
from .keyring import Keyring
from .profile import Layout, Profile
from .record import Record
from .result import Result
from .store import ObjectStore, open_store, sweep
from .times import now, stamp


def run(profile: Profile, wish: str, public_key: bytes | None, layout: Layout) -> Result:
    """Back up; ``wish`` is auto, full or incremental. Every failure after the start leaves a record of it."""
    if wish not in MODES:
        raise Refused(f"mode '{wish}' is unknown: use {', '.join(MODES)}.")
    installed.check_duplicity()
    _check_source(profile.source)
    state, cache = folders(layout, profile.folder)
    with lock.held(os.path.join(state, "lock")) as descriptor, Keyring() as ring:
        given = ring.import_keys(public_key) if public_key else []
        if profile.fingerprint is not None and profile.fingerprint not in given:
            raise LifeboatError("the node's public key is not the one in its profile: roll the node out again.")
        temporary = _temporary(profile, cache)
        _forget_killed_run(os.path.join(cache, "archive", "repository"))
        work = command.Workspace(
            archive=os.path.join(cache, "archive"),
            temporary=temporary,
            log=os.path.join(temporary, "machine.log"),
            objects=os.path.join(temporary, "objects.jsonl"),
            gnupghome=ring.home,
        )
        try:
            slow = priority.lower(profile.nice, profile.ionice)
            result = _Run(profile, wish, state, work, ring, descriptor).all()
            return replace(result, warnings=[*result.warnings, *slow])
        finally:
            shutil.rmtree(work.temporary, ignore_errors=True)


def folders(layout: Layout, name: str) -> tuple[str, str]:
    """State and cache folder of a profile, made if missing; both hold what only its owner may read."""
    made = []
    for base in (layout.state, layout.cache):
        path = os.path.join(base, name)
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise LifeboatError(f"cannot make {path}: {error.strerror}; run as root or through the unit.") from error
        made.append(path)
    return made[0], made[1]


def _temporary(profile: Profile, cache: str) -> str:
    """An empty folder for this run's temporary files."""
    if profile.tmpdir is not None and not os.path.isdir(profile.tmpdir):
        raise Refused(f"there is no folder {profile.tmpdir}: correct 'tmpdir' of the profile.")
    path = os.path.join(profile.tmpdir, f"lifeboat-{profile.folder}") if profile.tmpdir else os.path.join(cache, "tmp")
    # a killed run leaves its temporary volumes behind
    shutil.rmtree(path, ignore_errors=True)
    try:
        os.mkdir(path, mode=0o700)
    except OSError as error:
        raise LifeboatError(
            f"cannot make {path}: {error.strerror}; let this run's user write there, or correct 'tmpdir' of the profile."
        ) from error
    return path


def _forget_killed_run(archive: str) -> None:
    """duplicity would resume its set, in which two states of the source are mixed: no witness fits that."""
    for partial in glob.glob(os.path.join(glob.escape(archive), "*.part*")):
        os.unlink(partial)
    for temporary in glob.glob(os.path.join(glob.escape(archive), "duplicity-*-tempdir")):
        shutil.rmtree(temporary, ignore_errors=True)


def _check_source(source: str) -> None:
    try:
        empty = not os.listdir(source)
    except OSError as error:
        raise Refused(f"cannot read the source {source}: {error.strerror}; correct 'source' of the profile.") from error
    if empty:
        raise Refused(
            f"the source {source} is empty: is it not mounted? An empty folder is not backed up over a full one."
        )


@dataclass
class _Run:
    """One run under the lock."""

    profile: Profile
    wish: str
    state: str
    work: command.Workspace
    ring: Keyring
    descriptor: int

    def all(self) -> Result:
        store = open_store(self.profile.store)
        sweep(self.profile.repository)
        if not self.profile.bare:
            sweep(self.profile.store.below(self.profile.records))
        stored = self._collection(store)
        records = [] if self.profile.bare else record.read_all(store, self.profile.records)[0]
        started = self._after(stored, records)
        choice = choose(self.profile, self.wish, stored, records, self._cached(), started)
        last = self._last()
        reporter.phase("counting")
        before = witness.walk(self.profile.source, self.profile.selection)
        if len(before) == 1:
            raise Refused(f"the exclude patterns leave nothing of {self.profile.source}: correct them.")
        if (newest := still_stands(self.profile, self.wish, choice, last, before, _day(started))) is not None:
            return self._nothing_made(store, started, choice, newest, before)
        space.check(space.needs(self.profile, choice.mode, before, self.work.temporary, self.work.archive))
        if choice.chain is not None:
            self._read_closely(witness.closely(before, last, choice.chain.sets[-1].moment.timestamp() - 2))
        if choice.mode == "full" and os.path.exists(self._key_note):
            os.unlink(self._key_note)  # until it is whole, nobody knows whose chain is the newest
        self._announce(choice.mode, before)
        day = _day(started)
        with Beside(witness.wanted(self.profile.source, before, last, day)) as beside:
            finished = self._duplicity(choice.mode)
        now_stored = self._collection(store)
        made = _made(stored, now_stored)
        chain = next((chain for chain in now_stored.chains if made in chain.sets), None)
        missing = ["the new set"] if made is None else made.gaps if chain else ["the set it builds on"]
        verdict = outcome.decide(finished, missing=missing)
        reporter.phase("finishing")
        entry = self._entry(started, finished, verdict, made.kind if made else choice.mode)
        warnings = [f"a full was made, since {choice.reason}."] if choice.reason else []
        warnings += outcome.left_behind(finished.events)
        if verdict.outcome is outcome.Outcome.FAILED or made is None or chain is None:
            self._publish(store, entry, started)
            return Result(entry, True, f"The backup failed: {verdict.failure}", outcome.detail(finished), warnings)
        after = witness.walk(self.profile.source, self.profile.selection)
        seen = witness.observe(self.profile.source, before, after, last, day, beside.digests)
        warnings += _doubts(seen)
        entry = replace(
            entry,
            outcome="warning" if warnings else entry.outcome,
            set_time=made.time,
            chain=chain.time,
            files=seen.files,
            bytes=seen.bytes,
            objects=uploaded.objects(store, self._prefix, made, self.work.objects, self._archive),
        )
        return self._commit(store, entry, seen, started, warnings)

    def _announce(self, mode: str, before: witness.Tree) -> None:
        """An incremental passes all files, but how many bytes it reads is not known."""
        files, size = witness.volume(before)
        reporter.phase("backing up", files=files, size=size if mode == "full" else None)
        self.work = replace(self.work, progress=reporter.follow(os.path.join(self.work.temporary, "progress")))

    def _duplicity(self, mode: str) -> execute.Finished:
        return execute.run(
            command.backup(self.profile, mode, self.work),
            command.environment(self.profile.store, self.work, os.environ, upload=command.upload_share(self.profile)),
            log=self.work.log,
            timeout=self.profile.timeout,
            stall_timeout=self.profile.stall_timeout,
            keep=[self.descriptor],
        )

    def _entry(self, started: datetime, finished: execute.Finished, verdict: outcome.Verdict, mode: str) -> Record:
        return Record(
            operation="backup",
            outcome=verdict.outcome.value,
            started=stamp(started),
            seconds=_since(started),
            node=self.profile.node,
            profile=None if self.profile.bare else self.profile.name,
            mode=mode,
            failure=verdict.failure,
            exit_code=finished.exit_code,
            warnings=record.warnings_of(finished.events),
        )

    def _read_closely(self, paths: list[bytes]) -> None:
        listing = os.path.join(self.work.temporary, "changed")
        with open(listing, "wb") as handle:
            handle.write(b"".join(path + b"\0" for path in paths))
        self.work = replace(self.work, changed=listing)

    def _collection(self, store: ObjectStore) -> chains.Collection:
        return chains.collect(store.list(self._prefix), self._prefix)

    @property
    def _prefix(self) -> str:
        return "" if self.profile.bare else f"repo/{self.profile.name}/"

    @property
    def _archive(self) -> str:
        """duplicity's cache of this repository."""
        return os.path.join(self.work.archive, "repository")

    def _cached(self) -> list[str]:
        """What the cache holds of the chain, if that was made for this run's key: duplicity would build on another key's
        chain too, and then neither key opens the new point (facts: guard 16)."""
        if not os.path.isdir(self._archive) or _read(self._key_note) != (self.profile.fingerprint or "").encode():
            return []
        return os.listdir(self._archive)

    @property
    def _key_note(self) -> str:
        """The file that says which key the newest chain is for (empty: none); written when a set is whole."""
        return os.path.join(self.work.archive, "key")

    def _after(self, collection: chains.Collection, records: list[Record]) -> datetime:
        """The start: later than any stored set, since two sets of one second ruin a repository (facts: guard 7), and not in
        the second of another run, whose record has the name of ours."""
        newest = max((item.time for chain in collection.chains for item in chain.sets), default="")
        taken = {entry.started for entry in records}
        for _attempt in range(3):
            moment = now()
            if stamp(moment) > newest and stamp(moment) not in taken:
                return moment
            time.sleep(1.001 - time.time() % 1)  # until the next second
        raise LifeboatError(f"the clock is behind the newest set ({newest}): set this node's clock, then run again.")

    def _last(self) -> witness.Witness | None:
        try:
            with open(os.path.join(self.state, "witness.gz"), "rb") as handle:
                return witness.parse(handle.read())
        except (OSError, LifeboatError):
            return None  # then every file is hashed

    def _commit(
        self, store: ObjectStore, done: Record, seen: witness.Witness, started: datetime, warnings: list[str]
    ) -> Result:
        """Witness first, record last: a record is the commit marker of its point."""
        _write(self._key_note, (self.profile.fingerprint or "").encode())
        seen.header = {
            "node": done.node,
            "profile": done.profile,
            "source": self.profile.source,
            "set_time": done.set_time,
        }
        data = witness.dump(seen)
        _write(os.path.join(self.state, "witness.gz"), data)
        if not self.profile.bare:
            name = record.witness_name(self.profile.records, started)
            if self.profile.fingerprint is not None:
                data = self.ring.encrypt(data, [self.profile.fingerprint])
            else:
                name = name.removesuffix(".gpg")
            store.write(name, data, if_absent=True)
            done = replace(done, witness=name)
        done = replace(done, seconds=_since(started))
        self._publish(store, done, started)
        message = f"Backed up {done.files} files in a new {done.mode} of {done.set_time}."
        return Result(done, True, message, warnings=warnings)

    def _nothing_made(
        self, store: ObjectStore, started: datetime, choice: Choice, newest: str, tree: witness.Tree
    ) -> Result:
        """The record of a look that found nothing new: it has no mode and no objects, and names the point that stands."""
        files, size = witness.volume(tree)
        entry = Record(
            operation="backup",
            outcome="ok",
            started=stamp(started),
            seconds=_since(started),
            node=self.profile.node,
            profile=None if self.profile.bare else self.profile.name,
            set_time=newest,
            chain=choice.chain.time if choice.chain else None,
            files=files,
            bytes=size,
        )
        self._publish(store, entry, started)
        return Result(entry, False, f"Nothing has changed since {newest}: that restore point stands, no set was made.")

    def _publish(self, store: ObjectStore, entry: Record, started: datetime) -> None:
        if not self.profile.bare:
            name = record.name(self.profile.records, started, "backup")
            store.write(name, record.dump(entry), if_absent=True)


def _made(before: chains.Collection, after: chains.Collection) -> chains.BackupSet | None:
    """The set that was not whole before and is there now: a resumed one keeps the time of its first attempt."""

    def sets(collection: chains.Collection) -> list[chains.BackupSet]:
        return [item for chain in collection.chains for item in chain.sets] + collection.orphans

    known = {(item.kind, item.time) for item in sets(before) if not item.gaps}
    return max(
        (item for item in sets(after) if (item.kind, item.time) not in known),
        key=lambda item: item.time,
        default=None,
    )


def _doubts(seen: witness.Witness) -> list[str]:
    """What the witness found that no duplicity would tell."""
    doubts = []
    if seen.rotten:
        doubts.append(
            f"{len(seen.rotten)} file(s) changed their content but not their times, so no incremental holds that: "
            f"check the disk, then run a full (first: {witness.show(seen.rotten[0])})."
        )
    if seen.unread:
        doubts.append(
            f"{len(seen.unread)} file(s) could not be read for the witness, so no drill can prove them "
            f"(first: {witness.show(seen.unread[0])})."
        )
    return doubts


def _since(started: datetime) -> float:
    return round((datetime.now(started.tzinfo) - started).total_seconds(), 3)


def _day(moment: datetime) -> int:
    return int(moment.timestamp() // 86400)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError:
        return None


def _write(path: str, data: bytes) -> None:
    """Replace a file at once; it is only for its owner."""
    temporary = path + ".new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(data)
    os.replace(temporary, path)

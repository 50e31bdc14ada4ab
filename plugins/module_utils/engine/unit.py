# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Backups of a profile always run as ``lifeboat-backup@<profile>``: cache and lock have one owner.

A person's wish (mode) reaches the unit in a small file that only root can write; the answer is the unit's state file.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
import uuid
from dataclasses import replace

from . import choice, profile, reporter
from .errors import LifeboatError, Refused
from .profile import Layout
from .record import Record
from .result import Result
from .times import now, stamp

_PROGRESS = "progress.json"  # in the unit's RuntimeDirectory, which systemd removes however the unit ends


def start(name: str, wish: str, layout: Layout | None = None) -> dict[str, t.Any]:
    """Start the unit, wait for it, and return its answer (``Result.to_dict``). Root only."""
    layout = layout or Layout()
    profile.load(name, layout)
    if wish not in choice.MODES:
        raise Refused(f"mode '{wish}' is unknown: use {', '.join(choice.MODES)}.")
    if os.geteuid() != 0:
        raise Refused("starting a backup needs root: use sudo.")
    unit = f"lifeboat-backup@{name}.service"
    identifier = uuid.uuid4().hex
    os.makedirs(layout.run, mode=0o755, exist_ok=True)
    path = _request_path(name, layout)
    with open(path, "w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), 0o644)  # the unit's user reads it, whatever our umask is
        json.dump({"id": identifier, "mode": wish}, handle)
    reporter.follow(os.path.join(layout.run, name, _PROGRESS), whole=True)
    try:
        # a run that the timer had started takes no notice of our request: wait for it, then start ours
        for _attempt in range(2):
            done = subprocess.run(["systemctl", "start", unit], capture_output=True, text=True, check=False)
            answer = last(name, layout)
            if answer.get("request") == identifier:
                return answer
    finally:
        os.unlink(path)
    said = done.stderr.strip().splitlines()
    raise LifeboatError(f"{unit} left no answer ({said[0] if said else 'no message'}): see journalctl -u {unit}.")


def last(name: str, layout: Layout | None = None) -> dict[str, t.Any]:
    """The answer of the profile's last run on this node, or {}."""
    try:
        with open(_answer_path(name, layout or Layout()), encoding="utf-8") as handle:
            answer = json.load(handle)
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def run(name: str, layout: Layout | None = None) -> Result:
    """The unit's own work. The store's key comes from systemd's credentials, the wish from the request file."""
    from . import backup  # who starts a unit or asks for its last answer, is not to wait for this

    layout = layout or Layout()
    settings = profile.load(name, layout)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials:
        settings = replace(settings, store=replace(settings.store, credentials_file=os.path.join(credentials, "store")))
    request = _request(name, layout)
    started = now()
    try:
        with reporter.published(_progress_path(), "backup", name):
            result = backup.run(settings, request.get("mode", "auto"), public_key(layout), layout)
    except LifeboatError as error:
        entry = Record("backup", "failed", stamp(started), 0.0, settings.node, name, failure=str(error))
        result = Result(entry, False, str(error))
    state, _cache = backup.folders(layout, name)
    answer = {**result.to_dict(), "request": request.get("id")}
    temporary = os.path.join(state, "last.json.new")
    with open(temporary, "w", encoding="utf-8") as handle:
        json.dump(answer, handle)
    os.replace(temporary, _answer_path(name, layout))
    return result


def public_key(layout: Layout) -> bytes | None:
    """The node's public key, if one is installed."""
    try:
        with open(os.path.join(layout.etc, "public.asc"), "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def _progress_path() -> str | None:
    folder = os.environ.get("RUNTIME_DIRECTORY")
    return os.path.join(folder, _PROGRESS) if folder else None


def _request(name: str, layout: Layout) -> dict[str, str]:
    try:
        with open(_request_path(name, layout), encoding="utf-8") as handle:
            return {key: str(value) for key, value in json.load(handle).items()}
    except (OSError, ValueError, AttributeError):
        return {}  # no wish, or half a one: the run is then as the timer's


def _request_path(name: str, layout: Layout) -> str:
    return os.path.join(layout.run, f"{name}.request.json")


def _answer_path(name: str, layout: Layout) -> str:
    return os.path.join(layout.state, name, "last.json")

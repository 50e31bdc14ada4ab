# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What a bucket shall be like: lock, encryption, lifecycle. Pure: checked here, and turned into S3's words.

A lifecycle rule picks objects by the beginning of their name, their size and their tags, and the part of a name that tells
a volume from a manifest is at its end. Nodes may not tag (a tag could steer a rule). So the rule that moves volumes picks
what lies below ``nodes/`` and is larger than a manifest or record: volumes, and signatures of large trees. To move volumes
and nothing else, have nodes upload them in another class at once: ``lifeboat_store_options.storage_class``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .errors import Refused
from .store import STORAGE_CLASSES

Rule = dict[str, t.Any]

MARGIN_DAYS = 14  # to notice an attack and to repair
_OURS = "lifeboat-"
_AT_LEAST_30 = ("STANDARD_IA", "ONEZONE_IA")
TRANSITION_CLASSES = tuple(name for name in STORAGE_CLASSES if name != "STANDARD")
LOCK_MODES = ("governance", "compliance")


@dataclass(frozen=True)
class Lock:
    """Default retention of every new version. ``compliance``: nobody can shorten it; ``governance``: the minter can."""

    mode: str
    days: int

    def __str__(self) -> str:
        return f"{self.mode}, {self.days} days"


@dataclass(frozen=True)
class Transition:
    """After ``days``, nodes' objects larger than ``min_bytes`` go to another class, which gives them back at once."""

    storage_class: str
    days: int
    min_bytes: int = 1 << 20


@dataclass(frozen=True)
class Rules:
    """The wish. None or 0 leaves alone what the bucket has (lock, encryption) or makes no rule (lifecycle).

    ``keep_days`` and ``chain_days`` (how long a chain grows) are what the fleet needs: neither lock nor expiry may be shorter.
    """

    tls_only: bool = True
    lock: Lock | None = None
    encryption: str | None = None
    kms_key_id: str | None = None
    abort_multipart_days: int = 7
    noncurrent_days: int | None = None
    transition: Transition | None = None
    keep_days: float = 30
    chain_days: float = 7

    @property
    def least_days(self) -> float:
        return self.keep_days + self.chain_days + MARGIN_DAYS


def check(rules: Rules) -> Rules:
    """The rules themselves, or :class:`Refused`."""
    least = f"{rules.least_days:g} (keep_days {rules.keep_days:g} + longest chain {rules.chain_days:g} + {MARGIN_DAYS})"
    if rules.lock and rules.lock.mode not in LOCK_MODES:
        raise Refused(f"Object Lock mode '{rules.lock.mode}' is unknown: use {' or '.join(LOCK_MODES)}.")
    if rules.lock and rules.lock.days < rules.least_days:
        raise Refused(
            f"an Object Lock of {rules.lock.days} days would end while restore points still need what it holds: use at least "
            f"{least} days."
        )
    if rules.noncurrent_days is not None and rules.noncurrent_days < rules.least_days:
        raise Refused(
            f"noncurrent versions that expire after {rules.noncurrent_days} days could be ones that restore points need, if a "
            f"node overwrote or hid them: use at least {least} days."
        )
    move = rules.transition
    if move and move.storage_class not in TRANSITION_CLASSES:
        raise Refused(
            f"storage class '{move.storage_class}' does not give objects back at once, or is no other class: use one of "
            f"{', '.join(TRANSITION_CLASSES)}."
        )
    if move and move.storage_class in _AT_LEAST_30 and move.days < 30:
        raise Refused(f"S3 moves objects to {move.storage_class} after 30 days at the earliest, not {move.days}.")
    if rules.kms_key_id and rules.encryption != "aws:kms":
        raise Refused("a KMS key belongs to the encryption aws:kms, and only to it.")
    return rules


def lifecycle(rules: Rules) -> list[Rule]:
    """The rules of ours that the bucket shall have. Escrow, ledger and drills are in none that moves or expires."""
    made: list[Rule] = []
    if rules.abort_multipart_days:
        abort = {"DaysAfterInitiation": rules.abort_multipart_days}
        made.append(_rule("multipart", {"Prefix": ""}, AbortIncompleteMultipartUpload=abort))
    if rules.noncurrent_days:
        expiry = {"NoncurrentDays": rules.noncurrent_days}
        made.append(_rule("noncurrent", {"Prefix": "nodes/"}, NoncurrentVersionExpiration=expiry))
    if rules.transition:
        move = {"Days": rules.transition.days, "StorageClass": rules.transition.storage_class}
        chosen = {"And": {"Prefix": "nodes/", "ObjectSizeGreaterThan": rules.transition.min_bytes}}
        made.append(_rule("volumes", chosen, Transitions=[move]))
    return made


def _rule(name: str, chosen: Rule, **action: t.Any) -> Rule:
    return {"ID": _OURS + name, "Status": "Enabled", "Filter": chosen, **action}


def is_ours(rule: Rule) -> bool:
    return str(rule.get("ID", "")).startswith(_OURS)


def feature(rule: Rule) -> str:
    """The name under which a rule that the store does not take is reported."""
    return "lifecycle_" + str(rule["ID"]).removeprefix(_OURS)


def describe(rule: Rule) -> str:
    """One line of a rule of ours, in which all that it does shows: two rules are the same if their lines are."""
    chosen = rule.get("Filter", {})
    chosen = chosen.get("And", chosen)
    prefix = chosen.get("Prefix", rule.get("Prefix", ""))
    larger = chosen.get("ObjectSizeGreaterThan")
    text = f"{rule.get('ID')}: {prefix or 'all'}"
    text += f" larger than {larger} bytes" if larger else ""
    other = {key: value for key, value in chosen.items() if key not in ("Prefix", "ObjectSizeGreaterThan") and value}
    text += f" {other}" if other else ""
    abort = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    text += f", abort multipart uploads after {abort} days" if abort else ""
    expiry = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    text += f", expire noncurrent versions after {expiry} days" if expiry else ""
    text += f", expire {rule['Expiration']}" if rule.get("Expiration") else ""
    for move in rule.get("Transitions", []):
        text += f", move to {move.get('StorageClass')} after {move.get('Days')} days"
    return text + ("" if rule.get("Status") == "Enabled" else " (off)")


def hazards(rules: t.Sequence[Rule]) -> list[str]:
    """A sentence for each rule of others that could take backups away, or put them where a restore waits for hours."""
    found = []
    for rule in rules:
        if is_ours(rule) or rule.get("Status") != "Enabled":
            continue
        moves = [*rule.get("Transitions", []), *rule.get("NoncurrentVersionTransitions", [])]
        name = rule.get("ID", "without a name")
        expires = {key for key in rule.get("Expiration", {}) if key != "ExpiredObjectDeleteMarker"}
        if expires or rule.get("NoncurrentVersionExpiration"):
            found.append(
                f"the lifecycle rule '{name}' of the bucket, which is not Lifeboat's, makes objects expire: remove it."
            )
        elif any(move.get("StorageClass") not in STORAGE_CLASSES for move in moves):
            found.append(
                f"the lifecycle rule '{name}' of the bucket, which is not Lifeboat's, moves objects where they cannot be read at "
                "once: remove it."
            )
    return found

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""Have an independent evaluator of AWS semantics judge our policy documents by a table (cases.yml).

judge.py FOLDER     a folder with node_modules, made by scripts/policies
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "collections"))
from ansible_collections.lifeboat.fleet.plugins.module_utils.engine import policies  # noqa: E402 (the path comes first)

BUCKET, ACCOUNT = "fleet", "123456789012"
NOBODY: policies.Document = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:ListAllMyBuckets"], "Resource": ["*"]}],
}
DOCUMENTS = {
    "node n1": policies.node_policy(BUCKET, "n1"),
    "node n1, write once": policies.node_policy(BUCKET, "n1", write_once=True),
    "restorer": policies.restorer_policy(BUCKET),
    "evidence": policies.evidence_policy(BUCKET),
    "pruner": policies.pruner_policy(BUCKET),
    "minter": policies.minter_policy(BUCKET),
    "nobody": NOBODY,
}
OF_BUCKET: policies.Document = {"Version": "2012-10-17", "Statement": [policies.tls_only_statement(BUCKET)]}
Row = dict[str, t.Any]


def simulation(who: str, row: Row) -> Row:
    """A request in the evaluator's words."""
    context: Row = {"aws:SecureTransport": "true" if row.get("tls", True) else "false"}
    for name, key in (("prefix", "s3:prefix"), ("if_none_match", "s3:if-none-match")):
        if name in row:
            context[key] = row[name]
    if "creates" in row:
        context["s3:ObjectCreationOperation"] = "true" if row["creates"] else "false"
    arn = f"arn:aws:s3:::{row.get('bucket', BUCKET)}" + (f"/{row['path']}" if row.get("path") else "")
    if "user" in row:
        arn = f"arn:aws:iam::{ACCOUNT}:user/{row['user']}"
    return {
        "request": {
            "action": row["action"],
            "principal": f"arn:aws:iam::{ACCOUNT}:user/lifeboat/{BUCKET}/someone",
            "resource": {"resource": arn, "accountId": ACCOUNT},
            "contextVariables": context,
        },
        "identityPolicies": [{"name": "lifeboat", "policy": DOCUMENTS[who]}],
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
        **({} if "user" in row else {"resourcePolicy": OF_BUCKET}),
    }


def wanted(row: Row, allowed: bool) -> set[str]:
    if allowed:
        return {"Allowed"}
    return {"ExplicitlyDenied"} if row.get("deny") else {"ExplicitlyDenied", "ImplicitlyDenied"}


def main(folder: str) -> int:
    """Judge the whole table; 1 if one verdict is another one than the table's."""
    groups = yaml.safe_load((HERE / "cases.yml").read_text(encoding="utf-8"))
    rows = [
        (group["who"], row, kind == "allowed")
        for group in groups
        for kind in ("allowed", "refused")
        for row in group[kind]
    ]
    asked = json.dumps([simulation(who, row) for who, row, _allowed in rows])
    command = ["node", str(HERE / "evaluate.mjs"), str(Path(folder).resolve() / "package.json")]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"the evaluator failed: {done.stderr.strip()}", file=sys.stderr)
        return 1
    wrong = 0
    for (who, row, allowed), verdict in zip(rows, json.loads(done.stdout), strict=True):
        if verdict not in wanted(row, allowed):
            wrong += 1
            print(f"{who}: {row} should be {'allowed' if allowed else 'refused'}, and AWS would say: {verdict}")
    print(f"{len(rows) - wrong} of {len(rows)} requests are judged as the table says.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

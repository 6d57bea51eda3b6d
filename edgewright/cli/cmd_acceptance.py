# SPDX-License-Identifier: Apache-2.0
"""`edgewright acceptance prepare|judge`: the controller's two ends of measuring a device.

The role `acceptance` calls them; both take the area's want (from `edgewright.factory.device_state`) as
JSON, so that they can be called by hand too. What passes from one to the other lies in a working
directory, which `judge` removes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.errors import InputError
from edgewright.paths import collection_root
from edgewright.record import record
from edgewright.record.labels import fresh_labels, pack

__all__ = ["add"]

_PROGRAM = "acceptance.pyz"
_LABELS = "labels.json"


def add(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "acceptance", help="prepare a device's acceptance, and judge what it measured"
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    prepare = verbs.add_parser(
        "prepare", help="draw fresh labels and write the program that measures with them"
    )
    prepare.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="working directory, made anew"
    )
    prepare.set_defaults(run=_prepare)
    judge = verbs.add_parser("judge", help="judge a measurement and write the record")
    judge.add_argument("--work", type=Path, required=True, metavar="DIR", help="the one given to prepare")
    judge.add_argument("--records", type=Path, required=True, metavar="DIR", help="where records are kept")
    judge.add_argument("--host", required=True, help="the device's name in the inventory")
    judge.set_defaults(run=_judge)
    for verb, what in ((prepare, "the area's want"), (judge, '{"want": ..., "measurement": ...}')):
        verb.description = f"Reads {what} as JSON on standard input; prints JSON."


def _prepare(args: argparse.Namespace) -> int:
    want = _want(_stdin("preparing an acceptance"), "preparing an acceptance")
    plan = want["plan"]
    shutil.rmtree(args.work, ignore_errors=True)
    try:
        args.work.mkdir(parents=True, mode=0o700)
        labels = fresh_labels(int(plan["labels"]))
        program = collection_root() / "roles" / "acceptance" / "files" / "measure.py"
        size = pack(program, plan, labels, args.work / _PROGRAM)
        (args.work / _LABELS).write_text(json.dumps(labels) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"preparing an acceptance in {args.work}: {error}") from error
    print(json.dumps({"program": str(args.work / _PROGRAM), "labels": labels, "bytes": size}))
    return 0


def _judge(args: argparse.Namespace) -> int:
    doing = f"judging the measurement of {args.host}"
    given = _stdin(doing)
    if not isinstance(given, Mapping) or "want" not in given or "measurement" not in given:
        raise InputError(f"{doing}: expected a mapping with want and measurement on standard input")
    want = _want(given["want"], doing)
    measurement = record.check_measurement(given["measurement"])
    try:
        labels = json.loads((args.work / _LABELS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{doing}: what its labels say is not in {args.work}: {error}; run the acceptance again"
        ) from error
    made = record.build(args.host, want["accepted_for"], want["plan"], labels, measurement)
    path = record.write(made, args.records)
    shutil.rmtree(args.work, ignore_errors=True)
    accepted = made["verdict"] in want["verdict"]
    receipt = {
        "schema": "edgewright.receipt/v1",
        "accepted_for": made["accepted_for"],
        "verdict": made["verdict"],
        "record": path.name,
        "finished": made["finished"],
    }
    print(
        json.dumps(
            {
                "verdict": made["verdict"],
                "reason": made["reason"],
                "accepted": accepted,
                "record": str(path),
                "receipt": receipt,
            }
        )
    )
    return 0


def _stdin(doing: str) -> Any:
    try:
        return json.load(sys.stdin)
    except ValueError as error:
        raise InputError(f"{doing}: expected JSON on standard input: {error}") from error


def _want(value: object, doing: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not {"accepted_for", "verdict", "plan"} <= set(value):
        raise InputError(
            f"{doing}: expected the want of the area acceptance, with accepted_for, verdict and plan"
        )
    return value

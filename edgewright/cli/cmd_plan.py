# SPDX-License-Identifier: Apache-2.0
"""`edgewright plan`: what a run of site.yml would do to each device, and why, before anything is touched.

Runs the probe on each device through ansible-runner, and nothing else: packages, bytes, reboots and what
cannot be undone follow from the drift and the lock, minutes from past runs. Exit code: 0 all devices were
read, with or without changes to make; 4 a device could not be reached; 1 a device could not be read, or its
inputs are wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgewright.cli.cmd_drift import add_options, read
from edgewright.fleet.reading import exit_code

__all__ = ["SCHEMA", "add"]

SCHEMA = "edgewright.plan/v1"


def add(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "plan", help="tell what a run would change on devices, and why", description=__doc__
    )
    add_options(parser)
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="records of past runs (default: the site's, `runs` in edgewright_state_dir)",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from edgewright.device.lock import load_lock  # noqa: PLC0415 - as below: not needed for --help
    from edgewright.fleet.plan import make_plan  # noqa: PLC0415
    from edgewright.fleet.runs import load_runs  # noqa: PLC0415
    from edgewright.fleet.tables import plan_text, summary  # noqa: PLC0415

    readings = read(args)
    locks: dict[str, Mapping[str, Any]] = {}
    plans = {}
    for reading in readings:
        if reading.outcome != "read":
            continue
        if reading.lock not in locks:
            locks[reading.lock] = load_lock(Path(reading.lock))
        runs = load_runs(args.runs or Path(reading.state_dir) / "runs")
        plans[reading.host] = make_plan(reading, locks[reading.lock], runs, datetime.now(UTC).date())
    if args.json:
        report = {
            "schema": SCHEMA,
            "summary": summary(readings),
            "devices": [
                reading.as_dict() | {"plan": plans[reading.host].as_dict() if reading.host in plans else None}
                for reading in readings
            ],
        }
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print(plan_text(readings, plans))
    return exit_code(readings, drift_code=0)

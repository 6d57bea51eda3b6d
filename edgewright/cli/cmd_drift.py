# SPDX-License-Identifier: Apache-2.0
"""`edgewright drift`: how the devices of an inventory differ from what is wanted, read now.

Runs the probe on each device through ansible-runner, and nothing else. Exit code: 0 no device drifted and all
were read; 10 there is drift; 4 a device could not be reached; 1 a device could not be read, or its inputs are
wrong. What is not known comes first: with a device out of reach the code is 4, drift elsewhere or not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgewright.fleet.reading import Reading, exit_code, read_devices

__all__ = ["SCHEMA", "add", "add_options", "read"]

SCHEMA = "edgewright.drift-report/v1"
_DEFAULT_INVENTORY = "inventories/factory"


def add(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "drift", help="tell how devices differ from what is wanted", description=__doc__
    )
    add_options(parser)
    parser.set_defaults(run=_run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `plan` and `drift` share."""
    parser.add_argument(
        *("-i", "--inventory"),
        type=Path,
        default=Path(_DEFAULT_INVENTORY),
        metavar="INVENTORY",
        help=f"file or directory (default: {_DEFAULT_INVENTORY})",
    )
    parser.add_argument("-l", "--limit", default="", metavar="PATTERN", help="only these devices")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_argument(
        "--forks", type=_whole, default=20, metavar="N", help="devices at the same time (default: 20)"
    )
    parser.add_argument(
        "--timeout",
        type=_whole,
        default=120,
        metavar="SECONDS",
        help="after which a device is given up (default: 120)",
    )


def read(args: argparse.Namespace) -> list[Reading]:
    """Read the devices that the options name."""
    return read_devices(args.inventory, limit=args.limit, forks=args.forks, timeout_s=args.timeout)


def _run(args: argparse.Namespace) -> int:
    from edgewright.fleet.tables import drift_text, summary  # noqa: PLC0415 - not needed for --help

    readings = read(args)
    if args.json:
        report = {
            "schema": SCHEMA,
            "summary": summary(readings),
            "devices": [reading.as_dict() for reading in readings],
        }
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print(drift_text(readings))
    return exit_code(readings)


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 10000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 10000, got {text!r}")
    return value

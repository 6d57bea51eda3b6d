# SPDX-License-Identifier: Apache-2.0
"""`edgewright record show FILE`: an as-built record for a person; refuses a file that is none."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgewright.record.record import load
from edgewright.record.summary import summary

__all__ = ["add"]


def add(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("record", help="show the records of accepted devices")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    show = verbs.add_parser("show", help="check a record against its schema and show it")
    show.add_argument("file", type=Path, metavar="FILE", help="the record, JSON")
    show.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    print(summary(load(args.file)))
    return 0

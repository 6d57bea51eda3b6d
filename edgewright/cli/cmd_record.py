# SPDX-License-Identifier: Apache-2.0
"""`edgewright record list DIR` and `edgewright record show FILE`: as-built records for a person.

`list` gives a line per record, by device and time; `show` a page about one. Both refuse a file that is none.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgewright.errors import InputError
from edgewright.record.record import load
from edgewright.record.summary import loud, summary

__all__ = ["add"]


def add(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("record", help="show the records of accepted devices")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    show = verbs.add_parser("show", help="check a record against its schema and show it")
    show.add_argument("file", type=Path, metavar="FILE", help="the record, JSON")
    show.set_defaults(run=_show)
    listing = verbs.add_parser("list", help="one line per record below a directory")
    listing.add_argument("directory", type=Path, metavar="DIR", help="the inventory's acceptance_records_dir")
    listing.set_defaults(run=_list)


def _show(args: argparse.Namespace) -> int:
    print(summary(load(args.file)))
    return 0


def _list(args: argparse.Namespace) -> int:
    directory: Path = args.directory
    if not directory.is_dir():
        raise InputError(
            f"listing records: no directory {directory}; give the inventory's acceptance_records_dir,"
            " which the first acceptance of a device makes"
        )
    paths = sorted(directory.glob("*/*.json"))
    for path in paths:
        record = load(path)
        release = record["release"]
        print(f"{path}: {record['host']} {release['name']} {release['version']}: {record['verdict'].upper()}")
        print("\n".join(f"  {line}" for line in (record["reason"], *loud(record))))
    print(f"{len(paths)} records of {len({path.parent for path in paths})} devices in {directory}")
    return 0

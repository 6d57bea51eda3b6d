# SPDX-License-Identifier: Apache-2.0
"""`edgewright release`: resolve a release into its lock, and tell two locks apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add"]


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("release", help="resolve what devices shall hold", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    lock = verbs.add_parser("lock", help="write release.lock.yml: every artefact by version and sha256")
    lock.add_argument("release_dir", type=Path, metavar="RELEASE_DIR", help="directory with release.yml")
    lock.add_argument(
        "--check",
        action="store_true",
        help="change nothing; say in one line what moved upstream, status 1 when anything did",
    )
    what = lock.add_mutually_exclusive_group()
    what.add_argument(
        "--images-only", action="store_true", help="keep the locked packages, build the images anew"
    )
    what.add_argument(
        "--only",
        metavar="NAME",
        help="lock one package, requirement, image or file anew and hold the others; "
        "deb:NAME, wheel:NAME, image:NAME or file:NAME where a name is not enough",
    )
    lock.add_argument(
        "--profiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for hardware profiles of nvidia.profiles here first, such as profiles/ of an inventory",
    )
    lock.set_defaults(run=_lock)
    diff = verbs.add_parser("diff", help="what differs between two locks: versions, bytes, licences")
    diff.add_argument("old", type=Path, metavar="OLD", help="a lock, or a directory with one")
    diff.add_argument("new", type=Path, metavar="NEW", help="the other")
    diff.add_argument("--json", action="store_true", help="for programs: schema edgewright.lock-diff/v1")
    diff.set_defaults(run=_diff)


def _lock(args: argparse.Namespace) -> int:
    from edgewright.release.lock import lock_release  # noqa: PLC0415 - other commands start without it

    result = lock_release(
        args.release_dir,
        images_only=args.images_only,
        check=args.check,
        only=args.only,
        profiles=args.profiles,
    )
    name = f"{result.lock['release']['name']} {result.lock['release']['version']}"
    if not result.changes:
        print(f"release {name}: the lock is up to date")
        return 0
    if args.check:
        again = f"edgewright release lock {args.release_dir}"
        print(f"release {name}: moved: {result.summary()}; run `{again}`")
        return 1
    for line in result.changes:
        print(f"  {line}")
    print(f"release {name}: locked, {len(result.changes)} changes: {result.summary()}")
    return 0


def _diff(args: argparse.Namespace) -> int:
    from edgewright.release.changes import diff_locks  # noqa: PLC0415 - see _lock
    from edgewright.release.documents import LOCK_FILE, load_lock_file  # noqa: PLC0415

    old, new = (
        load_lock_file(path / LOCK_FILE if path.is_dir() else path)[0] for path in (args.old, args.new)
    )
    found = diff_locks(old, new)
    print(json.dumps(found.as_json(), indent=1) if args.json else found.table())
    return 0

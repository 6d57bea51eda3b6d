# SPDX-License-Identifier: Apache-2.0
"""`edgewright release lock`: resolve a release into its lock."""

from __future__ import annotations

import argparse
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
        "--check", action="store_true", help="change nothing; status 1 when the lock would differ"
    )
    lock.add_argument(
        "--images-only", action="store_true", help="keep the locked packages, build the images anew"
    )
    lock.set_defaults(run=_lock)


def _lock(args: argparse.Namespace) -> int:
    from edgewright.release.lock import lock_release  # noqa: PLC0415 - other commands start without it

    result = lock_release(args.release_dir, images_only=args.images_only, check=args.check)
    for line in result.changes:
        print(f"  {line}")
    name = f"{result.lock['release']['name']} {result.lock['release']['version']}"
    if not result.changes:
        print(f"release {name}: the lock is up to date")
        return 0
    if args.check:
        again = f"run `edgewright release lock {args.release_dir}`"
        print(f"release {name}: {len(result.changes)} differences; {again}")
        return 1
    print(f"release {name}: locked, {len(result.changes)} changes")
    return 0

# SPDX-License-Identifier: Apache-2.0
"""`edgewright release`: resolve a release into its lock, tell two locks apart, unpack what is supplied."""

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
    unpack = verbs.add_parser(
        "unpack", help="take packages out of a local repository package, to supply them (kind: deb)"
    )
    unpack.add_argument("file", type=Path, metavar="FILE", help="such as nv-tensorrt-local-repo-....deb")
    unpack.add_argument(
        "--take",
        action="append",
        default=[],
        metavar="NAME",
        help="a package to take out, such as libnvinfer10 or 'libnvinfer*'; without any, they are listed",
    )
    unpack.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("supplied"),
        metavar="DIR",
        help="where they go (supplied/ below the working directory)",
    )
    unpack.add_argument(
        "--key", type=Path, metavar="KEY", help="the maker's OpenPGP key, got another way: must have signed"
    )
    unpack.set_defaults(run=_unpack)


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


def _unpack(args: argparse.Namespace) -> int:
    from edgewright.depot.progress import human_bytes  # noqa: PLC0415 - see _lock
    from edgewright.release.localrepo import LocalRepository  # noqa: PLC0415

    found = LocalRepository.open(args.file, args.key)
    print(
        f"{args.file}: {len(found.packages)} packages, their index "
        + (f"signed by the key in {args.key}" if found.signed else "held to no key (--key KEY)")
    )
    if not args.take:
        for each in found.packages:
            print(f"  {each.name} {each.version} {each.arch}, {human_bytes(each.size)}")
        return 0
    taken = found.take(args.take, args.output)
    print("files:  # for release.yml; path from its directory, and each file's own licence")
    for each in taken:
        print(f"  - name: {each.filename}")
        print(f"    kind: deb\n    path: {args.output.name}/{each.filename}\n    version: '{each.version}'")
        print(f"    sha256: {each.sha256}\n    licence: LicenseRef-NVIDIA-SLA")
        print("    waiver: {who: NAME, why: REASON, until: DATE}")
    return 0

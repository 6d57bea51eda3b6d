# SPDX-License-Identifier: Apache-2.0
"""`edgewright modules`: kernel modules of a locked release, built without a device and checked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add"]


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("modules", help="build and check kernel modules", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    build = verbs.add_parser("build", help="build what a lock names, or take it from the cache")
    build.add_argument(
        "release_dir", type=Path, metavar="RELEASE_DIR", help="directory with release.yml and lock"
    )
    build.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="gets the packages; made when missing"
    )
    build.add_argument(
        "--keys", type=Path, metavar="DIR", help="directory with mok.key and mok.crt (default: not signed)"
    )
    build.set_defaults(run=_build)
    check = verbs.add_parser("check", help="check a package: what it holds, for which kernel, signed by whom")
    check.add_argument("package", type=Path, metavar="DEB", help="a package that `modules build` made")
    check.add_argument(
        "--certificate", type=Path, metavar="FILE", help="mok.crt: each module must be signed by its key"
    )
    check.set_defaults(run=_check)


def _build(args: argparse.Namespace) -> int:
    from edgewright.depot.blobs import BlobStore  # noqa: PLC0415 - other commands start without it
    from edgewright.errors import InputError  # noqa: PLC0415
    from edgewright.modules.parts import module_entries  # noqa: PLC0415
    from edgewright.modules.ship import ship_modules  # noqa: PLC0415
    from edgewright.release.documents import load_lock  # noqa: PLC0415

    lock, _ = load_lock(args.release_dir)
    if not module_entries(lock):
        raise InputError(
            f"building modules: the lock in {args.release_dir} has none; add `modules:` to release.yml and "
            "lock "
            "it (docs/reference/modules.md)"
        )
    if args.keys is not None and not args.keys.is_dir():
        raise InputError(f"building modules: --keys {args.keys} is no directory")
    store = BlobStore()
    args.output.mkdir(parents=True, exist_ok=True)
    for entry in ship_modules(lock, store, args.keys or Path("/nonexistent")):
        target = args.output / entry["filename"]
        part = target.with_name(f".{target.name}.new")
        part.write_bytes(store.path(entry["sha256"]).read_bytes())
        part.replace(target)
        print(f"{target}: sha256 {entry['sha256']}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from edgewright.modules.inspect import inspect_package  # noqa: PLC0415

    for line in inspect_package(args.package, args.certificate):
        print(line)
    return 0

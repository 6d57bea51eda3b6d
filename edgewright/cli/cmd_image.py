# SPDX-License-Identifier: Apache-2.0
"""`edgewright image`: images that devices boot from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add"]


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("image", help="make what devices boot from", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    core = verbs.add_parser(
        "ubuntu-core",
        help="sign a model, lay out its defaults and prepare its image from the depot's snaps, with no store",
    )
    core.add_argument("spec", type=Path, metavar="SPEC", help="the image's specification, such as image.yml")
    core.add_argument(
        "--depot", type=Path, required=True, metavar="DEPOT", help="a depot that holds its snaps"
    )
    core.add_argument(
        "--key", required=True, metavar="NAME", help="the brand's key in snap's keyring (`snap keys`)"
    )
    core.add_argument(
        "--gnupg-home",
        type=Path,
        metavar="DIR",
        help="the keyring's directory (default: ~/.snap/gnupg, as snap)",
    )
    core.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the directory to make")
    core.add_argument("--no-image", action="store_true", help="write the model and what goes with it only")
    core.set_defaults(run=_ubuntu_core)


def _ubuntu_core(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415

    from edgewright.snaps.image import Signer, make_image  # noqa: PLC0415 - other commands start without it
    from edgewright.snaps.spec import load_spec  # noqa: PLC0415

    made = make_image(
        load_spec(args.spec),
        args.depot,
        Signer(args.key, args.gnupg_home),
        args.output,
        now=datetime.now(UTC),
        prepare=not args.no_image,
    )
    what = "model signed, image prepared" if made.prepared else "model signed, no image"
    print(f"image {made.directory}: {what}")
    for note in made.notes:
        print(f"  {note}")
    return 0

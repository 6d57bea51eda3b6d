# SPDX-License-Identifier: Apache-2.0
"""`edgewright controller`: what `install` on a stick does, for a controller that holds Edgewright already."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add"]

_PREFIX = Path("/opt/edgewright")
_STATE = Path("/var/lib/edgewright")
_SITE = Path("/etc/edgewright/site")
_KEEP = 3


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "controller", help="install bundles on this controller", description=__doc__
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    install = verbs.add_parser(
        "install", help="verify a later bundle with what is here, then install all of it"
    )
    take = verbs.add_parser("take-in", help="verify a bundle and make it the depot's release; no environment")
    for command in (install, take):
        command.add_argument("stick", type=Path, metavar="STICK", help="the directory that holds the bundle")
        command.add_argument(
            "--keep", type=int, default=_KEEP, metavar="N", help=f"releases that stay (default: {_KEEP})"
        )
        _state(command)
    _prefix(install)
    install.set_defaults(run=_install)
    take.add_argument(
        "--fingerprint", metavar="HEX", help="of the bundle's first root; needed where nothing is trusted yet"
    )
    take.set_defaults(run=_take_in)

    reclaim = verbs.add_parser(
        "reclaim", help="free space: older releases and environments go, the current ones stay"
    )
    _state(reclaim)
    _prefix(reclaim)
    reclaim.add_argument("--keep", type=int, default=1, metavar="N", help="of each that stay (default: 1)")
    reclaim.set_defaults(run=_reclaim)

    packages = verbs.add_parser(
        "packages", help="install Debian packages on this controller from the depot's files: no network"
    )
    packages.add_argument("names", nargs="+", metavar="PACKAGE", help="such as nginx")
    _state(packages)
    packages.set_defaults(run=_packages)

    following = verbs.add_parser("next", help="tell what to do after installing")
    lone = verbs.add_parser("provision-self", help="provision this machine as a lone device, with site.yml")
    for command in (following, lone):
        _state(command)
        command.add_argument(
            "--site", type=Path, default=_SITE, metavar="DIR", help=f"its inventory (default: {_SITE})"
        )
    following.set_defaults(run=_next)
    lone.add_argument("--profile", metavar="NAME", help="its hardware profile (default: as detected)")
    lone.set_defaults(run=_provision_self)


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=Path,
        default=_STATE,
        metavar="DIR",
        help=f"the controller's state (default: {_STATE})",
    )


def _prefix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefix",
        type=Path,
        default=_PREFIX,
        metavar="DIR",
        help=f"where Edgewright is (default: {_PREFIX})",
    )


def _take_in(args: argparse.Namespace) -> int:
    from edgewright.bundle.controller import Places, take_in_bundle  # noqa: PLC0415 - others start without it

    places = Places(args.state.absolute())
    bundle, result = take_in_bundle(args.stick, places, args.keep, args.fingerprint)
    print(result.told(places.depot, bundle.index.name))
    return 0


def _install(args: argparse.Namespace) -> int:
    from edgewright.bundle.controller import Places, install_bundle  # noqa: PLC0415

    return install_bundle(args.stick, Places(args.state.absolute()), args.prefix.absolute(), args.keep)


def _reclaim(args: argparse.Namespace) -> int:
    from edgewright.bundle.controller import Places, reclaim_all  # noqa: PLC0415
    from edgewright.depot.progress import human_bytes  # noqa: PLC0415

    freed = reclaim_all(Places(args.state.absolute()), args.prefix.absolute(), args.keep)
    print(f"controller {args.state}: {human_bytes(freed)} freed")
    return 0


def _packages(args: argparse.Namespace) -> int:
    from edgewright.bundle.controller import Places  # noqa: PLC0415
    from edgewright.bundle.lone import install_packages  # noqa: PLC0415

    changed = install_packages(Places(args.state.absolute()), args.names)
    print(f"packages {', '.join(args.names)}: {'installed' if changed else 'installed already'}")
    return 0


def _next(args: argparse.Namespace) -> int:
    from edgewright.bundle.controller import Places  # noqa: PLC0415
    from edgewright.bundle.lone import next_steps  # noqa: PLC0415

    sys.stdout.write(next_steps(Places(args.state.absolute()), args.site))
    return 0


def _provision_self(args: argparse.Namespace) -> int:
    from edgewright.bundle.controller import Places  # noqa: PLC0415
    from edgewright.bundle.lone import provision_self  # noqa: PLC0415

    return provision_self(Places(args.state.absolute()), args.site.absolute(), args.profile)

# SPDX-License-Identifier: Apache-2.0
"""`edgewright depot`: build, verify and serve the directory from which devices get everything."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from edgewright.depot.serve import DepotService, ServeOptions

__all__ = ["add"]

_STATE_HELP = "directory of configuration, pid and logs (default: DIR-service beside the depot)"


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("depot", help="build, verify and serve a depot", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    build = verbs.add_parser("build", help="build the depot of a locked release")
    build.add_argument(
        "release_dir", type=Path, metavar="RELEASE_DIR", help="directory with release.yml and lock"
    )
    build.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DEPOT", help="where the depot shall be"
    )
    build.add_argument(
        "--keys", type=Path, metavar="DIR", help="the release key (default: keys beside the depot)"
    )
    build.set_defaults(run=_build)

    verify = verbs.add_parser("verify", help="hash every file of a depot; status 3 when one is not as it was")
    verify.add_argument("dir", type=Path, metavar="DIR")
    verify.add_argument(
        "--release", type=Path, metavar="RELEASE_DIR", help="also compare with this release's lock"
    )
    verify.set_defaults(run=_verify)

    serve = verbs.add_parser("serve", help="serve a depot in the foreground")
    up = verbs.add_parser("up", help="serve a depot in the background; nothing when it is served already")
    for command in (serve, up):
        command.add_argument("--dir", type=Path, required=True, help="the depot")
        command.add_argument(
            "--listen",
            action="append",
            metavar="ADDRESS:PORT",
            help="default 127.0.0.1:8443; repeat for more",
        )
        command.add_argument("--cert", type=Path, required=True, help="certificate chain, PEM, leaf first")
        command.add_argument("--key", type=Path, required=True, help="its key, PEM")
        command.add_argument(
            "--client-ca", type=Path, required=True, help="who signs the clients' certificates, PEM"
        )
        command.add_argument("--state", type=Path, help=_STATE_HELP)
    serve.set_defaults(run=_serve)
    up.set_defaults(run=_up)

    for name, run, text in (
        ("down", _down, "stop serving in the background"),
        ("status", _status, "tell whether a depot is served; status 1 when not"),
    ):
        command = verbs.add_parser(name, help=text)
        place = command.add_mutually_exclusive_group(required=True)
        place.add_argument("--state", type=Path, help=_STATE_HELP)
        place.add_argument("--dir", type=Path, help="the depot, when its state is at the default place")
        command.set_defaults(run=run)


def _build(args: argparse.Namespace) -> int:
    from edgewright.depot.build import build_depot  # noqa: PLC0415 - other commands start without it
    from edgewright.depot.progress import human_bytes  # noqa: PLC0415

    start = time.monotonic()
    result = build_depot(args.release_dir, args.output, args.keys)
    what = f"depot {args.output}: {result.files} files, {human_bytes(result.size)}"
    if result.changed:
        print(f"{what}, built in {time.monotonic() - start:.0f} s")
    else:
        print(f"{what}, unchanged: it holds the locked release already")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from edgewright.depot.build import verify_depot  # noqa: PLC0415
    from edgewright.depot.manifest import load_depot  # noqa: PLC0415
    from edgewright.errors import IntegrityError  # noqa: PLC0415

    faults = verify_depot(args.dir, args.release)
    for fault in faults:
        print(f"  {fault}")
    if faults:
        raise IntegrityError(
            f"verifying the depot {args.dir}: {len(faults)} of its files are wrong; remove the depot and "
            f"build it again with `edgewright depot build RELEASE_DIR -o {args.dir}`"
        )
    told = load_depot(args.dir)
    print(f"depot {args.dir}: {len(told['files'])} files of {told['release']} {told['version']} are right")
    return 0


def _options(args: argparse.Namespace) -> ServeOptions:
    from edgewright.depot.serve import ServeOptions  # noqa: PLC0415

    listen = args.listen or ["127.0.0.1:8443"]
    return ServeOptions(args.dir, listen, args.cert, args.key, args.client_ca)


def _service(args: argparse.Namespace) -> DepotService:
    from edgewright.depot.serve import DepotService  # noqa: PLC0415

    state: Path | None = args.state
    if state is None:
        depot: Path = args.dir.absolute()
        state = depot.with_name(f"{depot.name}-service")
    return DepotService(state)


def _serve(args: argparse.Namespace) -> int:
    return _service(args).serve(_options(args))


def _up(args: argparse.Namespace) -> int:
    options = _options(args)
    done = _service(args).up(options)
    where = ", ".join(f"https://{address}" for address in options.listen)
    print({"already": f"depot: up already at {where}"}.get(done, f"depot: {done} at {where}"))
    return 0


def _down(args: argparse.Namespace) -> int:
    print("depot: stopped" if _service(args).down() else "depot: was not up")
    return 0


def _status(args: argparse.Namespace) -> int:
    service = _service(args)
    pid = service.pid()
    if pid is None:
        print("depot: not up")
        return 1
    print(f"depot: up at {', '.join(f'https://{address}' for address in service.listens())}, process {pid}")
    return 0

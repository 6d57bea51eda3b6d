# SPDX-License-Identifier: Apache-2.0
"""`edgewright twin`: start, stop, list and enter the twins of an inventory."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from edgewright.errors import EdgewrightError, InputError
from edgewright.twin import Twin, make_twin
from edgewright.twin.inventory import DEFAULT_INVENTORY, choose, read_twins
from edgewright.twin.spec import TwinSpec
from edgewright.twin.ssh import ssh_command
from edgewright.twin.tools import need

__all__ = ["add"]

_STARTS_AT_ONCE = 4  # more boots at once than this only slow one another down


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("twin", help="machines that stand in for devices", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument(
            *("-i", "--inventory"),
            default=DEFAULT_INVENTORY,
            help=f"inventory with the twins, file or directory (default: {DEFAULT_INVENTORY})",
        )
        sub.set_defaults(run=run)
        return sub

    up = verb("up", "start twins and wait for their ssh; does nothing to a twin that is up", _up)
    up.add_argument("--arch", choices=("amd64", "arm64"), help="start them with this architecture instead")
    up.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for each boot (default: 600)"
    )
    down = verb("down", "switch twins off", _down)
    how = down.add_mutually_exclusive_group()
    how.add_argument(
        "--kill", action="store_true", help="cut the power: what a device had not written is lost"
    )
    how.add_argument(
        "--purge", action="store_true", help="also forget their disks: the next start is a bare device"
    )
    listing = verb("list", "show twins and whether they run", _list)
    listing.add_argument("--json", action="store_true", help="as a JSON list, for programs")
    for sub in (up, down, listing):
        sub.add_argument(
            "names", nargs="*", metavar="NAME", help="twins; all of the inventory when none is named"
        )
    ssh = verb("ssh", "open a session on a twin, or run a command there", _ssh)
    ssh.add_argument("name", metavar="NAME", help="the twin")
    ssh.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run there")


def _chosen(args: argparse.Namespace, names: Sequence[str]) -> list[TwinSpec]:
    inventory = Path(args.inventory)
    return choose(read_twins(inventory), names, inventory)


def _each(specs: Sequence[TwinSpec], act: Callable[[Twin], str]) -> int:
    """Do one thing to several twins at once; say what became of each; the worst status counts."""
    codes = []

    def one(spec: TwinSpec) -> int:
        try:
            print(act(make_twin(spec)), flush=True)
        except EdgewrightError as error:
            print(f"edgewright: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        return 0

    with ThreadPoolExecutor(max_workers=_STARTS_AT_ONCE) as pool:
        codes = list(pool.map(one, specs))
    return max(codes, default=0)


def _up(args: argparse.Namespace) -> int:
    if not 1 <= args.timeout <= 86400:
        raise InputError(f"reading --timeout: expected 1 to 86400 seconds, got {args.timeout}")

    def act(twin: Twin) -> str:
        name = twin.spec.name
        return f"started {name}" if twin.up(args.timeout) else f"{name} is up already"

    specs = _chosen(args, args.names)
    if args.arch:
        specs = [replace(spec, arch=args.arch) for spec in specs]
    return _each(specs, act)


def _down(args: argparse.Namespace) -> int:
    def act(twin: Twin) -> str:
        name = twin.spec.name
        if args.purge:
            twin.purge()
            return f"forgot {name}"
        if args.kill:
            return f"cut the power of {name}" if twin.kill() else f"{name} is down already"
        return f"stopped {name}" if twin.down() else f"{name} is down already"

    return _each(_chosen(args, args.names), act)


def _list(args: argparse.Namespace) -> int:
    rows = []
    for spec in _chosen(args, args.names):
        twin = make_twin(spec)
        host, port = spec.depot_address
        rows.append(
            {
                "name": spec.name,
                "kind": spec.kind,
                "state": "up" if twin.is_up() else "down",
                "address": spec.address,
                "port": spec.port,
                "depot_host": host,
                "depot_port": port,
                "accelerator": twin.accelerator(),
            }
        )
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'NAME':<20} {'KIND':<10} {'STATE':<6} {'SSH':<20} DEPOT AS SEEN FROM IT")
    for row in rows:
        print(
            f"{row['name']:<20} {row['kind']:<10} {row['state']:<6} {row['address']}:{row['port']:<10} "
            f"{row['depot_host']}:{row['depot_port']}"
        )
    return 0


def _ssh(args: argparse.Namespace) -> int:
    spec = _chosen(args, [args.name])[0]
    if not make_twin(spec).is_up():
        raise InputError(
            f"opening a session on {spec.name}: it is down; "
            f"run: edgewright twin up -i {args.inventory} {spec.name}"
        )
    need("ssh")
    remote = args.command[1:] if args.command[:1] == ["--"] else args.command
    argv = ssh_command(spec, remote)
    os.execvp(argv[0], argv)  # noqa: S606 - ssh takes over this terminal; there is no shell in between

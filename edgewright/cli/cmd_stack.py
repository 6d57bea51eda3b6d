# SPDX-License-Identifier: Apache-2.0
"""`edgewright stack`: which versions of the NVIDIA stack go together on a kind of device, and why."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.errors import InputError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from edgewright.release.stack.check import Found
    from edgewright.release.stack.solve import Outcome
    from edgewright.release.stack.universe import Universe
    from edgewright.release.stack.version import Want

__all__ = ["add"]

PROFILE = "--profile"
WANT = "--want"
RELEASE = "--release"


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "stack", help="solve and explain the versions from kernel to TensorRT", description=__doc__
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    solve = verbs.add_parser("solve", help="choose one set of versions; status 1 when none fits")
    _common(solve, profile_required=True)
    _wants(solve)
    solve.set_defaults(run=_solve)
    explain = verbs.add_parser("explain", help="why this version of an item, or why not another")
    _common(explain, profile_required=True)
    _wants(explain)
    explain.add_argument(
        "item", metavar="ITEM", help="an item of the stack; ITEM==VERSION asks why not that version"
    )
    explain.set_defaults(run=_explain)
    check = verbs.add_parser(
        "check", help="judge a lock, a solved stack or a device's have; status 1 when not"
    )
    check.add_argument(
        "file",
        metavar="FILE",
        help="release.lock.yml (or a directory with one), JSON of `stack solve --json`, or a device's have"
        " as JSON; - reads JSON from standard input",
    )
    _common(check, profile_required=False)
    check.set_defaults(run=_check)


def _common(parser: argparse.ArgumentParser, profile_required: bool) -> None:
    parser.add_argument(
        PROFILE,
        required=profile_required,
        metavar="NAME",
        help="hardware profile" + ("" if profile_required else " (a solved stack names its own)"),
    )
    parser.add_argument(
        "--profiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for profiles here first, such as profiles/ of an inventory",
    )
    parser.add_argument(
        RELEASE,
        type=Path,
        metavar="DIR",
        help="take suite, kernel flavour and PREEMPT_RT waiver from its release.yml",
    )
    parser.add_argument(
        "--facts", type=Path, metavar="DIR", help="use these facts instead of Edgewright's own"
    )
    parser.add_argument(
        "--on", metavar="DATE", help="judge waivers and ends of support as of this day (default: today)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _wants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        WANT,
        action="append",
        default=[],
        metavar="WANT",
        help="an item, with comparisons if it matters: tensorrt>=10,<11; repeatable",
    )


def _solve(args: argparse.Namespace) -> int:
    from edgewright.release.stack.solve import solve  # noqa: PLC0415 - other commands start without it

    universe, wants = _universe(args, args.profile)
    return _show(solve(universe, wants), args.json)


def _explain(args: argparse.Namespace) -> int:
    from edgewright.release.stack.explain import Explanation, explain  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.solve import solve  # noqa: PLC0415
    from edgewright.release.stack.told import told_explanation  # noqa: PLC0415

    universe, wants = _universe(args, args.profile)
    asked = _want(args.item, "ITEM")
    if asked.clauses:
        return _show(solve(universe, [*wants, asked]), args.json)
    found = explain(universe, wants, asked.item)
    if not isinstance(found, Explanation):
        return _show(found, args.json)
    print(json.dumps(found.as_json(), indent=1) if args.json else "\n".join(told_explanation(found)))
    return 0


def _show(outcome: Outcome, as_json: bool) -> int:
    """Print an outcome; 0 when it is a stack."""
    from edgewright.release.stack.told import told_outcome  # noqa: PLC0415 - see _solve

    print(json.dumps(outcome.as_json(), indent=1) if as_json else "\n".join(told_outcome(outcome)))
    return 0 if outcome.ok else 1


def _check(args: argparse.Namespace) -> int:
    from edgewright.release.stack.check import check  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.told import told_verdict  # noqa: PLC0415

    name = "standard input" if args.file == "-" else args.file
    found, named = _read(args.file)
    profile = args.profile or named
    if not profile:
        raise InputError(f"checking {args.file}: name the device's hardware with {PROFILE} NAME")
    universe, _ = _universe(args, profile)
    verdict = check(universe, found)
    print(
        json.dumps(verdict.as_json(), indent=1)
        if args.json
        else "\n".join(told_verdict(verdict, universe, name))
    )
    return 0 if verdict.ok else 1


def _universe(args: argparse.Namespace, profile_name: str) -> tuple[Universe, list[Want]]:
    """The universe and the wants that the options name."""
    from edgewright.device.profile import carried_profiles, load_profile  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.facts import load_facts  # noqa: PLC0415
    from edgewright.release.stack.universe import make_universe  # noqa: PLC0415
    from edgewright.release.stack.waiver import parse_waiver  # noqa: PLC0415

    profile = load_profile(profile_name, [*args.profiles, carried_profiles()])
    wants = [_want(text, WANT) for text in getattr(args, "want", [])]
    waiver = None
    if args.release is not None:
        from edgewright.release.documents import RELEASE_FILE, load_release  # noqa: PLC0415

        release, _ = load_release(args.release)
        named = f"{args.release / RELEASE_FILE}"
        if "rt_waiver" in release.get("nvidia", {}):
            waiver = parse_waiver(release["nvidia"]["rt_waiver"], f"reading {named}: nvidia.rt_waiver")
        flavour = "rt" if "-rt-" in release["os"]["kernel"] else "generic"
        asked = {want.item for want in wants}
        if "suite" not in asked and profile.gpu != "tegra":
            wants.append(_want(f"suite=={release['os']['suite']}", named))
        if "kernel-flavour" not in asked:
            wants.append(_want(f"kernel-flavour=={flavour}", named))
    universe = make_universe(profile.as_dict(), load_facts(args.facts), waiver, _day(args.on))
    return universe, wants


def _want(text: str, origin: str) -> Want:
    from edgewright.release.stack.universe import NUMBERS, WORDS  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.version import Want  # noqa: PLC0415

    return Want.parse(text, WORDS, NUMBERS, origin)


def _day(text: str | None) -> datetime.date:
    if text is None:
        return datetime.datetime.now(datetime.UTC).date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"reading --on {text!r}: expected a day such as 2026-11-21") from error


def _read(name: str) -> tuple[list[Found], str | None]:
    """What a file says of a stack, and the profile that it names."""
    from edgewright.release.documents import LOCK_FILE, load_lock_file  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.check import items_of_have, items_of_lock, items_of_stack  # noqa: PLC0415

    path = Path(name)
    if name != "-" and path.is_dir():
        path = path / LOCK_FILE
    if name != "-" and path.suffix in (".yml", ".yaml"):
        return items_of_lock(load_lock_file(path)[0]), None
    document = _json(name, path)
    if "schema" in document and "items" in document:
        return items_of_stack(document), document.get("profile")
    found = items_of_have(document)
    if not found:
        raise InputError(
            f"checking {name}: it names no version of the stack; expected a lock, JSON of `edgewright stack"
            " solve --json`, or a device's have with the areas kernel and nvidia, or items such as"
            ' {"driver": "535.309.01"}'
        )
    return found, None


def _json(name: str, path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else path.read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise InputError(f"checking {name}: {error.strerror}; name a lock, a stack or a have") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"checking {name}: it is neither a lock (.yml) nor JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"checking {name}: expected a JSON object, got {type(document).__name__}")
    return document

# SPDX-License-Identifier: Apache-2.0
"""`edgewright stack`: which versions of the NVIDIA stack go together on a kind of device, and why."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.errors import InputError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from edgewright.release.stack.check import Found
    from edgewright.release.stack.solve import Outcome
    from edgewright.release.stack.universe import Universe
    from edgewright.release.stack.version import Want
    from edgewright.release.stack.waiver import Waiver

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
        help="release.lock.yml (or a directory with one; its own profiles unless --profile names one), JSON"
        " of `stack solve --json`, or a device's have"
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
        help="take suite, kernel flavour, nvidia.want and PREEMPT_RT waiver from its release.yml",
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

    verdicts = []
    for subject in _subjects(args.file, args.profile):
        if not subject.profile:
            raise InputError(f"checking {args.file}: name the device's hardware with {PROFILE} NAME")
        universe, _ = _universe(args, subject.profile, subject.waiver)
        verdicts.append((subject, universe, check(universe, subject.found)))
    if args.json:
        documents = [verdict.as_json() for _, _, verdict in verdicts]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1))
    else:
        for subject, universe, verdict in verdicts:
            print("\n".join(told_verdict(verdict, universe, subject.name)))
    return 0 if all(verdict.ok for _, _, verdict in verdicts) else 1


def _universe(
    args: argparse.Namespace, profile_name: str, waiver: Waiver | None = None
) -> tuple[Universe, list[Want]]:
    """The universe and the wants that the options name; a release's waiver comes before the given one."""
    from edgewright.device.profile import carried_profiles, load_profile  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.facts import load_facts  # noqa: PLC0415
    from edgewright.release.stack.universe import make_universe  # noqa: PLC0415

    profile = load_profile(profile_name, [*args.profiles, carried_profiles()])
    wants = [_want(text, WANT) for text in getattr(args, "want", [])]
    if args.release is not None:
        from edgewright.release.documents import RELEASE_FILE, read_release  # noqa: PLC0415
        from edgewright.release.stack.locked import release_waiver, release_wants  # noqa: PLC0415

        marked, _ = read_release(args.release)
        release, named = marked.content, f"{args.release / RELEASE_FILE}"
        waiver = release_waiver(marked) or waiver
        flavour = "rt" if "-rt-" in release["os"]["kernel"] else "generic"
        wants += release_wants(marked)
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


@dataclass(frozen=True)
class _Subject:
    """What is checked: its name for messages, its versions, the profile and waiver that it names."""

    name: str
    found: list[Found]
    profile: str | None
    waiver: Waiver | None = None


def _subjects(name: str, profile: str | None) -> list[_Subject]:
    """What a file says of a stack, for this profile or those that it names."""
    from edgewright.release.documents import LOCK_FILE, load_lock_file  # noqa: PLC0415 - see _solve
    from edgewright.release.stack.check import (  # noqa: PLC0415
        items_of_have,
        items_of_lock,
        items_of_stack,
        stacks_of_lock,
    )

    path = Path(name)
    if name != "-" and path.is_dir():
        path = path / LOCK_FILE
    if name != "-" and path.suffix in (".yml", ".yaml"):
        lock = load_lock_file(path)[0]
        stacks = [each for each in stacks_of_lock(lock) if profile in (None, each.profile)]
        return [
            _Subject(f"{name} on {each.target}", each.found, each.profile, each.waiver) for each in stacks
        ] or [_Subject(name, items_of_lock(lock), profile)]
    document = _json(name, path)
    shown = "standard input" if name == "-" else name
    if "schema" in document and "items" in document:
        return [_Subject(shown, items_of_stack(document), profile or document.get("profile"))]
    found = items_of_have(document)
    if not found:
        raise InputError(
            f"checking {name}: it names no version of the stack; expected a lock, JSON of `edgewright stack"
            " solve --json`, or a device's have with the areas kernel and nvidia, or items such as"
            ' {"driver": "535.309.01"}'
        )
    return [_Subject(shown, found, profile)]


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

# SPDX-License-Identifier: Apache-2.0
"""`edgewright os`: Debian with its real-time kernel or Ubuntu Core, weighed by facts with sources."""

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
    from edgewright.osadvice.advise import CHOICES  # noqa: PLC0415 - other commands start without it

    parser = subparsers.add_parser("os", help="choose a device's operating system", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    advise = verbs.add_parser(
        "advise",
        help="Debian RT and Ubuntu Core side by side, and a recommendation; status 1 when neither can be",
    )
    advise.add_argument("--profile", required=True, metavar="NAME", help="the device's hardware profile")
    advise.add_argument("--profiles", type=Path, metavar="DIR", help="a site's own profiles")
    advise.add_argument(
        "--wakeup-worst-us",
        type=float,
        metavar="US",
        help=(
            "the worst wake-up that the intent allows (acceptance_intent.wakeup_worst_us); none when "
            "not given"
        ),
    )
    for name, words in (
        ("updates", "how the system may change"),
        ("rollback", "what must go back: runtime and model, or the whole system by itself"),
        ("surface", "how little may be on the device"),
        ("kernel", "who may change the kernel"),
        ("account", "whether an account at a store may be needed"),
    ):
        choices = CHOICES[name]
        advise.add_argument(
            f"--{name}", choices=choices, default=choices[0], help=f"{words} (default: {choices[0]})"
        )
    advise.add_argument(
        "--release",
        type=Path,
        metavar="DIR",
        help="a release: whether it has the PREEMPT_RT waiver for NVIDIA",
    )
    advise.add_argument("--facts", type=Path, metavar="FILE", help="other facts than the carried ones")
    advise.add_argument("--json", action="store_true", help="for programs: schema edgewright.os-advice/v1")
    advise.set_defaults(run=_advise)


def _advise(args: argparse.Namespace) -> int:
    from edgewright.device.profile import carried_profiles, load_profile  # noqa: PLC0415
    from edgewright.osadvice.advise import Needs, advise  # noqa: PLC0415
    from edgewright.osadvice.facts import load_os_facts  # noqa: PLC0415

    places = [carried_profiles()] if args.profiles is None else [args.profiles, carried_profiles()]
    profile = load_profile(args.profile, places)
    needs = Needs(
        wakeup_worst_us=args.wakeup_worst_us,
        gpu=profile.gpu,
        updates=args.updates,
        rollback=args.rollback,
        surface=args.surface,
        kernel=args.kernel,
        account=args.account,
        rt_waiver=_has_waiver(args.release),
    )
    advice = advise(needs, load_os_facts(args.facts))
    print(json.dumps(advice.as_json(), indent=1) if args.json else advice.text())
    return 0 if advice.recommended else 1


def _has_waiver(release_dir: Path | None) -> bool:
    """Whether a release carries a waiver that still counts."""
    if release_dir is None:
        return False
    from datetime import UTC, datetime  # noqa: PLC0415

    from edgewright.release.documents import RELEASE_FILE, load_release  # noqa: PLC0415
    from edgewright.release.stack.waiver import parse_waiver  # noqa: PLC0415

    release, _ = load_release(release_dir)
    content = release.get("nvidia", {}).get("rt_waiver")
    if content is None:
        return False
    waiver = parse_waiver(content, f"reading {release_dir / RELEASE_FILE}: nvidia.rt_waiver")
    return waiver.counts(datetime.now(UTC).date())

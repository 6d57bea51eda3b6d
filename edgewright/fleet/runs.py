# SPDX-License-Identifier: Apache-2.0
"""How long past runs took, by area: written by the callback plugin `run_times`, read by `edgewright plan`.

One file a run, in the site's `runs/`, and only for runs that changed a device. An expectation is the median
over devices of the same profile; it says from how many runs it comes, and nothing is expected from none.

    runs = load_runs(state_dir / "runs")
    expected = expect(runs, ["kernel", "acceptance"], reboot=True, profile="x86_vm")
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import InputError

__all__ = ["REBOOT", "SCHEMA", "Expectation", "Past", "expect", "load_runs"]

SCHEMA = "edgewright.run/v1"
# Beside the areas: the reboot is no area, and not every run has one.
REBOOT = "reboot"


@dataclass(frozen=True)
class Past:
    """What one device's run took.

    Attributes:
        host: its name.
        profile: its hardware profile.
        seconds: by area that was acted on (and `reboot`), in seconds.
    """

    host: str
    profile: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Expectation:
    """How long a run may take.

    Attributes:
        minutes: sum of the areas' medians, in minutes; None where no past run has any of them.
        runs: devices' runs that it comes from, the fewest over the areas that are known.
        unknown: areas that no past run has, and that `minutes` therefore leaves out.
        same_profile: whether all of it comes from devices of the same profile.
    """

    minutes: float | None
    runs: int
    unknown: tuple[str, ...]
    same_profile: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "minutes": self.minutes,
            "runs": self.runs,
            "unknown": list(self.unknown),
            "same_profile": self.same_profile,
        }


def load_runs(directory: Path) -> list[Past]:
    """Past runs of a site, oldest first; empty where there is none yet.

    Raises:
        InputError: a file is no record of a run; names it.
    """
    found = []
    for path in sorted(directory.glob("*.json")):
        wrong = f"reading past runs: {path} is no record of a run ({SCHEMA})"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{wrong}: {error}; remove it, and the plan goes on without it") from error
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            raise InputError(f"{wrong}; remove it, and the plan goes on without it")
        for host, device in (raw.get("devices") or {}).items():
            seconds = device.get("seconds") if isinstance(device, Mapping) else None
            if not isinstance(seconds, Mapping) or not all(
                isinstance(value, int | float) and value >= 0 for value in seconds.values()
            ):
                raise InputError(f"{wrong}: devices.{host}.seconds: expected numbers of seconds by area")
            found.append(Past(str(host), str(device.get("profile") or ""), dict(seconds)))
    return found


def expect(runs: Sequence[Past], areas: Sequence[str], reboot: bool, profile: str) -> Expectation:
    """How long acting on these areas may take, by the past.

    Args:
        runs: past runs.
        areas: areas that would be acted on.
        reboot: whether a reboot is part of it.
        profile: the device's profile; runs of it count before those of others.
    """
    total, counts, unknown, same = 0.0, [], [], True
    for name in [*areas, *([REBOOT] if reboot else [])]:
        own = [past.seconds[name] for past in runs if name in past.seconds and past.profile == profile]
        seen = own or [past.seconds[name] for past in runs if name in past.seconds]
        if not seen:
            unknown.append(name)
            continue
        same = same and bool(own)
        counts.append(len(seen))
        total += statistics.median(seen)
    if not counts:
        return Expectation(None, 0, tuple(unknown), True)
    return Expectation(total / 60, min(counts), tuple(unknown), same)

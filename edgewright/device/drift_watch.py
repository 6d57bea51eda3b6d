# SPDX-License-Identifier: Apache-2.0
"""The drift_watch area: the device keeps the probe, and looks at itself from a timer.

Pure, but for the probe's own sources, which are part of this installation. The area comes last, because what
it keeps on the device is made of the wants of all others.

Items:
    program: SHA-256 of the kept probe (`edgewright.device.probe_program`).
    wanted: SHA-256 of the wants that the device compares itself with.
    files: the timer's and the service's unit files.
    timer: whether it is enabled, active, and as its file says.
    fresh: whether the device's last look is not older than three periods.
    findings: what that look found, as `area.item`.

With `drift_watch_period_s: 0` the program alone is kept, and the unit files shall not be there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from edgewright.device.cpulist import format_cpus, housekeeping
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.device.places import (
    CORE24_WRITABLE,
    DEBIAN,
    UBUNTU_CORE,
    chosen_os,
    places,
    writable_on_core24,
)
from edgewright.device.probe_program import kept_path, probe_program
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError

__all__ = ["AREA", "OF_ALL", "SCHEMA", "drift", "kept_want", "want", "want_digest"]

AREA = "drift_watch"
# Its want is made of the wants of all other areas.
OF_ALL = True
SCHEMA = "edgewright.watch/v1"

PERIOD = "drift_watch_period_s"
TEXTFILES = "drift_watch_textfile_directory"
LEAST_PERIOD_S = 10
MOST_PERIOD_S = 86400
# Seconds that the model's server has after a boot, where the period is longer.
AFTER_BOOT_S = 300

# The report is of this boot, rewritten each period, and no flash memory is worn by it.
RUN_DIRECTORY = "/run/edgewright/drift_watch"
UNIT = "edgewright-drift-watch"
METRICS = "edgewright_drift_watch.prom"
_UNIT_FILES = (f"/etc/systemd/system/{UNIT}.service", f"/etc/systemd/system/{UNIT}.timer")

_PATH = re.compile(r"^(/[A-Za-z0-9._-]+)+\Z", re.ASCII)

_WHY = {
    "program": "the device does not keep this version of the probe, so each probe has to bring it along",
    "wanted": "the device compares itself with other wants than these, or with none",
    "timer": "the timer of the device's own watch does not run, does not start at boot, or its file was"
    " changed",
    "fresh": "the device's own watch has not looked for three periods",
    "findings": "the device's own watch found items that are not as accepted",
}
_SERVICE = """\
# Written by Edgewright (role drift_watch); changes made here are undone by the next run.
[Unit]
Description=Edgewright compares this device with what was accepted

[Service]
Type=oneshot
# Nothing is run whose digest is another.
ExecStartPre=/bin/sh -c 'echo "{sha256}  {program}" | sha256sum --check --status'
ExecStart=/usr/bin/python3 -I -S -B {program} watch {want}
{affinity}Nice=19
IOSchedulingClass=idle
RuntimeDirectory=edgewright/drift_watch
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
TimeoutStartSec=300
"""
_TIMER = """\
# Written by Edgewright (role drift_watch); changes made here are undone by the next run.
[Unit]
Description=Edgewright compares this device with what was accepted, every {period} s

[Timer]
# Of the clock that nobody sets: a device in an air gap may not know the time. After a boot the model's server
# has some minutes to come up before its absence is told, but no longer than one period.
OnBootSec={after_boot}s
OnUnitActiveSec={period}s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The watch as it shall be.

    Args:
        variables: `drift_watch_*`, `isolation_cpus`, and what the other areas read.
        profile: the hardware profile.
        lock: the release's lock.

    Returns:
        The items of the area, `at` (where things lie) and `period_s`.

    Raises:
        InputError: the period or the directory cannot be, or another area refuses its input.
    """
    period = _period(variables.get(PERIOD))
    program = probe_program()
    system = chosen_os(variables)
    where = places(system)
    # Debian's wants say no OS: they are what devices keep already.
    os = {} if system == DEBIAN else {"os": system}
    metrics = f"{_directory(variables.get(TEXTFILES), system)}/{METRICS}"
    at = {"program": kept_path(program.sha256, where.probe), "metrics": metrics}
    if not period:
        return {**os, "at": at, "period_s": 0, "program": program.sha256, "files": dict.fromkeys(_UNIT_FILES)}
    at |= {
        "want": f"{where.drift_watch}/want.json",
        "report": f"{RUN_DIRECTORY}/report.json",
        "timer": f"{UNIT}.timer",
    }
    apart = profile["boot"] != "none"  # a container has no CPUs of its own to set apart
    isolated = chosen_cpus(variables, profile) if apart else None
    affinity = f"CPUAffinity={format_cpus(housekeeping(isolated, profile['cpus']))}\n" if isolated else ""
    return {
        **os,
        "at": at,
        "period_s": period,
        "program": program.sha256,
        "wanted": want_digest(_others(variables, profile, lock)),
        "files": {
            _UNIT_FILES[0]: _SERVICE.format(
                sha256=program.sha256, program=at["program"], want=at["want"], affinity=affinity
            ),
            _UNIT_FILES[1]: _TIMER.format(period=period, after_boot=min(period, AFTER_BOOT_S)),
        },
        "timer": {"enabled": True, "active": True, "stale": False},
        "fresh": True,
        "findings": [],
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it."""
    if not want:
        return []
    found = compare(AREA, have, want, {"program": _WHY["program"]})
    files = have.get("files") or {}
    for path, text in want["files"].items():
        if files.get(path) != text:
            state = "is missing" if files.get(path) is None else "was changed"
            if text is None:
                state = "is there, though this device shall have no watch of its own"
            found.append(Drift(AREA, f"files.{path}", files.get(path), text, f"{path} {state}"))
    if not want["period_s"]:
        return found
    return found + compare(AREA, have, want, {item: why for item, why in _WHY.items() if item != "program"})


def want_digest(wants: Mapping[str, Any]) -> str:
    """SHA-256 of wants in one canonical form of JSON, as the device computes it."""
    text = json.dumps(wants, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def kept_want(
    have: Mapping[str, Any], want: Mapping[str, Any], drifted: list[str], release: Mapping[str, str]
) -> str:
    """The file that the device compares itself with.

    Args:
        have: all areas as read.
        want: all areas as wanted.
        drifted: areas that are not as wanted now: they get no accepted state, and the device says so.
        release: name and version of the lock's release.

    Returns:
        JSON, one form for one state.
    """
    kept = {
        "schema": SCHEMA,
        "release": {key: release[key] for key in ("name", "version")},
        "at": {key: want[AREA]["at"][key] for key in ("report", "metrics")},
        "want": {area: want[area] for area in want if area != AREA},
        "accepted": {area: have[area] for area in have if area != AREA and area not in drifted},
        "why": _why(want),
    }
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def _why(want: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What it means when an item is otherwise, of the areas that want something."""
    from edgewright.device.areas import AREAS  # noqa: PLC0415 - the table imports this module

    return {
        area.name: {item: why for item, why in _way(area, want).why.items() if item in want[area.name]}
        for area in AREAS
        if area.name != AREA and want.get(area.name)
    }


def _way(area: Any, want: Mapping[str, Any]) -> Any:
    return area.way(str(want[area.name].get("os", DEBIAN)))


def _others(
    variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]
) -> dict[str, Any]:
    from edgewright.device.areas import AREAS  # noqa: PLC0415 - the table imports this module

    system = chosen_os(variables)
    return {area.name: area.way(system).want(variables, profile, lock) for area in AREAS if area.name != AREA}


def _period(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value):
        value = int(value)  # as Ansible gives a number that came through a template
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or not (value == 0 or LEAST_PERIOD_S <= int(str(value)) <= MOST_PERIOD_S):
        raise InputError(
            f"{PERIOD}: expected a whole number of seconds from {LEAST_PERIOD_S} to {MOST_PERIOD_S}, or 0"
            f" for no watch, got {value!r}"
        )
    return int(str(value))


def _directory(value: object, system: str) -> str:
    if not isinstance(value, str) or not _PATH.match(value) or ".." in value.split("/"):
        raise InputError(
            f"{TEXTFILES}: expected an absolute path of letters, digits, dots, dashes and _, without a slash"
            f" at its end, got {value!r}"
        )
    if system == UBUNTU_CORE and value == places(DEBIAN).textfiles:
        return places(system).textfiles
    if system == UBUNTU_CORE and not writable_on_core24(value):
        raise InputError(
            f"{TEXTFILES}: {value} can't be written on Ubuntu Core, whose root is read-only: expected a"
            " directory"
            f" below one of {', '.join(CORE24_WRITABLE)}"
        )
    return value

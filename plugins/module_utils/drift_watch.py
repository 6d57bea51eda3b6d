# SPDX-License-Identifier: Apache-2.0
"""Reads the drift_watch area: the kept probe, its timer, and what the device's own last look found.

Items are described in `edgewright/device/drift_watch.py`. Standard library only, Python 3.9 and later;
nothing here writes.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils.lean import sha256
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

REPORT_SCHEMA = "edgewright.watch-report/v1"
# Periods after which a report is taken for the work of a timer that no longer runs.
STALE_PERIODS = 3


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `at`, `period_s` and the paths in `files` are used. Empty: none.

    Returns:
        `program`; and, where the device shall watch itself, `wanted`, `files`, `timer`, `fresh` and
        `findings`.
    """
    if not scope:
        return {}
    at = scope["at"]
    program = system.read_bytes(at["program"])
    have: Dict[str, Any] = {
        "program": None if program is None else sha256(program),
        "files": {path: system.read(path) for path in scope["files"]},
    }
    if not scope["period_s"]:
        return have
    kept = _mapping(system.read(at["want"]))
    report = _mapping(system.read(at["report"]))
    if report.get("schema") != REPORT_SCHEMA:
        report = {}
    have.update(
        {
            "wanted": want_digest(kept.get("want")),
            "timer": _timer(system, at["timer"]),
            "fresh": _fresh(system, report, scope["period_s"]),
            "findings": _findings(system, report, kept),
        }
    )
    return have


def want_digest(want: Any) -> Optional[str]:
    """SHA-256 of wants in one canonical form of JSON; None where there are none."""
    if not isinstance(want, dict):
        return None
    text = json.dumps(want, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode())


def _mapping(text: Optional[str]) -> Dict[str, Any]:
    try:
        value = json.loads(text or "null")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _timer(system: System, name: str) -> Dict[str, bool]:
    shown = system.run(
        ["systemctl", "show", "--property", "ActiveState,UnitFileState,NeedDaemonReload", name]
    )
    values = dict(line.partition("=")[::2] for line in shown.out.splitlines())
    return {
        "enabled": values.get("UnitFileState") == "enabled",
        "active": values.get("ActiveState") == "active",
        "stale": values.get("NeedDaemonReload") == "yes",
    }


def uptime_s(system: System) -> float:
    """Seconds since the device started, by the clock that nobody sets; 0 where it cannot be read."""
    words = (system.read("/proc/uptime") or "").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return 0.0


def boot_id(system: System) -> str:
    """The kernel's name for this boot."""
    return (system.read("/proc/sys/kernel/random/boot_id") or "").strip()


def _fresh(system: System, report: Mapping[str, Any], period_s: float) -> bool:
    """Whether the last report is of this boot and not old; just after a boot there is none yet."""
    limit, now = STALE_PERIODS * period_s, uptime_s(system)
    made = report.get("uptime_s")
    if not report:
        return now <= limit
    return (
        report.get("boot_id") == boot_id(system)
        and isinstance(made, (int, float))
        and 0 <= now - made <= limit
    )


def _findings(system: System, report: Mapping[str, Any], kept: Mapping[str, Any]) -> List[str]:
    """What the report names and is so still, as `area.item`; nothing where there is no report (see `fresh`).

    An area that the watch could not read and that cannot be read now is told as `area.unread`: what is not
    known is not as accepted.

    Looked at again, because a report is minutes old: what came and went (a server that was just starting) is
    no drift. Only the areas that the report names, or had no answer for, are read once more, so a device
    without findings pays nothing.
    """
    drift, items = report.get("drift"), report.get("items")
    if not isinstance(drift, list):
        return []
    found = {(each.get("area"), each.get("item")) for each in drift if isinstance(each, dict)}
    wants = kept.get("want")
    if not isinstance(wants, dict):
        return sorted("%s.%s" % each for each in found)
    unanswered = {area for area in wants if isinstance(items, dict) and area not in items}
    named = {each[0] for each in found} | unanswered
    areas = {area: wants[area] for area in wants if area in named}
    if not areas:
        return sorted("%s.%s" % each for each in found)
    from ansible_collections.edgewright.factory.plugins.module_utils import watch

    now = watch.look(system, {"want": areas, "accepted": kept.get("accepted")})
    still = {(each["area"], each["item"]) for each in now["drift"]}
    unread = set(areas) - set(now["items"])
    told = {each for each in found if each in still or each[0] in unread}
    told |= {(area, "unread") for area in unread & unanswered}
    return sorted("%s.%s" % each for each in told)

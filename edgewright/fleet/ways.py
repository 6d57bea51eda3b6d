# SPDX-License-Identifier: Apache-2.0
"""What a fleet of two OSes is told beside its drift: each device's OS, what it can't show, what no run mends.

Pure. Debian's wants say no OS, and skip nothing.

    os_of(want), skipped(want)          # of what device_state wanted of a device
    by_hand(drift)                      # items at which a run stops, for a person to mend
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgewright.device.drift import Drift
from edgewright.device.places import UBUNTU_CORE
from edgewright.device.steps import os_of
from edgewright.snaps.grade import dangerous

__all__ = ["by_hand", "grade_line", "os_of", "skipped", "skipped_lines"]

# Items that a role refuses rather than mends: before it changes anything, it says what a person has to do.
_BY_HAND = frozenset(
    {
        ("identity", "snapd"),
        ("depot_client", "foreign_snaps"),
        ("depot_client", "suite"),
        ("kernel", "boot"),
        ("kernel", "conflicts"),
        ("kernel", "kernel_snap"),
        ("kernel", "realtime"),
        ("isolation", "cpuset"),
        ("isolation", "topology"),
    }
)

# How many devices a line names; JSON has them all.
_HOSTS_TOLD = 8


def by_hand(drift: Iterable[Drift]) -> tuple[str, ...]:
    """Items that no run mends, as `area.item`.

    Args:
        drift: of one device. What a reboot mends is no such item: Debian's `kernel.realtime` is one of these.
    """
    return tuple(
        f"{item.area}.{item.item}" for item in drift if (item.area, item.item) in _BY_HAND and not item.reboot
    )


def skipped(want: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Items that the device can't show, as `area.item`, each with the reason; no drift is told of them.

    Args:
        want: area to want, as `edgewright.device.areas.want_all` gives it.
    """
    return {
        f"{area}.{item}": str(reason)
        for area, wanted in want.items()
        for item, reason in (wanted.get("skipped") or {}).items()
    }


def skipped_lines(devices: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The same of many devices, for a person: one line for all that skip the same for the same reason.

    Args:
        devices: name to what it skips, as `skipped` gives it.
    """
    alike: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for host, items in devices.items():
        reasons: dict[str, list[str]] = {}
        for item, reason in items.items():
            reasons.setdefault(reason, []).append(item)
        for reason, names in reasons.items():
            alike.setdefault((tuple(names), reason), []).append(host)
    lines = []
    for (alike_names, reason), hosts in alike.items():
        more = f" and {len(hosts) - _HOSTS_TOLD} more" if len(hosts) > _HOSTS_TOLD else ""
        lines.append(f"skipped on {', '.join(hosts[:_HOSTS_TOLD])}{more}: {', '.join(alike_names)}: {reason}")
    return lines


def grade_line(host: str, system: str, lock: Mapping[str, Any]) -> str:
    """The line that names a device's snaps without assertions; empty where it has none.

    Args:
        host: the device's name.
        system: its OS; only one that takes its runtime as snaps holds any.
        lock: the lock that it is compared with.
    """
    names = dangerous(lock) if system == UBUNTU_CORE else []
    if not names:
        return ""
    have = "has no assertion" if len(names) == 1 else "have no assertions"
    return f"GRADE DANGEROUS: {host}: {', '.join(names)} {have}: nobody vouches for who made them"

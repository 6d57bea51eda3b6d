# SPDX-License-Identifier: Apache-2.0
"""Snaps that nothing vouches for: said in the release, in the inventory and in the record, or refused.

A snap without assertions is one that anybody may have made. snapd installs it only with `--dangerous`, and an
Ubuntu Core model has to be of grade dangerous for it. So a release marks it `grade: dangerous`, a site says
`edgewright_snap_grade: dangerous` for the devices that may hold it, and their records state it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewright.device.places import UBUNTU_CORE, chosen_os
from edgewright.errors import InputError

__all__ = ["DANGEROUS", "SIGNED", "VARIABLE", "check_inventory", "dangerous", "notice", "recorded"]

DANGEROUS = "dangerous"
SIGNED = "signed"
"""The two grades, in the words of snapd's models (asserts/model.go: ModelGrade)."""

VARIABLE = "edgewright_snap_grade"
"""The inventory's variable; `signed` when it is not set."""


def dangerous(lock: Mapping[str, Any]) -> list[str]:
    """Names of a lock's snaps that have no assertion."""
    return [snap["name"] for snap in lock.get("snaps", []) if snap["grade"] == DANGEROUS]


def notice(names: Sequence[str], where: str) -> str:
    """What a person is told, loudly, wherever such snaps pass.

    Args:
        names: Of the snaps; at least one.
        where: What holds them, such as `release label-reader 1.0.0`.
    """
    return (
        f"NOTICE: {where} holds {len(names)} {'snap' if len(names) == 1 else 'snaps'} WITHOUT ASSERTIONS "
        f"({', '.join(names)}), GRADE DANGEROUS: nobody vouches for who made them; for trials only"
    )


def check_inventory(variables: Mapping[str, Any], lock: Mapping[str, Any]) -> None:
    """Hold the inventory against the lock.

    Args:
        variables: The device's variables.
        lock: The lock.

    Raises:
        InputError: The variable is neither grade, the device's OS is none that is known, or the lock has
        snaps that it does not allow.
    """
    grade = variables.get(VARIABLE, SIGNED)
    if grade not in (SIGNED, DANGEROUS):
        raise InputError(f"{VARIABLE}: expected {SIGNED} or {DANGEROUS}, got {grade!r}")
    # Only a device that takes its runtime as snaps holds any.
    names = dangerous(lock) if chosen_os(variables) == UBUNTU_CORE else []
    if names and grade != DANGEROUS:
        raise InputError(
            f"checking the release's snaps: {', '.join(names)} has no assertion (grade {DANGEROUS} in the "
            f"release), but this device's {VARIABLE} is {grade}; supply the snap with its assertions, or set "
            f"{VARIABLE}: {DANGEROUS} for devices that are for trials only"
        )


def recorded(lock: Mapping[str, Any]) -> dict[str, Any]:
    """What an as-built record states of it: nothing where every snap is asserted."""
    names = dangerous(lock)
    return {"snaps": {"grade": DANGEROUS, "without_assertions": names}} if names else {}

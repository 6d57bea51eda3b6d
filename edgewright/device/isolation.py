# SPDX-License-Identifier: Apache-2.0
"""The isolation area: a slice of systemd has CPUs for itself, as the kernel reads it back. Pure.

A slice with `AllowedCPUs=` keeps its own processes on those CPUs; it does not keep others off. Others
are kept off when the slice's cgroup is a cpuset partition of type `isolated` and reads so: what was
written is not what counts. In Linux before 6.7 such a partition must be a child of the root, so the
slice must be a top-level one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgewright.device.cpulist import VARIABLE as CPUS
from edgewright.device.cpulist import format_cpus, housekeeping, isolated_cpus
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.errors import InputError

__all__ = ["AREA", "SLICE", "drift", "want"]

AREA = "isolation"

# The inventory's name for the slice.
SLICE = "isolation_slice"

_WHY = {
    "cpuset": "this kernel offers no cpuset in a unified (v2) cgroup tree: no CPU can be set apart",
    "slice": "systemd has no unit file for the slice",
    "configured_cpus": "systemd would give the slice other CPUs than wanted",
    "enabled": "edgewright-partition.service is not enabled, so the CPUs would not be set apart after a boot",
    "active": "edgewright-partition.service is not running, so nothing keeps the slice's partition",
    "slice_cpus": "the slice has other CPUs than wanted",
    "claims": "other groups claim CPUs of the slice, which makes its partition invalid",
    "partition": "the slice's partition does not read isolated, so others may run on its CPUs",
    "housekeeping_cpus": "the system's CPUs are other than those left over",
    "intruders": "the processes of other groups may run on the slice's CPUs",
}

# A dash in a slice's name makes it a child: a-b.slice lies below a.slice.
_TOP_LEVEL = re.compile(r"^[a-z][a-z0-9_]{0,62}\.slice$", re.ASCII)
_TAKEN = frozenset({"system.slice", "user.slice", "machine.slice", "init.slice"})


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - one signature for all areas
    """What the area shall be.

    Args:
        variables: `isolation_cpus` and `isolation_slice`.
        profile: the hardware profile: `name`, `cpus` and `boot`.
        lock: the release's lock; nothing of it is read.

    Returns:
        The items of the area; empty where `isolation_cpus` is empty or the profile is a container's.

    Raises:
        InputError: the CPU list or the slice's name cannot be.
    """
    name = variables.get(SLICE)
    if not isinstance(name, str) or not _TOP_LEVEL.fullmatch(name) or name in _TAKEN:
        raise InputError(
            f"{SLICE}: cannot take {name!r}: expected the name of a slice of its own at the top level, such"
            ' as "edgert.slice": small letters, digits and _, no dash (a-b.slice lies below a.slice), and not'
            f" one of {', '.join(sorted(_TAKEN))}"
        )
    if profile["boot"] == "none":
        return {}
    isolated = isolated_cpus(variables.get(CPUS), profile["cpus"], profile["name"])
    if not isolated:
        return {}
    cpus = format_cpus(isolated)
    return {
        "cpuset": True,
        "slice": name,
        "configured_cpus": cpus,
        "enabled": True,
        "active": True,
        "slice_cpus": cpus,
        "claims": [],
        "partition": "isolated",
        "housekeeping_cpus": format_cpus(housekeeping(isolated, profile["cpus"])),
        "intruders": [],
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it; empty where nothing is wanted."""
    return compare(AREA, have, want, _WHY) if want else []

# SPDX-License-Identifier: Apache-2.0
"""Area `isolation` on Ubuntu Core: the slice is a quota group's, the partition is the same.

Pure: no IO. snapd makes a slice for each quota group (`edgert` has `snap.edgert.slice`, at the top of the
hierarchy) and
puts the services of the group's snaps into it. It writes that slice only once the group has a service, so
its CPUs stand
in a drop-in as well, and hold from the first moment. Items are Debian's, and:

    quota           {cpus} of the quota group, as snapd says; None where there is none
    quota_change    in `have` only, and only where the group is otherwise than wanted: what snapd did to it
                    last, and when, as long as snapd remembers it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgewright.device import isolation
from edgewright.device.drift import Drift, Have, Want
from edgewright.device.places import UBUNTU_CORE, places
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError

__all__ = ["AREA", "drift", "group_of", "slice_of", "want"]

AREA = isolation.AREA

_NO_QUOTA = "snapd has no such quota group, so the runtime's services have no slice of their own"
# With Debian's: the device's own watch says what an item means by this table.
_WHY = {
    "quota": "snapd has no quota group with these CPUs, so the runtime's services may run on others",
    **isolation._WHY,
}
# What the snap's services are called in their slice.
_MEMBERS = "snap.edgewright-runtime.*.service"


def group_of(variables: Mapping[str, Any]) -> str:
    """Name of the quota group: `isolation_slice` without its ending."""
    return str(variables.get(isolation.SLICE)).removesuffix(".slice")


def slice_of(variables: Mapping[str, Any]) -> str:
    """The slice that snapd gives the group."""
    return f"snap.{group_of(variables)}.slice"


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the area shall be; empty where `isolation_cpus` is.

    Raises:
        InputError: see `edgewright.device.isolation.want`.
    """
    wanted = isolation.want(variables, profile, lock)
    if not wanted:
        return {}
    name = slice_of(variables)
    if not re.fullmatch(r"[a-z0-9]+", group_of(variables)):
        raise InputError(
            f"{isolation.SLICE}: on Ubuntu Core it names a quota group as well: expected small letters"
            " and digits"
            f" before .slice, such as edgert.slice, got {variables.get(isolation.SLICE)!r}"
        )
    return {
        "os": UBUNTU_CORE,
        **wanted,
        "slice": name,
        "quota": {"cpus": wanted["slice_cpus"]},
        "at": {
            **wanted["at"],
            "members": [*wanted["at"]["members"], _MEMBERS],
            "group": group_of(variables),
            # snap set-quota takes single CPUs only.
            "cpu_set": ",".join(str(cpu) for cpu in sorted(chosen_cpus(variables, profile))),
            "drop_in": f"/etc/systemd/system/{name}.d/80-edgewright.conf",
            "quiet_config": places(UBUNTU_CORE).quiet_config,
            "programs": places(UBUNTU_CORE).programs,
        },
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs: the quota group first, then as on Debian."""
    found = []
    if want and have.get("quota") != want["quota"]:
        why = _NO_QUOTA if have.get("quota") is None else _WHY["quota"]
        change = have.get("quota_change")
        told = f"{change}: {why}" if change else why
        found.append(Drift(AREA, "quota", have.get("quota"), want["quota"], told))
    return [*found, *isolation.drift(have, want)]

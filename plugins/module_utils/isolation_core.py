# SPDX-License-Identifier: Apache-2.0
"""Reads the isolation area on Ubuntu Core: as on Debian, and snapd's quota group.

Items are described in `edgewright/device/isolation_core.py`. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible_collections.edgewright.factory.plugins.module_utils import isolation
from ansible_collections.edgewright.factory.plugins.module_utils.system import System
from ansible_collections.edgewright.factory.plugins.module_utils.topology import format_cpus


def read(system: System, scope: Dict[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `quota`, and `at`, which says the quota group, the slice's drop-in and the
            quiet-cpus service's file.
    """
    have = isolation.read(system, scope)
    # snapd writes the slice's own file once a service is in it; until then its drop-in makes it.
    if have.get("slice") is None and system.read(scope["at"]["drop_in"]) is not None:
        have["slice"] = scope["slice"]
    found = {"quota": quota(system, scope["at"]["group"]), **have}
    if found["quota"] != scope["quota"]:
        change = last_change(system, scope["at"]["group"])
        if change:
            found["quota_change"] = change
    return found


def quota(system: System, group: str) -> Optional[Dict[str, str]]:
    """CPUs of a quota group, in the kernel's notation; None where there is no such group, or it has none."""
    answer = system.snapd("/v2/quotas/" + group)
    limits = answer.get("constraints") if isinstance(answer, dict) else None
    cpus = limits.get("cpu-set") if isinstance(limits, dict) else None
    numbers = cpus.get("cpus") if isinstance(cpus, dict) else None
    if not isinstance(numbers, list) or not numbers:
        return None
    return {"cpus": format_cpus({int(number) for number in numbers})}


def last_change(system: System, group: str) -> Optional[str]:
    """What snapd did last to a quota group, and when by the device's clock; None where it does not remember.

    snapd forgets a change that is done after a day (overlord/overlord.go of 2.57.6: pruneWait).
    """
    found = []
    for change in system.snapd("/v2/changes?select=all") or []:
        for task in change.get("tasks") or []:
            # Such as: Remove quota group "edgert"
            named = str(task.get("summary")).endswith('"%s"' % group)
            if task.get("kind") == "quota-control" and named and task.get("status") == "Done":
                found.append((str(task.get("ready-time")), str(change.get("id")), task["summary"]))
    if not found:
        return None
    time, number, summary = max(found)
    return "%s at %sZ (change %s of snapd)" % (summary, time[:19], number)

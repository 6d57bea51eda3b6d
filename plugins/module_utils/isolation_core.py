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
        scope: the area's want: `at` says the quota group, the slice's drop-in and the quiet-cpus service's
        file.
    """
    have = isolation.read(system, scope)
    # snapd writes the slice's own file once a service is in it; until then its drop-in makes it.
    if have.get("slice") is None and system.read(scope["at"]["drop_in"]) is not None:
        have["slice"] = scope["slice"]
    return {"quota": quota(system, scope["at"]["group"]), **have}


def quota(system: System, group: str) -> Optional[Dict[str, str]]:
    """CPUs of a quota group, in the kernel's notation; None where there is no such group, or it has none."""
    answer = system.snapd("/v2/quotas/" + group)
    limits = answer.get("constraints") if isinstance(answer, dict) else None
    cpus = limits.get("cpu-set") if isinstance(limits, dict) else None
    numbers = cpus.get("cpus") if isinstance(cpus, dict) else None
    if not isinstance(numbers, list) or not numbers:
        return None
    return {"cpus": format_cpus({int(number) for number in numbers})}

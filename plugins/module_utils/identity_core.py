# SPDX-License-Identifier: Apache-2.0
"""Reads the identity area on Ubuntu Core: as on Debian, but for packages, and whether snapd runs the device.

Items are described in `edgewright/device/identity_core.py`. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping

from ansible_collections.edgewright.factory.plugins.module_utils import identity
from ansible_collections.edgewright.factory.plugins.module_utils.system import System


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `directory` and `renew_days` are used.
    """
    have = identity.read(system, {**scope, "packages": {}})
    del have["packages"]
    return {"snapd": isinstance(system.snapd("/v2/system-info"), dict), **have}

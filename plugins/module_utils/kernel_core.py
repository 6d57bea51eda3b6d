# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel area on Ubuntu Core: snapd's settings and snaps, and what runs.

Items are described in `edgewright/device/kernel_core.py`; what both systems have is read as on Debian.
Standard
library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Dict

from ansible_collections.edgewright.factory.plugins.module_utils import kernel
from ansible_collections.edgewright.factory.plugins.module_utils.bootloader import split_cmdline
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

MODEENV = "/var/lib/snapd/modeenv"


def read(system: System, scope: Dict[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want. Only its items are read.
    """
    have = kernel.read(system, {"cmdline": [], **scope})
    have.pop("boot", None)
    # What is given is given where snapd does not boot the machine, and nothing else is looked at.
    booted = system.read(MODEENV) is not None
    found: Dict[str, Any] = {"boot": "snapd" if booted else "given"}
    if "kernel_snap" in scope:
        found["kernel_snap"] = kernel_snap(system)
    found.update({item: value for item, value in have.items() if item in scope})
    if "cmdline_append" in scope:
        found["cmdline_append"] = cmdline_append(system)
    return found


def kernel_snap(system: System) -> Any:
    """Name and revision of the active kernel snap."""
    for snap in system.snapd("/v2/snaps") or []:
        if snap.get("type") == "kernel" and snap.get("status") == "active":
            revision = str(snap.get("revision"))
            return {"name": snap.get("name"), "revision": int(revision) if revision.isdigit() else revision}
    return None


def cmdline_append(system: System) -> Any:
    """What snapd appends to the command line, as its parameters; none where nothing is set."""
    settings = system.snapd("/v2/snaps/system/conf")
    if not isinstance(settings, dict):
        return None
    part = settings.get("system")
    for name in ("kernel", "cmdline-append"):
        part = part.get(name) if isinstance(part, dict) else None
    return split_cmdline(str(part)) if part else []

# SPDX-License-Identifier: Apache-2.0
"""Reads what only a Jetson has: L4T, the board's firmware, its module, the power mode by name, held clocks.

Formats: `/etc/nv_tegra_release` ("# R36 (release), REVISION: 4.3, GCID: ..."), `nvpmodel.conf`
("< POWER_MODEL ID=2 NAME=MAXN_SUPER >", "< PM_CONFIG DEFAULT=2 >"), `/var/lib/nvpmodel/status`
("pmode:0002"), as NVIDIA's Jetson Linux Developer Guide and public devices show them. Power modes are
compared by name: their numbers differ between modules and releases. Standard library only; nothing here
writes.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

TEGRA_RELEASE = "/etc/nv_tegra_release"
FIRMWARE = "/sys/class/dmi/id/bios_version"
COMPATIBLE = "/proc/device-tree/compatible"
NVPMODEL_CONF = "/etc/nvpmodel.conf"
NVPMODEL_STATUS = "/var/lib/nvpmodel/status"
NVPMODEL_QUERY = ["nvpmodel", "-q"]
CPUS = "/sys/devices/system/cpu"

_L4T = re.compile(r"^# R([0-9]+) \(release\), REVISION: ([0-9]+(?:\.[0-9]+)*)", re.MULTILINE)
_FIRMWARE = re.compile(r"^([0-9]+(?:\.[0-9]+)*)")
_MODULE = re.compile(r"p[0-9]{4}-[0-9]{4}")
_MODE = re.compile(r"^<\s*POWER_MODEL\s+ID=([0-9]+)\s+NAME=(\S+?)\s*>", re.MULTILINE)
_DEFAULT = re.compile(r"^<\s*PM_CONFIG\s+DEFAULT=([0-9]+)\s*>", re.MULTILINE)
_STATUS = re.compile(r"pmode:0*([0-9]+)")
_QUERY = re.compile(r"^NV Power Mode:\s*(\S+)", re.MULTILINE)
_CPU = re.compile(r"^cpu[0-9]+$")


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the items of a Jetson.

    Args:
        system: the device.
        scope: the area's want: `jetson` says which of several names of the module to look for.

    Returns:
        `l4t`, `firmware`, `jetson`, `power_mode`, `power_mode_boot`, `power_modes` (name: number), `clocks`.
    """
    release = _L4T.search(system.read(TEGRA_RELEASE) or "")
    firmware = _FIRMWARE.match((system.read(FIRMWARE) or "").strip())
    modules = _MODULE.findall((system.read(COMPATIBLE) or "").replace("\0", " "))
    conf = system.read(NVPMODEL_CONF) or ""
    modes = {int(number): name for number, name in _MODE.findall(conf)}
    return {
        "l4t": "%s.%s" % release.groups() if release else None,
        "firmware": firmware.group(1) if firmware else None,
        "jetson": _of(modules, scope.get("jetson")),
        "power_modes": {name: number for number, name in sorted(modes.items())},
        "power_mode": _running_mode(system),
        "power_mode_boot": _boot_mode(conf, system.read(NVPMODEL_STATUS) or "", modes),
        "clocks": _clocks(system),
    }


def _of(modules: List[str], wanted: Optional[str]) -> Optional[str]:
    """A device tree names carrier board and module; the wanted one if it is among them, else the last."""
    if wanted in modules:
        return wanted
    return modules[-1] if modules else None


def _running_mode(system: System) -> Optional[str]:
    match = _QUERY.search(system.run(NVPMODEL_QUERY).out)
    return match.group(1) if match else None


def _boot_mode(conf: str, status: str, modes: Dict[int, str]) -> Optional[str]:
    """The mode that nvpmodel.service sets at boot: the one it remembers, else the file's default."""
    chosen = _STATUS.search(status) or _DEFAULT.search(conf)
    return modes.get(int(chosen.group(1))) if chosen else None


def _clocks(system: System) -> Optional[str]:
    """`maximum` where every online CPU's lowest frequency is its highest, as jetson_clocks sets them."""
    held = []
    for name in system.listdir(CPUS):
        if _CPU.match(name):
            base = "%s/%s/cpufreq/" % (CPUS, name)
            least, most = system.read(base + "scaling_min_freq"), system.read(base + "scaling_max_freq")
            if least and most:
                held.append(least.strip() == most.strip())
    return ("maximum" if all(held) else "dynamic") if held else None

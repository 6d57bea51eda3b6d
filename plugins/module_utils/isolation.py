# SPDX-License-Identifier: Apache-2.0
"""Reads the isolation area: what the kernel's cgroup v2 cpuset says of the CPUs set apart.

The truth is in the kernel's own files. `cpuset.cpus.partition` of the slice reads `isolated`, or
`isolated invalid (why)`; the effective CPUs of the root and of each other top-level group tell whether
anyone else may still run there. Only whether the unit and the slice would come back at the next boot is
asked of systemd. Standard library only, Python 3.9 and later; nothing here writes.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

ROOT = "/sys/fs/cgroup"
UNIT = "edgewright-partition.service"


def parse_cpus(text: Optional[str]) -> Set[int]:
    """CPU numbers of a list as the kernel prints it, or systemd, which parts with spaces; empty for None."""
    cpus: Set[int] = set()
    for part in (text or "").replace(" ", ",").strip().split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def parse_show(text: str) -> Dict[str, Dict[str, str]]:
    """Properties of several units as `systemctl show` prints them: blocks parted by an empty line, by Id."""
    units = {}
    for block in text.split("\n\n"):
        properties = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        units[properties.get("Id", "")] = properties
    return units


def read(system: System, scope: Dict[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `slice` is the slice to look at, `slice_cpus` the CPUs to look for in the
            other groups. Empty: none.

    Returns:
        The items that docs/reference/isolation.md lists.
    """
    if not scope:
        return {}
    name = scope["slice"]
    group = ROOT + "/" + name
    cpus = parse_cpus(scope["slice_cpus"])
    shown = system.run(
        ["systemctl", "show", "-p", "Id,ActiveState,UnitFileState,FragmentPath,AllowedCPUs", name, UNIT]
    )
    units = parse_show(shown.out)
    unit = units.get(UNIT, {})
    controllers = (system.read(ROOT + "/cgroup.controllers") or "").split()
    return {
        "cpuset": "cpuset" in controllers,
        "slice": name if units.get(name, {}).get("FragmentPath") else None,
        "configured_cpus": ",".join((units.get(name, {}).get("AllowedCPUs") or "").split()) or None,
        "enabled": unit.get("UnitFileState") == "enabled",
        "active": unit.get("ActiveState") == "active",
        "slice_cpus": _line(system, group + "/cpuset.cpus"),
        "claims": _overlapping(system, name, cpus, "cpuset.cpus"),
        "partition": _line(system, group + "/cpuset.cpus.partition"),
        "housekeeping_cpus": _line(system, ROOT + "/cpuset.cpus.effective"),
        "intruders": _overlapping(system, name, cpus, "cpuset.cpus.effective"),
    }


def _line(system: System, path: str) -> Optional[str]:
    text = system.read(path)
    return None if text is None else text.strip()


def _overlapping(system: System, but: str, cpus: Set[int], file: str) -> List[str]:
    """Other top-level groups whose list in `file` shares CPUs with `cpus`, as `NAME LIST`.

    A group without the cpuset controller has no such file, and then takes the root's effective CPUs.
    """
    found = []
    for name in system.listdir(ROOT):
        text = None if name == but else _line(system, "%s/%s/%s" % (ROOT, name, file))
        if text and cpus & parse_cpus(text):
            found.append("%s %s" % (name, text))
    return found

# SPDX-License-Identifier: Apache-2.0
"""Reads which CPUs of a device belong together, from sysfs.

The form is that of a profile's `topology` (docs/reference/isolation.md), so that it can be compared with
one or copied into one. A part that tells nothing is left out: where every CPU is a core of its own, where
there is one kind of core, one NUMA node, one last-level cache. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

CPUS = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"
# Intel's kinds of cores, each a PMU of its own.
INTEL_TYPES = (("performance", "/sys/devices/cpu_core/cpus"), ("efficient", "/sys/devices/cpu_atom/cpus"))


def parse_cpus(text: Optional[str]) -> Set[int]:
    """CPU numbers of a list as the kernel prints it, or systemd, which parts with spaces; empty for None."""
    cpus: Set[int] = set()
    for part in (text or "").replace(" ", ",").strip().split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def parse_mask(text: Optional[str]) -> Set[int]:
    """CPU numbers of a mask as the kernel prints it: hexadecimal, in groups parted by commas."""
    digits = (text or "").strip().replace(",", "")
    try:
        mask = int(digits or "0", 16)
    except ValueError:
        return set()
    return {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1}


def format_cpus(cpus: Set[int]) -> str:
    """CPU numbers as the kernel writes them: sorted, runs as ranges."""
    runs: List[List[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in runs)


def read(system: System) -> Dict[str, Any]:
    """Read the topology of the CPUs that are online.

    Args:
        system: the device.

    Returns:
        `cpus` (the list of those online), and of `cores`, `core_types`, `numa` and `caches` those that tell
        something.
    """
    online = parse_cpus(system.read(CPUS + "/online"))
    found: Dict[str, Any] = {"cpus": format_cpus(online)}
    cores = _groups(online, [_siblings(system, cpu) for cpu in sorted(online)])
    if any(len(parse_cpus(core)) > 1 for core in cores):
        found["cores"] = cores
    types = _core_types(system, online)
    if len(types) > 1:
        found["core_types"] = types
    nodes = {
        name[len("node") :]: format_cpus(parse_cpus(system.read("%s/%s/cpulist" % (NODES, name))))
        for name in system.listdir(NODES)
        if name[len("node") :].isdigit() and name.startswith("node")
    }
    nodes = {name: cpus for name, cpus in nodes.items() if cpus}
    if len(nodes) > 1:
        found["numa"] = nodes
    caches = _groups(online, [_last_cache(system, cpu) for cpu in sorted(online)])
    if len(caches) > 1 and caches != cores:
        found["caches"] = caches
    return found


def _groups(online: Set[int], lists: List[Set[int]]) -> List[str]:
    """The different groups, each once, in the order of their first CPU."""
    groups = {min(cpus & online): cpus & online for cpus in lists if cpus & online}
    return [format_cpus(groups[first]) for first in sorted(groups)]


def _siblings(system: System, cpu: int) -> Set[int]:
    return parse_cpus(system.read("%s/cpu%d/topology/thread_siblings_list" % (CPUS, cpu))) or {cpu}


def _last_cache(system: System, cpu: int) -> Set[int]:
    """The CPUs behind this one's last-level cache; the indexes are in the order of the levels."""
    indexes = [name for name in system.listdir("%s/cpu%d/cache" % (CPUS, cpu)) if name[5:].isdigit()]
    if not indexes:
        return set()
    last = max(indexes, key=lambda name: int(name[5:]))
    return parse_cpus(system.read("%s/cpu%d/cache/%s/shared_cpu_list" % (CPUS, cpu, last)))


def _core_types(system: System, online: Set[int]) -> Dict[str, str]:
    """Kinds of cores by name: Intel's by their PMUs, Arm's by their capacity (1024 is the strongest)."""
    intel = [(name, parse_cpus(system.read(path))) for name, path in INTEL_TYPES]
    if all(cpus for _, cpus in intel):
        return {name: format_cpus(cpus) for name, cpus in intel}
    capacities: Dict[int, Set[int]] = {}
    for cpu in online:
        text = (system.read("%s/cpu%d/cpu_capacity" % (CPUS, cpu)) or "").strip()
        if not text.isdigit():
            return {}
        capacities.setdefault(int(text), set()).add(cpu)
    ordered: List[Tuple[int, Set[int]]] = sorted(capacities.items())
    names = {2: ["efficient", "performance"], 3: ["efficient", "middle", "performance"]}.get(len(ordered))
    return {
        (names[rank] if names else "capacity-%d" % capacity): format_cpus(cpus)
        for rank, (capacity, cpus) in enumerate(ordered)
    }

# SPDX-License-Identifier: Apache-2.0
"""Reads the isolation area: what the kernel itself says of the CPUs set apart.

The truth is in the kernel's own files. `cpuset.cpus.partition` of the slice reads `isolated`, or
`isolated invalid (why)`; the effective CPUs of the root and of each other top-level group tell whether
anyone else may still run there; each interrupt, kernel thread, workqueue and governor has a file. Only
what would come back at the next boot is asked of systemd, and who wrote a conflicting setting is looked
for in systemd's files. Standard library only, Python 3.9 and later; nothing here writes.
"""

from __future__ import annotations

import fnmatch
import json
from typing import Any, Callable, Dict, List, Optional, Set

from ansible_collections.edgewright.factory.plugins.module_utils import topology
from ansible_collections.edgewright.factory.plugins.module_utils.system import System
from ansible_collections.edgewright.factory.plugins.module_utils.topology import (
    format_cpus,
    parse_cpus,
    parse_mask,
)

ROOT = "/sys/fs/cgroup"
UNIT = "edgewright-partition.service"
QUIET_UNIT = "edgewright-quiet-cpus.service"
IRQBALANCE = "irqbalance.service"
QUIET_CONFIG = "/etc/edgewright/quiet-cpus.json"
QUIET_RULE = "/etc/udev/rules.d/80-edgewright-quiet-cpus.rules"
# What the quiet-cpus service was refused by the kernel at its last run: managed interrupts, per-CPU ones.
REFUSED = "/run/edgewright/quiet-cpus.json"
# Where systemd keeps settings of units, the strongest first.
UNIT_DIRECTORIES = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
)
MANAGER_FILES = ("/usr/lib/systemd/system.conf.d", "/run/systemd/system.conf.d", "/etc/systemd/system.conf.d")
# A kernel thread bound to its CPU for good (PF_NO_SETAFFINITY in include/linux/sched.h).
BOUND_FOR_GOOD = 0x04000000

_UNIT_SUFFIXES = (".service", ".scope", ".slice", ".mount", ".socket", ".swap")
_KERNEL_FILES = (
    *("cgroup.", "cpu.", "cpuset.", "hugetlb.", "io.", "irq.", "memory.", "misc.", "pids.", "rdma.", "dmem."),
)


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
            other groups, `at` the units that belong into the slice and the governor. Only its items are
            read. Empty: none.

    Returns:
        The items that docs/reference/isolation.md lists.
    """
    if not scope:
        return {}
    device = _Device(system, scope)
    return {item: read_item() for item, read_item in device.readers().items() if item in scope}


class _Device:
    """One reading: what systemd answered once, and a reader for each item."""

    def __init__(self, system: System, scope: Dict[str, Any]) -> None:
        self.system = system
        self.slice: str = scope["slice"]
        self.group = ROOT + "/" + self.slice
        self.cpus = parse_cpus(scope["slice_cpus"])
        self.at: Dict[str, Any] = scope.get("at") or {}
        properties = "Id,ActiveState,UnitFileState,FragmentPath,AllowedCPUs,MainPID"
        names = [self.slice, UNIT, QUIET_UNIT, IRQBALANCE]
        self.units = parse_show(system.run(["systemctl", "show", "-p", properties, *names]).out)
        self._refused: Optional[Dict[str, Any]] = None

    def readers(self) -> Dict[str, Callable[[], Any]]:
        """Items by name, in the order of the page."""
        return {
            "cpuset": lambda: "cpuset" in (self.system.read(ROOT + "/cgroup.controllers") or "").split(),
            "topology": lambda: topology.read(self.system),
            "slice": lambda: self.slice if self.unit(self.slice, "FragmentPath") else None,
            "configured_cpus": lambda: ",".join(self.unit(self.slice, "AllowedCPUs").split()) or None,
            "enabled": lambda: self.unit(UNIT, "UnitFileState") == "enabled",
            "active": lambda: self.unit(UNIT, "ActiveState") == "active",
            "slice_cpus": lambda: self.line(self.group + "/cpuset.cpus"),
            "claims": self.claims,
            "partition": lambda: self.line(self.group + "/cpuset.cpus.partition"),
            "housekeeping_cpus": lambda: self.line(ROOT + "/cpuset.cpus.effective"),
            "intruders": lambda: ["%s %s" % each for each in self.overlapping("cpuset.cpus.effective")],
            "strays": self.strays,
            "quiet_enabled": lambda: self.unit(QUIET_UNIT, "UnitFileState") == "enabled",
            "quiet_config": self.quiet_config,
            "quiet_rule": lambda: self.system.read(QUIET_RULE),
            "irqbalance": self.irqbalance,
            "irq_default": lambda: self.mask("/proc/irq/default_smp_affinity"),
            "irqs": lambda: self.irqs(fixed=False),
            "irqs_fixed": lambda: self.irqs(fixed=True),
            "workqueues": lambda: self.mask("/sys/devices/virtual/workqueue/cpumask"),
            "kernel_threads": self.kernel_threads,
            "governors": self.governors,
            "manager_affinity": self.manager_affinity,
        }

    def unit(self, name: str, prop: str) -> str:
        return self.units.get(name, {}).get(prop) or ""

    def line(self, path: str) -> Optional[str]:
        text = self.system.read(path)
        return None if text is None else text.strip()

    def mask(self, path: str) -> Optional[str]:
        text = self.system.read(path)
        return None if text is None else format_cpus(parse_mask(text))

    def overlapping(self, file: str) -> List[Any]:
        """Other top-level groups whose list in `file` shares CPUs with the slice, with that list.

        A group without the cpuset controller has no such file, and then takes the root's effective CPUs.
        """
        found = []
        for name in self.system.listdir(ROOT):
            text = None if name == self.slice else self.line("%s/%s/%s" % (ROOT, name, file))
            if text and self.cpus & parse_cpus(text):
                found.append((name, text))
        return found

    def claims(self) -> List[str]:
        """Who claims CPUs of the slice, and the file that says so."""
        found = []
        for name, text in self.overlapping("cpuset.cpus"):
            files = self.setters(name, "AllowedCPUs")
            where = ("set by " + " and ".join(files)) if files else "set by no file: by hand, or before"
            found.append("%s claims CPU %s (%s)" % (name, format_cpus(self.cpus & parse_cpus(text)), where))
        return found

    def setters(self, unit: str, setting: str) -> List[str]:
        """Files that give a unit a setting with CPUs of the slice, the strongest first."""
        files = []
        for directory in UNIT_DIRECTORIES:
            drop_ins = "%s/%s.d" % (directory, unit)
            names = self.system.listdir(drop_ins)
            paths = ["%s/%s" % (drop_ins, name) for name in names if name.endswith(".conf")]
            for path in [*paths, "%s/%s" % (directory, unit)]:
                values = _assignments(self.system.read(path), setting)
                if any(self.cpus & parse_cpus(value) for value in values):
                    files.append(path)
        return files

    def strays(self) -> List[str]:
        """What runs in the slice and does not belong there: units of no listed name, and loose processes."""
        found = []
        members = self.at.get("members") or []
        for name in self.system.listdir(self.group):
            if name.startswith(_KERNEL_FILES):
                continue
            if (
                not name.endswith(_UNIT_SUFFIXES)
                and self.line("%s/%s/cgroup.procs" % (self.group, name)) is None
            ):
                continue
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in members):
                found.append(name)
        loose = self.pids(self.group)
        main = self.unit(UNIT, "MainPID")
        loose += [pid for pid in self.pids("%s/%s" % (self.group, UNIT)) if main not in ("", "0", pid)]
        return found + [self.process(pid) for pid in loose]

    def pids(self, group: str) -> List[str]:
        return (self.system.read(group + "/cgroup.procs") or "").split()

    def process(self, pid: str) -> str:
        return "%s (pid %s)" % (self.line("/proc/%s/comm" % pid) or "ended", pid)

    def quiet_config(self) -> Optional[Dict[str, Any]]:
        """What the quiet-cpus service does at each boot; None where it is not told, or not in JSON."""
        try:
            loaded = json.loads(self.system.read(self.at.get("quiet_config") or QUIET_CONFIG) or "null")
        except ValueError:
            return None
        return loaded if isinstance(loaded, dict) else None

    def irqbalance(self) -> str:
        """`off`, or what a running irqbalance may do: `banned` keeps off the slice's CPUs, `on` does not."""
        if self.unit(IRQBALANCE, "ActiveState") not in ("active", "activating"):
            return "off" if self.unit(IRQBALANCE, "UnitFileState") != "enabled" else "off until the next boot"
        banned: Set[int] = set()
        for raw in (self.system.read("/etc/default/irqbalance") or "").splitlines():
            key, _, value = raw.strip().partition("=")
            if key == "IRQBALANCE_BANNED_CPULIST":
                banned = parse_cpus(value.strip("\"'"))
        return "banned" if self.cpus <= banned else "on"

    def irqs(self, *, fixed: bool) -> List[str]:
        """Interrupts with a handler that may fire on the slice's CPUs.

        Args:
            fixed: whether to give those that the kernel refused to move, or the others.
        """
        found = []
        for number in sorted((name for name in self.system.listdir("/proc/irq") if name.isdigit()), key=int):
            folder = "/proc/irq/" + number
            allowed = self.line(folder + "/smp_affinity_list")
            if not allowed or not self.cpus & parse_cpus(allowed):
                continue
            handlers = [name for name in self.system.listdir(folder) if not name.startswith(_IRQ_FILES)]
            if not handlers:
                continue
            if (self.refused("irqs").get(number) == allowed) == fixed:
                found.append("%s %s on CPU %s" % (number, "+".join(handlers), allowed))
        return found

    def refused(self, kind: str) -> Dict[str, str]:
        """What the kernel refused to move, and where it was then."""
        if self._refused is None:
            try:
                loaded = json.loads(self.system.read(REFUSED) or "{}")
            except ValueError:
                loaded = {}
            self._refused = loaded if isinstance(loaded, dict) else {}
        part = self._refused.get(kind)
        return part if isinstance(part, dict) else {}

    def kernel_threads(self) -> List[str]:
        """Threads in the root group, where only the kernel's are, that may run on the slice's CPUs.

        Those that the kernel binds to a CPU for good (migration, ksoftirqd, ...) do no work for others.
        """
        found = []
        for pid in self.pids(ROOT):
            status = self.system.read("/proc/%s/status" % pid) or ""
            fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
            allowed = fields.get("Cpus_allowed_list", "").strip()
            if not self.cpus & parse_cpus(allowed):
                continue
            rest = (self.system.read("/proc/%s/stat" % pid) or "").rpartition(")")[2].split()
            flags = int(rest[6]) if len(rest) > 6 else 0
            # Its number may be another thread's by now: the name is kept with it.
            name = fields.get("Name", "").strip()
            if flags & BOUND_FOR_GOOD or self.refused("threads").get(pid) == name:
                continue
            found.append("%s (pid %s) on CPU %s" % (name, pid, allowed))
        return found

    def governors(self) -> List[str]:
        """CPUs of the slice whose frequency governor is another than wanted; some devices have none."""
        wanted = self.at.get("governor") or ""
        found = []
        for cpu in sorted(self.cpus) if wanted else []:
            have = self.line("%s/cpu%d/cpufreq/scaling_governor" % (topology.CPUS, cpu))
            if have is not None and have != wanted:
                found.append("cpu%d %s" % (cpu, have))
        return found

    def manager_affinity(self) -> Optional[str]:
        """`CPUAffinity=` of systemd itself, as its files would set it at the next start."""
        files: Dict[str, str] = {}
        for directory in MANAGER_FILES:
            for name in self.system.listdir(directory):
                if name.endswith(".conf"):
                    files[name] = directory + "/" + name
        cpus: Set[int] = set()
        for path in ["/etc/systemd/system.conf", *(files[name] for name in sorted(files))]:
            for value in _assignments(self.system.read(path), "CPUAffinity"):
                # An empty assignment takes the earlier ones back.
                cpus = cpus | parse_cpus(value) if value else set()
        return format_cpus(cpus) or None


# Files of an interrupt; every other name in its directory is a handler's.
_IRQ_FILES = ("smp_affinity", "effective_affinity", "affinity_hint", "node", "spurious", "smp_affinity_list")


def _assignments(text: Optional[str], setting: str) -> List[str]:
    """Values that a file of systemd's gives a setting, in order."""
    values = []
    for raw in (text or "").splitlines():
        key, equals, value = raw.strip().partition("=")
        if equals and key.strip() == setting:
            values.append(value.strip())
    return values

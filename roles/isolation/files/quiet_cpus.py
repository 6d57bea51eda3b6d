#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps interrupts, workqueues and kernel threads off the CPUs that are set apart, and holds their speed.

Runs at each boot and at each reload of edgewright-quiet-cpus.service, from the file that it is given or
/etc/edgewright/quiet-cpus.json:

    {"isolated": "2-3", "housekeeping": "0-1", "governor": "performance"}

It moves only what may run on the isolated CPUs, and leaves the rest as it is. What the kernel refuses to
move (managed interrupts, threads of a CPU) is written to /run/edgewright/quiet-cpus.json, where the probe
reads it. Exit status 1: a setting that the kernel should have taken was refused. Standard library only,
Python 3.9 and later.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = "/etc/edgewright/quiet-cpus.json"
REFUSED = "/run/edgewright/quiet-cpus.json"
# A kernel thread bound to its CPU for good (PF_NO_SETAFFINITY in include/linux/sched.h).
BOUND_FOR_GOOD = 0x04000000


def cpu_numbers(text: str) -> set[int]:
    """CPU numbers of a list such as 0-1,3."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def cpu_mask(cpus: set[int]) -> str:
    """The mask that the kernel takes: hexadecimal, in groups of 32 bits parted by commas."""
    mask = sum(1 << cpu for cpu in cpus)
    groups = []
    while mask or not groups:
        groups.append(f"{mask & 0xFFFFFFFF:08x}")
        mask >>= 32
    return ",".join(reversed(groups))


def mask_numbers(text: str) -> set[int]:
    """CPU numbers of a mask as the kernel prints it."""
    mask = int(text.strip().replace(",", "") or "0", 16)
    return {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1}


class Machine:
    """The device's files below a root, and its scheduler.

    Args:
        root: directory before every path; empty for the machine itself.
        set_affinity: `os.sched_setaffinity`.
    """

    def __init__(self, root: str = "", set_affinity: Callable[[int, set[int]], None] = os.sched_setaffinity):
        self.root = root
        self.set_affinity = set_affinity

    def read(self, path: str) -> str:
        try:
            return Path(self.root + path).read_text(encoding="utf-8")
        except OSError:
            return ""

    def write(self, path: str, text: str) -> str:
        """Write a kernel file; gives what the kernel said against it, or nothing."""
        try:
            Path(self.root + path).write_text(text, encoding="utf-8")
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def listdir(self, path: str) -> list[str]:
        try:
            return sorted(entry.name for entry in Path(self.root + path).iterdir())
        except OSError:
            return []


def move_interrupts(machine: Machine, isolated: set[int], rest: str) -> dict[str, str]:
    """Move each interrupt that may fire on an isolated CPU; gives those refused, with their CPUs."""
    refused = {}
    for number in machine.listdir("/proc/irq"):
        path = f"/proc/irq/{number}/smp_affinity_list"
        allowed = machine.read(path).strip() if number.isdigit() else ""
        if cpu_numbers(allowed) & isolated and machine.write(path, rest):
            refused[number] = allowed
    return refused


def move_threads(machine: Machine, isolated: set[int], rest: set[int]) -> dict[str, str]:
    """Move each kernel thread that may run on an isolated CPU and is bound to none; gives those refused."""
    refused = {}
    for pid in machine.read("/sys/fs/cgroup/cgroup.procs").split():
        status = machine.read(f"/proc/{pid}/status")
        fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
        stat = machine.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        bound = len(stat) > 6 and int(stat[6]) & BOUND_FOR_GOOD
        if bound or not cpu_numbers(fields.get("Cpus_allowed_list", "")) & isolated:
            continue
        try:
            machine.set_affinity(int(pid), rest)
        except ProcessLookupError:
            continue
        except OSError:
            refused[pid] = fields.get("Name", "").strip()
    return refused


def set_masks(machine: Machine, isolated: set[int], rest: set[int]) -> list[str]:
    """Take the isolated CPUs out of the default of new interrupts and of the unbound workqueues."""
    faults = []
    for path in ("/proc/irq/default_smp_affinity", "/sys/devices/virtual/workqueue/cpumask"):
        now = machine.read(path)
        if mask_numbers(now) & isolated:
            fault = machine.write(path, cpu_mask(rest))
            if fault:
                faults.append(f"{path}: {fault}")
    return faults


def set_governors(machine: Machine, isolated: set[int], governor: str) -> list[str]:
    """Set the frequency governor of the isolated CPUs that have one."""
    faults = []
    for cpu in sorted(isolated) if governor else []:
        path = f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        now = machine.read(path).strip()
        if now and now != governor:
            fault = machine.write(path, governor)
            if fault:
                faults.append(f"{path}: cannot set {governor}: {fault}")
    return faults


def quieten(machine: Machine, config: dict[str, Any]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Do all of it.

    Returns:
        What the kernel refused to move, by kind; and the settings that it should have taken and did not.
    """
    isolated = cpu_numbers(config["isolated"])
    rest = cpu_numbers(config["housekeeping"])
    # The default first: what is requested meanwhile then already goes where it belongs.
    faults = set_masks(machine, isolated, rest)
    refused = {
        "irqs": move_interrupts(machine, isolated, config["housekeeping"]),
        "threads": move_threads(machine, isolated, rest),
    }
    faults += set_governors(machine, isolated, config.get("governor") or "")
    return refused, faults


def main() -> int:
    file = sys.argv[1] if len(sys.argv) > 1 else CONFIG
    try:
        config = json.loads(Path(file).read_text(encoding="utf-8"))
        refused, faults = quieten(Machine(), config)
    except (OSError, ValueError, KeyError) as error:
        print(f"quiet-cpus: cannot use {file}: {error!r}; apply the role isolation again", file=sys.stderr)
        return 1
    told = Path(REFUSED)
    told.parent.mkdir(parents=True, exist_ok=True)
    fresh = told.with_suffix(".new")
    fresh.write_text(json.dumps(refused), encoding="utf-8")
    fresh.replace(told)
    kept = len(refused["irqs"]) + len(refused["threads"])
    print(f"quiet-cpus: CPUs {config['isolated']} kept quiet; the kernel keeps {kept} of its own there")
    for fault in faults:
        print("quiet-cpus: " + fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""CPU lists in the kernel's notation, and which CPUs a device may set apart. Pure.

The notation is the one of `cpuset.cpus` and `nohz_full=`: numbers and ranges, joined by commas, such
as `2-3` or `1,4-7`. `isolated_cpus` holds the rules that a list in an inventory must keep: every CPU
exists on the device, CPU 0 stays with the system, and so at least one CPU is left to it.

Example:
    isolated = isolated_cpus("2-3", 4, "x86_vm")   # frozenset({2, 3})
    housekeeping(isolated, 4)                      # frozenset({0, 1})
    format_cpus(isolated)                          # "2-3"
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgewright.errors import InputError

__all__ = ["VARIABLE", "format_cpus", "housekeeping", "isolated_cpus", "parse_cpus"]

# The inventory's name for the list, used in every message about it.
VARIABLE = "isolation_cpus"

# Above this a number is a slip of the keyboard: Linux' own NR_CPUS limit on amd64 is 8192.
MAX_CPU = 8191

_PART = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?$", re.ASCII)


def parse_cpus(text: object, what: str = VARIABLE) -> frozenset[int]:
    """Read a CPU list.

    Args:
        text: the list; a single whole number is taken as that CPU, because YAML reads `3` as one.
        what: name of the list, for messages.

    Returns:
        The CPU numbers; empty for an empty text.

    Raises:
        InputError: not in the kernel's notation, a range that runs backwards, or a CPU named twice.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise InputError(f'{what}: expected a CPU list in quotes such as "2-3" or "1,3", got {text!r}')
    if not text.strip():
        return frozenset()
    found: set[int] = set()
    for part in text.strip().split(","):
        match = _PART.fullmatch(part.strip())
        if not match:
            raise InputError(
                f"{what}: cannot read {part.strip()!r} in {text!r}: expected numbers and ranges joined by"
                ' commas, such as "2-3" or "1,4-7"'
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"{what}: range {part.strip()} in {text!r} runs backwards: write {last}-{first}")
        if last > MAX_CPU:
            raise InputError(f"{what}: CPU {last} in {text!r} is above {MAX_CPU}, the kernel's own limit")
        cpus = set(range(first, last + 1))
        if cpus & found:
            raise InputError(
                f"{what}: {text!r} names CPU {format_cpus(cpus & found)} twice: name each CPU once"
            )
        found |= cpus
    return frozenset(found)


def format_cpus(cpus: Iterable[int]) -> str:
    """Write CPU numbers as the kernel prints them: sorted, runs as ranges; empty text for none."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def housekeeping(isolated: Iterable[int], count: int) -> frozenset[int]:
    """CPUs that stay with the system: those of a device with `count` CPUs that are not isolated."""
    return frozenset(range(count)) - frozenset(isolated)


def isolated_cpus(text: object, count: int, profile: str) -> frozenset[int]:
    """Read the list of CPUs to set apart and check it against the device.

    Args:
        text: value of `isolation_cpus`; None when the inventory does not set it.
        count: logical CPUs of the device, numbered 0 to count - 1.
        profile: name of the hardware profile that says so, for messages.

    Returns:
        The CPUs to set apart; empty when the list is empty, which asks for no isolation.

    Raises:
        InputError: not set, not a CPU list, or one that this device cannot give.
    """
    numbers = format_cpus(range(count))
    device = f"a device of profile {profile} has {count} CPU{'s' if count != 1 else ''} ({numbers})"
    if text is None:
        raise InputError(
            f"{VARIABLE} is not set: {device}; set it in host_vars or group_vars to those that the model"
            ' shall have for itself, such as "2-3", or to "" to set none apart'
        )
    cpus = parse_cpus(text)
    lacking = cpus - frozenset(range(count))
    if lacking:
        raise InputError(
            f"{VARIABLE} {text!r} names CPU {format_cpus(lacking)}, but {device}: name only CPUs the device"
            f" has, or correct cpus in profile {profile}"
        )
    if cpus and not housekeeping(cpus, count):
        raise InputError(
            f"{VARIABLE} {text!r} leaves no CPU for the system: {device}; leave at least CPU 0 out of the"
            " list"
        )
    if 0 in cpus:
        raise InputError(
            f"{VARIABLE} {text!r} names CPU 0, which must stay with the system: it boots the device and keeps"
            f" its time, so the kernel would not set it apart; {device}: leave CPU 0 out of the list"
        )
    return cpus

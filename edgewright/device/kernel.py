# SPDX-License-Identifier: Apache-2.0
"""The kernel area: the locked real-time kernel is installed, is what boots, and is what runs.

Pure. Two kinds of items are kept apart, because they ask for different acts: what the next boot will
do (`package`, `initramfs`, `default_entry`, `configured_cmdline`, `configured_sysctl`), which the role
mends, and what runs now (`release`, `realtime`, `cmdline`), which only a reboot mends. So a device
that is configured but was not restarted yet is told apart from one that was never configured.

Which boot loader a device has is its profile's to say, and what that means is data (`boot.yml`): with GRUB
there is a second entry to fall back to and boots are counted, the others have fewer items.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgewright.device.bootlayout import BootLayout, boot_layout
from edgewright.device.cpulist import VARIABLE as CPUS
from edgewright.device.cpulist import format_cpus, housekeeping
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError

__all__ = ["AREA", "drift", "isolation_parameters", "parameters", "sysctl_values", "want"]

AREA = "kernel"

_WHY = {
    "boot": "this device boots by something else than its profile says, which the choice of a kernel needs",
    "conflicts": "parameters that somebody else set undo the wanted ones: remove them where they are set",
    "packages_settled": "an installation of packages was cut short, and must be finished before the next one",
    "package": "the kernel package of the lock is not installed whole in the locked version",
    "initramfs": "the kernel's initramfs is missing or empty, so it could not boot",
    "default_entry": "the boot loader would boot another kernel by default",
    "configured_cmdline": "the default entry lacks wanted kernel parameters or gives them other values",
    "fallback": "the boot loader has no other installed kernel to fall back to when the locked one fails",
    "boot_confirmed": "nothing tells the boot loader that the locked kernel came up",
    "boot_failures": "the locked kernel was started and did not come up, as often as it may: another runs",
    "cmdline_append": "snapd appends other kernel parameters than wanted",
    "configured_sysctl": "the values that sysctl.d would set at the next boot are other than wanted",
    "sysctl": "the running kernel has other sysctl values than wanted",
    "release": "another kernel is running than the locked one; a reboot into it is due",
    "realtime": "the running kernel is not a PREEMPT_RT one; a reboot into the locked one is due",
    "cmdline": "the running kernel was started with other parameters than wanted; a reboot is due",
    "tickless": "the running kernel cannot stop its tick on the CPUs set apart; a reboot is due",
}
_REBOOT = frozenset({"release", "realtime", "cmdline", "tickless"})

# The inventory's names.
TRIES = "kernel_boot_tries"
ANOTHER = "another installed kernel"
# Seconds after which a kernel that panics, also before there is a sysctl, starts the device again.
PANIC = "panic=10"
MAX_TRIES = 9

# Parameters that belong to the boot loader or decide whether the device comes up at all.
_NOT_OURS = frozenset({"BOOT_IMAGE", "init", "initrd", "rdinit", "root"})

_PARAMETER = re.compile(r"^[!#%&()*+,./0-9:;<=>?@A-Z\[\]^_a-z{|}~-]+$", re.ASCII)
_SYSCTL_KEY = re.compile(r"^[a-z0-9_]+(?:[./][A-Za-z0-9_-]+)+$", re.ASCII)


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the area shall be.

    Args:
        variables: `kernel_cmdline`, `kernel_isolation_parameters`, `kernel_sysctl`, `kernel_boot_tries`,
            `isolation_cpus`.
        profile: the hardware profile: `name`, `cpus` and `boot`.
        lock: the release's lock; its `kernel` and `os.suite` are read.

    Returns:
        The items of the area; empty where the profile boots nothing, as a container.

    Raises:
        InputError: a variable is wrong or the profile boots by a mechanism that is not known here.
    """
    if profile["boot"] == "none":
        return {}
    kernel = lock["kernel"]
    layout = boot_layout(profile["boot"], lock["os"]["suite"], profile["name"])
    tries = _tries(variables.get(TRIES, 3)) if layout.counted else 0
    cmdline = parameters(variables, profile)
    isolated = chosen_cpus(variables, profile)
    ticks = format_cpus(isolated) if isolated and variables.get("kernel_isolation_parameters", True) else None
    if tries and all(_name(parameter) != _name(PANIC) for parameter in cmdline):
        # A kernel that stands still is not counted: it must start again by itself.
        cmdline = [*cmdline, PANIC]
    sysctl = sysctl_values(variables)
    return {
        "boot": profile["boot"],
        **_next_boot(layout, kernel, cmdline, tries),
        "configured_sysctl": dict(sysctl),
        "sysctl": sysctl,
        "release": kernel["release"],
        "realtime": kernel["flavour"] == "rt",
        "cmdline": cmdline,
        "tickless": ticks,
        "at": {"isolated": format_cpus(isolated), "tries": tries, "proven": layout.proven},
    }


def parameters(variables: Mapping[str, Any], profile: Mapping[str, Any]) -> list[str]:
    """Kernel parameters as wanted on every OS: those derived from the CPUs set apart, then the inventory's.

    Raises:
        InputError: one cannot be, or is given twice.
    """
    cmdline = _cmdline(variables.get("kernel_cmdline") or [])
    isolated = chosen_cpus(variables, profile)
    derive = _truth(variables.get("kernel_isolation_parameters", True), "kernel_isolation_parameters")
    if not derive or not isolated:
        return cmdline
    derived = isolation_parameters(isolated, profile["cpus"])
    ours = {_name(parameter) for parameter in derived}
    for parameter in cmdline:
        if _name(parameter) in ours:
            raise InputError(
                f"kernel_cmdline sets {parameter!r}, which is derived from {CPUS} already: remove it"
                " there, or set kernel_isolation_parameters to false and give all such ones yourself"
            )
    return [*derived, *cmdline]


def sysctl_values(variables: Mapping[str, Any]) -> dict[str, str]:
    """`kernel_sysctl`, checked; values as the kernel writes them.

    Raises:
        InputError: a key or a value cannot be.
    """
    return _sysctl(variables.get("kernel_sysctl") or {})


def _next_boot(
    layout: BootLayout, kernel: Mapping[str, Any], cmdline: list[str], tries: int
) -> dict[str, Any]:
    """The items of what the next boot will do; what they are follows from the boot loader."""
    entry = layout.entry_of(kernel["flavour"], kernel["release"])
    if entry is None:
        # snapd installs and chooses the kernel itself; it only takes parameters.
        return {"cmdline_append": list(cmdline)}
    items: dict[str, Any] = {
        "conflicts": [],
        "packages_settled": True,
        "package": f"{kernel['package']}={kernel['version']}",
        "default_entry": entry,
        "configured_cmdline": list(cmdline),
    }
    if layout.initramfs:
        items["initramfs"] = True
    if tries:
        items |= {"fallback": ANOTHER, "boot_confirmed": kernel["release"], "boot_failures": 0}
    return items


def isolation_parameters(isolated: frozenset[int], count: int) -> list[str]:
    """Kernel parameters that keep the tick, RCU callbacks and device interrupts off isolated CPUs.

    Args:
        isolated: the CPUs to set apart, at least one.
        count: logical CPUs of the device.
    """
    cpus = format_cpus(isolated)
    return [
        f"nohz_full={cpus}",
        f"rcu_nocbs={cpus}",
        f"irqaffinity={format_cpus(housekeeping(isolated, count))}",
    ]


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it; empty where nothing is wanted.

    Told apart from plain differences: any other kernel will do to fall back to, and none where none is
    installed; failed boots count from the number on at which the boot loader gives up.
    """
    if not want:
        return []
    found = []
    for item in compare(AREA, have, want, {item: why for item, why in _WHY.items() if item in want}, _REBOOT):
        if item.item == "fallback" and item.have not in (None, want["release"]):
            continue
        if item.item == "boot_failures" and (item.have or 0) < want["at"]["tries"]:
            continue
        if item.item == "tickless" and item.want is None:
            continue
        found.append(_after_reboot(item, have, want) if item.item == "sysctl" else item)
    return found


def _after_reboot(item: Drift, have: Have, want: Want) -> Drift:
    """A sysctl that only the wanted kernel knows cannot be set before that kernel runs."""
    other_kernel = have.get("release") != want["release"] and have.get("configured_sysctl") == item.want
    missing = {key for key, value in (item.have or {}).items() if value is None}
    differs = {key for key in item.want if (item.have or {}).get(key) != item.want[key]}
    if other_kernel and differs and differs <= missing:
        why = f"the running kernel has no {', '.join(sorted(missing))}; the next boot sets it"
        return Drift(item.area, item.item, item.have, item.want, why, reboot=True)
    return item


def _tries(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TRIES:
        return value
    raise InputError(
        f"{TRIES}: expected a whole number from 1 to {MAX_TRIES}, or 0 to count no boots, got {value!r}"
    )


def _cmdline(value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise InputError(
            f'kernel_cmdline: expected a list of parameters such as ["skew_tick=1"], got {value!r}'
        )
    for parameter in value:
        if not isinstance(parameter, str) or not _PARAMETER.fullmatch(parameter):
            raise InputError(
                f"kernel_cmdline: cannot take {parameter!r}: expected one parameter of printable ASCII"
                ' without spaces, quotes, $, ` or \\, such as "skew_tick=1"; write several as several items'
            )
        if parameter.partition("=")[0] in _NOT_OURS:
            raise InputError(
                f"kernel_cmdline sets {parameter!r}, which the boot loader's own configuration decides:"
                " remove it"
            )
    if len(set(value)) != len(value):
        twice = sorted({parameter for parameter in value if value.count(parameter) > 1})
        raise InputError(f"kernel_cmdline names {', '.join(twice)} more than once: name each parameter once")
    # Grouped by name, as the kernel's own order only matters among parameters of one name.
    names = list(dict.fromkeys(_name(parameter) for parameter in value))
    return sorted(value, key=lambda parameter: names.index(_name(parameter)))


def _name(parameter: str) -> str:
    return parameter.partition("=")[0].replace("-", "_")


def _sysctl(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InputError(
            f"kernel_sysctl: expected keys with values such as {{vm.stat_interval: 10}}, got {value!r}"
        )
    settings = {}
    for key, setting in value.items():
        if not isinstance(key, str) or not _SYSCTL_KEY.fullmatch(key):
            raise InputError(
                f"kernel_sysctl: {key!r} is no sysctl key: expected one such as vm.stat_interval"
            )
        if isinstance(setting, bool) or not isinstance(setting, int | str) or not str(setting).split():
            raise InputError(
                f"kernel_sysctl: {key}: expected a number or a text, got {setting!r}; write 1 or 0 for"
                " yes or no"
            )
        if not str(setting).isprintable():
            raise InputError(f"kernel_sysctl: {key}: expected one line of text, got {setting!r}")
        settings[key] = " ".join(str(setting).split())
    return settings


def _truth(value: object, what: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InputError(f"{what}: expected true or false, got {value!r}")

# SPDX-License-Identifier: Apache-2.0
"""The isolation area: a slice of systemd has CPUs for itself, as the kernel reads it back. Pure.

A slice with `AllowedCPUs=` keeps its own processes on those CPUs; it does not keep others off. Others
are kept off when the slice's cgroup is a cpuset partition and reads so: what was written is not what
counts. In Linux before 6.7 such a partition must be a child of the root, so the slice must be a top-level
one. And what is no process in a group keeps off only where each is told to: interrupts, workqueues,
kernel threads.

    kind       who may run on the CPUs                           the scheduler balances among them
    isolated   the slice                                         no
    root       the slice                                         yes
    member     everyone; the slice's own processes only there    yes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgewright.device.cpulist import format_cpus, housekeeping, parse_cpus
from edgewright.device.drift import Drift, Have, Want, compare
from edgewright.device.topology import chosen_cpus, cut_cores
from edgewright.errors import InputError

__all__ = ["AREA", "KINDS", "SLICE", "drift", "want"]

AREA = "isolation"

# The inventory's names.
SLICE = "isolation_slice"
KIND = "isolation_kind"
UNITS = "isolation_units"
GOVERNOR = "isolation_governor"
MANAGER = "isolation_manager_affinity"

KINDS = ("isolated", "root", "member")
# Edgewright's own units in the slice: the sleeper, the runtime's slots, acceptance's measurement.
OWN_UNITS = ("edgewright-*.service",)

_WHY = {
    "cpuset": "this kernel offers no cpuset in a unified (v2) cgroup tree: no CPU can be set apart",
    "topology": "the device's CPUs are not those of its profile",
    "slice": "systemd has no unit file for the slice",
    "configured_cpus": "systemd would give the slice other CPUs than wanted",
    "enabled": "edgewright-partition.service is not enabled, so the CPUs would not be set apart after a boot",
    "active": "edgewright-partition.service is not running, so nothing keeps the slice's partition",
    "slice_cpus": "the slice has other CPUs than wanted",
    "claims": "other groups claim CPUs of the slice, which makes its partition invalid",
    "partition": "the slice's partition does not read as wanted, so others may run on its CPUs",
    "housekeeping_cpus": "the system's CPUs are other than those left over",
    "intruders": "the processes of other groups may run on the slice's CPUs",
    "strays": "something runs in the slice that does not belong there, on the CPUs of the model",
    "quiet_enabled": "edgewright-quiet-cpus.service is not enabled, so interrupts would come back at a boot",
    "quiet_config": "edgewright-quiet-cpus.service is told other CPUs or another governor than wanted",
    "quiet_rule": "udev has no rule that keeps the CPUs quiet when a driver comes later than the service",
    "irqbalance": "irqbalance moves interrupts onto the slice's CPUs",
    "irq_default": "new interrupts would go to the slice's CPUs",
    "irqs": "interrupts may fire on the slice's CPUs",
    "workqueues": "the kernel's unbound workqueues may run on the slice's CPUs",
    "kernel_threads": "kernel threads that are bound to no CPU may run on the slice's CPUs",
    "governors": "CPUs of the slice have another frequency governor than wanted, and change their speed",
    "manager_affinity": "systemd's own CPUAffinity (in system.conf or system.conf.d) is other than wanted",
}
# A network card found after the service has run spreads its interrupts over all CPUs: virtio_net does it
# when probed, whatever the default is (drivers/net/virtio_net.c: virtnet_set_affinity). `try-`: not before
# the service itself has run; `--no-block`: udev must not wait for a job that may wait for udev. Only cards of
# hardware: a container's are of no bus.
QUIET_RULE = (
    "# Written by Edgewright (role isolation); changes made here are undone by the next run.\n"
    'ACTION=="add|move", SUBSYSTEM=="net", SUBSYSTEMS=="pci|virtio|usb|platform", '
    'RUN+="/usr/bin/systemctl --no-block try-reload-or-restart edgewright-quiet-cpus.service"\n'
)

# Lists that only must keep off the slice's CPUs: they may name CPUs that the device could have and lacks.
_KEEP_OFF = ("irq_default", "workqueues")

# A dash in a slice's name makes it a child: a-b.slice lies below a.slice.
_TOP_LEVEL = re.compile(r"^[a-z][a-z0-9_]{0,62}\.slice$", re.ASCII)
_TAKEN = frozenset({"system.slice", "user.slice", "machine.slice", "init.slice"})
_UNIT = re.compile(r"^[A-Za-z0-9:_.@*?\\-]{1,200}\.(service|scope)$", re.ASCII)
_GOVERNOR = re.compile(r"^[a-z_]{0,32}$", re.ASCII)


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - one signature for all areas
    """What the area shall be.

    Args:
        variables: `isolation_cpus`, `isolation_slice`, `isolation_kind`, `isolation_units`,
            `isolation_governor` and `isolation_manager_affinity`.
        profile: the hardware profile: `name`, `cpus`, `boot`, and `topology` where it says one.
        lock: the release's lock; nothing of it is read.

    Returns:
        The items of the area; empty where `isolation_cpus` is empty or the profile is a container's.

    Raises:
        InputError: the CPUs, the slice's name or another variable cannot be.
    """
    name = variables.get(SLICE)
    if not isinstance(name, str) or not _TOP_LEVEL.fullmatch(name) or name in _TAKEN:
        raise InputError(
            f"{SLICE}: cannot take {name!r}: expected the name of a slice of its own at the top level, such"
            ' as "edgert.slice": small letters, digits and _, no dash (a-b.slice lies below a.slice), and not'
            f" one of {', '.join(sorted(_TAKEN))}"
        )
    kind = variables.get(KIND, "isolated")
    if kind not in KINDS:
        raise InputError(f"{KIND}: expected one of {', '.join(KINDS)}, got {kind!r}")
    members = _units(variables.get(UNITS) or [])
    governor = variables.get(GOVERNOR, "performance")
    if not isinstance(governor, str) or not _GOVERNOR.fullmatch(governor):
        raise InputError(
            f'{GOVERNOR}: expected the name of a frequency governor such as "performance", or "" to leave'
            f" it alone, got {governor!r}"
        )
    manager = variables.get(MANAGER, False)
    if not isinstance(manager, bool):
        raise InputError(f"{MANAGER}: expected true or false, got {manager!r}")
    if profile["boot"] == "none":
        return {}
    isolated = chosen_cpus(variables, profile)
    if not isolated:
        return {}
    cpus = format_cpus(isolated)
    rest = format_cpus(housekeeping(isolated, profile["cpus"]))
    everything = format_cpus(range(profile["cpus"]))
    shared = {
        "cpuset": True,
        "topology": {"cpus": everything, **(profile.get("topology") or {})},
        "slice": name,
        "configured_cpus": cpus,
        "enabled": True,
        "active": True,
        "slice_cpus": cpus,
        "partition": kind,
        "strays": [],
        "at": {"members": members, "governor": governor},
    }
    if kind == "member":
        return shared
    return {
        **shared,
        "claims": [],
        "housekeeping_cpus": rest,
        "intruders": [],
        "quiet_enabled": True,
        "quiet_config": {"isolated": cpus, "housekeeping": rest, "governor": governor},
        "quiet_rule": QUIET_RULE,
        "irqbalance": "off",
        "irq_default": rest,
        "irqs": [],
        "irqs_fixed": [],
        "workqueues": rest,
        "kernel_threads": [],
        "governors": [],
        "manager_affinity": rest if manager else None,
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it; empty where nothing is wanted.

    Told apart from plain differences: a topology is compared only in the parts that the profile says, and
    with the cores that the device really has; an irqbalance that is banned from the CPUs is as good as
    none; what must only keep off the CPUs may name others that the device lacks.
    """
    found = []
    for item in compare(AREA, have, want, {item: why for item, why in _WHY.items() if item in want}):
        told = _judge(item, want)
        if told is not None:
            found.append(told)
    return found


def _judge(item: Drift, want: Want) -> Drift | None:
    """The drift as it shall be told, or None where the difference is none."""
    isolated = parse_cpus(want["slice_cpus"])
    if item.item == "topology":
        return _judge_topology(item, isolated)
    if item.item in _KEEP_OFF and isinstance(item.have, str) and not parse_cpus(item.have) & isolated:
        return None
    if item.item == "irqbalance" and item.have == "banned":
        return None
    if item.item == "claims" and item.have:
        # The claim itself is the sentence: who, which CPUs, set where.
        return Drift(item.area, item.item, item.have, item.want, f"{'; '.join(item.have)}: {item.why}")
    if item.item == "manager_affinity" and item.want is None:
        affinity = parse_cpus(item.have)
        if not affinity & isolated or isolated <= affinity:
            return None
        why = "systemd's own CPUAffinity names only some of the slice's CPUs: the slice may lose the others"
        return Drift(item.area, item.item, item.have, item.want, why)
    return item


def _judge_topology(item: Drift, isolated: frozenset[int]) -> Drift | None:
    have: Mapping[str, Any] = item.have or {}
    differing = [part for part, value in item.want.items() if have.get(part) != value]
    cut = cut_cores(isolated, have)
    if not differing and not cut:
        return None
    sentences = [
        f"{part} {_text(have.get(part))} where the profile says {_text(item.want[part])}"
        for part in differing
    ]
    sentences += [
        f"CPUs {format_cpus(core)} are threads of one core, and only {format_cpus(core & isolated)} of them"
        " would be set apart"
        for core in cut
    ]
    why = f"{item.why}: {'; '.join(sentences)}; correct the profile or isolation_cpus"
    return Drift(item.area, item.item, item.have, item.want, why)


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {cpus}" for name, cpus in value.items())
    return value if isinstance(value, str) else " ".join(value)


def _units(value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise InputError(f'{UNITS}: expected a list of units such as ["planner.service"], got {value!r}')
    for unit in value:
        if not isinstance(unit, str) or not _UNIT.fullmatch(unit):
            raise InputError(
                f"{UNITS}: {unit!r} is no name of a unit: expected one such as planner.service; * and ? stand"
                " for any characters"
            )
    return [*OWN_UNITS, *value]

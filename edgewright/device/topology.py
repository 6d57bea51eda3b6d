# SPDX-License-Identifier: Apache-2.0
"""Which CPUs of a device belong together, and choosing some of them by what they are. Pure.

A profile may say a device's topology; the probe reads the same form from sysfs
(`plugins/module_utils/topology.py`), so that a wrong profile shows. Each part is left out where it
tells nothing: where every CPU is a core of its own, where there is one kind of core, one NUMA node,
one shared cache.

    topology:
      cores: ["0,4", "1,5", "2,6", "3,7"]           # threads (SMT siblings) of one core
      core_types: {performance: "0-3", efficient: "4-11"}
      numa: {"0": "0-7", "1": "8-15"}
      caches: ["0-3", "4-7"]                        # CPUs behind one last-level cache, in order

Instead of a list, `isolation_cpus` may then say what is meant:

    all but 2            every core but the first ones, which keep at least 2 CPUs for the system
    type efficient       the cores of one type
    numa 1, cache 1      those of one NUMA node, or behind one last-level cache
    numa 1 but 2         the same, less the first cores that hold at least 2 CPUs

CPU 0 and its siblings always stay with the system, and a core is never cut apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgewright.device.cpulist import VARIABLE, format_cpus, isolated_cpus, parse_cpus
from edgewright.errors import InputError

__all__ = ["check_cores", "chosen_cpus", "core_of", "cut_cores", "parse_topology", "select_cpus"]

PARTS = ("cores", "core_types", "numa", "caches")

_SELECTOR = re.compile(
    r"^(?:(?P<all>all)|(?P<kind>type|numa|cache)\s+(?P<name>[A-Za-z0-9_-]+))(?:\s+but\s+(?P<but>\d{1,5}))?$",
    re.ASCII,
)
_LOOKS_LIKE_ONE = re.compile(r"[A-Za-z]")
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,30}$", re.ASCII)
_FORMS = '"all but N", "type NAME", "numa N" or "cache N", each with " but N" after it where wanted'


def parse_topology(raw: object, where: str, count: int) -> dict[str, Any]:
    """Check a profile's topology and give it out in one form.

    Args:
        raw: what the profile's key holds.
        where: the profile, for messages.
        count: logical CPUs of the device.

    Returns:
        The parts that tell something: `cores` and `caches` as lists of CPU lists, `core_types` and `numa`
        as mappings of name to CPU list; lists as the kernel writes them.

    Raises:
        InputError: an unknown part, a list that cannot be, a CPU that the device lacks, one that is in two
            groups of a part, or a core whose threads are in two of them.
    """
    if not isinstance(raw, Mapping):
        raise InputError(f"{where}: topology: expected a mapping with {', '.join(PARTS)}, got {raw!r}")
    unknown = sorted(str(key) for key in raw if key not in PARTS)
    if unknown:
        raise InputError(f"{where}: topology has no {unknown[0]!r}: its parts are {', '.join(PARTS)}")
    found: dict[str, Any] = {}
    for part in PARTS:
        if part not in raw:
            continue
        place = f"{where}: topology.{part}"
        named = part in ("core_types", "numa")
        groups = _groups(raw[part], place, named=named)
        _check_groups(groups, place, count)
        texts = {name: format_cpus(cpus) for name, cpus in groups.items()}
        if named and groups:
            found[part] = texts
        elif groups:
            # In the order of their first CPU, as the probe gives them.
            found[part] = [format_cpus(cpus) for cpus in sorted(groups.values(), key=min)]
    for part in PARTS[1:]:
        for name, text in _named(found, part).items():
            try:
                check_cores(parse_cpus(text), found, f"{where}: topology.{part} {name}")
            except InputError as error:
                raise InputError(f"{error} (a core lies in one group of {part})") from None
    return found


def _groups(raw: object, place: str, *, named: bool) -> dict[str, frozenset[int]]:
    example = '{"0": "0-7", "1": "8-15"}' if named else '["0-3", "4-7"]'
    if named and isinstance(raw, Mapping):
        pairs = [(str(name), value) for name, value in raw.items()]
    elif not named and isinstance(raw, list):
        pairs = [(str(number), value) for number, value in enumerate(raw)]
    else:
        raise InputError(f"{place}: expected groups of CPUs such as {example}, got {raw!r}")
    groups = {}
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            raise InputError(f"{place}: {name!r} is no name of a group: small letters, digits, - and _")
        groups[name] = parse_cpus(value, f"{place} {name}")
        if not groups[name]:
            raise InputError(f"{place} {name}: names no CPU; leave the group out")
    return groups


def _check_groups(groups: Mapping[str, frozenset[int]], place: str, count: int) -> None:
    seen: dict[int, str] = {}
    for name, cpus in groups.items():
        lacking = cpus - frozenset(range(count))
        if lacking:
            raise InputError(
                f"{place} {name}: names CPU {format_cpus(lacking)}, but the profile says {count} CPUs"
                f" ({format_cpus(range(count))})"
            )
        for cpu in cpus:
            if cpu in seen:
                raise InputError(f"{place}: CPU {cpu} is in {seen[cpu]} and in {name}: name it once")
            seen[cpu] = name


def _named(topology: Mapping[str, Any], part: str) -> dict[str, str]:
    groups = topology.get(part) or {}
    return dict(groups) if isinstance(groups, Mapping) else {str(n): text for n, text in enumerate(groups)}


def core_of(cpu: int, topology: Mapping[str, Any]) -> frozenset[int]:
    """The CPUs of the core that a CPU is a thread of, itself included."""
    for text in topology.get("cores") or []:
        core = parse_cpus(text, "cores")
        if cpu in core:
            return core
    return frozenset({cpu})


def cut_cores(cpus: Iterable[int], topology: Mapping[str, Any]) -> list[frozenset[int]]:
    """The cores of which only some threads are among these CPUs, in order."""
    wanted = frozenset(cpus)
    cores = [parse_cpus(text, "cores") for text in topology.get("cores") or []]
    return [core for core in cores if core & wanted and not core <= wanted]


def check_cores(cpus: frozenset[int], topology: Mapping[str, Any], what: str) -> None:
    """Refuse a list that takes some threads of a core and leaves others.

    Raises:
        InputError: names the core and its threads on both sides.
    """
    for core in cut_cores(cpus, topology):
        raise InputError(
            f"{what} cuts a core apart: CPUs {format_cpus(core)} are threads of one core and disturb each"
            f" other, and only {format_cpus(core & cpus)} of them is named: name all of them or none"
        )


def chosen_cpus(variables: Mapping[str, Any], profile: Mapping[str, Any]) -> frozenset[int]:
    """The CPUs that a device shall set apart, by list or by kind, checked against its profile.

    Args:
        variables: `isolation_cpus`.
        profile: the hardware profile: `name`, `cpus`, and `topology` where it says one.

    Returns:
        The CPUs to set apart; empty where the variable is empty, which asks for no isolation.

    Raises:
        InputError: not set, cannot be read, or what this device cannot give: a CPU that it lacks, CPU 0,
            part of a core, or all of them.
    """
    value, count, name = variables.get(VARIABLE), profile["cpus"], profile["name"]
    topology = profile.get("topology") or {}
    chosen = select_cpus(value, count, name, topology) if isinstance(value, str) else None
    if chosen is not None:
        value = format_cpus(chosen)
    cpus = isolated_cpus(value, count, name)
    check_cores(cpus, topology, f"{VARIABLE} {value!r} on a device of profile {name}")
    return cpus


def select_cpus(text: str, count: int, profile: str, topology: Mapping[str, Any]) -> frozenset[int] | None:
    """The CPUs that a text such as `all but 2` means.

    Args:
        text: value of `isolation_cpus`.
        count: logical CPUs of the device.
        profile: name of its profile, for messages.
        topology: as `parse_topology` gives it; empty where the profile says none.

    Returns:
        The CPUs; None where the text is a CPU list and no choice by kind.

    Raises:
        InputError: it names a group that the profile does not have, or leaves nothing to set apart.
    """
    if not _LOOKS_LIKE_ONE.search(text):
        return None
    match = _SELECTOR.fullmatch(" ".join(text.split()))
    if not match or (match["all"] and match["but"] is None):
        raise InputError(
            f'{VARIABLE}: cannot read {text!r}: expected a CPU list such as "2-3" or "1,4-7", or one of'
            f" {_FORMS}"
        )
    candidates = frozenset(range(count))
    if not match["all"]:
        candidates = _group(text, match["kind"], match["name"], profile, topology)
        # The system needs CPU 0, and what shares its core would be disturbed by it.
        candidates -= core_of(0, topology)
    keep = int(match["but"] or 0)
    if match["all"] and keep < 1:
        raise InputError(f"{VARIABLE} {text!r} leaves no CPU for the system: keep at least 1")
    kept: set[int] = set()
    for cpu in sorted(candidates):
        if len(kept) >= keep:
            break
        kept |= core_of(cpu, topology)
    chosen = candidates - kept
    if not chosen:
        raise InputError(
            f"{VARIABLE} {text!r} leaves nothing to set apart on a device of profile {profile} with {count}"
            f" CPUs: the system keeps {format_cpus(frozenset(range(count)))}; keep fewer, or choose another"
            " group"
        )
    return chosen


def _group(text: str, kind: str, name: str, profile: str, topology: Mapping[str, Any]) -> frozenset[int]:
    part = {"type": "core_types", "numa": "numa", "cache": "caches"}[kind]
    groups = _named(topology, part)
    if not groups:
        raise InputError(
            f"{VARIABLE} {text!r} chooses by {part}, of which profile {profile} says nothing: give"
            f" topology.{part} in the profile (with a list such as '2-3' set for once, the area isolation of"
            " edgewright.factory.device_state reads the device's own topology), or name the CPUs"
        )
    if name not in groups:
        raise InputError(
            f"{VARIABLE} {text!r}: profile {profile} has no {name!r} among its {part}: there are"
            f" {', '.join(f'{each} ({cpus})' for each, cpus in groups.items())}"
        )
    return parse_cpus(groups[name], part)

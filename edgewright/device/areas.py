# SPDX-License-Identifier: Apache-2.0
"""The areas of a device's state, in order, and `want` and `drift` over all of them.

This table is the one place that knows every area, and each area's way on each OS (`edgewright_os`);
`plugins/module_utils/probe.py` is its mirror on the device. A want of another OS than Debian says so in its
key `os`, by
which drift and the probe on the device find the same way again. Pure: no IO.

Example:
    want = want_all(variables, profile, lock)
    have = ...                                # what edgewright.factory.device_state read
    for drift in drift_all(have, want):
        print(sentence(drift))
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from edgewright.device import (
    acceptance,
    acceptance_core,
    depot_client,
    depot_client_core,
    drift_watch,
    identity,
    identity_core,
    isolation,
    isolation_core,
    kernel,
    kernel_core,
    nvidia,
    nvidia_core,
    runtime,
    runtime_core,
)
from edgewright.device.drift import Drift, Have, Want
from edgewright.device.lock import for_target
from edgewright.device.places import DEBIAN, UBUNTU_CORE, chosen_os
from edgewright.errors import InputError
from edgewright.snaps.grade import check_inventory

__all__ = [
    "AREAS",
    "AREA_NAMES",
    "Area",
    "Way",
    "before_after",
    "choose",
    "drift_all",
    "sentence",
    "want_all",
]

# How much of a value a sentence shows; the whole of it is in the drift itself.
SENTENCE_VALUE_CHARS = 120


@dataclass(frozen=True)
class Way:
    """How one OS has an area.

    Attributes:
        want: pure function of variables, profile and lock.
        drift: pure function of have and want.
        controller_facts: variable name to (kind, path with variables in braces): digests of the
            controller's own files that `want` needs; see `edgewright.device.controller_facts`.
        why: what it means when an item is otherwise than wanted, by item.
    """

    want: Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    drift: Callable[[Have, Want], list[Drift]]
    controller_facts: Mapping[str, tuple[str, str]]
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Area:
    """One concern of a device's state: Debian's way, and those of others.

    Attributes:
        name: the noun it shares with its role, its module_utils and its page.
        want: Debian's, as in `Way`; so are the next two.
        drift: see `Way`.
        controller_facts: see `Way`.
        of_all: whether its want is made of the wants of all others, and so needs their facts too.
        why: see `Way`.
        others: OS to its way, where it is another than Debian's.
    """

    name: str
    want: Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    drift: Callable[[Have, Want], list[Drift]]
    controller_facts: Mapping[str, tuple[str, str]]
    of_all: bool = False
    why: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Way] = field(default_factory=dict)

    def way(self, system: str) -> Way:
        """The area's way on an OS."""
        return self.others.get(system) or Way(self.want, self.drift, self.controller_facts, self.why)


def _area(name: str, module: Any, core: Any = None) -> Area:
    way = _way(module)
    others = {UBUNTU_CORE: _way(core)} if core else {}
    of_all = getattr(module, "OF_ALL", False)
    return Area(name, way.want, way.drift, way.controller_facts, of_all, way.why, others)


def _way(module: Any) -> Way:
    facts, why = getattr(module, "CONTROLLER_FACTS", {}), getattr(module, "_WHY", {})
    return Way(module.want, module.drift, facts, why)


AREAS: tuple[Area, ...] = (
    _area("identity", identity, identity_core),
    _area("depot_client", depot_client, depot_client_core),
    _area("kernel", kernel, kernel_core),
    _area("nvidia", nvidia, nvidia_core),
    _area("isolation", isolation, isolation_core),
    _area("runtime", runtime, runtime_core),
    _area("acceptance", acceptance, acceptance_core),
    # One way for all: only its places differ.
    _area("drift_watch", drift_watch),
)
AREA_NAMES: tuple[str, ...] = tuple(area.name for area in AREAS)


def choose(names: Sequence[str] | None = None) -> tuple[Area, ...]:
    """The areas of these names, in the table's order; all of them for None or no names.

    Raises:
        InputError: there is no such area; names the nearest.
    """
    if not names:
        return AREAS
    for name in names:
        if name not in AREA_NAMES:
            near = difflib.get_close_matches(str(name), AREA_NAMES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"there is no area {name!r}: {hint}Areas are {', '.join(AREA_NAMES)}")
    return tuple(area for area in AREAS if area.name in names)


def want_all(
    variables: Mapping[str, Any],
    profile: Mapping[str, Any],
    lock: Mapping[str, Any],
    names: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Desired state of the areas.

    Args:
        variables: role and site variables of the host, values not templates, with the controller's facts.
        profile: `Profile.as_dict()`.
        lock: the lock, as `edgewright.device.lock` gives it; of several targets the device's own counts.
        names: areas to compute; None for all.

    Returns:
        Area to want, in the table's order.

    Raises:
        InputError: unknown area, or an area refuses its input.
    """
    check_inventory(variables, lock)
    seen = lock
    if lock.get("targets"):
        seen = for_target(lock, str(profile["arch"]), variables.get("depot_client_suite"))
    system = chosen_os(variables)
    return {area.name: area.way(system).want(variables, profile, seen) for area in choose(names)}


def drift_all(
    have: Mapping[str, Have], want: Mapping[str, Want], names: Sequence[str] | None = None
) -> list[Drift]:
    """Every difference of the areas, in the table's order.

    Raises:
        InputError: unknown area, or one that was not read or not computed.
    """
    drifts: list[Drift] = []
    for area in choose(names):
        for side, states in (("have", have), ("want", want)):
            if area.name not in states:
                raise InputError(f"no drift can be told for area {area.name}: its {side} is missing")
        wanted = want[area.name]
        drifts += area.way(str(wanted.get("os", DEBIAN))).drift(have[area.name], wanted)
    return drifts


def sentence(drift: Drift) -> str:
    """A drift for a person: `kernel.release: have 6.1.0-cloud, want 6.1.0-rt: <why> (needs a reboot)`."""
    reboot = " (needs a reboot)" if drift.reboot else ""
    both = f"have {_short(drift.have)}, want {_short(drift.want)}"
    return f"{drift.area}.{drift.item}: {both}: {drift.why}{reboot}"


def before_after(drifts: Iterable[Drift]) -> tuple[str, str]:
    """The drifted items as two YAML texts, have and want, which a diff tool can set side by side."""
    have: dict[str, dict[str, Any]] = {}
    want: dict[str, dict[str, Any]] = {}
    for drift in drifts:
        have.setdefault(drift.area, {})[drift.item] = drift.have
        want.setdefault(drift.area, {})[drift.item] = drift.want
    return _yaml(have), _yaml(want)


class _Dumper(yaml.SafeDumper):
    """YAML for reading: a text of several lines stands as such."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Where blanks at a line's end or tabs forbid a literal block, YAML quotes the text: nothing is lost.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _yaml(tree: Mapping[str, Any]) -> str:
    if not tree:
        return ""
    text: str = yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    lines = text.strip().splitlines()
    if len(lines) > 1:
        text = f"{len(lines)} lines from {lines[0]!r} on"
    return text if len(text) <= SENTENCE_VALUE_CHARS else text[: SENTENCE_VALUE_CHARS - 3] + "..."

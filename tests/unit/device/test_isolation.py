# SPDX-License-Identifier: Apache-2.0
"""The isolation area's want and drift."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.device import isolation
from edgewright.errors import InputError

PROFILE = {"name": "box", "cpus": 4, "boot": "grub"}
VARIABLES: dict[str, Any] = {"isolation_cpus": "2-3", "isolation_slice": "edgert.slice"}
WANT = {
    "cpuset": True,
    "slice": "edgert.slice",
    "configured_cpus": "2-3",
    "enabled": True,
    "active": True,
    "slice_cpus": "2-3",
    "claims": [],
    "partition": "isolated",
    "housekeeping_cpus": "0-1",
    "intruders": [],
}


def test_want() -> None:
    assert isolation.want(VARIABLES, PROFILE, {}) == WANT


def test_the_list_is_compared_as_the_kernel_writes_it() -> None:
    want = isolation.want({**VARIABLES, "isolation_cpus": "3,1"}, PROFILE, {})
    assert (want["slice_cpus"], want["housekeeping_cpus"]) == ("1,3", "0,2")


NOTHING = {
    "none asked for": ({"isolation_cpus": ""}, PROFILE),
    "container": ({"isolation_cpus": None}, {"name": "can", "cpus": 2, "boot": "none"}),
}


@pytest.mark.parametrize(("changes", "profile"), NOTHING.values(), ids=NOTHING.keys())
def test_nothing_wanted_is_no_drift(changes: dict[str, Any], profile: dict[str, Any]) -> None:
    want = isolation.want({**VARIABLES, **changes}, profile, {})
    assert want == {}
    assert isolation.drift({}, want) == []


REFUSED = {
    "lacking CPU": ({"isolation_cpus": "2-4"}, "names CPU 4"),
    "no CPU left": ({"isolation_cpus": "0-3"}, "leaves no CPU for the system"),
    "not set": ({"isolation_cpus": None}, "isolation_cpus is not set"),
    "child slice": ({"isolation_slice": "edge-rt.slice"}, "cannot take 'edge-rt.slice'"),
    "no slice": ({"isolation_slice": "edgert"}, "cannot take 'edgert'"),
    "path": ({"isolation_slice": "../edgert.slice"}, "cannot take"),
    "the system's": ({"isolation_slice": "system.slice"}, "cannot take 'system.slice'"),
    "nothing": ({"isolation_slice": None}, "cannot take None"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        isolation.want({**VARIABLES, **changes}, PROFILE, {})
    assert message in str(caught.value)


INVALID = "isolated invalid (Cpu list in cpuset.cpus not exclusive)"
DRIFTS = {
    "none": ({}, []),
    "never set apart": (
        {"partition": "member", "intruders": ["system.slice 0-3"]},
        ["partition", "intruders"],
    ),
    "claimed": (
        {"claims": ["system.slice 0-3"], "partition": INVALID, "housekeeping_cpus": "0-3"},
        ["claims", "partition", "housekeeping_cpus"],
    ),
    "gone at the next boot": ({"enabled": False}, ["enabled"]),
    "other CPUs": ({"configured_cpus": "3", "slice_cpus": "3"}, ["configured_cpus", "slice_cpus"]),
}


@pytest.mark.parametrize(("changes", "items"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_names_the_item_and_never_needs_a_reboot(changes: dict[str, Any], items: list[str]) -> None:
    found = isolation.drift({**WANT, **changes}, WANT)
    assert [drift.item for drift in found] == items
    assert not any(drift.reboot for drift in found)
    assert all(drift.have == changes[drift.item] and drift.why for drift in found)

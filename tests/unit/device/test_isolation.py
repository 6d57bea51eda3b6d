# SPDX-License-Identifier: Apache-2.0
"""The isolation area's want and drift."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.device import isolation
from edgewright.errors import InputError

PROFILE = {"name": "box", "cpus": 4, "boot": "grub"}
VARIABLES: dict[str, Any] = {"isolation_cpus": "2-3", "isolation_slice": "edgert.slice"}
WANT: dict[str, Any] = {
    "cpuset": True,
    "topology": {"cpus": "0-3"},
    "slice": "edgert.slice",
    "configured_cpus": "2-3",
    "enabled": True,
    "active": True,
    "slice_cpus": "2-3",
    "claims": [],
    "partition": "isolated",
    "housekeeping_cpus": "0-1",
    "intruders": [],
    "strays": [],
    "at": {"members": ["edgewright-*.service"], "governor": "performance"},
    "quiet_enabled": True,
    "quiet_config": {"isolated": "2-3", "housekeeping": "0-1", "governor": "performance"},
    "quiet_rule": isolation.QUIET_RULE,
    "irqbalance": "off",
    "irq_default": "0-1",
    "irqs": [],
    "irqs_fixed": [],
    "workqueues": "0-1",
    "kernel_threads": [],
    "governors": [],
    "manager_affinity": None,
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
    "kind": ({"isolation_kind": "exclusive"}, "isolation_kind: expected one of isolated, root, member"),
    "units as text": ({"isolation_units": "a.service"}, "isolation_units: expected a list"),
    "no unit": ({"isolation_units": ["../a"]}, "'../a' is no name of a unit"),
    "governor": ({"isolation_governor": "fast; reboot"}, "isolation_governor: expected the name"),
    "word for truth": ({"isolation_manager_affinity": "no"}, "isolation_manager_affinity: expected true"),
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
    "stranger": ({"strays": ["stress.service"]}, ["strays"]),
    "interrupt moved back": ({"irqs": ["24 eth0 on CPU 2"]}, ["irqs"]),
    "irqbalance": ({"irqbalance": "on"}, ["irqbalance"]),
    "irqbalance, kept off": ({"irqbalance": "banned"}, []),
    "default of interrupts": ({"irq_default": "0-3"}, ["irq_default"]),
    "default names CPUs that could be": ({"irq_default": "0-1,4-7"}, []),
    "default cannot be read": ({"irq_default": None}, ["irq_default"]),
    "workqueues": ({"workqueues": "0-3"}, ["workqueues"]),
    "kernel thread": ({"kernel_threads": ["kswapd0 (pid 44) on CPU 0-3"]}, ["kernel_threads"]),
    "governor": ({"governors": ["cpu2 powersave"]}, ["governors"]),
    "systemd elsewhere": ({"manager_affinity": "0-1"}, []),
    "what the kernel keeps": ({"irqs_fixed": ["25 nvme0q3 on CPU 2"]}, []),
    "more than the profile says": ({"topology": {"cpus": "0-3", "caches": ["0-1", "2-3"]}}, []),
    "other CPUs": ({"configured_cpus": "3", "slice_cpus": "3"}, ["configured_cpus", "slice_cpus"]),
}


@pytest.mark.parametrize(("changes", "items"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_names_the_item_and_never_needs_a_reboot(changes: dict[str, Any], items: list[str]) -> None:
    found = isolation.drift({**WANT, **changes}, WANT)
    assert [drift.item for drift in found] == items
    assert not any(drift.reboot for drift in found)
    assert all(drift.have == changes[drift.item] and drift.why for drift in found)


def judge(**changes: Any) -> list[isolation.Drift]:
    return isolation.drift({**WANT, **changes}, WANT)


def test_a_claim_is_the_sentence() -> None:
    claim = (
        "system.slice claims CPU 2 (set by /etc/systemd/system.control/system.slice.d/50-AllowedCPUs.conf)"
    )
    (found,) = judge(claims=[claim])
    assert found.why.startswith(claim)


def test_systemds_own_cpus_that_share_some_of_the_slices() -> None:
    (found,) = judge(manager_affinity="0-2")
    assert (found.item, found.want) == ("manager_affinity", None)
    assert "only some of the slice's CPUs" in found.why


TOPOLOGIES = {
    "fewer CPUs": ({"cpus": "0-1"}, "cpus 0-1 where the profile says 0-3"),
    "nothing read": (None, "cpus nothing where the profile says 0-3"),
    "siblings": (
        {"cpus": "0-3", "cores": ["0,2", "1,3"]},
        "CPUs 0,2 are threads of one core, and only 2 of them would be set apart",
    ),
}


@pytest.mark.parametrize(("topology", "message"), TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def test_a_device_that_is_not_as_its_profile_says(topology: dict[str, Any] | None, message: str) -> None:
    (found,) = judge(topology=topology)
    assert found.item == "topology"
    assert message in found.why
    assert found.why.endswith("correct the profile or isolation_cpus")


def test_what_the_profile_says_of_the_topology_is_compared() -> None:
    want = isolation.want(VARIABLES, {**PROFILE, "topology": {"numa": {"0": "0-1", "1": "2-3"}}}, {})
    (found,) = isolation.drift({**want, "topology": {"cpus": "0-3"}}, want)
    assert "numa nothing where the profile says 0: 0-1, 1: 2-3" in found.why


def test_kinds_of_partition() -> None:
    assert isolation.want({**VARIABLES, "isolation_kind": "root"}, PROFILE, {}) == {
        **WANT,
        "partition": "root",
    }
    member = isolation.want({**VARIABLES, "isolation_kind": "member"}, PROFILE, {})
    assert member["partition"] == "member"
    assert not {"claims", "intruders", "irqs", "housekeeping_cpus"} & set(member)
    assert isolation.drift(member, member) == []
    (found,) = isolation.drift({**member, "partition": "isolated"}, member)
    assert found.item == "partition"


def test_choices_of_a_site() -> None:
    chosen = {
        "isolation_units": ["planner.service"],
        "isolation_governor": "",
        "isolation_manager_affinity": True,
    }
    want = isolation.want({**VARIABLES, **chosen}, PROFILE, {})
    assert want["at"] == {"members": ["edgewright-*.service", "planner.service"], "governor": ""}
    assert want["manager_affinity"] == "0-1"
    (found,) = isolation.drift({**want, "manager_affinity": None}, want)
    assert found.item == "manager_affinity"

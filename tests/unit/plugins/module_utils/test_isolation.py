# SPDX-License-Identifier: Apache-2.0
"""Reading the isolation area from trees recorded on a VM twin: bare, set apart, and made invalid."""

from __future__ import annotations

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import isolation as reader

from edgewright.device import isolation as rules
from tests.support import FIXTURES, TreeSystem

DEVICES = FIXTURES / "devices"
INVALID = "isolated invalid (Cpu list in cpuset.cpus not exclusive)"

LISTS = {
    "kernel's": ("0,2-3\n", {0, 2, 3}),
    "systemd's": ("0 2-3", {0, 2, 3}),
    "empty": ("\n", set()),
    "no file": (None, set()),
}


@pytest.mark.parametrize(("text", "cpus"), LISTS.values(), ids=LISTS.keys())
def test_lists(text: str | None, cpus: set[int]) -> None:
    assert reader.parse_cpus(text) == cpus


def test_a_bare_device() -> None:
    system = TreeSystem(DEVICES / "vm_bare")
    assert reader.read(system, system.want("isolation")) == {
        "cpuset": True,
        "slice": None,
        "configured_cpus": None,
        "enabled": False,
        "active": False,
        "slice_cpus": None,
        "claims": [],
        "partition": None,
        "housekeeping_cpus": "0-3",
        "intruders": [],
    }


def test_a_provisioned_device_has_no_drift() -> None:
    system = TreeSystem(DEVICES / "vm_provisioned")
    want = system.want("isolation")
    have = reader.read(system, want)
    assert set(have) == set(want)
    assert rules.drift(have, want) == []


def test_an_invalid_partition_is_told_with_who_made_it_so() -> None:
    system = TreeSystem(DEVICES / "vm_invalid")
    want = system.want("isolation")
    have = reader.read(system, want)
    assert [drift.item for drift in rules.drift(have, want)] == [
        "claims",
        "partition",
        "housekeeping_cpus",
        "intruders",
    ]
    assert have["claims"] == ["system.slice 0-3"]
    assert have["partition"] == INVALID
    assert (have["enabled"], have["active"], have["slice_cpus"]) == (True, True, "2-3")
    assert "system.slice 0-3" in have["intruders"]


def test_no_cgroup_v2() -> None:
    system = TreeSystem(DEVICES / "vm_bare", {"/sys/fs/cgroup/cgroup.controllers": None})
    want = system.want("isolation")
    assert rules.drift(reader.read(system, want), want)[0].item == "cpuset"


def test_nothing_wanted_reads_nothing() -> None:
    assert reader.read(TreeSystem(DEVICES / "vm_bare"), {}) == {}

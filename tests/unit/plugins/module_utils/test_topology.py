# SPDX-License-Identifier: Apache-2.0
"""Reading which CPUs belong together, and that a profile may hold what was read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import topology as reader

from edgewright.device.topology import parse_topology
from tests.unit.plugins.made_system import MadeSystem

CPUS = "/sys/devices/system/cpu"


def per_cpu(file: str, texts: list[str]) -> dict[str, str]:
    return {f"{CPUS}/cpu{number}/{file}": text + "\n" for number, text in enumerate(texts)}


DEVICES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "four plain cores": (
        {
            f"{CPUS}/online": "0-3",
            **per_cpu("topology/thread_siblings_list", ["0", "1", "2", "3"]),
            **per_cpu("cache/index0/shared_cpu_list", ["0", "1", "2", "3"]),
            **per_cpu("cache/index3/shared_cpu_list", ["0-3"] * 4),
            "/sys/devices/system/node/node0/cpulist": "0-3",
        },
        {"cpus": "0-3"},
    ),
    "two sockets with threads": (
        {
            f"{CPUS}/online": "0-7",
            **per_cpu("topology/thread_siblings_list", ["0,4", "1,5", "2,6", "3,7"] * 2),
            **per_cpu("cache/index3/shared_cpu_list", ["0-1,4-5", "0-1,4-5", "2-3,6-7", "2-3,6-7"] * 2),
            "/sys/devices/system/node/node0/cpulist": "0-1,4-5",
            "/sys/devices/system/node/node1/cpulist": "2-3,6-7",
            "/sys/devices/system/node/online": "0-1",
        },
        {
            "cpus": "0-7",
            "cores": ["0,4", "1,5", "2,6", "3,7"],
            "numa": {"0": "0-1,4-5", "1": "2-3,6-7"},
            "caches": ["0-1,4-5", "2-3,6-7"],
        },
    ),
    "Intel hybrid": (
        {
            f"{CPUS}/online": "0-5",
            **per_cpu("topology/thread_siblings_list", ["0-1", "0-1", "2-3", "2-3", "4", "5"]),
            "/sys/devices/cpu_core/cpus": "0-3",
            "/sys/devices/cpu_atom/cpus": "4-5",
        },
        {
            "cpus": "0-5",
            "cores": ["0-1", "2-3", "4", "5"],
            "core_types": {"performance": "0-3", "efficient": "4-5"},
        },
    ),
    "Arm with two kinds": (
        {f"{CPUS}/online": "0-3", **per_cpu("cpu_capacity", ["446", "446", "1024", "1024"])},
        {"cpus": "0-3", "core_types": {"efficient": "0-1", "performance": "2-3"}},
    ),
    "Arm with one kind": (
        {f"{CPUS}/online": "0-3", **per_cpu("cpu_capacity", ["1024"] * 4)},
        {"cpus": "0-3"},
    ),
    "one CPU offline": (
        {f"{CPUS}/online": "0-2", **per_cpu("topology/thread_siblings_list", ["0-1", "0-1", "2-3", "2-3"])},
        {"cpus": "0-2", "cores": ["0-1", "2"]},
    ),
    "nothing to read": ({}, {"cpus": ""}),
}


@pytest.mark.parametrize(("files", "found"), DEVICES.values(), ids=DEVICES.keys())
def test_reads(files: dict[str, str], found: dict[str, Any]) -> None:
    read = reader.read(MadeSystem(files))
    assert read == found
    # What was read may stand in a profile, less the CPUs themselves, which are the profile's cpus.
    parts = {part: value for part, value in read.items() if part != "cpus"}
    assert parse_topology(parts, "profile box", 8) == parts


def test_masks() -> None:
    assert reader.parse_mask("3\n") == {0, 1}
    assert reader.parse_mask("00000001,00000000") == {32}
    assert reader.parse_mask("nonsense") == reader.parse_mask(None) == set()
    assert reader.format_cpus({0, 1, 3}) == "0-1,3"

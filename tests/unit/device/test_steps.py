# SPDX-License-Identifier: Apache-2.0
"""Which roles a run includes: each that is needed, none that is not, in one order for all devices."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.edgewright.factory.plugins.filter.steps import FilterModule

from edgewright.device.areas import AREA_NAMES
from edgewright.device.steps import os_of, steps
from edgewright.errors import InputError

CASES: dict[str, tuple[list[list[str]], list[str]]] = {
    "nothing": ([], []),
    "devices without drift": ([[], []], []),
    "the kept probe alone": ([["drift_watch"]], ["drift_watch/main"]),
    "a role that needs no reboot": ([["runtime"]], ["runtime/main", "drift_watch/main"]),
    "a GPU's driver": ([["nvidia"]], ["nvidia/main", "kernel/reboot", "drift_watch/main"]),
    "two devices, the second needs what comes first": (
        [["runtime", "acceptance"], ["kernel"]],
        ["kernel/main", "runtime/main", "kernel/reboot", "acceptance/main", "drift_watch/main"],
    ),
    "a bare device": (
        [list(AREA_NAMES)],
        [
            "identity/main",
            "depot_client/main",
            "kernel/main",
            "nvidia/main",
            "isolation/main",
            "runtime/main",
            "kernel/reboot",
            "acceptance/main",
            "drift_watch/main",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_steps(name: str) -> None:
    drifted, expected = CASES[name]
    assert [f"{step.role}/{step.tasks_from}" for step in steps(drifted)] == expected


@pytest.mark.parametrize("area", AREA_NAMES)
def test_each_area_has_a_step_that_its_drift_makes_due(area: str) -> None:
    assert any(step.role == area and area in step.areas for step in steps([[area]]))


def test_an_unknown_area_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="no area kernal; areas are identity, "):
        steps([["kernal"]])


def test_the_filter_takes_what_the_probe_returned() -> None:
    (step,) = FilterModule().filters()["converge_steps"]([{"drifted": ["drift_watch"], "have": {}}])
    assert step == {"role": "drift_watch", "tasks_from": "main", "areas": list(AREA_NAMES)}


@pytest.mark.parametrize("given", [[{}], [None], [{"drifted": ["kernal"]}]], ids=["no", "none", "unknown"])
def test_the_filter_refuses_anything_else(given: list[object]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"converge_steps: expected|no area kernal"):
        FilterModule().filters()["converge_steps"](given)


SYSTEMS: dict[str, tuple[dict[str, dict[str, object]], str]] = {
    "Debian's say nothing": ({"identity": {"key": {}}, "kernel": {}}, "debian"),
    "Ubuntu Core's": ({"identity": {"os": "ubuntu_core"}, "nvidia": {}}, "ubuntu_core"),
    "an empty area first": ({"nvidia": {}, "runtime": {"os": "ubuntu_core"}}, "ubuntu_core"),
    "nothing": ({}, "debian"),
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_a_want_says_its_os(case: str) -> None:
    want, system = SYSTEMS[case]
    assert os_of(want) == system
    assert FilterModule().filters()["device_os"]({"want": want}) == system


@pytest.mark.parametrize("given", [{}, None, {"want": None}], ids=["no want", "none", "an empty want"])
def test_the_os_of_anything_else_is_refused(given: object) -> None:
    with pytest.raises(AnsibleFilterError, match="device_os: expected what edgewright"):
        FilterModule().filters()["device_os"](given)

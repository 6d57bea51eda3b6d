# SPDX-License-Identifier: Apache-2.0
"""The kernel area's want and drift."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.device import kernel
from edgewright.errors import InputError

PROFILE = {"name": "box", "cpus": 4, "boot": "grub"}
RELEASE = "6.1.0-56-rt-amd64"
LOCK = {
    "kernel": {
        "package": f"linux-image-{RELEASE}",
        "version": "6.1.192-2",
        "release": RELEASE,
        "flavour": "rt",
    }
}
VARIABLES: dict[str, Any] = {
    "isolation_cpus": "2-3",
    "kernel_cmdline": ["skew_tick=1"],
    "kernel_isolation_parameters": True,
    "kernel_sysctl": {"vm.stat_interval": 10, "kernel.sched_rt_runtime_us": -1},
}


def want(**changes: Any) -> dict[str, Any]:
    return kernel.want({**VARIABLES, **changes}, PROFILE, LOCK)


def test_want_follows_from_lock_and_inventory() -> None:
    cmdline = ["nohz_full=2-3", "rcu_nocbs=2-3", "irqaffinity=0-1", "skew_tick=1"]
    sysctl = {"vm.stat_interval": "10", "kernel.sched_rt_runtime_us": "-1"}
    assert want() == {
        "boot": "grub",
        "packages_settled": True,
        "package": f"linux-image-{RELEASE}=6.1.192-2",
        "initramfs": True,
        "default_entry": RELEASE,
        "configured_cmdline": cmdline,
        "configured_sysctl": sysctl,
        "sysctl": sysctl,
        "release": RELEASE,
        "realtime": True,
        "cmdline": cmdline,
    }


CMDLINES = {
    "no isolation": ({"isolation_cpus": ""}, ["skew_tick=1"]),
    "not derived": (
        {"kernel_isolation_parameters": False, "kernel_cmdline": ["nohz_full=3"]},
        ["nohz_full=3"],
    ),
    "nothing": ({"isolation_cpus": "", "kernel_cmdline": []}, []),
    "one name twice, brought together": (
        {"isolation_cpus": "", "kernel_cmdline": ["console=tty0", "quiet", "console=ttyS0,115200"]},
        ["console=tty0", "console=ttyS0,115200", "quiet"],
    ),
}


@pytest.mark.parametrize(("changes", "cmdline"), CMDLINES.values(), ids=CMDLINES.keys())
def test_parameters(changes: dict[str, Any], cmdline: list[str]) -> None:
    assert want(**changes)["cmdline"] == cmdline


def test_a_container_boots_nothing() -> None:
    nothing = kernel.want({"isolation_cpus": None}, {"name": "can", "cpus": 2, "boot": "none"}, LOCK)
    assert nothing == {}
    assert kernel.drift({}, nothing) == []


REFUSED = {
    "text": ({"kernel_cmdline": "quiet splash"}, "expected a list of parameters"),
    "two in one": ({"kernel_cmdline": ["quiet splash"]}, "cannot take 'quiet splash'"),
    "shell": ({"kernel_cmdline": ["a=$(reboot)"]}, "cannot take"),
    "quote": ({"kernel_cmdline": ['a="b"']}, "cannot take"),
    "newline": ({"kernel_cmdline": ["quiet\n"]}, "cannot take"),
    "number": ({"kernel_cmdline": [1]}, "cannot take 1"),
    "root": ({"kernel_cmdline": ["root=/dev/sda"]}, "boot loader"),
    "derived": ({"kernel_cmdline": ["nohz_full=1"]}, "derived from isolation_cpus already"),
    "derived, with a dash": ({"kernel_cmdline": ["rcu-nocbs=1"]}, "derived from isolation_cpus already"),
    "twice": ({"kernel_cmdline": ["quiet", "quiet"]}, "names quiet more than once"),
    "word for truth": ({"kernel_isolation_parameters": "yes"}, "kernel_isolation_parameters: expected true"),
    "sysctl list": ({"kernel_sysctl": ["a.b=1"]}, "expected keys with values"),
    "sysctl path": ({"kernel_sysctl": {"../etc/passwd": 1}}, "is no sysctl key"),
    "sysctl key": ({"kernel_sysctl": {"swappiness": 1}}, "is no sysctl key"),
    "sysctl truth": ({"kernel_sysctl": {"vm.x": True}}, "vm.x: expected a number or a text, got True"),
    "sysctl none": ({"kernel_sysctl": {"vm.x": None}}, "vm.x: expected a number or a text"),
    "sysctl blank": ({"kernel_sysctl": {"vm.x": " "}}, "vm.x: expected a number or a text"),
    "sysctl lines": ({"kernel_sysctl": {"vm.x": "1\nkernel.panic = 0"}}, "vm.x: expected one line"),
    "CPUs": ({"isolation_cpus": "3-4"}, "names CPU 4"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        want(**changes)
    assert message in str(caught.value)


def test_refuses_a_boot_mechanism_that_it_does_not_know() -> None:
    with pytest.raises(InputError, match="profile jet boots by 'extlinux'"):
        kernel.want(VARIABLES, {"name": "jet", "cpus": 4, "boot": "extlinux"}, LOCK)


DRIFTS = {
    "none": ({}, [], False),
    "not restarted yet": (
        {"release": "6.1.0-56-cloud-amd64", "realtime": False, "cmdline": []},
        ["release", "realtime", "cmdline"],
        True,
    ),
    "started otherwise by hand": ({"cmdline": ["nohz_full=1"]}, ["cmdline"], True),
    "another default": ({"default_entry": "6.1.0-57-rt-amd64"}, ["default_entry"], False),
    "half installed": ({"package": f"linux-image-{RELEASE}=6.1.192-2 (half-configured)"}, ["package"], False),
    "no initramfs": ({"initramfs": False}, ["initramfs"], False),
    "setting lost at the next boot": ({"configured_sysctl": {}}, ["configured_sysctl"], False),
}


@pytest.mark.parametrize(("changes", "items", "reboot"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift(changes: dict[str, Any], items: list[str], reboot: bool) -> None:
    found = kernel.drift({**want(), **changes}, want())
    assert [drift.item for drift in found] == items
    assert {drift.reboot for drift in found} <= {reboot}
    assert all(drift.area == "kernel" and drift.why for drift in found)


SYSCTL = {
    "wrong value": ({"vm.stat_interval": "1"}, {}, False),
    "unknown to another kernel": ({"vm.stat_interval": None}, {"release": "6.1.0-56-cloud-amd64"}, True),
    "unknown to the locked kernel": ({"vm.stat_interval": None}, {}, False),
    "unknown and not configured": (
        {"vm.stat_interval": None},
        {"release": "6.1.0-56-cloud-amd64", "configured_sysctl": {}},
        False,
    ),
    "one unknown, one wrong": (
        {"vm.stat_interval": None, "kernel.sched_rt_runtime_us": "0"},
        {"release": "6.1.0-56-cloud-amd64"},
        False,
    ),
}


@pytest.mark.parametrize(("values", "changes", "reboot"), SYSCTL.values(), ids=SYSCTL.keys())
def test_a_sysctl_that_only_the_locked_kernel_has_waits_for_it(
    values: dict[str, str | None], changes: dict[str, Any], reboot: bool
) -> None:
    have = {**want(), **changes, "sysctl": {**want()["sysctl"], **values}}
    (found,) = [drift for drift in kernel.drift(have, want()) if drift.item == "sysctl"]
    assert found.reboot is reboot

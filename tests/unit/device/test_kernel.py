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
    "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
    "kernel": {
        "package": f"linux-image-{RELEASE}",
        "version": "6.1.192-2",
        "release": RELEASE,
        "flavour": "rt",
    },
}
VARIABLES: dict[str, Any] = {
    "isolation_cpus": "2-3",
    "kernel_cmdline": ["skew_tick=1"],
    "kernel_isolation_parameters": True,
    "kernel_sysctl": {"vm.stat_interval": 10, "kernel.sched_rt_runtime_us": -1},
    "kernel_boot_tries": 3,
}


def want(**changes: Any) -> dict[str, Any]:
    return kernel.want({**VARIABLES, **changes}, PROFILE, LOCK)


def test_want_follows_from_lock_and_inventory() -> None:
    cmdline = ["nohz_full=2-3", "rcu_nocbs=2-3", "irqaffinity=0-1", "skew_tick=1", "panic=10"]
    sysctl = {"vm.stat_interval": "10", "kernel.sched_rt_runtime_us": "-1"}
    assert want() == {
        "boot": "grub",
        "conflicts": [],
        "packages_settled": True,
        "package": f"linux-image-{RELEASE}=6.1.192-2",
        "initramfs": True,
        "default_entry": RELEASE,
        "configured_cmdline": cmdline,
        "fallback": "another installed kernel",
        "boot_confirmed": RELEASE,
        "boot_failures": 0,
        "configured_sysctl": sysctl,
        "sysctl": sysctl,
        "release": RELEASE,
        "realtime": True,
        "cmdline": cmdline,
        "tickless": "2-3",
        "at": {"isolated": "2-3", "tries": 3, "proven": True},
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
    assert want(**changes, kernel_boot_tries=0)["cmdline"] == cmdline


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
    "tries": ({"kernel_boot_tries": 10}, "kernel_boot_tries: expected a whole number from 1 to 9"),
    "truth for tries": ({"kernel_boot_tries": True}, "kernel_boot_tries: expected a whole number"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        want(**changes)
    assert message in str(caught.value)


def test_refuses_a_boot_mechanism_that_it_does_not_know() -> None:
    with pytest.raises(InputError, match="profile pc boots by 'refind': the kernel area knows extlinux, "):
        kernel.want(VARIABLES, {"name": "pc", "cpus": 4, "boot": "refind"}, LOCK)


def test_refuses_a_suite_that_the_boot_loader_is_not_known_on() -> None:
    with pytest.raises(InputError, match="how extlinux names its kernels is known for jammy, noble"):
        kernel.want(VARIABLES, {"name": "jet", "cpus": 4, "boot": "extlinux"}, LOCK)


LOADERS: dict[str, tuple[str, str, str, str | None]] = {
    "bookworm": ("grub", "bookworm", "6.1.0-56-rt-amd64", "6.1.0-56-rt-amd64"),
    "trixie": ("grub", "trixie", "6.12.117+deb13-rt-amd64", "6.12.117+deb13-rt-amd64"),
    "Jetson": ("extlinux", "jammy", "5.15.148-rt-tegra", "/boot/Image.real-time"),
    "Raspberry Pi": ("firmware", "trixie", "6.12.47+rpt-rpi-v8-rt", "kernel8_rt.img"),
    "Ubuntu Core": ("snapd", "core24", "6.8.1-1015-realtime", None),
}


@pytest.mark.parametrize(("boot", "suite", "release", "entry"), LOADERS.values(), ids=LOADERS.keys())
def test_what_is_wanted_of_each_boot_loader(boot: str, suite: str, release: str, entry: str | None) -> None:
    lock = {
        "os": {"family": "debian", "suite": suite, "arch": "arm64"},
        "kernel": {"package": "k", "version": "1", "release": release, "flavour": "rt"},
    }
    wanted = kernel.want(VARIABLES, {"name": "box", "cpus": 4, "boot": boot}, lock)
    assert wanted.get("default_entry") == entry
    assert ("fallback" in wanted, "panic=10" in wanted["cmdline"]) == ((boot == "grub"),) * 2
    assert ("cmdline_append" in wanted) == (boot == "snapd")
    assert wanted["at"]["proven"] is (boot == "grub")
    assert kernel.drift(wanted, wanted) == []


def test_a_flavour_that_the_boot_loader_does_not_have() -> None:
    lock = {**LOCK, "os": {"suite": "jammy"}, "kernel": {**LOCK["kernel"], "flavour": "cloud"}}
    with pytest.raises(InputError, match="flavour 'cloud', and extlinux on jammy, noble has rt, generic"):
        kernel.want(VARIABLES, {"name": "jet", "cpus": 4, "boot": "extlinux"}, lock)


def test_a_site_may_give_its_own_panic_or_count_no_boots() -> None:
    assert [each for each in want(kernel_cmdline=["panic=60"])["cmdline"] if "panic" in each] == ["panic=60"]
    uncounted = want(kernel_boot_tries=0)
    assert not {"fallback", "boot_confirmed", "boot_failures"} & set(uncounted)


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
    "another boot loader": ({"boot": "systemd-boot"}, ["boot"], False),
    "foreign parameters": ({"conflicts": ["isolcpus=1 (set by /etc/default/grub)"]}, ["conflicts"], False),
    "no fallback": ({"fallback": None}, ["fallback"], False),
    "itself as fallback": ({"fallback": RELEASE}, ["fallback"], False),
    "another as fallback": ({"fallback": "6.1.0-55-amd64"}, [], False),
    "no other kernel": ({"fallback": "no other kernel"}, [], False),
    "one boot that was not confirmed yet": ({"boot_failures": 2}, [], False),
    "fell back": ({"boot_failures": 3, "release": "6.1.0-55-amd64"}, ["boot_failures", "release"], None),
    "nothing confirms": ({"boot_confirmed": None}, ["boot_confirmed"], False),
    "cannot stop its tick": ({"tickless": None}, ["tickless"], True),
    "no initramfs": ({"initramfs": False}, ["initramfs"], False),
    "setting lost at the next boot": ({"configured_sysctl": {}}, ["configured_sysctl"], False),
}


@pytest.mark.parametrize(("changes", "items", "reboot"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift(changes: dict[str, Any], items: list[str], reboot: bool | None) -> None:
    found = kernel.drift({**want(), **changes}, want())
    assert [drift.item for drift in found] == items
    assert reboot is None or {drift.reboot for drift in found} <= {reboot}
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

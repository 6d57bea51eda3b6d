# SPDX-License-Identifier: Apache-2.0
"""Reading the isolation area from trees recorded on a VM twin: bare, set apart, and made invalid."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import isolation as reader

from edgewright.device import isolation as rules
from tests.support import FIXTURES, TreeSystem
from tests.unit.plugins.made_system import MadeSystem

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
    assert have["claims"] == [
        "system.slice claims CPU 2-3 (set by /run/systemd/system.control/system.slice.d/50-AllowedCPUs.conf)"
    ]
    assert have["partition"] == INVALID
    assert (have["enabled"], have["active"], have["slice_cpus"]) == (True, True, "2-3")
    assert "system.slice 0-3" in have["intruders"]


def test_no_cgroup_v2() -> None:
    system = TreeSystem(DEVICES / "vm_bare", {"/sys/fs/cgroup/cgroup.controllers": None})
    want = system.want("isolation")
    assert rules.drift(reader.read(system, want), want)[0].item == "cpuset"


def test_nothing_wanted_reads_nothing() -> None:
    assert reader.read(TreeSystem(DEVICES / "vm_bare"), {}) == {}


# Faults on a device of four CPUs that was set apart: what each does to the kernel's files, and what is told.
PROFILE = {"name": "box", "cpus": 4, "boot": "grub"}
WANT = rules.want({"isolation_cpus": "2-3", "isolation_slice": "edgert.slice"}, PROFILE, {})
GROUPS = "/sys/fs/cgroup"
SLICE = GROUPS + "/edgert.slice"
ASK = (
    *("systemctl", "show", "-p", "Id,ActiveState,UnitFileState,FragmentPath,AllowedCPUs,MainPID"),
    *("edgert.slice", "edgewright-partition.service", "edgewright-quiet-cpus.service", "irqbalance.service"),
)
UNITS = """AllowedCPUs=2-3
Id=edgert.slice
ActiveState=active
FragmentPath=/etc/systemd/system/edgert.slice
UnitFileState=static

MainPID=300
AllowedCPUs=
Id=edgewright-partition.service
ActiveState=active
FragmentPath=/etc/systemd/system/edgewright-partition.service
UnitFileState=enabled

MainPID=0
Id=edgewright-quiet-cpus.service
ActiveState=active
UnitFileState=enabled

MainPID=0
Id=irqbalance.service
ActiveState=inactive
UnitFileState=masked
"""


def thread(name: str, cpus: str, flags: int = 0x208040) -> dict[str, str]:
    """The two files of a kernel thread."""
    status = f"Name:\t{name}\nState:\tI (idle)\nCpus_allowed:\tf\nCpus_allowed_list:\t{cpus}\n"
    return {"status": status, "stat": f"9 ({name}) I 2 0 0 0 -1 {flags} 0 0 0 0 0\n"}


def quiet_device() -> dict[str, str]:
    files = {
        f"{GROUPS}/cgroup.controllers": "cpuset cpu io memory pids\n",
        f"{GROUPS}/cgroup.procs": "2\n20\n44\n",
        f"{GROUPS}/cpuset.cpus.effective": "0-1\n",
        f"{GROUPS}/system.slice/cpuset.cpus": "\n",
        f"{GROUPS}/system.slice/cpuset.cpus.effective": "0-1\n",
        f"{SLICE}/cgroup.procs": "",
        f"{SLICE}/cpuset.cpus": "2-3\n",
        f"{SLICE}/cpuset.cpus.partition": "isolated\n",
        f"{SLICE}/edgewright-partition.service/cgroup.procs": "300\n",
        f"{SLICE}/edgewright-runtime-a.service/cgroup.procs": "",
        "/sys/devices/system/cpu/online": "0-3\n",
        "/sys/devices/virtual/workqueue/cpumask": "3\n",
        "/proc/irq/default_smp_affinity": "3\n",
        "/proc/irq/0/smp_affinity_list": "0-1\n",
        "/proc/irq/0/timer/x": "",
        "/proc/irq/2/smp_affinity_list": "0-3\n",
        "/proc/irq/24/smp_affinity_list": "0-1\n",
        "/proc/irq/24/eth0/x": "",
        "/proc/irq/25/smp_affinity_list": "3\n",
        "/proc/irq/25/effective_affinity_list": "3\n",
        "/proc/irq/25/nvme0q3/x": "",
        "/etc/edgewright/quiet-cpus.json": (
            '{"isolated": "2-3", "housekeeping": "0-1", "governor": "performance"}'
        ),
        "/etc/udev/rules.d/80-edgewright-quiet-cpus.rules": rules.QUIET_RULE,
        "/run/edgewright/quiet-cpus.json": '{"irqs": {"25": "3"}, "threads": {"44": "kept"}}',
    }
    for pid, files_of in (
        (2, thread("kthreadd", "0-1")),
        (20, thread("migration/2", "2", 0x4208040)),
        (44, thread("kept", "0-3")),
    ):
        files |= {f"/proc/{pid}/{name}": text for name, text in files_of.items()}
    return files


def told(files: dict[str, str], units: str = UNITS) -> dict[str, Any]:
    """Drifted items with what was read."""
    have = reader.read(MadeSystem(files, {ASK: units}), WANT)
    assert set(have) == set(WANT) - {"at"}
    return {drift.item: drift.have for drift in rules.drift(have, WANT)}


def test_a_quiet_device_has_no_drift_and_names_what_the_kernel_keeps() -> None:
    assert told(quiet_device()) == {}
    have = reader.read(MadeSystem(quiet_device(), {ASK: UNITS}), WANT)
    assert have["irqs_fixed"] == ["25 nvme0q3 on CPU 3"]


CLAIM = "/etc/systemd/system.control/system.slice.d/50-AllowedCPUs.conf"
FAULTS: dict[str, tuple[dict[str, str | None], dict[str, Any]]] = {
    "partition made invalid by set-property": (
        {
            f"{GROUPS}/system.slice/cpuset.cpus": "0-2\n",
            f"{GROUPS}/system.slice/cpuset.cpus.effective": "0-2\n",
            f"{GROUPS}/cpuset.cpus.effective": "0-3\n",
            f"{SLICE}/cpuset.cpus.partition": INVALID + "\n",
            CLAIM: "[Slice]\nAllowedCPUs=\nAllowedCPUs=0-2\n",
        },
        {
            "claims": [f"system.slice claims CPU 2 (set by {CLAIM})"],
            "partition": INVALID,
            "housekeeping_cpus": "0-3",
            "intruders": ["system.slice 0-2"],
        },
    ),
    "claim written by hand": (
        {f"{GROUPS}/a.scope/cpuset.cpus": "3\n"},
        {"claims": ["a.scope claims CPU 3 (set by no file: by hand, or before)"]},
    ),
    "stray unit": ({f"{SLICE}/run-u7.service/cgroup.procs": "900\n"}, {"strays": ["run-u7.service"]}),
    "stray group": ({f"{SLICE}/mine/cgroup.procs": "900\n"}, {"strays": ["mine"]}),
    "stray process": (
        {f"{SLICE}/cgroup.procs": "901\n", "/proc/901/comm": "stress\n"},
        {"strays": ["stress (pid 901)"]},
    ),
    "stray process beside the sleeper": (
        {f"{SLICE}/edgewright-partition.service/cgroup.procs": "300\n902\n"},
        {"strays": ["ended (pid 902)"]},
    ),
    "interrupt moved back": (
        {"/proc/irq/24/smp_affinity_list": "2\n"},
        {"irqs": ["24 eth0 on CPU 2"]},
    ),
    "interrupt that the kernel kept, moved": (
        {"/proc/irq/25/smp_affinity_list": "2\n"},
        {"irqs": ["25 nvme0q3 on CPU 2"]},
    ),
    "default of interrupts": ({"/proc/irq/default_smp_affinity": "0000,0000000f\n"}, {"irq_default": "0-3"}),
    "workqueues": ({"/sys/devices/virtual/workqueue/cpumask": "f\n"}, {"workqueues": "0-3"}),
    "kernel thread": (
        {
            f"{GROUPS}/cgroup.procs": "2\n50\n",
            **{f"/proc/50/{k}": v for k, v in thread("kswapd0", "0-3").items()},
        },
        {"kernel_threads": ["kswapd0 (pid 50) on CPU 0-3"]},
    ),
    "another thread under a number that was kept": (
        {f"/proc/44/{k}": v for k, v in thread("jbd2", "0-3").items()},
        {"kernel_threads": ["jbd2 (pid 44) on CPU 0-3"]},
    ),
    "governor": (
        {"/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor": "powersave\n"},
        {"governors": ["cpu2 powersave"]},
    ),
    "systemd's own CPUs": (
        {"/etc/systemd/system.conf.d/10-cpus.conf": "[Manager]\nCPUAffinity=0 1-2\n"},
        {"manager_affinity": "0-2"},
    ),
    "a CPU went offline": (
        {"/sys/devices/system/cpu/online": "0-2\n"},
        {"topology": {"cpus": "0-2"}},
    ),
    "udev's rule was changed": (
        {"/etc/udev/rules.d/80-edgewright-quiet-cpus.rules": "# another\n"},
        {"quiet_rule": "# another\n"},
    ),
    "the service is told nothing": (
        {"/etc/edgewright/quiet-cpus.json": "{}"},
        {"quiet_config": {}},
    ),
    "the service's notes are damaged": (
        {"/run/edgewright/quiet-cpus.json": "{"},
        {"irqs": ["25 nvme0q3 on CPU 3"], "kernel_threads": ["kept (pid 44) on CPU 0-3"]},
    ),
}


@pytest.mark.parametrize(("changes", "found"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_named(changes: dict[str, Any], found: dict[str, Any]) -> None:
    assert told({**quiet_device(), **changes}) == found


IRQBALANCE = {
    "running": ("ActiveState=active\nUnitFileState=enabled\n", "", "on"),
    "running, banned": ("ActiveState=active\n", 'IRQBALANCE_BANNED_CPULIST="2-7"\n', "banned"),
    "running, banned from one": ("ActiveState=active\n", "IRQBALANCE_BANNED_CPULIST=2\n", "on"),
    "stopped for now": ("ActiveState=inactive\nUnitFileState=enabled\n", "", "off until the next boot"),
    "not there": ("ActiveState=inactive\nUnitFileState=\n", "", "off"),
}


@pytest.mark.parametrize(("unit", "settings", "state"), IRQBALANCE.values(), ids=IRQBALANCE.keys())
def test_irqbalance(unit: str, settings: str, state: str) -> None:
    units = UNITS.partition("MainPID=0\nId=irqbalance")[0] + "Id=irqbalance.service\n" + unit
    files = {**quiet_device(), "/etc/default/irqbalance": settings}
    expected = {} if state in ("off", "banned") else {"irqbalance": state}
    assert told(files, units) == expected

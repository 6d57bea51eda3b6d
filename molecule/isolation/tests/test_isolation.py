# SPDX-License-Identifier: Apache-2.0
"""What a device's kernel says of the CPUs set apart, asked without Edgewright's own probe."""

from __future__ import annotations

from testinfra.host import Host

GROUPS = "/sys/fs/cgroup"


def cpus(text: str) -> set[int]:
    """CPU numbers of a list such as 0-1,3."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_the_partition_is_isolated_and_the_system_is_kept_off(host: Host) -> None:
    assert host.file(f"{GROUPS}/edgert.slice/cpuset.cpus.partition").content_string.strip() == "isolated"
    apart = cpus(host.check_output(f"cat {GROUPS}/edgert.slice/cpuset.cpus"))
    rest = cpus(host.check_output(f"cat {GROUPS}/cpuset.cpus.effective"))
    assert apart | rest == cpus(host.check_output("cat /sys/devices/system/cpu/online"))
    assert not apart & rest
    for name in ("system.slice", "user.slice", "init.scope"):
        assert not apart & cpus(host.check_output(f"cat {GROUPS}/{name}/cpuset.cpus.effective"))


def test_new_processes_land_where_they_belong(host: Host) -> None:
    apart = cpus(host.check_output(f"cat {GROUPS}/edgert.slice/cpuset.cpus"))
    ask = "grep Cpus_allowed_list /proc/self/status"
    system = host.check_output(f"systemd-run --quiet --wait --pipe {ask}")
    inside = host.check_output(f"systemd-run --quiet --wait --pipe --slice=edgert.slice {ask}")
    first = host.check_output("grep Cpus_allowed_list /proc/1/status")
    assert cpus(inside.split()[-1]) == apart
    assert not apart & cpus(system.split()[-1])
    assert not apart & cpus(first.split()[-1])


def test_interrupts_and_the_kernels_work_stay_off(host: Host) -> None:
    apart = cpus(host.check_output(f"cat {GROUPS}/edgert.slice/cpuset.cpus"))
    for path in ("/proc/irq/default_smp_affinity", "/sys/devices/virtual/workqueue/cpumask"):
        mask = int(host.check_output(f"cat {path}").replace(",", ""), 16)
        assert not apart & {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1}
    thread = host.check_output("pgrep -x kswapd0")
    assert not apart & cpus(host.check_output(f"grep Cpus_allowed_list /proc/{thread}/status").split()[-1])
    assert host.service("edgewright-quiet-cpus.service").is_enabled


def test_it_comes_back_at_each_boot(host: Host) -> None:
    unit = host.service("edgewright-partition.service")
    assert unit.is_running
    assert unit.is_enabled
    assert host.check_output("systemd-analyze verify --man=no edgewright-partition.service 2>&1") == ""

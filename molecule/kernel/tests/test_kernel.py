# SPDX-License-Identifier: Apache-2.0
"""What a device says of its kernel, asked without Edgewright's own probe."""

from __future__ import annotations

from testinfra.host import Host


def test_a_real_time_kernel_runs(host: Host) -> None:
    assert "PREEMPT_RT" in host.check_output("uname -v")
    assert host.check_output("cat /sys/kernel/realtime") == "1"


def test_it_is_the_one_that_was_installed(host: Host) -> None:
    release = host.check_output("uname -r")
    assert release.endswith("-rt-amd64")
    status = host.check_output("dpkg-query -W -f '${db:Status-Status}' linux-image-%s", release)
    assert status == "installed"
    assert host.file(f"/boot/initrd.img-{release}").size > 0


def test_grub_boots_it_again_by_name(host: Host) -> None:
    release = host.check_output("uname -r")
    menu = host.file("/boot/grub/grub.cfg").content_string
    root = host.check_output("findmnt -n -o UUID /")
    assert f'set default="gnulinux-advanced-{root}>gnulinux-{release}-advanced-{root}"' in menu
    assert f"'gnulinux-{release}-advanced-{root}'" in menu
    assert "next_entry" not in host.check_output("grub-editenv list")


def test_grub_counts_boots_and_has_another_kernel_to_fall_back_to(host: Host) -> None:
    menu = host.file("/boot/grub/grub.cfg").content_string
    fallback = menu.partition('set edgewright_fallback="')[2].partition('"')[0]
    assert fallback
    assert host.check_output("uname -r") not in fallback
    assert f"'{fallback.rpartition('>')[2]}'" in menu
    assert "save_env edgewright_failures" in menu
    # Counted by GRUB at this boot, and taken back once it had come up.
    assert "edgewright_failures" not in host.check_output("grub-editenv list")
    done = host.check_output(
        "systemctl show -p Result,ExecMainStatus,ConditionResult edgewright-boot-good.service"
    )
    assert sorted(done.split()) == ["ConditionResult=yes", "ExecMainStatus=0", "Result=success"]


def test_the_tick_and_rcu_stay_off_the_isolated_cpus(host: Host) -> None:
    words = host.check_output("cat /proc/cmdline").split()
    isolated = host.check_output("cat /sys/devices/system/cpu/nohz_full")
    assert isolated not in ("", "(null)")
    assert {f"nohz_full={isolated}", f"rcu_nocbs={isolated}"} <= set(words)
    assert any(word.startswith("irqaffinity=0") for word in words)
    assert "root=" in " ".join(words)
    assert [word for word in words if words.count(word) > 1] == []


def test_settings_hold_now_and_at_the_next_boot(host: Host) -> None:
    kept = host.file("/etc/sysctl.d/80-edgewright.conf")
    assert (kept.mode, kept.user) == (0o644, "root")
    for key, value in {"kernel.panic": 10, "kernel.timer_migration": 0, "vm.stat_interval": 10}.items():
        assert host.sysctl(key) == value
        assert kept.contains(f"^{key} = {value}$")

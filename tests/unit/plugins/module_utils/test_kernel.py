# SPDX-License-Identifier: Apache-2.0
"""Reading the kernel area: GRUB's menu, sysctl.d, and trees recorded on a VM twin in its stages."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import kernel as reader

from edgewright.device import kernel as rules
from tests.support import FIXTURES, TreeSystem
from tests.unit.plugins.made_system import MadeSystem

DEVICES = FIXTURES / "devices"
RELEASE = "6.1.0-56-rt-amd64"

MENU = """
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%s"
fi
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  fi
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-U' {
	load_video
	linux	/boot/vmlinuz-6.1.0-57-amd64 root=UUID=U ro  quiet
	initrd	/boot/initrd.img-6.1.0-57-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-U' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-57-amd64' $menuentry_id_option 'gnulinux-57-U' {
		if [ x$grub_platform = xxen ]; then insmod xzio; fi
		linux	/boot/vmlinuz-6.1.0-57-amd64 root=UUID=U ro  quiet
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-56-rt-amd64' $menuentry_id_option 'gnulinux-56-U' {
		linux	/vmlinuz-6.1.0-56-rt-amd64 root=UUID=U ro console=ttyS0 nohz_full=2-3 dyndbg="file a.c +p"
	}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
"""

CHOICES = {
    "number": ("0", {}, "6.1.0-57-amd64"),
    "number in a submenu": ("1>1", {}, RELEASE),
    "identifiers": ("gnulinux-advanced-U>gnulinux-56-U", {}, RELEASE),
    "titles": (
        "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-56-rt-amd64",
        {},
        RELEASE,
    ),
    "names nothing: the first": ("gnulinux-advanced-U>gnulinux-55-U", {}, "6.1.0-57-amd64"),
    "number past the end: the first": ("9", {}, "6.1.0-57-amd64"),
    "a submenu: its first": ("gnulinux-advanced-U", {}, "6.1.0-57-amd64"),
    "no Linux": ("uefi-firmware", {}, None),
    "saved": ("${saved_entry}", {"saved_entry": "1>1"}, RELEASE),
    "saved, nothing saved": ("${saved_entry}", {}, "6.1.0-57-amd64"),
    "once": ("gnulinux-advanced-U>gnulinux-56-U", {"next_entry": "0"}, "6.1.0-57-amd64"),
}


@pytest.mark.parametrize(("default", "environment", "release"), CHOICES.values(), ids=CHOICES.keys())
def test_what_grub_boots(default: str, environment: dict[str, str], release: str | None) -> None:
    assert reader.entry_release(reader.chosen_entry(MENU % default, environment)) == release


def test_a_menu_without_entries_boots_nothing() -> None:
    assert reader.chosen_entry("set timeout=5\n", {}) is None
    assert reader.entry_release(None) is None


def test_environment_block() -> None:
    block = "# GRUB Environment Block\n# WARNING\nsaved_entry=a>b\nnext_entry=\n" + "#" * 40
    assert reader.parse_grubenv(block) == {"saved_entry": "a>b", "next_entry": ""}
    assert reader.parse_grubenv(None) == {}


LINE = reader.split_cmdline(
    "BOOT_IMAGE=/v root=U ro console=tty0 console=ttyS0 nohz_full=1 nohz_full=2-3 rcu_nocbs=1"
    ' rcu-nocbs=2-3 dyndbg="a b"'
)
PARAMETERS = {
    "absent": (["quiet"], []),
    "the last counts": (["rcu_nocbs=2-3"], ["rcu-nocbs=2-3"]),
    "the first counts": (["nohz_full=2-3"], ["nohz_full=1"]),
    "as often as wanted": (["console=tty0", "console=ttyS0"], ["console=tty0", "console=ttyS0"]),
    "in the order wanted": (["dyndbg=x", "ro"], ['dyndbg="a b"', "ro"]),
    "none wanted": ([], []),
}


@pytest.mark.parametrize(("wanted", "found"), PARAMETERS.values(), ids=PARAMETERS.keys())
def test_parameters_that_bear_on_the_wanted_ones(wanted: list[str], found: list[str]) -> None:
    assert reader.wanted_parameters(LINE, wanted) == found


def test_sysctl_names_and_files() -> None:
    assert reader.sysctl_path("vm.stat_interval") == "/proc/sys/vm/stat_interval"
    assert reader.sysctl_path("net/ipv4/conf/eth0.1/rp_filter") == "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"
    assert reader.sysctl_path("net.ipv4.conf.eth0/1.rp_filter") == "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"
    text = "# a\n; b\n\nvm.x = 1\n-vm/y=  4  5\nvm.x=2\nnonsense\n"
    assert reader.parse_sysctl(text) == {"/proc/sys/vm/x": "2", "/proc/sys/vm/y": "4 5"}


STAGES = {
    "bare": (
        "vm_bare",
        [
            "package",
            "initramfs",
            "default_entry",
            "configured_cmdline",
            "configured_sysctl",
            "sysctl",
            "release",
            "realtime",
            "cmdline",
        ],
    ),
    "installation cut short": (
        "vm_half_installed",
        [
            "packages_settled",
            "package",
            "default_entry",
            "configured_cmdline",
            "configured_sysctl",
            "sysctl",
            "release",
            "realtime",
            "cmdline",
        ],
    ),
    "provisioned": ("vm_provisioned", []),
}


@pytest.mark.parametrize(("device", "items"), STAGES.values(), ids=STAGES.keys())
def test_recorded_devices(device: str, items: list[str]) -> None:
    system = TreeSystem(DEVICES / device)
    want = system.want("kernel")
    have = reader.read(system, want)
    found = rules.drift(have, want)
    assert set(have) == set(want)
    assert [drift.item for drift in found] == items
    assert {drift.item for drift in found if drift.reboot} <= {"release", "realtime", "cmdline"}


def test_what_a_bare_device_has() -> None:
    system = TreeSystem(DEVICES / "vm_bare")
    have = reader.read(system, system.want("kernel"))
    assert have["release"] == have["default_entry"] == "6.1.0-56-cloud-amd64"
    assert (have["package"], have["configured_cmdline"], have["cmdline"]) == (None, [], [])
    assert have["realtime"] is False


def test_a_package_that_is_not_installed_whole_is_told_so() -> None:
    system = TreeSystem(DEVICES / "vm_half_installed")
    have = reader.read(system, system.want("kernel"))
    assert have["package"] == f"linux-image-{RELEASE}=6.1.192-2 (half-configured)"


def test_another_default_on_a_provisioned_device_is_found() -> None:
    device = DEVICES / "vm_provisioned"
    environment = "# GRUB Environment Block\nnext_entry=1>2\n"
    menu = TreeSystem(device).read("/boot/grub/grub.cfg")
    assert menu is not None
    for changes in (
        {"/boot/grub/grubenv": environment},
        {"/boot/grub/grub.cfg": menu.replace("56-rt", "55-rt")},
    ):
        system = TreeSystem(device, changes)
        want = system.want("kernel")
        found = [drift.item for drift in rules.drift(reader.read(system, want), want)]
        assert "default_entry" in found


def test_a_later_file_in_sysctl_d_wins() -> None:
    path = "/etc/sysctl.d/99-sysctl.conf"
    system = TreeSystem(DEVICES / "vm_provisioned", {path: "kernel.panic = 0\n"})
    want = system.want("kernel")
    (found,) = rules.drift(reader.read(system, want), want)
    assert (found.item, found.have["kernel.panic"], found.reboot) == ("configured_sysctl", "0", False)


def test_nothing_wanted_reads_nothing() -> None:
    assert reader.read(TreeSystem(DEVICES / "vm_bare"), {}) == {}


# Devices that no twin can be, and faults on a provisioned one: files as they would be.
def wanted(boot: str = "grub", suite: str = "bookworm", **variables: Any) -> dict[str, Any]:
    lock = {
        "os": {"suite": suite},
        "kernel": {"package": "k", "version": "1", "release": RELEASE, "flavour": "rt"},
    }
    variables = {"isolation_cpus": "2-3", "kernel_cmdline": ["skew_tick=1"], **variables}
    return rules.want(variables, {"name": "box", "cpus": 4, "boot": boot}, lock)


PARAMETERS_WANTED = "nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1 skew_tick=1"
RUNNING = {
    "/proc/sys/kernel/osrelease": RELEASE + "\n",
    "/proc/sys/kernel/version": "#1 SMP PREEMPT_RT Debian 6.1.192-2 (2026-11-01)\n",
    "/proc/cmdline": f"root=U {PARAMETERS_WANTED} panic=10\n",
    "/sys/devices/system/cpu/nohz_full": "2-3\n",
}
PACKAGE = {("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "k"): "1 installed"}
COUNTED = """
set edgewright_fallback="gnulinux-advanced-U>gnulinux-57-U"
set edgewright_tries="3"
"""
GRUB = {
    **RUNNING,
    "/boot/grub/grub.cfg": COUNTED
    + (MENU % "gnulinux-advanced-U>gnulinux-56-U").replace("nohz_full=2-3", PARAMETERS_WANTED + " panic=10"),
    "/boot/grub/grubenv": "# GRUB Environment Block\n",
    f"/boot/vmlinuz-{RELEASE}": "x",
    "/boot/vmlinuz-6.1.0-57-amd64": "x",
    f"/boot/initrd.img-{RELEASE}": "x",
    reader.BOOT_GOOD: f"[Unit]\nConditionKernelVersion={RELEASE}\n",
}


def drifted(files: dict[str, str], want: dict[str, Any]) -> dict[str, Any]:
    """Drifted items with what was read."""
    have = reader.read(MadeSystem(files, PACKAGE), want)
    assert set(have) == set(want) - {"at"}
    return {drift.item: drift.have for drift in rules.drift(have, want)}


def test_a_device_with_counted_boots() -> None:
    assert drifted(GRUB, wanted()) == {}
    have = reader.read(MadeSystem(GRUB, PACKAGE), wanted())
    assert (have["fallback"], have["boot_failures"], have["realtime"]) == ("6.1.0-57-amd64", 0, True)


def menu(old: str, new: str) -> dict[str, str]:
    return {"/boot/grub/grub.cfg": GRUB["/boot/grub/grub.cfg"].replace(old, new)}


CFG = "/etc/default/grub.d/50-site.cfg"
FAULTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "started without the parameters": (
        {"/proc/cmdline": "root=U\n", "/sys/devices/system/cpu/nohz_full": "(null)\n"},
        {"cmdline": [], "tickless": None},
    ),
    "a kernel that cannot stop its tick": ({"/sys/devices/system/cpu/nohz_full": "\n"}, {"tickless": None}),
    "fell back": (
        {
            "/boot/grub/grubenv": "edgewright_failures=3\n",
            "/proc/sys/kernel/osrelease": "6.1.0-57-amd64\n",
            "/proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC Debian\n",
        },
        {
            "default_entry": "6.1.0-57-amd64",
            "configured_cmdline": [],
            "boot_failures": 3,
            "release": "6.1.0-57-amd64",
            "realtime": False,
        },
    ),
    "fallback lost": (menu(COUNTED, ""), {"fallback": None}),
    "fallback names a kernel that is gone": (menu('gnulinux-57-U"\nset', 'gone"\nset'), {"fallback": None}),
    "boots not confirmed": ({reader.BOOT_GOOD: ""}, {"boot_confirmed": None}),
    "boots of another release confirmed": (
        {reader.BOOT_GOOD: "ConditionKernelVersion=6.1.0-55-rt-amd64\n"},
        {"boot_confirmed": "6.1.0-55-rt-amd64"},
    ),
    "a conflict, and who set it": (
        {
            **menu("console=ttyS0", "isolcpus=1"),
            "/etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet"\n',
            CFG: 'GRUB_CMDLINE_LINUX="isolcpus=1"\n',
        },
        {"conflicts": [f"isolcpus=1 (set by {CFG})"]},
    ),
    "a conflict that stands in no file": (
        menu("console=ttyS0", "maxcpus=2"),
        {"conflicts": ["maxcpus=2 (set by no file of the boot loader's)"]},
    ),
}


@pytest.mark.parametrize(("changes", "found"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_named(changes: dict[str, str], found: dict[str, Any]) -> None:
    assert drifted({**GRUB, **changes}, wanted()) == found


def test_without_another_kernel_there_is_no_fallback_to_miss() -> None:
    files = {**GRUB, **menu(COUNTED, "")}
    del files["/boot/vmlinuz-6.1.0-57-amd64"]
    assert drifted(files, wanted()) == {}


def test_the_package_was_upgraded_behind_our_back() -> None:
    system = MadeSystem(GRUB, {next(iter(PACKAGE)): "2 installed"})
    (found,) = rules.drift(reader.read(system, wanted()), wanted())
    assert (found.item, found.have, found.want) == ("package", "k=2", "k=1")


LOADERS = {
    "systemd-boot": ({"/boot/efi/loader/loader.conf": "timeout 0\n"}, "systemd-boot"),
    "another that is known": ({"/boot/extlinux/extlinux.conf": "LABEL a\nLINUX /a\n"}, "extlinux"),
    "none": ({}, None),
}


@pytest.mark.parametrize(("files", "name"), LOADERS.values(), ids=LOADERS.keys())
def test_another_boot_loader_is_told_by_name(files: dict[str, str], name: str | None) -> None:
    found = drifted({**RUNNING, **files}, wanted())
    assert found["boot"] == name


JETSON = {
    **RUNNING,
    "/proc/cmdline": f"root=U {PARAMETERS_WANTED}\n",
    "/boot/extlinux/extlinux.conf": (
        "DEFAULT real-time\nLABEL primary\n LINUX /boot/Image\n APPEND ro\n"
        f"LABEL real-time\n LINUX /boot/Image.real-time\n APPEND ro {PARAMETERS_WANTED}\n"
    ),
}
PI = {
    **JETSON,
    "/boot/firmware/config.txt": "[all]\nkernel=kernel8_rt.img\n",
    "/boot/firmware/cmdline.txt": f"root=U {PARAMETERS_WANTED}\n",
}
del PI["/boot/extlinux/extlinux.conf"]


def test_a_jetson() -> None:
    want = wanted("extlinux", "jammy")
    assert drifted(JETSON, want) == {}
    primary = "DEFAULT primary\nLABEL primary\n LINUX /boot/Image\n"
    stock = {**JETSON, "/boot/extlinux/extlinux.conf": primary}
    assert drifted(stock, want) == {"default_entry": "/boot/Image", "configured_cmdline": []}
    conflict = JETSON["/boot/extlinux/extlinux.conf"].replace("ro nohz", "ro isolcpus=1 nohz")
    found = drifted({**JETSON, "/boot/extlinux/extlinux.conf": conflict}, want)
    assert found == {"conflicts": ["isolcpus=1 (set by /boot/extlinux/extlinux.conf)"]}


def test_a_raspberry_pi() -> None:
    want = wanted("firmware")
    assert drifted(PI, want) == {}
    found = drifted(
        {**PI, "/boot/firmware/cmdline.txt": "root=U\n", "/boot/firmware/config.txt": "x=1\n"}, want
    )
    assert found == {"default_entry": None, "configured_cmdline": []}


def test_ubuntu_core() -> None:
    want = wanted("snapd", "core24")
    asked = ("snap", "get", "system", "system.kernel.cmdline-append")
    files = {**RUNNING, "/var/lib/snapd/modeenv": "mode=run\n"}
    for answer, items in ((PARAMETERS_WANTED, []), ("", ["cmdline_append"])):
        have = reader.read(MadeSystem(files, {asked: answer + "\n"}), want)
        assert [drift.item for drift in rules.drift(have, want)] == items

# SPDX-License-Identifier: Apache-2.0
"""Reading the kernel area: GRUB's menu, sysctl.d, and trees recorded on a VM twin in its stages."""

from __future__ import annotations

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import kernel as reader

from edgewright.device import kernel as rules
from tests.support import FIXTURES, TreeSystem

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

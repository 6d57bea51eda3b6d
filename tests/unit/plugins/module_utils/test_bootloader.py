# SPDX-License-Identifier: Apache-2.0
"""Merging a kernel and its parameters into files of boot loaders: what is foreign stays, whatever it is."""

from __future__ import annotations

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import bootloader

WANTED = ["nohz_full=2-3", "rcu_nocbs=2-3", "irqaffinity=0-1"]

MERGES: dict[str, tuple[str, list[str], list[str], str]] = {
    "on an empty line": ("", WANTED, [], "nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1"),
    "after what is there": ("root=U ro quiet", ["skew_tick=1"], [], "root=U ro quiet skew_tick=1"),
    "again": ("root=U skew_tick=1", ["skew_tick=1"], ["skew_tick=1"], "root=U skew_tick=1"),
    "somebody else's, which counts": ("skew_tick=1 ro", ["skew_tick=1"], [], "skew_tick=1 ro"),
    "another value stays, ours counts": ("skew_tick=0 ro", ["skew_tick=1"], [], "skew_tick=0 ro skew_tick=1"),
    "ours go": ("ro a=1 quiet", [], ["a=1"], "ro quiet"),
    "ours change": ("ro rcu_nocbs=1", ["rcu_nocbs=2-3"], ["rcu_nocbs=1"], "ro rcu_nocbs=2-3"),
    "ours were taken away by hand": ("ro", ["a=1"], ["a=1", "b=2"], "ro a=1"),
    "the same, of theirs and of ours": ("a=1 ro a=1", [], ["a=1"], "a=1 ro"),
    "consoles are all kept": (
        "console=tty0",
        ["console=ttyS0,115200"],
        [],
        "console=tty0 console=ttyS0,115200",
    ),
    "quotes": ('dyndbg="file a.c +p" ro', ["a=1"], [], 'dyndbg="file a.c +p" ro a=1'),
}


@pytest.mark.parametrize(("line", "wanted", "ours", "merged"), MERGES.values(), ids=MERGES.keys())
def test_merge(line: str, wanted: list[str], ours: list[str], merged: str) -> None:
    once = bootloader.merge(line, wanted, ours)
    assert once.text == merged
    assert bootloader.merge(once.text, wanted, once.ours) == once, "merging again changes nothing"


def test_what_is_theirs_stays_when_it_is_not_wanted_any_more() -> None:
    once = bootloader.merge("skew_tick=1 ro", ["skew_tick=1", "a=1"], [])
    assert bootloader.merge(once.text, [], once.ours).text == "skew_tick=1 ro"


CONFLICTS = {
    "nothing": ("root=U ro quiet", []),
    "our own": ("nohz_full=2-3", []),
    "another nohz_full before ours": ("nohz_full=1 nohz_full=2-3", ["nohz_full=1"]),
    "isolcpus of other CPUs": ("isolcpus=1", ["isolcpus=1"]),
    "isolcpus of these CPUs": ("isolcpus=2-3", []),
    "isolcpus with flags": ("isolcpus=managed_irq,domain,1-3", ["isolcpus=managed_irq,domain,1-3"]),
    "isolcpus with flags, these CPUs": ("isolcpus=managed_irq,2-3", []),
    "CPUs taken away": ("maxcpus=2 nr_cpus=2 nosmp", ["maxcpus=2", "nr_cpus=2", "nosmp"]),
    "the tick kept": ("nohz=off", ["nohz=off"]),
    "no cpuset": ("cgroup_disable=memory,cpuset", ["cgroup_disable=memory,cpuset"]),
    "another group disabled": ("cgroup_disable=memory", []),
    "the old hierarchy": ("systemd.unified_cgroup_hierarchy=0", ["systemd.unified_cgroup_hierarchy=0"]),
    "the new hierarchy": ("systemd.unified_cgroup_hierarchy=1", []),
}


@pytest.mark.parametrize(("line", "found"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_conflicts(line: str, found: list[str]) -> None:
    assert bootloader.conflicts(bootloader.split_cmdline(line), WANTED, "2-3") == found
    assert bootloader.conflicts(bootloader.split_cmdline(line), ["skew_tick=1"], "") == []


# As NVIDIA's packages leave it: comments, the entry of the stock kernel, and theirs.
JETSON = """TIMEOUT 30
DEFAULT primary

MENU TITLE L4T boot options

LABEL primary
      MENU LABEL primary kernel
      LINUX /boot/Image
      INITRD /boot/initrd
      APPEND ${cbootargs} root=PARTUUID=1 rw rootwait console=ttyTCU0,115200

# When testing a custom kernel, it is recommended that you create a backup.
# LABEL backup
#    LINUX /boot/Image.backup

LABEL real-time
\tMENU LABEL real-time kernel
\tLINUX /boot/Image.real-time
\tINITRD /boot/initrd
\tAPPEND ${cbootargs} root=PARTUUID=1 rw nospectre_bhb
"""


def test_extlinux_takes_the_entry_of_the_image() -> None:
    text = bootloader.set_extlinux(JETSON, "/boot/Image.real-time", WANTED, []).text
    parsed = bootloader.parse_extlinux(text)
    assert parsed.default == "real-time"
    assert parsed.entries["real-time"]["APPEND"].endswith("nospectre_bhb " + " ".join(WANTED))
    assert parsed.entries["primary"] == bootloader.parse_extlinux(JETSON).entries["primary"]
    changed = [
        pair for pair in zip(JETSON.splitlines(), text.splitlines(), strict=True) if pair[0] != pair[1]
    ]
    assert [before.split()[0] for before, _ in changed] == ["DEFAULT", "APPEND"]
    assert bootloader.set_extlinux(text, "/boot/Image.real-time", WANTED, WANTED).text == text


def test_extlinux_gets_an_entry_where_none_has_the_image() -> None:
    stock = JETSON.partition("LABEL real-time")[0]
    text = bootloader.set_extlinux(stock, "/boot/Image.real-time", ["a=1"], []).text
    parsed = bootloader.parse_extlinux(text)
    assert parsed.default == "edgewright"
    assert parsed.entries["edgewright"]["LINUX"] == "/boot/Image.real-time"
    assert parsed.entries["edgewright"]["INITRD"] == "/boot/initrd"
    assert parsed.entries["edgewright"]["APPEND"].endswith("console=ttyTCU0,115200 a=1")
    assert parsed.entries["primary"] == bootloader.parse_extlinux(stock).entries["primary"]
    assert "# When testing a custom kernel" in text
    again = bootloader.set_extlinux(text, "/boot/Image.real-time", ["b=2"], ["a=1"]).text
    assert bootloader.parse_extlinux(again).entries["edgewright"]["APPEND"].endswith("115200 b=2")
    other = bootloader.set_extlinux(again, "/boot/Image.other", [], ["b=2"]).text
    assert other.count("LABEL edgewright") == 1


EXTLINUX = {
    "no default: the first": ("LABEL a\nLINUX /a\nLABEL b\nLINUX /b\n", "a"),
    "a default that is not there: the first": ("DEFAULT c\nLABEL a\nLINUX /a\n", "a"),
    "words in small letters": ("default b\nlabel a\nkernel /a\nlabel b\nkernel /b\n", "b"),
    "nothing": ("TIMEOUT 30\n", None),
}


@pytest.mark.parametrize(("text", "default"), EXTLINUX.values(), ids=EXTLINUX.keys())
def test_what_extlinux_boots(text: str, default: str | None) -> None:
    assert bootloader.parse_extlinux(text).default == default


def test_extlinux_without_an_append_or_a_default() -> None:
    text = bootloader.set_extlinux("LABEL a\n  LINUX /a\n\nLABEL b\n  LINUX /b\n", "/a", ["x=1"], []).text
    assert text == "DEFAULT a\nLABEL a\n  LINUX /a\n      APPEND x=1\n\nLABEL b\n  LINUX /b\n"


@pytest.mark.parametrize("text", ["", "TIMEOUT 30\n", "LABEL a\n  MENU LABEL empty\n"])
def test_extlinux_that_boots_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no LABEL with a LINUX to boot"):
        bootloader.set_extlinux(text, "/boot/Image", [], [])


def test_cmdline_txt_stays_one_line() -> None:
    line = "console=serial0,115200 root=PARTUUID=2 rootwait\n"
    text = bootloader.set_cmdline_txt(line, WANTED, []).text
    assert text == line.rstrip() + " " + " ".join(WANTED) + "\n"
    assert bootloader.set_cmdline_txt(text, [], WANTED).text == line
    with pytest.raises(ValueError, match="it has 2 lines"):
        bootloader.set_cmdline_txt("a\nb\n", WANTED, [])


CONFIG = "# my board\ndtparam=audio=on\n[pi4]\nkernel=other.img\n"


def test_config_txt_keeps_all_and_has_the_last_word() -> None:
    text = bootloader.set_config_txt(CONFIG, "kernel8_rt.img").text
    assert text.startswith(CONFIG)
    assert bootloader.firmware_kernel(text) == "kernel8_rt.img"
    assert bootloader.set_config_txt(text, "kernel8_rt.img").text == text
    moved = bootloader.set_config_txt(text + "dtoverlay=disable-bt\n", "kernel8.img").text
    assert bootloader.firmware_kernel(moved) == "kernel8.img"
    assert (moved.count("kernel="), moved.count("dtoverlay=disable-bt")) == (2, 1)


FIRMWARE = {
    "none": ("dtparam=audio=on\n", None),
    "for one board only": (CONFIG, None),
    "the last counts": ("kernel=a\nkernel=b\n", "b"),
    "for all again": ("[pi4]\nkernel=a\n[all]\nkernel=b\n", "b"),
    "comment": ("#kernel=a\n", None),
}


@pytest.mark.parametrize(("text", "kernel"), FIRMWARE.values(), ids=FIRMWARE.keys())
def test_what_the_firmware_boots(text: str, kernel: str | None) -> None:
    assert bootloader.firmware_kernel(text) == kernel

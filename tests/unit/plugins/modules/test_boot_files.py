# SPDX-License-Identifier: Apache-2.0
"""The module that merges boot loaders' files: what it would write, in which order, and what it refuses."""

from __future__ import annotations

import json

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import bootloader
from ansible_collections.edgewright.factory.plugins.modules import boot_files

from tests.unit.plugins.made_system import MadeSystem

PI = {
    bootloader.CMDLINE_TXT: "console=tty1 root=PARTUUID=2 rootwait\n",
    bootloader.CONFIG_TXT: "dtparam=audio=on\n",
}
IMAGE = "kernel8_rt.img"


def apply(files: dict[str, str], parameters: list[str], until: int | None = None) -> list[str]:
    """Write as the module does, and stop after some writes as a loss of power would; gives the paths."""
    changes = boot_files.texts(MadeSystem(files), "firmware", IMAGE, parameters)[:until]
    for path, before, after in changes:
        assert files.get(path, "") == before
        files[path] = after
    return [path for path, _, _ in changes]


def test_first_time_and_again() -> None:
    files = dict(PI)
    paths = apply(files, ["nohz_full=2-3"])
    assert paths == [bootloader.OURS, bootloader.CMDLINE_TXT, bootloader.CONFIG_TXT]
    assert files[bootloader.CMDLINE_TXT] == "console=tty1 root=PARTUUID=2 rootwait nohz_full=2-3\n"
    assert json.loads(files[bootloader.OURS]) == ["nohz_full=2-3"]
    assert apply(files, ["nohz_full=2-3"]) == []


def test_a_changed_wish_takes_the_old_one_back() -> None:
    files = dict(PI)
    apply(files, ["nohz_full=2-3", "a=1"])
    apply(files, ["nohz_full=3"])
    assert files[bootloader.CMDLINE_TXT] == "console=tty1 root=PARTUUID=2 rootwait nohz_full=3\n"
    assert json.loads(files[bootloader.OURS]) == ["nohz_full=3"]
    assert apply(files, ["nohz_full=3"]) == []


@pytest.mark.parametrize("until", [1, 2, 3, 4])
def test_a_loss_of_power_in_between_leaves_nothing_of_ours_behind(until: int) -> None:
    files = dict(PI)
    apply(files, ["nohz_full=2-3", "a=1"])
    files[bootloader.CONFIG_TXT] = "dtparam=audio=on\n"
    apply(files, ["nohz_full=3"], until)
    apply(files, ["nohz_full=3"])
    assert files[bootloader.CMDLINE_TXT] == "console=tty1 root=PARTUUID=2 rootwait nohz_full=3\n"
    assert json.loads(files[bootloader.OURS]) == ["nohz_full=3"]


REFUSED = {
    "another boot loader": ({bootloader.CMDLINE_TXT: None}, "does not boot by firmware"),
    "two lines": ({bootloader.CMDLINE_TXT: "a\nb\n"}, "cannot be merged: it has 2 lines"),
    "a damaged list": ({bootloader.OURS: "["}, "is no list of parameters"),
    "a list of other things": ({bootloader.OURS: "[1]"}, "is no list of parameters"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(changes: dict[str, str | None], message: str) -> None:
    files = {path: text for path, text in {**PI, **changes}.items() if text is not None}
    with pytest.raises(boot_files.RefusedError) as caught:
        boot_files.texts(MadeSystem(files), "firmware", IMAGE, ["a=1"])
    assert message in str(caught.value)


def test_extlinux() -> None:
    files = {bootloader.EXTLINUX: "DEFAULT a\nLABEL a\n  LINUX /boot/Image\n  APPEND ro\n"}
    changes = boot_files.texts(MadeSystem(files), "extlinux", "/boot/Image", ["a=1"])
    assert [path for path, _, _ in changes] == [bootloader.OURS, bootloader.EXTLINUX]
    assert "APPEND ro a=1" in changes[-1][2]

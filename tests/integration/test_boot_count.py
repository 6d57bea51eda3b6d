# SPDX-License-Identifier: Apache-2.0
"""Counted boots in a real GRUB: a small disk whose boot menu is the role's script, started again and again.

No Linux is on it: each start says which entry it would boot, and resets the machine as a kernel that
panicked would.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgewright.twin.recipe import GRUB_EMBEDDED, GRUB_MODULES
from tests.unit.roles.test_kernel_templates import LOCKED, OLD, emitted

pytestmark = [pytest.mark.vm, pytest.mark.slow]

FIRMWARE = Path("/usr/share/OVMF")
MENU = """
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default="gnulinux-advanced-U>gnulinux-{locked}-advanced-U"
{script}
echo "boots ${{default}} count ${{edgewright_failures}} ."
sleep 1
reboot
"""
MIB = 2**20
# Seconds for four starts; one takes about five where nothing else runs.
PATIENCE_S = 300


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk that starts GRUB, as the twin's own are made."""
    tree, kernels = tmp_path / "tree/boot/grub", tmp_path / "kernels"
    tree.mkdir(parents=True)
    kernels.mkdir()
    menu = MENU.format(locked=LOCKED, script=emitted(kernels, [LOCKED, OLD]))
    (tree / "grub.cfg").write_text(menu)
    run("grub-editenv", str(tree / "grubenv"), "create")
    (tmp_path / "embedded.cfg").write_text(GRUB_EMBEDDED)
    loader, image = tmp_path / "BOOTX64.EFI", tmp_path / "disk.img"
    run(
        *("grub-mkimage", "-O", "x86_64-efi", "-d", "/usr/lib/grub/x86_64-efi", "-p", "/boot/grub"),
        *("-c", str(tmp_path / "embedded.cfg"), "-o", str(loader), *GRUB_MODULES),
    )
    with image.open("wb") as stream:
        stream.truncate(160 * MIB)
    parts = ("-n", "1:1M:+40M", "-t", "1:EF00", "-n", "2:41M:+100M", "-t", "2:8300")
    run("sgdisk", *parts, str(image))
    esp = f"{image}@@{MIB}"
    run("mformat", "-i", esp, "-F", "-v", "EFI", "-T", str(40 * 2048), "::")
    run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", esp, str(loader), "::/EFI/BOOT/BOOTX64.EFI")
    root = ("-t", "ext4", "-L", "root", "-d", str(tmp_path / "tree"), "-E", f"offset={41 * MIB}")
    run("mke2fs", "-q", "-F", *root, str(image), "100M")
    return image


@pytest.mark.skipif(
    not shutil.which("qemu-system-x86_64") or not FIRMWARE.is_dir(), reason="needs QEMU and OVMF"
)
def test_grub_leaves_a_kernel_that_failed_three_times(disk: Path, tmp_path: Path) -> None:
    shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", tmp_path / "vars.fd")
    serial = tmp_path / "serial.log"
    machine = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "256", "-display", "none"),
            *("-nodefaults", "-serial", f"file:{serial}", "-drive", f"if=virtio,format=raw,file={disk}"),
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd"),
            *("-drive", f"if=pflash,unit=1,format=raw,file={tmp_path}/vars.fd"),
        ]
    )
    found: list[tuple[str, str]] = []
    try:
        end = time.monotonic() + PATIENCE_S
        while len(found) < 5 and time.monotonic() < end:
            time.sleep(0.5)
            text = serial.read_text(errors="replace") if serial.exists() else ""
            found = re.findall(r"boots gnulinux-advanced-U>gnulinux-(\S+)-advanced-U count (\d+) \.", text)
    finally:
        machine.kill()
        machine.wait()
    assert found[:5] == [(LOCKED, "1"), (LOCKED, "2"), (LOCKED, "3"), (OLD, "3"), (OLD, "3")]

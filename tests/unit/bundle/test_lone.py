# SPDX-License-Identifier: Apache-2.0
"""What a machine says of itself before it provisions itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edgewright.bundle.lone import detect
from edgewright.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system that tells its memory, and nothing of a boot loader or a GPU."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        2048000 kB\nMemFree: 1 kB\n")
    return tmp_path


def test_a_plain_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Reader-01.plant.example")
    found = detect(root)
    assert (found.name, found.memory_mib, found.boot, found.gpu) == ("reader-01", 2000, "none", "none")


@pytest.mark.parametrize("name", ["controller", "devices", "all", "ungrouped", "localhost", "a_b", ""])
def test_a_name_that_the_inventory_cannot_have_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A host of a group's name would get the group's variables."""
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    with pytest.raises(InputError, match="give it one of its own"):
        detect(root)


def test_a_card_and_a_boot_loader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "reader-01")
    card = root / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    (root / "boot/grub").mkdir(parents=True)
    (root / "boot/grub/grub.cfg").write_text("")
    found = detect(root)
    assert (found.boot, found.gpu) == ("grub", "nvidia")


def test_memory_that_is_not_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "reader-01")
    (root / "proc/meminfo").write_text("MemFree: 1 kB\n")
    with pytest.raises(InputError, match="tells no MemTotal"):
        detect(root)

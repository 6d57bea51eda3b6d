# SPDX-License-Identifier: Apache-2.0
"""A lone device: the stick, a FAT medium, is plugged into a bare machine, which provisions itself from it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.installer import installer_files
from edgewright.bundle.keys import KeySet
from edgewright.bundle.rehearsal.egress import read_capture
from edgewright.depot.progress import say
from edgewright.twin.spec import TwinSpec
from edgewright.twin.vm import VmTwin

ROOT = Path(__file__).resolve().parents[2]
SELF = "/opt/edgewright/current/bin/edgewright controller provision-self"

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a VM's image takes root"),
]


def fat_image(stick: Path, image: Path) -> Path:
    """A FAT32 file system that holds a bundle, as a file."""
    used = sum(path.stat().st_size for path in stick.rglob("*") if path.is_file())
    sectors = (used * 5 // 4 + (64 << 20)) // 512
    subprocess.run(["mformat", "-F", "-C", "-T", str(sectors), "-i", str(image), "::"], check=True)
    names = [str(path) for path in sorted(stick.iterdir())]
    subprocess.run(["mcopy", "-s", "-i", str(image), *names, "::/"], check=True)
    return image


@dataclass(frozen=True)
class Lone:
    """The machine, and who signed the stick in it."""

    twin: VmTwin
    keys: KeySet

    def long(self, command: str, timeout_s: float = 2400) -> tuple[int, str]:
        """Run something for minutes, as a person at its console does. Returns its status and its output."""
        unit = f"trial-{time.monotonic_ns()}"
        script = f"( {command} ) > /root/{unit}.log 2>&1; echo $? > /root/{unit}.rc"
        started = self.twin.run(f"systemd-run --quiet --unit {unit} sh -c '{script}'")
        assert started.returncode == 0, started.stderr
        end = time.monotonic() + timeout_s
        while True:
            asked = self.twin.run(f"cat /root/{unit}.rc; tail -n 1 /root/{unit}.log >&2")
            if asked.returncode == 0 and asked.stdout.strip():
                return int(asked.stdout), self.twin.run(f"cat /root/{unit}.log").stdout
            if time.monotonic() > end:
                raise AssertionError(f"no end: {self.twin.run(f'tail -n 40 /root/{unit}.log').stdout}")
            say(asked.stderr.strip()[-150:])
            time.sleep(10)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    office = tmp_path_factory.mktemp("lone")
    keys = KeySet.develop(office / "keys")
    build_bundle(ROOT / "releases" / "label-reader", office / "stick", keys, installer=installer_files)
    medium = fat_image(office / "stick", office / "stick.img")
    spec = TwinSpec("lone-01", "vm", office / "state", 2231, depot_port=9463, capture=True, stick=medium)
    twin = VmTwin(spec, say)
    try:
        twin.up()
        yield Lone(twin, keys)
    finally:
        twin.kill()


def test_the_stick_provisions_the_machine_that_it_is_plugged_into(lone: Lone) -> None:
    mounted = lone.twin.run("mkdir -p /media/stick && mount -o ro /dev/vdb /media/stick && stat -fc %T /media/stick")
    assert mounted.stdout.strip() == "msdos", mounted.stderr
    code, told = lone.long(f"sh /media/stick/install --fingerprint {lone.keys.fingerprint} --self")
    assert code != 0, told[-3000:]
    assert "reboot" in told[-3000:], told[-3000:]

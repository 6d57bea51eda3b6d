# SPDX-License-Identifier: Apache-2.0
"""roles/nvidia/tasks/dkms.yml with the real dkms, compiler and headers of Debian 12's real-time kernel.

The source is a tiny one that has both gates, Debian's and NVIDIA's; NVIDIA's own takes minutes, and was tried
by hand (docs/reference/modules.md). The tasks run on this host in a mount name space where /etc/dkms and
/lib/modules are a tree's, and dkms and modinfo run inside that tree: the kernel need not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.modules.modinfo import read_modinfo, vermagic_release
from edgewright.modules.ship import fetch_inputs
from edgewright.modules.tree import remove_tree, unpack
from edgewright.paths import cache_dir
from tests.integration.test_modules_build import order

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a mount name space and a chroot take root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare"),
]

_CONF = """PACKAGE_NAME="tiny"
PACKAGE_VERSION="1.0"
BUILD_EXCLUSIVE_CONFIG="!CONFIG_PREEMPT_RT"
MAKE[0]="make modules KERNEL_UNAME=${kernelver}"
CLEAN="true"
BUILT_MODULE_NAME[0]="tiny"
DEST_MODULE_LOCATION[0]="/updates/dkms"
AUTOINSTALL="yes"
"""
_MAKEFILE = """modules:
\t@if grep -q '^CONFIG_PREEMPT_RT=y' /lib/modules/$(KERNEL_UNAME)/build/.config \\
\t    && [ -z "$$IGNORE_PREEMPT_RT_PRESENCE" ]; then \\
\t    echo 'The kernel you are installing for is a PREEMPT_RT kernel!'; exit 1; fi
\t$(MAKE) -C /lib/modules/$(KERNEL_UNAME)/build M=$(CURDIR) modules
"""
_SOURCE = """#include <linux/module.h>
static int __init tiny_init(void) { return 0; }
module_init(tiny_init);
MODULE_LICENSE("GPL");
"""
_FILES = {"dkms.conf": _CONF, "Makefile": _MAKEFILE, "Kbuild": "obj-m := tiny.o\n", "tiny.c": _SOURCE}

_SPACE = """set -eu
for name in null zero random urandom; do mount --bind /dev/$name {tree}/dev/$name; done
mount -t proc proc {tree}/proc
mkdir -p /etc/dkms /lib/modules
mount --bind {tree}/etc/dkms /etc/dkms
mount --bind {tree}/usr/lib/modules /lib/modules
{command}
"""


class Device:
    """A tree of packages in which nothing was built yet."""

    def __init__(self, folder: Path) -> None:
        entry = order()
        self.folder, self.tree = folder, folder / "tree"
        self.kernel: str = entry["kernel"]["release"]
        debs = [deb for deb in entry["debs"] if not deb["name"].startswith("nvidia")]
        store = BlobStore()
        fetch_inputs({"debs": debs}, store)
        unpack(debs, store, self.tree, print)
        for name in ("proc", "dev", "tmp", "root", "etc/dkms", "var/lib/dkms", "usr/src/tiny-1.0"):
            (self.tree / name).mkdir(parents=True, exist_ok=True)
        for name in ("null", "zero", "random", "urandom"):
            (self.tree / "dev" / name).touch()
        for name, real in (("awk", "mawk"), ("cc", "gcc")):
            if not (self.tree / "usr/bin" / name).exists():
                (self.tree / "usr/bin" / name).symlink_to(real)
        (self.tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        for name, text in _FILES.items():
            (self.tree / "usr/src/tiny-1.0" / name).write_text(text)
        self.tools = folder / "bin"
        self.tools.mkdir()
        for name in ("dkms", "modinfo"):
            place = "/usr/sbin" if name == "dkms" else "/sbin"
            inside = f"exec env PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot {self.tree} {place}/{name}"
            (self.tools / name).write_text(f'#!/bin/sh\n{inside} "$@"\n')
            (self.tools / name).chmod(0o755)
        assert self.inside(f"{self.tools}/dkms add -m tiny -v 1.0").returncode == 0

    def inside(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", _SPACE.format(tree=self.tree, command=command)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
        )

    def play(self, **more: str) -> tuple[int, str]:
        """Run the tasks. Returns the status, and what was printed in one line."""
        told = {"nvidia_dkms_kernel": self.kernel, "nvidia_dkms_name": "tiny", "nvidia_dkms_packages": "[]"}
        book = self.folder / "play.yml"
        book.write_text(
            "- hosts: localhost\n  connection: local\n  gather_facts: false\n"
            f"  environment: {{PATH: '{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin'}}\n  vars:\n"
            + "".join(f"    {key}: {value}\n" for key, value in {**told, **more}.items())
            + "  tasks:\n"
            "    - ansible.builtin.include_role: {name: edgewright.factory.nvidia, tasks_from: dkms}\n"
        )
        done = self.inside(f"{Path(sys.executable).parent / 'ansible-playbook'} {book}")
        return done.returncode, " ".join(f"{done.stdout} {done.stderr}".replace("\\n", " ").split())

    @property
    def modules(self) -> list[Path]:
        return sorted(self.tree.glob(f"usr/lib/modules/{self.kernel}/updates/dkms/*"))


@contextmanager
def without(path: Path) -> Iterator[None]:
    """As if it had never been installed."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    folder = cache_dir() / f".test-dkms-{os.getpid()}"
    folder.mkdir()
    try:
        yield Device(folder)
    finally:
        remove_tree(folder / "tree")
        shutil.rmtree(folder, ignore_errors=True)


def test_what_does_not_build_is_not_reported_as_built(device: Device) -> None:
    """Debian's gate, NVIDIA's gate, no headers, no compiler: each ends with dkms's own words."""
    said = {}
    code, said["Debian's gate"] = device.play(nvidia_dkms_rt="false")
    assert code != 0
    source = device.tree / "usr/src/tiny-1.0/dkms.conf"
    source.write_text(_CONF.replace("BUILD_EXCLUSIVE_CONFIG", "# "))
    code, said["NVIDIA's gate"] = device.play(nvidia_dkms_rt="false")
    assert code != 0
    source.write_text(_CONF)
    with without(device.tree / "usr/lib/modules" / device.kernel / "build"):
        code, said["no headers"] = device.play()
        assert code != 0
    with without(device.tree / "usr/bin/x86_64-linux-gnu-gcc-12"):
        code, said["no compiler"] = device.play()
        assert code != 0
    assert device.modules == []
    for words in said.values():
        assert f"building tiny for {device.kernel}: expected" in words
        assert "found no file with vermagic none" in words
    assert "BUILD_EXCLUSIVE" in said["Debian's gate"], said["Debian's gate"]
    assert "Bad return status for module build" in said["NVIDIA's gate"], said["NVIDIA's gate"]
    assert "kernel headers" in said["no headers"], said["no headers"]
    assert "make.log" in said["no compiler"]


def test_it_builds_with_both_gates_open_and_once(device: Device) -> None:
    code, said = device.play()
    assert code == 0, said
    (module,) = device.modules
    assert vermagic_release(read_modinfo(module.read_bytes(), module.name)) == device.kernel
    code, said = device.play()
    assert (code, "changed=0" in said) == (0, True), said

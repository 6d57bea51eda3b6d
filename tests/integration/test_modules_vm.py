# SPDX-License-Identifier: Apache-2.0
"""The real driver's modules, built here, on a VM twin that runs the real RT kernel: what shows without a GPU.

What only a GPU shows, that the driver drives one, is not shown here; nor that firmware with Secure Boot on
takes a key that was enrolled by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.modules.build import control_fields, module_directory, scripts
from edgewright.modules.debpack import Member, read_members, write_deb
from edgewright.modules.signing import Mok
from edgewright.twin import TwinSpec, VmTwin, vm
from edgewright.twin.recipe import Recipe, vm_recipe
from tests.integration.modules_site import Order, real_modules
from tests.unit.modules.tiny import make_mok

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a twin's image and building modules take root"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64"),
]

_SMALL = "nvidia-current-drm.ko"


def rt_recipe(order: Order) -> Recipe:
    """A twin's image with the locked kernel instead of the cloud kernel, and what the modules need."""
    plain = vm_recipe()
    names = [name.split(" ")[0] for name in order.entry["needs"]]
    packages = {*plain.packages, order.kernel["package"], *names} - {"linux-image-cloud-amd64"}
    sources = tuple(f"{source} contrib non-free non-free-firmware" for source in plain.sources)
    return replace(
        plain,
        packages=tuple(sorted(packages)),
        sources=sources,
        hook=f"# {order.kernel['package']} {order.kernel['version']}\n{plain.hook}",
    )


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmTwin]:
    order, _ = real_modules()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    spec = TwinSpec(
        name="modules-twin",
        kind="vm",
        state_dir=tmp_path_factory.mktemp("state"),
        port=port,
        memory_mib=1536,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vm, "vm_recipe", lambda _arch: rt_recipe(order))
        machine = VmTwin(spec)
        try:
            machine.up()
            yield machine
        finally:
            machine.purge()


def send(twin: VmTwin, files: dict[str, Path]) -> None:
    """Put files on the twin, by path there."""
    spec = twin.spec
    for target, source in files.items():
        command = ["scp", "-q", "-P", str(spec.port), "-i", str(spec.private_key)]
        command += ["-o", f"UserKnownHostsFile={spec.known_hosts}", "-o", "BatchMode=yes"]
        subprocess.run([*command, str(source), f"root@127.0.0.1:{target}"], check=True, timeout=300)


def told(twin: VmTwin, command: str, timeout_s: float = 300) -> tuple[int, str]:
    done = twin.run(command, timeout_s=timeout_s)
    return done.returncode, done.stdout + done.stderr


def refused_package(entry: dict[str, Any], target: Path) -> Path:
    """A package for another version of the same kernel, as after an upgrade."""
    later = {**entry, "kernel": {**entry["kernel"], "version": "6.1.999-1"}}
    write_deb(target, control_fields(later, ""), {"usr/share/x": Member(b"x")}, scripts("none"), 1)
    return target


def test_the_modules_on_the_locked_kernel(twin: VmTwin, tmp_path: Path) -> None:
    order, entry = real_modules()
    release = order.kernel["release"]
    package = BlobStore().path(entry["sha256"])
    assert told(twin, "uname -r; cat /sys/kernel/realtime")[1].split() == [release, "1"]

    # A kernel that was upgraded after the modules were built.
    send(twin, {"/root/later.deb": refused_package(entry, tmp_path / "later.deb"), "/root/m.deb": package})
    code, said = told(twin, "apt-get -s install /root/later.deb")
    assert code != 0
    assert f"Depends: {order.kernel['package']} (= 6.1.999-1)" in said, said

    code, said = told(twin, "dpkg -i /root/m.deb && rm /root/m.deb", 900)
    assert code == 0, said
    place = module_directory(release).removeprefix(f"lib/modules/{release}/")
    code, said = told(
        twin,
        f"modinfo -F vermagic nvidia-current; modinfo -F version nvidia-current;"
        f"grep -o '^{place}/nvidia-current-uvm.ko:.*' /lib/modules/{release}/modules.dep;"
        f"cat /usr/share/edgewright/modules/{entry['package']}.json",
    )
    lines = said.splitlines()
    assert lines[0].split()[0] == release
    assert "preempt_rt" in lines[0].split()
    assert lines[1] == entry["driver"]
    assert f"{place}/nvidia-current.ko" in lines[2]
    assert json.loads(lines[3])["kernel"]["version"] == order.kernel["version"]

    # No GPU is here: the module itself says so, which it does only after the kernel has linked it.
    code, said = told(
        twin, "modprobe -v nvidia-current; rc=$?; dmesg | grep -i -e nvrm -e nvidia; exit $rc", 600
    )
    assert code != 0
    assert "No such device" in said, said
    assert "NVRM: No NVIDIA GPU found" in said, said
    code, said = told(twin, "lsmod | grep nvidia")
    assert said == ""


def test_the_kernel_reads_our_signatures(twin: VmTwin, tmp_path: Path) -> None:
    """With signatures demanded, three modules are turned away, and the kernel says why of each.

    A key that the kernel knows can't be had here without enrolling one by hand: that one of these would be
    accepted is designed, not proven.
    """
    order, entry = real_modules()
    directory = module_directory(order.kernel["release"])
    plain = read_members(BlobStore().path(entry["sha256"]), directory)[f"{directory}/{_SMALL}"]
    mok = Mok.load(*make_mok(tmp_path))
    signed = mok.sign(plain)
    damaged = bytearray(signed)
    damaged[len(plain) + 2] ^= 0xFF
    for name, data in {"plain": plain, "signed": signed, "damaged": bytes(damaged)}.items():
        (tmp_path / name).write_bytes(data)
        send(twin, {f"/root/{name}.ko": tmp_path / name})
    assert told(twin, "modinfo -F signer /root/signed.ko")[1].strip() == "Test site modules"
    assert told(twin, "echo 1 > /sys/module/module/parameters/sig_enforce")[0] == 0
    answers = {}
    for name in ("plain", "signed", "damaged"):
        code, said = told(twin, f"dmesg -C; insmod /root/{name}.ko; rc=$?; dmesg; exit $rc")
        assert code != 0
        answers[name] = said
    assert "Loading of unsigned module is rejected" in answers["plain"]
    assert "Loading of module with unavailable key is rejected" in answers["signed"]
    assert "is rejected" not in answers["damaged"], answers["damaged"]
    assert "Required key not available" not in answers["damaged"], answers["damaged"]

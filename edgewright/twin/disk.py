# SPDX-License-Identifier: Apache-2.0
"""A VM twin's own disk: a qcow2 layer over the cached image, with the twin's name and keys in it.

Name, ssh host key and authorized key are written into the file system before the first boot, with
debugfs and without a mount, so that the device needs no first-boot service and no second disk.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import EdgewrightError
from edgewright.twin.image import VmImage, root_offset
from edgewright.twin.keys import controller_key, host_key
from edgewright.twin.spec import TwinSpec
from edgewright.twin.tools import need, run_quiet

__all__ = ["DeviceFile", "device_files", "make_disk"]


@dataclass(frozen=True)
class DeviceFile:
    """A file of the device: its bytes and its mode (such as 0o600). Its owner is root."""

    data: bytes
    mode: int


def device_files(spec: TwinSpec, machine_id: str) -> Mapping[str, DeviceFile]:
    """The files that make one device out of the common image.

    Args:
        spec: the twin.
        machine_id: 32 hexadecimal digits, the device's own.

    Returns:
        Absolute path on the device to content.
    """
    host_public = host_key(spec)
    host_private = (spec.directory / "ssh_host_ed25519_key").read_bytes()
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {spec.name}\n::1 localhost ip6-localhost ip6-loopback\n"
    return {
        "/etc/hostname": DeviceFile(f"{spec.name}\n".encode(), 0o644),
        "/etc/hosts": DeviceFile(hosts.encode(), 0o644),
        "/etc/machine-id": DeviceFile(f"{machine_id}\n".encode(), 0o444),
        "/etc/ssh/ssh_host_ed25519_key": DeviceFile(host_private, 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": DeviceFile(f"{host_public}\n".encode(), 0o644),
        "/root/.ssh/authorized_keys": DeviceFile(f"{controller_key(spec)}\n".encode(), 0o600),
    }


def make_disk(spec: TwinSpec, image: VmImage, disk: Path) -> None:
    """Make the twin's disk; it appears under its name only when it is whole.

    Args:
        spec: the twin.
        image: what lies under the layer.
        disk: where the qcow2 file goes.

    Raises:
        EdgewrightError: a step failed.
        MissingToolError: debugfs or qemu-img is not installed.
    """
    need("cp", "debugfs", "qemu-img")
    doing = f"making the disk of twin {spec.name}"
    work = Path(tempfile.mkdtemp(prefix=".disk.", dir=disk.parent))
    try:
        raw = work / "disk.raw"
        run_quiet(["cp", "--sparse=always", "--reflink=auto", str(image.disk), str(raw)], doing)
        commands = []
        for number, (path, content) in enumerate(sorted(device_files(spec, uuid.uuid4().hex).items())):
            source = work / f"f{number}"
            source.write_bytes(content.data)
            commands += [f"write f{number} {path}", f"sif {path} mode 0100{content.mode:03o}"]
            commands += [f"sif {path} uid 0", f"sif {path} gid 0"]
        target = f"{raw}?offset={root_offset(image.recipe)}"
        said = run_quiet(
            ["debugfs", "-w", "-f", "-", target], doing, cwd=work, stdin="".join(f"{c}\n" for c in commands)
        )
        _check(spec, target, said, doing)
        layer = work / "disk.qcow2"
        run_quiet(
            [
                *("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "lazy_refcounts=on"),
                *("-B", str(image.disk), "-F", "raw", str(raw), str(layer)),
            ],
            doing,
        )
        layer.replace(disk)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(spec: TwinSpec, target: str, said: str, doing: str) -> None:
    """debugfs ends with status 0 whatever its commands did: read one file back, byte for byte."""
    found = run_quiet(["debugfs", "-R", "cat /root/.ssh/authorized_keys", target], doing)
    name = run_quiet(["debugfs", "-R", "cat /etc/hostname", target], doing)
    if found.strip() != controller_key(spec) or name.strip() != spec.name:
        raise EdgewrightError(
            f"{doing}: the files read back differ from what was written; debugfs said: {said}"
        )

# SPDX-License-Identifier: Apache-2.0
"""QEMU: the command line of a twin, whether KVM works here, and the monitor's two commands.

The command line is a pure function. The network is QEMU's own, restricted: in comes ssh, from this
host's loopback; out goes one address and port, 10.0.2.100:8443, which is the depot's.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import EdgewrightError, MissingToolError
from edgewright.twin.spec import VM_DEPOT_HOST, TwinSpec
from edgewright.twin.tools import Say

__all__ = ["KVM", "Accelerator", "command", "firmware", "kvm_works", "monitor", "tcg", "vm_uuid"]

_FIRMWARE = {
    "amd64": (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd"), "ovmf"),
    "arm64": (
        Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
        Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
        "qemu-efi-aarch64",
    ),
}
_EMULATORS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
_PROBE_S = 15.0
_CAPTURED = 256  # bytes of each packet
_NAMESPACE = uuid.UUID("6f2d0c1e-6d0b-5a55-9d5c-1d7b4a6a0f4e")  # ours, for the names of twins


@dataclass(frozen=True)
class Accelerator:
    """How the guest's code runs: QEMU's `-accel` value, and what the CPU then is."""

    name: str
    option: str
    amd64_cpu: str


KVM = Accelerator("kvm", "kvm", "host")


def tcg(cpus: int, host_cpus: int, *, parallel: bool = False) -> Accelerator:
    """Emulation: a thread for each of the twin's CPUs where the host has as many, else one for all of them.

    A CPU that waits for another's answer, as each change of a shared page table does, spends the host's time
    when that other has no host CPU to run on. One thread gives it to the one that has work.

    Args:
        cpus: CPUs of the twin.
        host_cpus: CPUs of the host.
        parallel: Take a thread for each in any case.
    """
    thread = "multi" if parallel or cpus <= host_cpus else "single"
    # tb-size: MiB for translated code. The default of 1 GiB is charged per twin; 512 is never filled here.
    # la57: five levels of page tables would only make each emulated walk longer.
    # avx: 256 bits become the host's AVX, after which each of QEMU's own SSE instructions may wait (170 ns on
    # an Intel CPU with AMX: ten times as long for an inference; on an AMD EPYC it made no difference).
    without = ",".join(f"{feature}=off" for feature in ("la57", "avx", "avx2", "fma", "f16c"))
    return Accelerator("tcg", f"tcg,thread={thread},tb-size=512", f"max,{without}")


def firmware(arch: str) -> tuple[Path, Path]:
    """The UEFI firmware's code and its empty variable store.

    Raises:
        MissingToolError: it is not installed.
    """
    code, variables, package = _FIRMWARE[arch]
    for path in (code, variables):
        if not path.is_file():
            raise MissingToolError(
                f"looking for the UEFI firmware {path}: not found; run: apt-get install {package}"
            )
    return code, variables


def vm_uuid(spec: TwinSpec) -> str:
    """The twin's product UUID: the same at every start."""
    return str(uuid.uuid5(_NAMESPACE, str(spec.directory)))


def command(spec: TwinSpec, accelerator: Accelerator, code: Path) -> list[str]:
    """The command that starts a twin in its directory (its working directory).

    The monitor's socket has a relative name: an absolute one may pass the 108 bytes of a socket's path.

    Args:
        spec: the twin.
        accelerator: `KVM`, or `tcg` of the twin's CPUs.
        code: the firmware's code.
    """
    depot = f"nc -N 127.0.0.1 {spec.depot_port}"
    net = (
        f"user,id=net0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{spec.port}-:22,"
        f"guestfwd=tcp:{VM_DEPOT_HOST}:8443-cmd:{depot}"
    )
    if spec.arch == "arm64":
        machine = ["-machine", "virt,gic-version=3", "-cpu", "cortex-a76"]
    else:
        machine = ["-machine", "q35,vmport=off", "-cpu", accelerator.amd64_cpu]
    more = []
    if spec.capture:  # the heads alone: who speaks to whom, and what is asked of a name server
        more += [
            "-object",
            f"filter-dump,id=dump0,netdev=net0,maxlen={_CAPTURED},file={spec.capture_file.name}",
        ]
    if spec.stick:
        more += ["-drive", f"if=none,id=stick,format=raw,readonly=on,file={spec.stick}"]
        more += ["-device", "virtio-blk-pci,drive=stick"]
    return [
        *(
            _EMULATORS[spec.arch],
            "-name",
            spec.name,
            "-uuid",
            vm_uuid(spec),
            "-nodefaults",
            "-no-user-config",
        ),
        *machine,
        *("-accel", accelerator.option, "-smp", str(spec.cpus), "-m", str(spec.memory_mib)),
        *("-display", "none", "-daemonize", "-pidfile", "pid", "-qmp", "unix:qmp.sock,server=on,wait=off"),
        *("-chardev", "file,id=serial,path=serial.log,append=on", "-serial", "chardev:serial"),
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
        *("-drive", "if=pflash,unit=1,format=raw,file=efivars.fd"),
        # writeback: a flush of the guest's reaches the layer's tables, so that a killed QEMU is a power
        # loss and never a broken disk.
        *("-drive", "if=none,id=disk,format=qcow2,file=disk.qcow2,cache=writeback,discard=unmap"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=1"),
        *("-netdev", net, "-device", "virtio-net-pci,netdev=net0,romfile="),
        *more,
        *("-device", "virtio-rng-pci"),
    ]


def kvm_works(kernel: Path, cache: Path, say: Say) -> bool:
    """Whether this host's KVM really boots a kernel; `/dev/kvm` may exist and fail.

    The image's kernel is started under KVM without a disk; a panic about the missing root, after all
    its own start-up, is the proof. The answer is kept until the host boots again.

    Args:
        kernel: the image's kernel.
        cache: directory for the answer.
        say: gets a line when the probe refuses a present /dev/kvm.
    """
    if platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    note = cache / "kvm.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("boot_id") == boot and isinstance(known.get("works"), bool):
        return bool(known["works"])
    works, why = _boots_with_kvm(kernel)
    if not works:
        say(f"KVM is present but boots nothing here ({why}): twins are emulated")
    temporary = note.with_name(f".kvm.{os.getpid()}")
    temporary.write_text(json.dumps({"boot_id": boot, "works": works, "why": why}), encoding="utf-8")
    temporary.replace(note)
    return works


def _boots_with_kvm(kernel: Path) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory() as work:
        serial = Path(work) / "serial"
        argv = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "kvm"),
            *("-cpu", "host", "-smp", "2", "-m", "512", "-display", "none", "-no-reboot"),
            *("-serial", f"file:{serial}", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        ]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_PROBE_S)
            said = done.stderr.strip().splitlines()
        except subprocess.TimeoutExpired:
            said = [f"no end within {_PROBE_S:.0f} s"]
        except FileNotFoundError as error:
            raise MissingToolError(
                "looking for qemu-system-x86_64: not installed; run: apt-get install qemu-system-x86"
            ) from error
        text = serial.read_text(encoding="utf-8", errors="replace") if serial.exists() else ""
    if "Unable to mount root fs" in text:
        return True, "a kernel booted"
    return False, said[0] if said else "the guest ended without a word"


def monitor(directory: Path, execute: str, timeout_s: float = 10.0) -> Mapping[str, Any]:
    """Give a running twin's QEMU one command (`system_powerdown`, `query-status`).

    Args:
        directory: the twin's directory, which holds `qmp.sock`.
        execute: the command's name.
        timeout_s: how long to wait for each answer, in seconds.

    Returns:
        The command's `return` value.

    Raises:
        EdgewrightError: QEMU does not answer or refuses.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(timeout_s)
            link.connect(f"/proc/self/fd/{descriptor}/qmp.sock")
            with link.makefile("rwb") as stream:
                _answer(stream.readline())
                for name in ("qmp_capabilities", execute):
                    stream.write(json.dumps({"execute": name}).encode() + b"\n")
                    stream.flush()
                    answer = _answer(stream.readline())
                    while "event" in answer:
                        answer = _answer(stream.readline())
                    if "error" in answer:
                        raise EdgewrightError(
                            f"telling QEMU of {directory.name} to {name}: {answer['error']}"
                        )
                value: Mapping[str, Any] = answer.get("return", {})
                return value
    except OSError as error:
        raise EdgewrightError(f"telling QEMU of {directory.name} to {execute}: {error}") from error
    finally:
        os.close(descriptor)


def _answer(line: bytes) -> Mapping[str, Any]:
    if not line:
        raise ConnectionResetError("QEMU closed its monitor")
    answer: Mapping[str, Any] = json.loads(line)
    return answer

# SPDX-License-Identifier: Apache-2.0
"""The command line that starts a VM, and the monitor's protocol."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.errors import EdgewrightError, MissingToolError
from edgewright.twin import qemu
from edgewright.twin.spec import TwinSpec

SPEC = TwinSpec(name="edge-01", kind="vm", state_dir=Path("/srv/site"), port=2201, depot_port=9443)
CODE = Path("/firmware.fd")
TCG = qemu.tcg(4, 4)


def _after(argv: list[str], option: str) -> list[str]:
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def test_the_network_has_one_way_in_and_one_way_out() -> None:
    (net,) = _after(qemu.command(SPEC, TCG, CODE), "-netdev")
    assert net.split(",") == [
        "user",
        "id=net0",
        "restrict=on",
        "ipv6=off",
        "hostfwd=tcp:127.0.0.1:2201-:22",
        "guestfwd=tcp:10.0.2.100:8443-cmd:nc -N 127.0.0.1 9443",
    ]


@pytest.mark.parametrize(
    ("arch", "accelerator", "program", "cpu", "accel"),
    [
        pytest.param("amd64", TCG, "qemu-system-x86_64", "max", "tcg", id="emulated"),
        pytest.param("amd64", qemu.KVM, "qemu-system-x86_64", "host", "kvm", id="KVM"),
        pytest.param("arm64", TCG, "qemu-system-aarch64", "cortex-a76", "tcg", id="arm64"),
    ],
)
def test_machine(arch: str, accelerator: qemu.Accelerator, program: str, cpu: str, accel: str) -> None:
    argv = qemu.command(replace(SPEC, arch=arch), accelerator, CODE)
    assert argv[0] == program
    assert _after(argv, "-cpu")[0].split(",")[0] == cpu
    assert _after(argv, "-accel")[0].split(",")[0] == accel


def test_an_emulated_cpu_has_nothing_that_is_slow_to_translate() -> None:
    (cpu,) = _after(qemu.command(SPEC, TCG, CODE), "-cpu")
    assert set(cpu.split(",")[1:]) >= {f"{feature}=off" for feature in ("avx", "avx2", "fma", "la57")}
    assert _after(qemu.command(SPEC, qemu.KVM, CODE), "-cpu") == ["host"]


@pytest.mark.parametrize(
    ("cpus", "host_cpus", "thread"), [(4, 4, "multi"), (4, 16, "multi"), (4, 2, "single"), (1, 1, "multi")]
)
def test_threads_of_an_emulated_twin_do_not_outnumber_the_hosts_cpus(
    cpus: int, host_cpus: int, thread: str
) -> None:
    argv = qemu.command(replace(SPEC, cpus=cpus), qemu.tcg(cpus, host_cpus), CODE)
    assert _after(argv, "-accel") == [f"tcg,thread={thread},tb-size=512"]
    assert qemu.tcg(cpus, host_cpus, parallel=True).option == "tcg,thread=multi,tb-size=512"


def test_a_capture_and_a_stick_are_extras() -> None:
    plain = qemu.command(SPEC, TCG, CODE)
    argv = qemu.command(replace(SPEC, capture=True, stick=Path("/srv/stick.img")), TCG, CODE)
    assert [word for word in argv if word not in plain] == [
        "-object",
        "filter-dump,id=dump0,netdev=net0,maxlen=256,file=net.pcap",
        "if=none,id=stick,format=raw,readonly=on,file=/srv/stick.img",
        "virtio-blk-pci,drive=stick",
    ]


def test_size_disk_and_identity() -> None:
    argv = qemu.command(replace(SPEC, cpus=6, memory_mib=3000), TCG, CODE)
    assert (_after(argv, "-smp"), _after(argv, "-m")) == (["6"], ["3000"])
    assert _after(argv, "-uuid") == [qemu.vm_uuid(SPEC)]
    (disk,) = [value for value in _after(argv, "-drive") if "disk.qcow2" in value]
    assert "cache=writeback" in disk, "a killed QEMU must be a power loss, never a broken disk"


def test_the_uuid_tells_sites_apart() -> None:
    other = replace(SPEC, state_dir=Path("/srv/other"))
    assert qemu.vm_uuid(SPEC) != qemu.vm_uuid(other)


def test_missing_firmware_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(qemu._FIRMWARE, "amd64", (tmp_path / "code", tmp_path / "vars", "ovmf"))
    with pytest.raises(MissingToolError, match="apt-get install ovmf"):
        qemu.firmware("amd64")


def _serve(directory: Path, answers: list[bytes]) -> threading.Thread:
    """A monitor that greets and then gives one prepared answer per command."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(directory / "qmp.sock"))
    server.listen(1)

    def speak() -> None:
        link, _ = server.accept()
        with link, link.makefile("rwb") as stream:
            stream.write(b'{"QMP": {}}\n')
            stream.flush()
            for answer in answers:
                stream.readline()
                stream.write(answer)
                stream.flush()
            stream.readline()  # a command after the last answer gets none
        server.close()

    thread = threading.Thread(target=speak)
    thread.start()
    return thread


def test_the_monitor_skips_events(tmp_path: Path) -> None:
    value = {"status": "running"}
    answers = [b'{"return": {}}\n', b'{"event": "RESET"}\n' + json.dumps({"return": value}).encode() + b"\n"]
    thread = _serve(tmp_path, answers)
    assert qemu.monitor(tmp_path, "query-status") == value
    thread.join(5)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        pytest.param([b'{"return": {}}\n', b'{"error": {"desc": "no"}}\n'], "no", id="refused"),
        pytest.param([b'{"return": {}}\n'], "closed its monitor", id="gone"),
    ],
)
def test_the_monitor_tells_what_went_wrong(tmp_path: Path, answers: list[bytes], says: str) -> None:
    thread = _serve(tmp_path, answers)
    with pytest.raises(EdgewrightError, match=says):
        qemu.monitor(tmp_path, "system_powerdown", timeout_s=5)
    thread.join(5)


def test_a_monitor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EdgewrightError, match="telling QEMU"):
        qemu.monitor(tmp_path, "query-status")

# SPDX-License-Identifier: Apache-2.0
"""How the nvidia area is read: each format in its variants, and what is damaged or missing."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import nvidia, nvidia_jetson
from ansible_collections.edgewright.factory.plugins.module_utils.nvidia import Package, read_packages, shown

from edgewright.device.nvidia_stack import OURS, PATTERNS
from tests.documented import DocumentedSystem
from tests.unit.device.nvidia_inputs import machine

VERSIONS = {
    "proprietary": (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Wed Jan 22 2025",
        ("570.86.15", "proprietary"),
    ),
    "open": (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.58.02  Release Build  (dvs-builder)",
        ("555.58.02", "open"),
    ),
    "open, arm": (
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.142  Release Build  (dvs-builder@U22)",
        ("580.142", "open"),
    ),
    "vGPU": (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build  (VirtualGPU)",
        ("560.35.03", "open"),
    ),
    "GCC's version alone": ("GCC version:  gcc version 12.2.0 (Debian)", ("535.309.01", None)),
    "empty": ("", ("535.309.01", None)),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_the_loaded_driver(name: str) -> None:
    text, expected = VERSIONS[name]
    found = machine("x86_t4")
    found.device.files["/proc/driver/nvidia/version"] = text
    have = found.have()  # where the first place does not tell, /sys/module/nvidia/version does
    assert (have["driver"], have["driver_flavour"]) == expected


STATUS = """Package: libcuda1
Status: hold ok installed
Architecture: amd64
Version: 535.309.01-1~deb12u1
Description: NVIDIA CUDA Driver Library
 Version: 9.9 is no field here

Package: libcuda1
Status: install ok installed
Architecture: i386
Version: 1.0-1

Package: nvidia-smi
Status: deinstall ok config-files
Architecture: amd64
Version: 535.309.01-1

Package: firmware-nvidia-gsp
Status: install reinstreq half-installed
Architecture: all
Version: 535.309.01-1

Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.0

Package: broken-entry"""


def test_dpkgs_status_file() -> None:
    assert read_packages(STATUS, "amd64", OURS, ["openssl"]) == {
        "libcuda1": Package("535.309.01-1~deb12u1", "installed", True),
        "firmware-nvidia-gsp": Package("535.309.01-1", "half-installed", False),
        "openssl": Package("3.0", "installed", False),
    }
    assert read_packages("", "amd64", OURS, []) == {}


SHOWN: dict[str, tuple[str, dict[str, str], str | None]] = {
    "CUDA by name": ("cuda", {"cuda-cudart-12-2": "12.2.140-1"}, "12.2"),
    "CUDA, two of them": ("cuda", {"cuda-cudart-12-2": "12.2.1", "cuda-cudart-12-10": "12.10.1"}, "12.10"),
    "CUDA of Debian": ("cuda", {"libcudart11.0": "11.8.89~11.8.0-5~deb12u1"}, "11.8"),
    "cuDNN": ("cudnn", {"libcudnn9-cuda-12": "9.17.0.29-1"}, "9.17.0.29"),
    "cuDNN's headers": ("cudnn", {"libcudnn9-dev-cuda-12": "9.17.0.29-1"}, None),
    "TensorRT": (
        "tensorrt",
        {"libnvinfer10": "10.6.0.26-1+cuda12.6", "libnvinfer-bin": "11.0-1"},
        "10.6.0.26",
    ),
    "toolkit": ("container_toolkit", {"nvidia-container-toolkit-base": "1.18.2-1"}, "1.18.2"),
    "driver of Debian": ("driver_installed", {"libcuda1": "535.309.01-1~deb12u1"}, "535.309.01"),
    "driver of NVIDIA": ("driver_installed", {"nvidia-driver-cuda": "580.95.05-1"}, "580.95.05"),
    "with an epoch": ("tensorrt", {"libnvinfer10": "2:10.6.0-1"}, "10.6.0"),
    "no number": ("tensorrt", {"libnvinfer10": "unknown"}, None),
    "none": ("tensorrt", {}, None),
}


@pytest.mark.parametrize("name", SHOWN)
def test_versions_by_packages(name: str) -> None:
    item, versions, expected = SHOWN[name]
    packages = {each: Package(text, "installed", False) for each, text in versions.items()}
    assert shown(item, PATTERNS[item], packages) == expected


MODULES = {
    "Debian's DKMS": ("updates/dkms/nvidia-current.ko:", "updates/dkms/nvidia-current.ko"),
    "Tesla": ("updates/dkms/nvidia-tesla-535.ko.xz:", "updates/dkms/nvidia-tesla-535.ko.xz"),
    "Ubuntu": ("kernel/nvidia-580-open/nvidia.ko.zst:", "kernel/nvidia-580-open/nvidia.ko.zst"),
    "updates first": ("kernel/a/nvidia.ko:\nupdates/nvidia.ko:", "updates/nvidia.ko"),
    "others of its name": (
        "kernel/drivers/usb/typec/altmodes/typec_nvidia.ko:\nkernel/i2c-nvidia-gpu.ko:",
        None,
    ),
    "its parts": ("updates/nvidia-drm.ko:\nupdates/nvidia-uvm.ko:\nupdates/nvidia-current-modeset.ko:", None),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_module_on_disk(name: str) -> None:
    text, file = MODULES[name]
    found = machine("x86_t4")
    base = "/lib/modules/6.1.0-56-rt-amd64"
    found.device.files[f"{base}/modules.dep"] = text + "\n"
    found.device.commands["modinfo", f"{base}/{file}"] = "version: 1.2\nlicense: Dual MIT/GPL\n"
    have = found.have()
    asked = [argv[1] for argv in found.device.ran if argv[0] == "modinfo"]
    assert asked == ([f"{base}/{file}"] if file else [])
    assert (have["module"], have["module_flavour"]) == (("1.2", "open") if file else (None, None))
    assert have["module_kernel"] is None


def test_a_module_that_modinfo_cannot_read_is_none() -> None:
    found = machine("x86_t4")
    found.device.commands = {key: out for key, out in found.device.commands.items() if key[0] != "modinfo"}
    assert found.have()["module"] is None


KEYS = {
    "in MokListRT": ("MokListRT-605dab50", "0214" + "63" * 20, ":".join(["63"] * 20), True),
    "in a further variable": ("MokListRT1-605dab50", "0214" + "63" * 20, ":".join(["63"] * 20), True),
    "in the firmware's db": ("db-d719b2cb", "02021eef", "1E:EF", True),
    "high bit": ("MokListRT-605dab50", "020300beef", "BE:EF", True),
    "leading zeros": ("MokListRT-605dab50", "02021eef", "00:00:1E:EF", True),
    "another": ("MokListRT-605dab50", "0214" + "64" * 20, ":".join(["63"] * 20), False),
    "refused keys do not count": ("dbx-d719b2cb", "0214" + "63" * 20, ":".join(["63"] * 20), False),
    "no key": ("MokListRT-605dab50", "0200", "", False),
    "no digits": ("MokListRT-605dab50", "0200", "zz", False),
}


@pytest.mark.parametrize("name", KEYS)
def test_enrolled_keys(name: str) -> None:
    variable, digits, key, expected = KEYS[name]
    device = DocumentedSystem("x86_t4")
    device.data[f"{nvidia.EFIVARS}/{variable}-guid"] = bytes.fromhex("06000000" + digits + "aabb")
    assert nvidia._enrolled(device, key) is expected


LAYOUTS: dict[str, tuple[str, str, dict[str, Any], Any]] = {
    "cannot be cut": ("0, 00000000:17:00.0, Enabled, [N/A]", "", {}, {}),
    "off": ("0, 00000000:17:00.0, Enabled, Disabled", "", {"all": ["7g.80gb"]}, {}),
    "on and empty": ("0, 00000000:17:00.0, Enabled, Enabled", "GPU 0: A (UUID: G)", {}, {"0": []}),
    "compute instances within": (
        "0, 00000000:17:00.0, Enabled, Enabled",
        "GPU 0: A (UUID: G)\n  MIG 1c.3g.40gb  Device  0: (UUID: M)\n  MIG 1g.10gb     Device  1: (UUID: N)",
        {"0": []},
        {"0": ["1g.10gb", "3g.40gb"]},
    ),
    "one of two": (
        "0, 00000000:17:00.0, Enabled, Enabled\n1, 00000000:65:00.0, Enabled, Disabled",
        "GPU 0: A (UUID: G)\n  MIG 7g.80gb     Device  0: (UUID: M)\nGPU 1: A (UUID: H)",
        {"all": ["7g.80gb"]},
        {"0": ["7g.80gb"]},
    ),
    "each its own": (
        "0, 00000000:17:00.0, Enabled, Enabled\n1, 00000000:65:00.0, Enabled, Enabled",
        "GPU 0: A (UUID: G)\n  MIG 7g.80gb     Device  0: (UUID: M)\nGPU 1: A (UUID: H)",
        {"all": ["7g.80gb"]},
        {"0": ["7g.80gb"], "1": []},
    ),
    "no answer": ("Failed to initialize NVML: Driver/library version mismatch", "", {}, None),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_mig_layouts(name: str) -> None:
    query, listing, wanted, expected = LAYOUTS[name]
    device = DocumentedSystem("x86_t4")
    device.commands = {tuple(nvidia.SMI_QUERY): query + "\n", tuple(nvidia.SMI_LIST): listing + "\n"}
    assert nvidia._smi(device, "535.309.01", wanted)["mig"] == expected


def test_cdi_in_json_of_another_vendor_and_without_a_version() -> None:
    found = machine("x86_t4")
    found.device.files |= {
        "/etc/cdi/a.json": '{"kind": "nvidia.com/gpu", "x": "/usr/lib/libnvidia-ml.so.1"}',
        "/etc/cdi/b.yaml": "kind: vendor.example/npu\n",
        "/etc/cdi/notes.txt": "nvidia.com/gpu",
    }
    assert found.have()["cdi"] == {"/etc/cdi/a.json": "unknown", "/run/cdi/nvidia.yaml": "535.309.01"}


L4T: dict[str, tuple[str, str | None]] = {
    "Orin": ("# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64\n", "36.4.7"),
    "Thor": ("# R38 (release), REVISION: 2.2, GCID: 42205042, BOARD: generic\n", "38.2.2"),
    "Xavier": ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref\n", "35.4.1"),
    "comment before": ("#\n# R36 (release), REVISION: 5.0, GCID: 43688277\n", "36.5.0"),
    "damaged": ("# R36 (release)\n", None),
}


@pytest.mark.parametrize("name", L4T)
def test_l4t(name: str) -> None:
    text, expected = L4T[name]
    device = DocumentedSystem("orin_nano_8gb")
    device.files["/etc/nv_tegra_release"] = text
    assert nvidia_jetson.read(device, {})["l4t"] == expected


def test_power_modes_by_name() -> None:
    device = DocumentedSystem("orin_nano_8gb")
    have = nvidia_jetson.read(device, {})
    assert have["power_modes"] == {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}
    assert (have["power_mode"], have["power_mode_boot"]) == ("MAXN_SUPER", "MAXN_SUPER")
    del device.files["/var/lib/nvpmodel/status"]  # then the file's default counts
    assert nvidia_jetson.read(device, {})["power_mode_boot"] == "25W"
    del device.files["/etc/nvpmodel.conf"]
    device.commands.clear()
    have = nvidia_jetson.read(device, {})
    assert (have["power_mode"], have["power_mode_boot"], have["power_modes"]) == (None, None, {})


def test_a_machine_without_frequency_scaling_has_no_clocks() -> None:
    assert nvidia_jetson.read(DocumentedSystem("x86_t4"), {})["clocks"] is None

# SPDX-License-Identifier: Apache-2.0
"""The nvidia area: want, have and drift on machines written from documentation; each fault by name."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.device import nvidia
from edgewright.device.areas import sentence
from edgewright.device.lock import load_lock
from edgewright.device.profile import carried_profiles, load_profile
from edgewright.errors import InputError
from edgewright.release.stack.check import check, items_of_have
from edgewright.release.stack.facts import load_facts
from edgewright.release.stack.universe import make_universe
from tests.documented import MACHINES
from tests.unit.device.nvidia_inputs import Machine, machine

ROOT = Path(__file__).resolve().parents[3]
KERNEL = "6.1.0-56-rt-amd64"
GPUS = [name for name in MACHINES if name not in ("raspberry_pi_5", "x86_plain")]
MODULE = f"/lib/modules/{KERNEL}/updates/dkms/nvidia-current.ko"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_as_wanted_has_no_drift(name: str) -> None:
    found = machine(name)
    assert [sentence(drift) for drift in found.drift()] == []
    json.dumps([found.want(), found.have()])  # JSON types only


@pytest.mark.parametrize("name", ["raspberry_pi_5", "x86_plain"])
def test_a_machine_without_a_gpu_wants_nothing_and_costs_nothing(name: str) -> None:
    found = machine(name)
    assert found.want() == {}
    assert found.have() == {}
    assert found.drift() == []
    assert found.device.asked == []
    assert found.device.ran == []


def test_a_gpu_that_nobody_looks_after_is_left_alone() -> None:
    found = machine("x86_t4")
    found.variables["nvidia_managed"] = False
    del found.lock["nvidia"]
    assert found.want() == {}


@pytest.mark.parametrize("name", GPUS)
def test_what_was_read_is_what_stack_check_takes(name: str) -> None:
    have = machine(name).have()
    items = {each.item: each.text for each in items_of_have({"nvidia": have})}
    wanted = {"l4t", "firmware"} if have.get("l4t") else {"driver", "module", "module-flavour"}
    assert wanted | {"cuda", "container-toolkit"} <= set(items)


@pytest.mark.parametrize("name", GPUS)
def test_what_was_read_is_judged_by_the_facts(name: str) -> None:
    found = machine(name)
    universe = make_universe(found.profile, load_facts(), None, datetime.date(2026, 11, 21))
    verdict = check(universe, items_of_have({"nvidia": found.have()}))
    refused = [each.answer.why for each in verdict.refused]
    # Of Thor's firmware the facts know nothing, and that counts as no.
    unknown = ["no verified source says that L4T 38 on board firmware R38 boots"]
    assert (refused, verdict.unheard) == (unknown if name == "agx_thor" else [], ())


def test_each_item_is_read_once_and_nothing_is_asked_of_a_driver_that_is_not_loaded() -> None:
    found = machine("x86_t4")
    for path in [path for path in found.device.files if path.startswith(("/proc/driver", "/sys/module/nv"))]:
        del found.device.files[path]
    have = found.have()
    assert (have["driver"], have["persistence"], have["mig"]) == (None, None, None)
    assert [argv[0] for argv in found.device.ran] == ["modinfo"]


def _nouveau(found: Machine) -> None:
    _unload(found)
    found.device.files["/sys/module/nouveau/initstate"] = "live\n"


def _unload(found: Machine) -> None:
    for path in [path for path in found.device.files if path.startswith(("/proc/driver", "/sys/module/nv"))]:
        del found.device.files[path]


def _upgraded_kernel(found: Machine) -> None:
    _unload(found)
    found.device.files["/proc/sys/kernel/osrelease"] = "6.1.0-57-rt-amd64\n"


def _half_installed(found: Machine) -> None:
    version = found.device.packages["libcuda1"][0]
    found.device.packages["libcuda1"] = (version, "install reinstreq half-installed")
    found.device.packages["nvidia-smi"] = (version, "install ok half-configured")
    found.device.files["/var/lib/dpkg/updates/0001"] = ""


def _secure_boot(found: Machine) -> None:
    found.device.data[SECURE_BOOT] = bytes.fromhex("0600000001")


def _unsigned(found: Machine) -> None:
    _secure_boot(found)
    lines = found.device.commands["modinfo", MODULE].splitlines(keepends=True)
    found.device.commands["modinfo", MODULE] = "".join(each for each in lines if not each.startswith("sig"))


def _dropped(found: Machine) -> None:
    base = "/sys/bus/pci/devices/0000:65:00.0"
    found.device.files |= {f"{base}/vendor": "0x10de\n", f"{base}/class": "0x030200\n"}
    found.device.files[f"{base}/device"] = "0x1db4\n"
    _other_driver(found, "595.71.05")


def _other_driver(found: Machine, version: str = "535.261.03") -> None:
    found.device.files["/proc/driver/nvidia/version"] = (
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Jan 20 08:12:46 UTC 2026\n"
    )


def _old_cdi(found: Machine) -> None:
    text = found.device.files["/run/cdi/nvidia.yaml"]
    found.device.files["/run/cdi/nvidia.yaml"] = text.replace("535.309.01", "535.261.03")


def _second_cdi(found: Machine) -> None:
    found.device.files["/etc/cdi/nvidia.yaml"] = found.device.files["/run/cdi/nvidia.yaml"]


def _hook(found: Machine) -> None:
    found.device.files["/usr/share/containers/oci/hooks.d/oci-nvidia-hook.json"] = "{}"


def _no_modules(found: Machine) -> None:
    _unload(found)
    found.device.files[f"/lib/modules/{KERNEL}/modules.dep"] = "kernel/a.ko:\n"


def _upgraded_package(found: Machine) -> None:
    found.device.packages["libnvinfer10"] = ("10.16.0.1-1", "install ok installed")


def _gone_gpu(found: Machine) -> None:
    for path in [path for path in found.device.files if "0000:17:00.0" in path]:
        del found.device.files[path]


def _lower_power(found: Machine) -> None:
    found.device.files["/var/lib/nvpmodel/status"] = "pmode:0000"
    found.device.commands["nvpmodel", "-q"] = "NV Power Mode: 15W\n0\n"


def _newer_driver(found: Machine) -> None:
    found.profile["gpu_model"] = "v100"
    found.chosen.update(gpu="v100", driver="595.71.05")


def _no_persistence(found: Machine) -> None:
    query = next(argv for argv in found.device.commands if argv[0] == "nvidia-smi")
    found.device.commands[query] = found.device.commands[query].replace("Enabled", "Disabled", 1)


# What happened, how it shows: item to a part of its sentence, and whether a reboot mends it.
FAULTS: dict[str, tuple[str, Callable[[Machine], None], dict[str, tuple[str, bool]]]] = {
    "nouveau loaded": (
        "x86_t4",
        _nouveau,
        {
            "nouveau": ("nouveau is loaded and holds the GPU", True),
            "driver": ("not loaded while nouveau holds the GPU", True),
        },
    ),
    "kernel upgraded after the modules were built": (
        "x86_t4",
        _upgraded_kernel,
        {
            "module_running": ("6.1.0-57-rt-amd64 is running and has no NVIDIA module of 535.309.01", True),
            "driver": ("not loaded", True),
        },
    ),
    "half installed driver": (
        "x86_t4",
        _half_installed,
        {
            "packages_settled": ("cut short", False),
            "half_installed": ("libcuda1 (half-installed), nvidia-smi (half-configured)", False),
            "packages": ("libcuda1 is 535.309.01-1~deb12u1 (half-installed)", False),
            "driver_installed": ("another version", False),
            "held": ("not held", False),
        },
    ),
    "Secure Boot and no key": (
        "x86_t4",
        _secure_boot,
        {"module_trusted": ("signed by 'Example site module signing key', whose key is not enrolled", False)},
    ),
    "Secure Boot and an unsigned module": (
        "x86_t4",
        _unsigned,
        {"module_trusted": ("the NVIDIA module is not signed", False)},
    ),
    "GPU dropped by the loaded driver": (
        "x86_t4",
        _dropped,
        {
            "gpus_undriven": ("0000:65:00.0 10de:1db4: v100 is driven up to driver branch 580 only", True),
            "gpus": ("not on the PCI bus", False),
            "driver": ("driver 595.71.05 is loaded, 535.309.01 is locked", True),
        },
    ),
    "another driver loaded than installed": (
        "x86_t4",
        _other_driver,
        {"driver": ("driver 535.261.03 is loaded, 535.309.01 is locked", True)},
    ),
    "a driver loaded that no fact names": (
        "x86_t4",
        lambda found: _other_driver(found, "999.1"),
        {"driver": ("driver 999.1 is loaded, 535.309.01 is locked", True)},
    ),
    "TensorRT of another file than the supplied one": (
        "x86_t4",
        lambda found: found.device.packages.update(libnvinfer10=("11.0.0.1-1", "hold ok installed")),
        {
            "packages": ("libnvinfer10 is 11.0.0.1-1, locked is 10.6.0.26-1+cuda12.6", False),
            "tensorrt": ("another than the lock's", False),
        },
    ),
    "CDI of an older driver": ("x86_t4", _old_cdi, {"cdi": ("missing, old, or there twice", False)}),
    "CDI twice": ("x86_t4", _second_cdi, {"cdi": ("there twice", False)}),
    "the toolkit's old hook": ("x86_t4", _hook, {"legacy_hooks": ("lose the GPU at a daemon-reload", False)}),
    "no module for the locked kernel": (
        "x86_t4",
        _no_modules,
        {
            "module": ("no NVIDIA module", False),
            "module_flavour": ("", False),
            "module_kernel": ("", False),
            "module_running": ("", False),
            "driver": ("not loaded", False),
        },
    ),
    "a library upgraded behind our back": (
        "x86_t4",
        _upgraded_package,
        {
            "packages": ("libnvinfer10 is 10.16.0.1-1, locked is 10.6.0.26-1+cuda12.6", False),
            "held": ("not held", False),
            "tensorrt": ("another than the lock's", False),
        },
    ),
    "no GPU on the bus": ("x86_t4", _gone_gpu, {"gpus": ("missing, switched off in the firmware", False)}),
    "persistence switched off": ("x86_t4", _no_persistence, {"persistence": ("not as declared", False)}),
    "MIG layout lost at boot": (
        "x86_a100_80gb",
        lambda found: found.device.commands.update({("nvidia-smi", "-L"): "GPU 0: NVIDIA A100 80GB PCIe\n"}),
        {"mig": ("cut otherwise than declared", False)},
    ),
    "MPS daemon died": (
        "x86_a100_80gb",
        lambda found: found.device.files.pop("/proc/812/comm") and None,
        {"mps": ("MPS daemon", False)},
    ),
    "a unit switched off": (
        "x86_a100_80gb",
        lambda found: (
            found.device.files.pop(
                "/etc/systemd/system/multi-user.target.wants/edgewright-nvidia-mig.service"
            )
            and None
        ),
        {"units": ("other units are enabled", False)},
    ),
    "an unknown L4T": (
        "orin_nano_8gb",
        lambda found: found.device.files.update(
            {"/etc/nv_tegra_release": "# R36 (release), REVISION: 9.9, GCID: 1, BOARD: generic\n"}
        ),
        {"l4t": ("runs L4T 36.9.9, which no verified fact names (known: 35.2.1", False)},
    ),
    "another L4T, which facts know": (
        "orin_nano_8gb",
        lambda found: found.device.files.update(
            {"/etc/nv_tegra_release": "# R36 (release), REVISION: 4.0, GCID: 1, BOARD: generic\n"}
        ),
        {"l4t": ("another L4T than the lock's", False)},
    ),
    "no L4T": (
        "orin_nano_8gb",
        lambda found: found.device.files.pop("/etc/nv_tegra_release") and None,
        {"l4t": ("no Jetson Linux", False)},
    ),
    "firmware of another generation": (
        "orin_nano_8gb",
        lambda found: found.device.files.update({"/sys/class/dmi/id/bios_version": "39.2.0-gcid-1\n"}),
        {"firmware": ("another L4T generation", False)},
    ),
    "another Jetson": (
        "orin_nano_8gb",
        lambda found: found.device.files.update(
            {"/proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0"}
        ),
        {"jetson": ("another than the profile's", False)},
    ),
    "power mode, the next boot's too": (
        "orin_nano_8gb",
        _lower_power,
        {"power_mode_boot": ("another power mode", False), "power_mode": ("another power mode", False)},
    ),
    "power mode, until the next boot": (
        "orin_nano_8gb",
        lambda found: found.device.commands.update({("nvpmodel", "-q"): "NV Power Mode: 15W\n0\n"}),
        {"power_mode": ("another power mode", True)},
    ),
    "clocks not held": (
        "agx_orin_64gb",
        lambda found: found.device.files.update(
            {"/sys/devices/system/cpu/cpu3/cpufreq/scaling_min_freq": "729600\n"}
        ),
        {"clocks": ("not held", False)},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(name: str) -> None:
    on, break_it, expected = FAULTS[name]
    found = machine(on)
    break_it(found)
    drifts = {drift.item: drift for drift in found.drift()}
    shown = {item: drifts[item] for item in expected if item in drifts}
    assert set(shown) == set(expected), [sentence(drift) for drift in drifts.values()]
    for item, (words, reboot) in expected.items():
        assert words in drifts[item].why, item
        assert drifts[item].reboot is reboot, item
    # Nothing but what follows from it: a driver that is not there, or another one, shows in these.
    follows = {
        "driver",
        "driver_flavour",
        "gpus_undriven",
        "persistence",
        "mig",
        "mps",
        "cdi",
        "module_running",
    }
    assert set(drifts) - set(expected) <= follows


def test_a_bare_machine_is_mended_by_the_role_and_one_boot() -> None:
    found = Machine("x86_t4")
    found.device.packages = {"base-files": ("12.4", "install ok installed")}
    _nouveau(found)
    found.device.files = {
        path: text
        for path, text in found.device.files.items()
        if path.startswith(("/sys/bus", "/sys/module"))
    }
    found.device.files["/proc/sys/kernel/osrelease"] = "6.1.0-56-cloud-amd64\n"
    found.device.commands.clear()
    boot = [drift.item for drift in found.drift() if drift.reboot]
    assert boot == ["module_running", "nouveau", "driver", "driver_flavour", "persistence", "mig", "cdi"]
    told = found.told()
    assert {"packages", "module", "units", "held", "files./etc/modprobe.d/edgewright-nvidia.conf"} <= set(
        told
    )
    assert "is missing, locked is" in told["packages"]
    assert ", and 8 more" in told["packages"]


def test_a_driver_that_only_waits_to_be_loaded_needs_no_boot() -> None:
    found = machine("x86_t4")
    _unload(found)
    assert {drift.item: drift.reboot for drift in found.drift()} == {
        "driver": False,
        "driver_flavour": False,
        "persistence": False,
        "mig": False,
    }


def test_a_twin_has_no_gpu_and_says_what_is_skipped() -> None:
    found = machine("x86_t4")
    found.variables["edgewright_twin"] = {"kind": "vm"}
    want = found.want()
    assert "driver" not in want
    assert want["module"] == "535.309.01"
    assert want["skipped"]["driver"] == "no GPU"
    _unload(found)
    found.device.files.pop("/run/cdi/nvidia.yaml")
    assert found.drift() == []
    found.profile["boot"] = "none"
    assert found.want()["skipped"]["module"] == "no kernel of its own"
    assert "module" not in found.want()


def test_a_wheel_in_the_runtime_image_is_not_looked_for_on_the_device() -> None:
    found = machine("x86_t4")
    packages = found.lock["apt"]["packages"]
    found.lock["apt"]["packages"] = [each for each in packages if each["name"] != "libnvinfer10"]
    assert "tensorrt" not in found.want()
    assert "cudnn" in found.want()


def test_supplied_packages_and_built_modules_belong_to_the_stack() -> None:
    found = machine("x86_t4")
    found.lock["files"] = [
        {"name": "nvidia-container-toolkit_1.18.2-1_amd64.deb"},
        {"name": "libnvinfer10_10.6.0.26-1+cuda12.6_arm64.deb"},
        {"name": "notes.txt"},
        {"name": "libcudnn8_8.9.7-1_amd64.deb", "suites": ["trixie"]},
        {"name": "hello_2.10-3_amd64.deb"},
    ]
    found.lock["modules"] = [
        {
            "package": f"edgewright-nvidia-modules-{KERNEL}",
            "version": "535.309.01+1-1",
            "kernel": {"release": KERNEL},
        },
        {"package": "edgewright-nvidia-modules-6.12", "version": "1", "kernel": {"release": "6.12"}},
    ]
    found.lock["apt"]["packages"].append({"name": "nvidia-kernel-dkms", "version": "535.309.01-1"})
    packages = found.want()["packages"]
    assert packages["nvidia-container-toolkit"] == "1.18.2-1"
    assert packages[f"edgewright-nvidia-modules-{KERNEL}"] == "535.309.01+1-1"
    assert not {
        "hello",
        "libcudnn8",
        "edgewright-nvidia-modules-6.12",
        "nvidia-kernel-dkms",
        "openssl",
    } & set(packages)
    found.variables["nvidia_modules_from"] = "dkms"
    assert "nvidia-kernel-dkms" in found.want()["packages"]


def test_a_further_target_has_its_own_kernel_and_packages() -> None:
    found = machine("x86_t4")
    target = {key: found.lock[key] for key in ("os", "kernel", "apt")}
    found.lock |= {"os": {"suite": "trixie", "arch": "amd64"}, "apt": {"packages": []}}
    found.lock["kernel"] = {"release": "6.12.1"}
    with pytest.raises(InputError, match="target 'bookworm/amd64' is none of the lock's"):
        found.want()
    found.lock["targets"] = [target]
    assert found.want()["at"]["kernel"] == KERNEL
    assert "libcuda1" in found.want()["packages"]


def _choose(item: str, version: str) -> Callable[[Machine], None]:
    return lambda found: found.chosen.update({item: version})


def _set(**variables: Any) -> Callable[[Machine], None]:
    return lambda found: found.variables.update(variables)


REFUSED: dict[str, tuple[str, Callable[[Machine], None], str]] = {
    "driver that no fact names": (
        "x86_t4",
        _choose("driver", "999.1"),
        "wants driver 999.1, which no verified",
    ),
    "TensorRT that no fact names": ("x86_t4", _choose("tensorrt", "42.0"), "wants tensorrt 42.0, which no"),
    "L4T that no fact names": (
        "orin_nano_8gb",
        _choose("l4t", "36.9.9"),
        "wants L4T 36.9.9, which no verified",
    ),
    "driver that dropped the GPU": (
        "x86_t4",
        _newer_driver,
        "drivers after branch 580",
    ),
    "no driver": (
        "x86_t4",
        lambda found: found.chosen.pop("module-flavour") and None,
        "lacks module-flavour",
    ),
    "no entry": (
        "x86_t4",
        lambda found: found.lock.pop("nvidia") and None,
        "has no NVIDIA stack for profile",
    ),
    "other hardware": ("x86_t4", _choose("gpu", "l4"), "stack was chosen for gpu l4"),
    "no list": (
        "x86_t4",
        lambda found: found.lock.update(nvidia={"x86_t4": {}}),
        "expected a list of mappings",
    ),
    "no text": (
        "x86_t4",
        lambda found: found.chosen.update({"cuda": 12.2}),
        "expected items with versions as",
    ),
    "modules from nowhere": ("x86_t4", _set(nvidia_modules_from="cd"), "expected depot or dkms"),
    "persistence as text": ("x86_t4", _set(nvidia_persistence="on"), "nvidia_persistence: expected true or"),
    "MIG on a T4": ("x86_t4", _set(nvidia_mig={"all": ["1g.5gb"]}), "GPU t4 has no MIG profiles"),
    "MIG on a Jetson": ("agx_thor", _set(nvidia_mig={"all": ["1g.0gb"]}), "is a Jetson: remove it"),
    "power mode of a card": ("x86_t4", _set(nvidia_power_mode="MAXN"), "is for a Jetson"),
    "power mode that there is not": (
        "orin_nano_8gb",
        _set(nvidia_power_mode="50W"),
        "expected one of 7W, 15W",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_by_name(name: str) -> None:
    on, break_it, words = REFUSED[name]
    found = machine(on)
    break_it(found)
    with pytest.raises(InputError) as caught:
        found.want()
    assert words in str(caught.value)


def test_the_carried_release_has_a_stack_for_its_profile() -> None:
    lock = load_lock(ROOT / "releases/label-reader-t4/release.lock.yml")
    profile = load_profile("x86_t4", [carried_profiles()]).as_dict()
    want = nvidia.want({}, profile, lock)
    assert want["driver"] == want["module"] == lock["nvidia"][0]["chosen"]["driver"]
    assert {"libcuda1", "nvidia-smi", "nvidia-persistenced"} <= set(want["packages"])
    assert want["at"]["kernel"] == lock["kernel"]["release"]


def test_nothing_wanted_is_no_drift() -> None:
    assert nvidia.drift({"driver": "1"}, {}) == []

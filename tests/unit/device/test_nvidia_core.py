# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's driver as components on Ubuntu Core: what is wanted, read and different, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import nvidia_core as reader
from ansible_collections.edgewright.factory.plugins.module_utils import probe

from edgewright.device import nvidia_core
from edgewright.device.areas import want_all
from edgewright.device.places import writable_on_core24
from edgewright.errors import InputError
from tests.unit.device.core_inputs import PROFILE, SNAPS, VARIABLES, lock
from tests.unit.plugins.made_system import MadeSystem

BOX = {**PROFILE, "name": "box", "boot": "snapd", "gpu": "nvidia", "gpu_model": "l4"}
KO, USER = "pc-kernel+nvidia-580-erd-ko", "pc-kernel+nvidia-580-erd-user"


def _sha3(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha3_384(text.encode()).digest()).decode()


def _part(name: str, revision: int) -> dict[str, Any]:
    filename = f"pc-kernel+{name}_{revision}.comp"
    return {"name": name, "revision": revision, "filename": filename, "size": 9, "sha3_384": _sha3(name)}


KERNEL: dict[str, Any] = {
    "name": "pc-kernel",
    "grade": "signed",
    "revision": 2011,
    "channel": "24/stable",
    "filename": "pc-kernel_2011.snap",
    "size": 9,
    "sha3_384": _sha3("kernel"),
    "assertions": {"filename": "pc-kernel_2011.assert"},
    "components": [_part("nvidia-580-erd-ko", 12), _part("nvidia-580-erd-user", 13), _part("nouveau-ko", 4)],
}
MESA: dict[str, Any] = {
    "name": "mesa-2404",
    "grade": "signed",
    "revision": 77,
    "filename": "mesa-2404_77.snap",
    "size": 9,
    "sha3_384": _sha3("mesa"),
    "assertions": {"filename": "mesa-2404_77.assert"},
}


def _lock(*snaps: dict[str, Any], flavour: str = "generic") -> dict[str, Any]:
    made = lock(snaps=[*SNAPS, *(snaps or (KERNEL, MESA))])
    return {**made, "kernel": {**made["kernel"], "flavour": flavour}}


def _want(
    given: dict[str, Any] | None = None, profile: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    wanted = want_all({**VARIABLES, **more}, profile or BOX, given or _lock(), ["nvidia"])["nvidia"]
    json.dumps(wanted)
    return wanted


LOADED = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  x\n"


def _device(**changed: Any) -> MadeSystem:
    """A device that is as wanted; a file set to None is not there."""
    files: dict[str, Any] = {
        f"/var/lib/snapd/snaps/{KO}_12.comp": "nvidia-580-erd-ko",
        f"/var/lib/snapd/snaps/{USER}_13.comp": "nvidia-580-erd-user",
        "/var/lib/snapd/snaps/mesa-2404_77.snap": "mesa",
        "/proc/driver/nvidia/version": LOADED,
        "/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: NVIDIA L4\n",
        "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "/sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
        "/sys/bus/pci/devices/0000:01:00.0/device": "0x27b8\n",
        **_want()["files"],
        **changed.pop("files", {}),
    }
    parts = [
        {"name": "nvidia-580-erd-ko", "type": "kernel-modules", "revision": "12"},
        {"name": "nvidia-580-erd-user", "type": "standard", "revision": "13"},
        {"name": "nvidia-570-erd-ko", "type": "kernel-modules", "revision": "unset"},
    ]
    snaps = [
        {"name": "pc-kernel", "type": "kernel", "status": "active", "revision": "2011", "components": parts},
        {"name": "mesa-2404", "type": "app", "status": "active", "revision": "77"},
    ]
    answers = {"/v2/snaps": snaps, "/v2/system-info": {"version": "2.68.3"}, **changed}
    return MadeSystem({path: text for path, text in files.items() if text is not None}, {}, answers)


def _drifted(system: MadeSystem, want: dict[str, Any] | None = None) -> list[str]:
    want = want or _want()
    have = probe.probe(system, {"nvidia": want})["nvidia"]
    json.dumps(have)
    return [f"{drift.item}{' reboot' if drift.reboot else ''}" for drift in nvidia_core.drift(have, want)]


def test_what_is_wanted() -> None:
    want = _want()
    assert want["components"] == {
        KO: {"revision": 12, "sha3_384": _sha3("nvidia-580-erd-ko")},
        USER: {"revision": 13, "sha3_384": _sha3("nvidia-580-erd-user")},
    }
    assert want["provider"] == {"name": "mesa-2404", "revision": 77, "sha3_384": _sha3("mesa")}
    assert (want["driver"], want["snapd"], want["gpus"]) == ("580", "2.67", ["10de:27b8"])
    assert "served by the CPU" in want["skipped"]["serving"]
    assert all(writable_on_core24(path) for path in want["files"])
    assert [(each["name"], each["filename"], each["assertions"]) for each in want["at"]["install"]] == [
        ("mesa-2404", "mesa-2404_77.snap", "mesa-2404_77.assert"),
        (KO, "pc-kernel+nvidia-580-erd-ko_12.comp", "pc-kernel_2011.assert"),
        (USER, "pc-kernel+nvidia-580-erd-user_13.comp", "pc-kernel_2011.assert"),
    ]


def test_a_device_without_a_gpu_or_whose_gpu_is_unused_wants_nothing() -> None:
    assert _want(profile={**BOX, "gpu": "none"}) == {}
    assert _want(nvidia_managed=False) == {}
    assert nvidia_core.drift({}, {}) == []


def test_a_device_as_wanted_has_no_drift() -> None:
    assert _drifted(_device()) == []


SNAP_FILES = "/var/lib/snapd/snaps"
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an old snapd": ({"/v2/system-info": {"version": "2.57.6"}}, ["snapd"]),
    "no snapd": ({"/v2/system-info": None}, ["snapd"]),
    "a changed component": ({"files": {f"{SNAP_FILES}/{KO}_12.comp": "other"}}, [f"components.{KO}"]),
    "no provider": ({"files": {f"{SNAP_FILES}/mesa-2404_77.snap": "other"}}, ["provider"]),
    "no file": (
        {"files": {"/etc/modules-load.d/edgewright-nvidia.conf": None}},
        ["files./etc/modules-load.d/edgewright-nvidia.conf"],
    ),
    "not loaded": ({"files": {"/proc/driver/nvidia/version": None}}, ["driver reboot"]),
    "another branch": (
        {
            "files": {
                "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1  x\n"
            }
        },
        ["driver reboot"],
    ),
    "nouveau": ({"files": {"/sys/module/nouveau/refcnt": "1"}}, ["nouveau reboot"]),
    "another card": ({"files": {"/sys/bus/pci/devices/0000:01:00.0/device": "0x1eb8\n"}}, ["gpus"]),
    "no snaps": ({"/v2/snaps": []}, [f"components.{KO}", f"components.{USER}", "provider"]),
}


@pytest.mark.parametrize("case", CASES)
def test_drift_is_named(case: str) -> None:
    changed, items = CASES[case]
    assert _drifted(_device(**changed)) == items


def test_a_component_that_is_only_available_is_not_installed() -> None:
    parts = [{"name": "nvidia-580-erd-ko", "revision": "unset"}, {"name": "nvidia-580-erd-user"}]
    snaps = {"pc-kernel": {"name": "pc-kernel", "status": "active", "components": parts}}
    assert reader.component(_device(), snaps, KO) is None
    assert reader.component(_device(), snaps, USER) is None


def test_a_bare_device_is_read_without_an_error() -> None:
    assert _drifted(MadeSystem({}))[:2] == [f"components.{KO}", f"components.{USER}"]


@pytest.mark.parametrize(
    ("given", "profile", "words"),
    [
        pytest.param(_lock(flavour="rt"), BOX, "PREEMPT_RT kernel: no verified fact supports that", id="rt"),
        pytest.param(_lock(), {**BOX, "gpu": "tegra"}, "no public Ubuntu Core image", id="jetson"),
        pytest.param(
            _lock(flavour="rt"), {**BOX, "gpu": "tegra"}, "with or without PREEMPT_RT", id="jetson rt"
        ),
        pytest.param(
            _lock(MESA), BOX, "expected one kernel snap with the driver's components, got none", id="none"
        ),
        pytest.param(
            _lock(KERNEL, MESA, {**KERNEL, "name": "pi-kernel"}), BOX, "got pc-kernel, pi-kernel", id="two"
        ),
        pytest.param(_lock(KERNEL), BOX, "not the snap mesa-2404 with its assertions", id="no provider"),
        pytest.param(
            _lock(KERNEL, {**MESA, "grade": "dangerous"}),
            BOX,
            "not the snap mesa-2404",
            id="dangerous provider",
        ),
        pytest.param(
            _lock({**KERNEL, "channel": "24-rt/stable"}, MESA),
            BOX,
            "of track 24-rt: no verified fact",
            id="rt track",
        ),
        pytest.param(
            _lock({**KERNEL, "components": KERNEL["components"][:1]}, MESA),
            BOX,
            "one branch's pair",
            id="half",
        ),
    ],
)
def test_what_no_fact_supports_is_refused_by_name(
    given: dict[str, Any], profile: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refused:
        _want(given, profile, edgewright_snap_grade="dangerous")
    assert words in str(refused.value)


def test_a_gpu_that_the_branch_dropped_is_refused() -> None:
    newer = {**KERNEL, "components": [_part("nvidia-580-erd-ko", 1), _part("nvidia-580-erd-user", 1)]}
    assert _want(_lock(newer, MESA), {**BOX, "gpu_model": "v100"})["driver"] == "580"
    with pytest.raises(InputError, match="which drivers after branch 580 no longer drive"):
        nvidia_core.check_branch("590", "v100", "x", "name a branch below {}")


def test_a_twin_shows_what_it_can_and_says_the_rest() -> None:
    want = _want(profile={**BOX, "boot": "given"}, edgewright_twin={"kind": "snapd"})
    assert set(want["skipped"]) == {
        *("serving", "nouveau", "gpus", "driver", "gpus_undriven"),
        *("snapd", "components", "provider", "files"),
    }
    assert _drifted(MadeSystem({}), want) == []

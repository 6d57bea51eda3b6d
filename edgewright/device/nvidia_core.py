# SPDX-License-Identifier: Apache-2.0
"""Area `nvidia` on Ubuntu Core: NVIDIA's driver as components of the kernel snap, where facts allow it.

Pure but for the package's own facts (`edgewright.osadvice.components`), read once. Items:

    snapd          the first snapd that knows components; `have` says which one runs
    components     {SNAP+COMPONENT: {revision, sha3_384}} of the driver's modules and libraries
    provider       {name, revision, sha3_384} of the snap that hands the libraries to others
    files          {path: text}: the modules are loaded at each boot
    nouveau        whether nouveau holds the card
    gpus           PCI numbers of the card that the profile names
    driver         the branch of the loaded driver
    gpus_undriven  cards that the loaded driver leaves alone
    skipped        item to the reason why this machine cannot show it

A real-time kernel, a Jetson, and a component that no verified row names are refused, by name. **Designed, not
proven**: no card and no component of the store was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgewright.device import depot_client
from edgewright.device.drift import Drift, Have, Want, file_drift
from edgewright.device.nvidia_facts import check_branch
from edgewright.device.nvidia_files import MODPROBE, MODULES_LOAD
from edgewright.device.nvidia_gpus import known_gpus
from edgewright.device.places import UBUNTU_CORE, places
from edgewright.errors import InputError
from edgewright.osadvice.components import ComponentRow, driver_of, of_nvidia
from edgewright.snaps.components import full_name
from edgewright.snaps.grade import SIGNED

__all__ = ["AREA", "drift", "want"]

AREA = "nvidia"

# The profile's gpu -> the questions of the OS facts that decide about it; the second for a real-time kernel.
_TOPICS = {"nvidia": ("nvidia", "nvidia_rt"), "tegra": ("jetson", "jetson_rt")}

_HEADER = "# Written by Edgewright (role nvidia); changes made here are undone by the next run.\n"
# What https://documentation.ubuntu.com/core/how-to-guides/cuda-workloads/ (read 2026-11-21) loads by hand.
_FILES = {
    MODPROBE: f"{_HEADER}options nvidia_drm modeset=1\n",
    MODULES_LOAD: f"{_HEADER}nvidia_drm\nnvidia_uvm\n",
}
_OF_GPU = ("nouveau", "gpus", "driver", "gpus_undriven")
_NO_KERNEL_SNAP = "a kernel snap and its components can't boot in a twin, whose kernel is its own and given"
_SERVING = (
    "the runtime's snap has no plug for the libraries (gpu-2404) yet: the model is served by the CPU, and the"
    " driver is for snaps of the site's own"
)


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The driver as the device shall have it; nothing where it has no GPU, or none that is to be used.

    Raises:
        InputError: no verified fact supports a driver there, or the release carries none.
    """
    if profile["gpu"] == "none" or variables.get("nvidia_managed") is False:
        return {}
    real_time = lock["kernel"].get("flavour") == "rt"
    if profile["gpu"] != "nvidia" or real_time:
        raise InputError(_refused(profile, real_time))
    kernel = _kernel_snap(lock, profile)
    names = [each["name"] for each in kernel["components"]]
    driver = driver_of(names, kernel["name"], kernel.get("channel"))
    model = str(profile.get("gpu_model", ""))
    check_branch(
        str(driver.branch),
        model,
        f"profile {profile['name']}: {' and '.join(driver.names)} of {kernel['name']}",
        "name components of a branch below {} in release.yml",
    )
    provider = _provider(lock, driver)
    gpu = known_gpus().get(model)
    items: dict[str, Any] = {
        "snapd": driver.snapd,
        "components": {
            full_name(kernel["name"], each["name"]): _identified(each)
            for each in kernel["components"]
            if each["name"] in driver.names
        },
        "provider": {"name": provider["name"], **_identified(provider)},
        "files": dict(_FILES),
        "nouveau": False,
        "gpus": list(gpu.pci) if gpu else [],
        "driver": str(driver.branch),
        "gpus_undriven": [],
    }
    skipped = {"serving": _SERVING}
    if variables.get("edgewright_twin"):
        skipped |= dict.fromkeys(_OF_GPU, "no GPU")
    if profile["boot"] == "given":
        skipped |= dict.fromkeys(("snapd", "components", "provider", "files"), _NO_KERNEL_SNAP)
    host, port = depot_client.depot_address(variables)
    where = places(UBUNTU_CORE)
    return {
        "os": UBUNTU_CORE,
        **{item: value for item, value in items.items() if item not in skipped},
        "skipped": skipped,
        "at": {
            "kernel_snap": kernel["name"],
            "depot": {"host": host, "port": port},
            "identity": where.identity,
            "staging": f"{where.own}/staging-nvidia",
            "install": [_installed(provider), *_parts(kernel, driver)],
        },
    }


def _refused(profile: Mapping[str, Any], real_time: bool) -> str:
    """A sentence with the facts' own, and their sources."""
    from edgewright.osadvice.facts import load_os_facts  # noqa: PLC0415 - only for a refusal

    facts = load_os_facts()
    topics = _TOPICS[str(profile["gpu"])][1 if real_time else 0 :]
    rows = [facts.row(topic, UBUNTU_CORE) for topic in topics]
    kernel = ", and the release asks for a PREEMPT_RT kernel" if real_time else ""
    return (
        f"profile {profile['name']} has a GPU ({profile['gpu']}){kernel}: no verified fact supports that on"
        f" Ubuntu Core: {'; '.join(f'{row.says} ({row.told})' for row in rows)}. Set edgewright_os: debian"
        " for this host, or nvidia_managed: false where the model does not use the GPU"
    )


def _kernel_snap(lock: Mapping[str, Any], profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lock's snap that carries components of NVIDIA's.

    Raises:
        InputError: none does, or several do.
    """
    found: list[Mapping[str, Any]] = [
        snap
        for snap in lock.get("snaps", [])
        if of_nvidia([each["name"] for each in snap.get("components", [])])
    ]
    if len(found) != 1:
        got = ", ".join(str(snap["name"]) for snap in found) or "none"
        raise InputError(
            f"profile {profile['name']} has an NVIDIA card, and release {lock['release']['name']}"
            f" {lock['release']['version']}: expected one kernel snap with the driver's components, got"
            f" {got}: name them under `components` of the kernel snap in release.yml"
            " (docs/reference/ubuntu-core-nvidia.md), or set nvidia_managed: false where the model does not"
            " use the GPU"
        )
    return found[0]


def _provider(lock: Mapping[str, Any], driver: ComponentRow) -> Mapping[str, Any]:
    for snap in lock.get("snaps", []):
        if snap["name"] == driver.provider and snap["grade"] == SIGNED:
            found: Mapping[str, Any] = snap
            return found
    raise InputError(
        f"release {lock['release']['name']} {lock['release']['version']} has {' and '.join(driver.names)},"
        f" but not the snap {driver.provider} with its assertions, which hands the driver's libraries to"
        f" others ({driver.told}): add it to snaps in release.yml and lock again"
    )


def _identified(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"revision": int(entry["revision"]), "sha3_384": str(entry["sha3_384"])}


def _installed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the module `edgewright.factory.snaps` takes of an asserted snap."""
    return {
        "name": entry["name"],
        "filename": entry["filename"],
        "size": int(entry["size"]),
        **_identified(entry),
        "assertions": entry["assertions"]["filename"],
        "grade": SIGNED,
    }


def _parts(kernel: Mapping[str, Any], driver: ComponentRow) -> list[dict[str, Any]]:
    """The same of the driver's components, whose assertions are those of their snap's file."""
    return [
        _installed(
            {**each, "name": full_name(kernel["name"], each["name"]), "assertions": kernel["assertions"]}
        )
        for each in kernel["components"]
        if each["name"] in driver.names
    ]


_WHY = {
    "snapd": "snapd does not know components",
    "provider": "the snap that hands the driver's libraries to others is missing, or another than the lock's",
    "nouveau": "nouveau is loaded and holds the GPU, so NVIDIA's driver cannot take it",
    "gpus": "the GPU that the profile names is not on the PCI bus",
    "driver": "the NVIDIA driver is not loaded, or of another branch than the release's components",
    "gpus_undriven": "the loaded driver leaves a GPU alone",
}
# What a boot brings about, once the components are there.
_REBOOT = frozenset({"nouveau", "driver", "gpus_undriven"})


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it; empty where nothing is wanted."""
    if not want:
        return []
    found = []
    for name, wanted in want.get("components", {}).items():
        got = (have.get("components") or {}).get(name)
        if got != wanted:
            state = "is not installed" if got is None else "is another than the lock's"
            found.append(Drift(AREA, f"components.{name}", got, wanted, f"component {name} {state}"))
    found += file_drift(AREA, have, want)
    for item, why in _WHY.items():
        if item in want and not _same(item, have.get(item), want[item]):
            told = f"{why}: {want[item]} or newer is needed" if item == "snapd" else why
            found.append(Drift(AREA, item, have.get(item), want[item], told, item in _REBOOT))
    return found


def _same(item: str, have: Any, want: Any) -> bool:
    if item == "snapd":
        return _numbers(have) >= _numbers(want)
    if item == "driver":
        return have is not None and str(have).partition(".")[0] == want
    if item == "gpus":
        return bool(have) and (not want or all(gpu in want for gpu in have))
    return bool(have == want)


def _numbers(version: Any) -> tuple[int, ...]:
    """The first two numbers of snapd's version, such as 2.67 of 2.67.1+ubuntu24.04; none for no version."""
    found = re.match(r"(\d+)\.(\d+)", str(version or ""))
    return (int(found[1]), int(found[2])) if found else ()

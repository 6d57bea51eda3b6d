# SPDX-License-Identifier: Apache-2.0
"""The nvidia area: the GPU's driver and libraries are the lock's, loaded and not only installed, and stay so.

Pure but for the package's own data (GPUs, facts), read once. Three versions of a driver are told apart: the
locked, the installed, and the loaded one; and three layers: what the next boot will do (packages, files,
units), what only that boot or a loaded driver shows (driver, GPUs, MIG, CDI), and what no driver needs
(which GPU is on the bus, nouveau, Secure Boot). A device without an NVIDIA GPU wants nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewright.device import nvidia_files as files
from edgewright.device.drift import Drift, Have, Want, file_drift
from edgewright.device.nvidia_facts import check_chosen, dropped, known_l4t, l4t_is_known, same_version
from edgewright.device.nvidia_gpus import known_gpus, mig_layout
from edgewright.device.nvidia_stack import OURS, PATTERNS, Stack, locked_stack
from edgewright.errors import InputError

__all__ = ["AREA", "drift", "want"]

AREA = "nvidia"

_LIBRARIES = ("cuda", "cudnn", "tensorrt", "container_toolkit")
# A container has no kernel of its own; a twin has no GPU. What they can't show is skipped, by name.
_OF_KERNEL = (
    *("module", "module_flavour", "module_kernel", "module_running", "module_trusted", "nouveau", "driver"),
    "driver_flavour",
)
_OF_GPU = (
    *("driver", "driver_flavour", "gpus", "gpus_undriven", "persistence", "mig", "mps", "cdi"),
    *("l4t", "firmware", "jetson", "power_mode", "power_mode_boot", "clocks"),
)
_OWN_UNITS = (
    *(files.MIG_UNIT, files.PERSISTENCE_UNIT, files.MPS_UNIT, files.CDI_UNIT, files.CLOCKS_UNIT),
    "nvidia-persistenced.service",
)
_OWN_FILES = (
    *(files.MODPROBE, files.MODULES_LOAD, files.MIG_APPLY),
    *(files.unit_path(unit) for unit in _OWN_UNITS if unit.startswith("edgewright-")),
)


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the area shall be.

    Args:
        variables: the role's own, and `edgewright_twin`.
        profile: the hardware profile: `name`, `arch`, `boot`, `gpu`, `gpu_model`, `power_modes`.
        lock: the release's lock; its `nvidia` entry of the profile is read.

    Returns:
        The items of the area; empty where the profile has no NVIDIA GPU or `nvidia_managed` is false.

    Raises:
        InputError: a variable is wrong, or the lock has no stack for the profile that the facts support.
    """
    if profile["gpu"] == "none" or not _truth(variables, "nvidia_managed", True):
        return {}
    modules_from = variables.get("nvidia_modules_from", "depot")
    if modules_from not in ("depot", "dkms"):
        raise InputError(f"nvidia_modules_from: expected depot or dkms, got {modules_from!r}")
    stack = locked_stack(lock, profile, modules_from)
    tegra = profile["gpu"] == "tegra"
    check_chosen(stack.chosen, profile.get("gpu_model", ""), tegra, stack.where)
    items: dict[str, Any] = {
        "packages_settled": True,
        "half_installed": [],
        "packages": dict(stack.packages),
        "stale_files": [],
    }
    if _truth(variables, "nvidia_hold", True):
        items["held"] = list(stack.packages)
    for item in _LIBRARIES:
        name = item.replace("_", "-")
        if name in stack.chosen and stack.carries(item):
            items[item] = stack.chosen[name]
    items |= (_tegra if tegra else _discrete)(variables, profile, stack)
    skipped = _skipped(variables, profile, items)
    return {
        **{item: value for item, value in items.items() if item not in skipped},
        "skipped": skipped,
        "at": {
            "kind": profile["gpu"],
            "arch": profile["arch"],
            "kernel": stack.kernel,
            "modules_from": modules_from,
            "ours": OURS,
            "patterns": dict(PATTERNS),
            "own_files": list(_OWN_FILES),
            "own_units": list(_OWN_UNITS),
            "mps_pipes": files.MPS_PIPES,
        },
    }


def _discrete(variables: Mapping[str, Any], profile: Mapping[str, Any], stack: Stack) -> dict[str, Any]:
    model = profile.get("gpu_model", "")
    gpu = known_gpus().get(model)
    mig = mig_layout(variables.get("nvidia_mig") or {}, model)
    persistence = _truth(variables, "nvidia_persistence", True)
    mps = _truth(variables, "nvidia_mps", False)
    for name in ("nvidia_power_mode", "nvidia_jetson_clocks"):
        if variables.get(name):
            raise InputError(
                f"{name} is for a Jetson, and profile {profile['name']} has an NVIDIA card: remove it"
            )
    chosen = stack.chosen
    missing = [item for item in ("driver", "module", "module-flavour") if item not in chosen]
    if missing:
        raise InputError(
            f"{stack.where}: chosen lacks {', '.join(missing)}; lock again with `edgewright release lock`"
        )
    daemon = "nvidia-persistenced" in stack.packages
    cdi = stack.carries("container_toolkit")
    units = [
        *([files.MIG_UNIT] if mig else []),
        *(["nvidia-persistenced.service" if daemon else files.PERSISTENCE_UNIT] if persistence else []),
        *([files.MPS_UNIT] if mps else []),
        *([files.CDI_UNIT] if cdi else []),
    ]
    items: dict[str, Any] = {
        "files": files.discrete_files(
            mig=mig, can_mig=bool(gpu and gpu.mig), persistence=persistence and not daemon, mps=mps, cdi=cdi
        ),
        "units": sorted(units),
        "legacy_hooks": [],
        "module": chosen["module"],
        "module_flavour": chosen["module-flavour"],
        "module_kernel": stack.kernel,
        "module_trusted": True,
        "module_running": chosen["module"],
        "nouveau": False,
        "gpus": list(gpu.pci) if gpu else [],
        "driver": chosen["driver"],
        "driver_flavour": chosen["module-flavour"],
        "gpus_undriven": [],
        "persistence": persistence,
        "mig": mig,
        "mps": mps,
        "cdi": {files.CDI_SPEC: chosen["driver"]} if cdi else {},
    }
    if stack.carries("driver_installed"):
        items["driver_installed"] = chosen["driver"]
    return items


def _tegra(variables: Mapping[str, Any], profile: Mapping[str, Any], stack: Stack) -> dict[str, Any]:
    for name in ("nvidia_mig", "nvidia_mps"):
        if variables.get(name):
            raise InputError(
                f"{name} is for an NVIDIA card, and profile {profile['name']} is a Jetson: remove it"
            )
    clocks = _truth(variables, "nvidia_jetson_clocks", False)
    mode = variables.get("nvidia_power_mode") or ""
    if mode and mode not in profile["power_modes"]:
        raise InputError(
            f"nvidia_power_mode is {mode!r}, and profile {profile['name']} knows no such mode: expected one"
            f" of {', '.join(profile['power_modes']) or '(none)'}, as nvpmodel.conf names them"
        )
    cdi = stack.carries("container_toolkit")
    items: dict[str, Any] = {
        "files": files.jetson_files(clocks=clocks, cdi=cdi),
        "units": sorted([*([files.CLOCKS_UNIT] if clocks else []), *([files.CDI_UNIT] if cdi else [])]),
        "jetson": profile.get("jetson_module") or stack.chosen.get("jetson"),
        "l4t": stack.chosen["l4t"],
        "cdi": {files.CDI_SPEC: "present"} if cdi else {},
    }
    if "firmware" in stack.chosen:
        items["firmware"] = stack.chosen["firmware"]
    if mode:
        items |= {"power_mode_boot": mode, "power_mode": mode}
    if clocks:
        items["clocks"] = "maximum"
    return items


def _skipped(
    variables: Mapping[str, Any], profile: Mapping[str, Any], items: Mapping[str, Any]
) -> dict[str, str]:
    """Items that this machine can't show, with the reason. Only a declared twin is without its GPU."""
    reasons: dict[str, str] = {}
    if profile["boot"] == "none":
        reasons |= dict.fromkeys(_OF_KERNEL, "no kernel of its own")
    if variables.get("edgewright_twin"):
        reasons |= dict.fromkeys(_OF_GPU, "no GPU")
    return {item: reason for item, reason in reasons.items() if item in items}


_WHY = {
    "packages_settled": "an installation of packages was cut short, and must be finished before the next one",
    "half_installed": "packages of the NVIDIA stack are half installed, as after a loss of power",
    "packages": "packages of the NVIDIA stack are missing or of other versions than the lock's",
    "driver_installed": "the installed driver's libraries are of another version than the lock's",
    "held": "packages of the NVIDIA stack are not held, so an upgrade could change them behind our back",
    "cuda": "the installed CUDA runtime is another than the lock's",
    "cudnn": "the installed cuDNN is another than the lock's",
    "tensorrt": "the installed TensorRT is another than the lock's",
    "container_toolkit": "the installed container toolkit is another than the lock's",
    "stale_files": "files of an earlier declaration are still there",
    "units": "other units are enabled than those that keep the GPU as declared at each boot",
    "legacy_hooks": "the toolkit's old hook is there: containers would lose the GPU at a daemon-reload",
    "module": "the locked kernel has no NVIDIA module of the locked version",
    "module_flavour": "the NVIDIA module is of the other flavour",
    "module_kernel": "the NVIDIA module on disk was built for another kernel than the locked one",
    "module_running": "the running kernel has no NVIDIA module of the locked version",
    "module_trusted": "Secure Boot is on and the module's key is not enrolled, so the kernel refuses it",
    "nouveau": "nouveau is loaded and holds the GPU, so NVIDIA's driver cannot take it",
    "gpus": "the GPU that the profile names is not on the PCI bus",
    "driver": "the NVIDIA driver is not loaded, or another version than the lock's is",
    "driver_flavour": "the loaded driver is of the other flavour",
    "gpus_undriven": "the loaded driver leaves a GPU alone",
    "persistence": "persistence mode is not as declared",
    "mig": "the GPUs are cut otherwise than declared (MIG)",
    "mps": "the MPS daemon runs where it shall not, or does not where it shall",
    "cdi": "containers would not get this GPU: its CDI specification is missing, old, or there twice",
    "jetson": "the board's module is another than the profile's",
    "l4t": "the device runs another L4T than the lock's",
    "firmware": "the board's firmware is of another L4T generation than the lock's",
    "power_mode_boot": "the next boot would set another power mode",
    "power_mode": "the device is in another power mode than declared",
    "clocks": "the clocks are not held at the power mode's maximum",
}
# What a boot brings about, where the packages, files and units before them are right.
_BY_BOOT = (
    "module_running",
    "nouveau",
    "driver",
    "driver_flavour",
    "gpus_undriven",
    "persistence",
    "mig",
    "mps",
    "cdi",
)
_VERSIONS = frozenset({*_LIBRARIES, "driver_installed", "firmware"})


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, in the order in which the role mends it; empty where nothing is wanted.

    An item that is not wanted is not compared. Where a reboot is due anyway (another kernel is to run,
    nouveau holds the GPU, another driver is loaded), what the boot brings about counts as mended by it.
    """
    if not want:
        return []
    found = file_drift(AREA, have, want)
    boot = _boot_is_due(have, want)
    for item, why in _WHY.items():
        if item in want and not _same(item, have.get(item), want[item]):
            reboot = (boot and item in _BY_BOOT) or _needs_boot(item, have, want)
            found.append(
                Drift(AREA, item, have.get(item), want[item], _told(item, have, want) or why, reboot)
            )
    return found


def _same(item: str, have: Any, want: Any) -> bool:
    if item in _VERSIONS:
        return have is not None and same_version(have, want)
    if item == "l4t":
        return have is not None and _l4t(have) == _l4t(want)
    if item == "gpus":
        return bool(have) and (not want or all(gpu in want for gpu in have))
    if item == "held":
        return set(want) <= set(have or ())
    return bool(have == want)


def _l4t(text: str) -> list[str]:
    parts = text.split(".")
    return parts + ["0"] * (3 - len(parts))


def _boot_is_due(have: Have, want: Want) -> bool:
    """Whether the locked driver can only come with a boot."""
    if want["at"]["kind"] == "tegra" or "driver" not in want:
        return False
    other = have.get("driver") is not None and have.get("driver") != want["driver"]
    return bool(have.get("kernel_running") != want["at"]["kernel"] or have.get("nouveau") or other)


def _needs_boot(item: str, have: Have, want: Want) -> bool:
    """A power mode that gates CPUs or GPU units changes at a boot only, once the boot's choice is right."""
    return item == "power_mode" and have.get("power_mode_boot") == want.get("power_mode_boot")


def _told(item: str, have: Have, want: Want) -> str | None:
    """A sentence that names the very fault, where one is known; None for the general one."""
    running, locked = have.get("kernel_running"), want["at"]["kernel"]
    if item == "half_installed":
        names = ", ".join(have[item])
        return f"half installed: {names}; an installation was cut short, as by a loss of power"
    if item == "packages":
        return _packages(have.get(item) or {}, want[item])
    if item == "module_running" and running != locked and have.get("module"):
        return (
            f"the kernel was changed after the modules were built: {running} is running and has no NVIDIA"
            f" module of {want[item]}, the modules are there for {locked}; a boot into the locked kernel"
            " is due"
        )
    if item == "module_trusted":
        signer = have.get("module_signer")
        key = f"is signed by {signer!r}, whose key is not enrolled" if signer else "is not signed"
        return (
            f"Secure Boot is on and the NVIDIA module {key}: the kernel refuses it; enrol the key at the"
            " device's console (mokutil --import, then reboot), or build the bundle with a key that is"
        )
    if item == "driver" and have.get("driver") is None and have.get("nouveau"):
        return "the NVIDIA driver is not loaded while nouveau holds the GPU"
    if item == "driver" and have.get("driver") is not None:
        return (
            f"driver {have['driver']} is loaded, {want[item]} is locked: only a boot changes a loaded driver"
        )
    if item == "gpus_undriven":
        return _undriven(have[item], str(have.get("driver")))
    if item == "gpus" and not have.get(item):
        return "no NVIDIA GPU is on the PCI bus: it is missing, switched off in the firmware, or has failed"
    if item == "l4t" and have.get(item) and not l4t_is_known(have[item]):
        return (
            f"the device runs L4T {have[item]}, which no verified fact names (known:"
            f" {', '.join(known_l4t())}): nothing is known of what fits it; flash the locked"
            " one, or add the fact with its source"
        )
    if item == "l4t" and not have.get(item):
        return "/etc/nv_tegra_release tells no L4T release: this is no Jetson Linux, or a damaged one"
    if item in ("power_mode", "power_mode_boot") and want[item] not in (have.get("power_modes") or ()):
        modes = ", ".join(have.get("power_modes") or ()) or "none"
        return f"nvpmodel.conf of this device has no power mode {want[item]}: it has {modes}"
    return None


def _packages(have: Mapping[str, str | None], want: Mapping[str, str]) -> str:
    differ = [name for name in want if have.get(name) != want[name]]
    told = [f"{name} is {have.get(name) or 'missing'}, locked is {want[name]}" for name in differ[:3]]
    more = f", and {len(differ) - 3} more" if len(differ) > 3 else ""
    return f"packages of the NVIDIA stack differ: {'; '.join(told)}{more}"


def _undriven(gpus: Sequence[str], driver: str) -> str:
    reasons = {gpu: dropped(gpu.split(" ")[-1], driver) for gpu in gpus}
    told = [f"{gpu}" + (f": {reason}" if reason else "") for gpu, reason in reasons.items()]
    return f"driver {driver} is loaded and does not drive {'; '.join(told)}"


def _truth(variables: Mapping[str, Any], name: str, default: bool) -> bool:
    value = variables.get(name, default)
    if isinstance(value, bool):
        return value
    raise InputError(f"{name}: expected true or false, got {value!r}")

# SPDX-License-Identifier: Apache-2.0
"""Reads the nvidia area: the loaded driver, the installed one, and what keeps a GPU as declared.

In one pass, and mostly from files: dpkg's status file, `modules.dep`, sysfs and procfs. Commands are asked
only for what no file tells: `modinfo` for the modules on disk, `nvidia-smi` for the GPUs once the driver is
loaded, so that a device without one is not kept waiting. Standard library only, Python 3.9 and later;
nothing here writes.

Formats: NVIDIA's driver README, chapter "Using the /proc File System Interface"; the MIG user guide
(`nvidia-smi -L`); the CDI specification; modinfo(8); deb-status as dpkg(1) writes it; UEFI's signature lists.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils import nvidia_jetson
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

VENDOR = "0x10de"
STATUS = "/var/lib/dpkg/status"
CDI_DIRECTORIES = ("/etc/cdi", "/run/cdi")
HOOK_DIRECTORIES = ("/etc/containers/oci/hooks.d", "/usr/share/containers/oci/hooks.d")
WANTS = "/etc/systemd/system/multi-user.target.wants"
EFIVARS = "/sys/firmware/efi/efivars"
# UEFI's global variables, its image security database, and shim's own (MokListRT): names carry the GUID.
SECURE_BOOT = EFIVARS + "/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
KEY_VARIABLES = ("MokListRT", "MokListTrustedRT", "db-")
SMI_QUERY = [
    "nvidia-smi",
    "--query-gpu=index,pci.bus_id,persistence_mode,mig.mode.current",
    "--format=csv,noheader",
]
SMI_LIST = ["nvidia-smi", "-L"]

_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+([0-9]+(?:\.[0-9]+)+)")
_MODULE_FILE = re.compile(
    r"(?:^|/)nvidia(?:-current|-tesla-[0-9]+|-tesla|-legacy-[0-9a-z]+)?\.ko(?:\.(?:xz|zst|gz))?$"
)
_LIBRARY = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.([0-9]+\.[0-9]+(?:\.[0-9]+)*)")
_LEADING = re.compile(r"^(?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)")
_GPU_LINE = re.compile(r"^GPU ([0-9]+):")
_MIG_LINE = re.compile(r"^\s+MIG (?:[0-9]+c\.)?(\S+)\s+Device")


class Package(NamedTuple):
    """What dpkg's status file says of a package."""

    version: str
    state: str
    held: bool


class Module(NamedTuple):
    """What modinfo says of a kernel's nvidia module; empty texts for what it does not say."""

    version: str
    licence: str
    vermagic: str
    signer: str
    key: str


def read(system: System, scope: Mapping[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: `at`, and the names in `packages` and `files`, say where to look. Empty: none.

    Returns:
        The items that docs/reference/nvidia.md lists.
    """
    if not scope:
        return {}
    at = scope["at"]
    packages = read_packages(
        system.read(STATUS) or "", at["arch"], at["ours"], list(scope.get("packages") or ())
    )
    have: Dict[str, Any] = {
        "packages_settled": not system.listdir("/var/lib/dpkg/updates"),
        "half_installed": sorted(
            "%s (%s)" % (name, package.state)
            for name, package in packages.items()
            if package.state != "installed"
        ),
        "packages": {name: _told(packages.get(name)) for name in scope.get("packages") or ()},
        "held": sorted(
            name for name, package in packages.items() if package.held and name in scope.get("held", ())
        ),
        "files": {path: system.read(path) for path in scope.get("files") or ()},
        "stale_files": [path for path in at["own_files"] if path not in scope["files"] and system.stat(path)],
        "units": sorted(set(system.listdir(WANTS)) & set(at["own_units"])),
    }
    have.update({item: shown(item, pattern, packages) for item, pattern in at["patterns"].items()})
    if at["kind"] == "tegra":
        have["cdi"] = {path: "present" for path, text in _cdi(system)}
        have.update(nvidia_jetson.read(system, scope))
        return have
    have.update(_kernel_side(system, at["kernel"]))
    have.update(gpus(system, have["driver"]))
    have.update(_smi(system, have["driver"], scope.get("mig") or {}))
    have["mps"] = _mps(system, at["mps_pipes"])
    have["cdi"] = {
        path: ",".join(sorted(set(_LIBRARY.findall(text)))) or "unknown" for path, text in _cdi(system)
    }
    have["legacy_hooks"] = [
        "%s/%s" % (directory, name)
        for directory in HOOK_DIRECTORIES
        for name in system.listdir(directory)
        if "nvidia" in name
    ]
    return have


def read_packages(status: str, arch: str, ours: str, named: List[str]) -> Dict[str, Package]:
    """Packages of NVIDIA's stack in dpkg's status file, and those that are asked for by name.

    Args:
        status: the file's text.
        arch: the device's architecture; packages of others are left out.
        ours: pattern of the names that belong to the stack.
        named: further names.

    Returns:
        Name to package, without those that are gone but for their configuration.
    """
    pattern, names = re.compile(ours), set(named)
    found = {}
    for block in status.split("\n\n"):
        if not block.startswith("Package: "):
            continue
        name = block[9:].split("\n", 1)[0].strip()
        if name not in names and not pattern.match(name):
            continue
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] not in " \t"
        )
        words = fields.get("Status", "").split()
        there = len(words) == 3 and words[2] not in ("not-installed", "config-files")
        if there and fields.get("Architecture") in (arch, "all"):
            found[name] = Package(fields.get("Version", ""), words[2], words[0] == "hold")
    return found


def shown(item: str, pattern: str, packages: Mapping[str, Package]) -> Optional[str]:
    """The version of an item that installed packages show: upstream's numbers, the highest of several.

    CUDA's own number is in its packages' names (`cuda-cudart-12-2`); else its third number is the library's.
    """
    versions: List[Tuple[List[int], str]] = []
    for name, package in packages.items():
        match = _LEADING.match(package.version) if re.match(pattern, name) else None
        if match is None or package.state != "installed":
            continue
        text = match.group(1)
        if item == "cuda":
            named = re.search(r"-([0-9]+)-([0-9]+)$", name)
            text = "%s.%s" % named.groups() if named else ".".join(text.split(".")[:2])
        versions.append(([int(part) for part in text.split(".")], text))
    return max(versions)[1] if versions else None


def _told(package: Optional[Package]) -> Optional[str]:
    if package is None:
        return None
    return package.version if package.state == "installed" else "%s (%s)" % (package.version, package.state)


def _kernel_side(system: System, locked: Optional[str]) -> Dict[str, Any]:
    """Modules on disk and in the kernel, nouveau, Secure Boot."""
    running = (system.read("/proc/sys/kernel/osrelease") or "").strip() or None
    module = _module(system, locked) if locked else None
    other = module if running == locked else _module(system, running) if running else None
    driver, flavour = loaded_driver(system)
    secure = (system.read_bytes(SECURE_BOOT) or b"")[4:5] == b"\x01"
    return {
        "kernel_running": running,
        "module": module.version or None if module else None,
        "module_flavour": _flavour(module.licence) if module else None,
        "module_kernel": module.vermagic.split(" ", 1)[0] or None if module else None,
        "module_running": other.version or None if other else None,
        "module_signer": (module.signer or None) if module else None,
        "module_trusted": not secure or (module is not None and _enrolled(system, module.key)),
        "secure_boot": secure,
        "nouveau": bool(system.listdir("/sys/module/nouveau")),
        "driver": driver,
        "driver_flavour": flavour,
    }


def loaded_driver(system: System) -> Tuple[Optional[str], Optional[str]]:
    """Version and flavour of the loaded driver; None for what the kernel does not say."""
    text = system.read("/proc/driver/nvidia/version") or ""
    loaded = _VERSION.search(text)
    if not loaded:
        return (system.read("/sys/module/nvidia/version") or "").strip() or None, None
    return loaded.group(1), "open" if "Open Kernel Module" in text else "proprietary"


def _module(system: System, kernel: str) -> Optional[Module]:
    base = "/lib/modules/" + kernel
    files = [line.split(":", 1)[0] for line in (system.read(base + "/modules.dep") or "").splitlines()]
    # `updates` comes before the kernel's own tree, as depmod searches.
    found = sorted(
        (name for name in files if _MODULE_FILE.search(name)),
        key=lambda name: not name.startswith("updates/"),
    )
    if not found:
        return None
    asked = system.run(["modinfo", found[0] if found[0].startswith("/") else base + "/" + found[0]])
    if asked.rc != 0:
        return None
    fields: Dict[str, str] = {}
    for line in asked.out.splitlines():
        key, colon, value = line.partition(":")
        if colon and not key.startswith((" ", "\t")):
            fields.setdefault(key, value.strip())
    return Module(*(fields.get(key, "") for key in ("version", "license", "vermagic", "signer", "sig_key")))


def _flavour(licence: str) -> Optional[str]:
    """Flavour of a module by its licence: NVIDIA's open ones are "Dual MIT/GPL", the others "NVIDIA"."""
    return {"Dual MIT/GPL": "open", "NVIDIA": "proprietary"}.get(licence)


def _enrolled(system: System, key: str) -> bool:
    """Whether the certificate that signed a module is among those that shim or the firmware hold.

    Args:
        key: modinfo's `sig_key`: the certificate's serial number in hexadecimal digits with colons.

    The variables hold whole certificates; in one, the serial stands as a DER integer (tag, length, bytes).
    """
    digits = key.replace(":", "").lower()
    try:
        serial = bytes.fromhex(digits).lstrip(b"\0")
    except ValueError:
        return False
    if not serial:
        return False
    if serial[0] & 0x80:
        serial = b"\0" + serial
    wanted = b"\x02" + bytes([len(serial)]) + serial
    names = [name for name in system.listdir(EFIVARS) if name.startswith(KEY_VARIABLES)]
    return any(wanted in (system.read_bytes(EFIVARS + "/" + name) or b"") for name in names)


def gpus(system: System, driver: Optional[str]) -> Dict[str, Any]:
    """GPUs on the PCI bus, which needs no driver, and those that the loaded driver left alone."""
    found = []
    for address in system.listdir("/sys/bus/pci/devices"):
        base = "/sys/bus/pci/devices/" + address
        if (system.read(base + "/vendor") or "").strip() != VENDOR:
            continue
        # 0x0300xx is a VGA controller, 0x0302xx a 3D controller; others are the card's audio or USB.
        if (system.read(base + "/class") or "")[:6] in ("0x0300", "0x0302"):
            number = (system.read(base + "/device") or "").strip()
            found.append((address, "10de:" + number[2:]))
    driven = system.listdir("/proc/driver/nvidia/gpus") if driver else []
    return {
        "gpus": [number for address, number in found],
        "gpus_undriven": ["%s %s" % each for each in found if each[0] not in driven] if driver else [],
    }


def _smi(system: System, driver: Optional[str], layout: Mapping[str, Any]) -> Dict[str, Any]:
    """Persistence and MIG, which only the driver knows; None where it is not loaded or does not answer."""
    if not driver:
        return {"persistence": None, "mig": None}
    asked = system.run(SMI_QUERY)
    rows = [[part.strip() for part in line.split(",")] for line in asked.out.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[0].isdigit()]
    if asked.rc != 0 or not rows:
        return {"persistence": None, "mig": None}
    cut = [row[0] for row in rows if row[3] == "Enabled"]
    profiles: Dict[str, List[str]] = {index: [] for index in cut}
    index = ""
    for line in system.run(SMI_LIST).out.splitlines() if cut else ():
        gpu, mig = _GPU_LINE.match(line), _MIG_LINE.match(line)
        if gpu:
            index = gpu.group(1)
        elif mig and index in profiles:
            profiles[index].append(mig.group(1))
    found = {index: sorted(names) for index, names in profiles.items()}
    same = list(found.values())
    if "all" in layout and len(found) == len(rows) and all(names == same[0] for names in same):
        found = {"all": same[0]}
    return {"persistence": all(row[2] == "Enabled" for row in rows), "mig": found}


def _mps(system: System, pipes: str) -> bool:
    """Whether the MPS daemon of our unit runs. A process's comm holds 15 characters of its name."""
    pid = (system.read(pipes + "/nvidia-cuda-mps-control.pid") or "").strip()
    return pid.isdigit() and (system.read("/proc/%s/comm" % pid) or "").startswith("nvidia-cuda-mps")


def _cdi(system: System) -> List[Tuple[str, str]]:
    """CDI specifications of NVIDIA's GPUs. /var/run is a link to /run on systemd's systems."""
    found = []
    for directory in CDI_DIRECTORIES:
        for name in system.listdir(directory):
            path = "%s/%s" % (directory, name)
            text = system.read(path) or "" if name.endswith((".yaml", ".yml", ".json")) else ""
            if "nvidia.com/gpu" in text:
                found.append((path, text))
    return found

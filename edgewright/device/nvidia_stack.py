# SPDX-License-Identifier: Apache-2.0
"""What a lock says of a host's NVIDIA stack: the chosen versions, the kernel, the packages. Pure.

A lock's `nvidia` section has an entry for each profile and target (docs/reference/release.md); its packages
are those of the target's closure that belong to the stack, of a modules package, and of supplied files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.device.nvidia_lock import nvidia_answer
from edgewright.errors import InputError

__all__ = ["OURS", "PATTERNS", "Stack", "locked_stack"]

OURS = (
    r"^(?:edgewright-nvidia-modules-|nvidia-|libnvidia-|libnv(?:infer|onnxparser|parsers|jitlink|jpeg|rtc|cuvid|optix)"
    r"|libcud(?:a1$|a-|nn|art)|libcu(?:blas|fft|rand|solver|sparse|pti)|libnpp|cuda-|tensorrt|firmware-nvidia-)"
)
"""Names of packages that belong to NVIDIA's stack."""

PATTERNS: Mapping[str, str] = {
    "driver_installed": r"(?:libcuda1|nvidia-driver-libs|nvidia-driver-cuda|nvidia-tesla-\d+-driver-libs)$",
    "cuda": r"(?:cuda-cudart-\d+-\d+|cuda-(?:runtime|toolkit)-\d+-\d+|libcudart\d+(?:\.\d+)?)$",
    "cudnn": r"libcudnn\d+(?:-cuda-\d+)?$",
    "tensorrt": r"libnvinfer\d+$",
    "container_toolkit": r"nvidia-container-toolkit(?:-base)?$",
}
"""Item to the names of packages that show its version, as they come from Debian or from NVIDIA."""

_DEB = re.compile(r"^([a-z0-9][a-z0-9.+-]+)_([^_]+)_([a-z0-9]+)\.deb$")
_BUILT_ON_DEVICE = re.compile(r"-dkms$")


@dataclass(frozen=True)
class Stack:
    """A host's stack, as locked.

    Attributes:
        chosen: item to version or word, the resolver's names.
        kernel: release of the locked kernel, such as `6.1.0-56-rt-amd64`.
        packages: the stack's packages, name to version.
        where: what it is and where it stands, for messages.
    """

    chosen: Mapping[str, str]
    kernel: str
    packages: Mapping[str, str]
    where: str

    def carries(self, item: str) -> bool:
        """Whether a package on the device shows the item; a wheel in the runtime image does not."""
        return any(re.match(PATTERNS[item], name) for name in self.packages)


def locked_stack(lock: Mapping[str, Any], profile: Mapping[str, Any], modules_from: str) -> Stack:
    """The stack of a profile.

    Args:
        lock: the release's lock.
        profile: the hardware profile: `name`, `arch`.
        modules_from: `depot` or `dkms`; from the depot, packages that build on the device are left out.

    Raises:
        InputError: the lock has no entry for the profile, one for other hardware, or a damaged one.
    """
    named = f"lock of release {lock['release']['name']} {lock['release']['version']}"
    again = "write it again with `edgewright release lock`"
    entries = lock.get("nvidia") or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InputError(f"{named}: nvidia: expected a list of mappings, got {entries!r:.80}; {again}")
    own = f"{lock['os']['suite']}/{lock['os']['arch']}"
    entry = nvidia_answer(lock, profile)
    if entry is None:
        made = ", ".join(sorted({str(each.get("profile")) for each in entries})) or "none"
        raise InputError(
            f"{named}: has no NVIDIA stack for profile {profile['name']} (it has those of: {made}): name the"
            f" profile under nvidia.profiles in release.yml and {again}, or set nvidia_managed to false where"
            " nothing on the device uses the GPU"
        )
    where = f"{named}: nvidia of {profile['name']}"
    chosen = entry.get("chosen")
    if not isinstance(chosen, Mapping) or not all(isinstance(text, str) for text in chosen.values()):
        raise InputError(
            f"{where}: chosen: expected items with versions as text, got {chosen!r:.80}; {again}"
        )
    target = _target(lock, str(entry.get("target")), own, where, again)
    packages = {
        str(deb["name"]): str(deb["version"])
        for deb in target["apt"]["packages"]
        if re.match(OURS, str(deb["name"]))
    }
    packages |= _built(target, target["kernel"]["release"])
    packages |= _supplied(lock.get("files") or [], profile["arch"], target["os"]["suite"])
    if modules_from == "depot":
        packages = {name: text for name, text in packages.items() if not _BUILT_ON_DEVICE.search(name)}
    return Stack(chosen, target["kernel"]["release"], dict(sorted(packages.items())), where)


def _target(lock: Mapping[str, Any], named: str, own: str, where: str, again: str) -> Mapping[str, Any]:
    """What has the target's kernel and packages: the lock itself, or one of its `targets`."""
    if named == own:
        return lock
    for target in lock.get("targets") or []:
        if f"{target['os']['suite']}/{target['os']['arch']}" == named:
            found: Mapping[str, Any] = target
            return found
    raise InputError(f"{where}: target {named!r} is none of the lock's ({own} and its targets); {again}")


def _built(target: Mapping[str, Any], kernel: str) -> dict[str, str]:
    """Packages of kernel modules that the bundle was built with, for this kernel."""
    entries = target.get("modules")
    return {
        str(entry["package"]): str(entry["version"])
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
        and isinstance(entry.get("package"), str)
        and isinstance(entry.get("version"), str)
        and isinstance(entry.get("kernel"), Mapping)
        and entry["kernel"].get("release") == kernel
    }


def _supplied(files: Sequence[Mapping[str, Any]], arch: str, suite: str) -> dict[str, str]:
    """Supplied packages of the stack, by the names of their files; of those for other suites none."""
    mine = [file for file in files if suite in (file.get("suites") or [suite])]
    matches = (_DEB.match(str(file.get("name"))) for file in mine)
    return {
        match[1]: match[2]
        for match in matches
        if match and match[3] in (arch, "all") and re.match(OURS, match[1])
    }

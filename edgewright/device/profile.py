# SPDX-License-Identifier: Apache-2.0
"""Hardware profiles: what a kind of device is, as data.

A profile (schema `edgewright.profile/v1`) says what no probe may decide: the architecture, the
CPUs and memory that the hardware has, how it boots, which GPU it carries, its power modes by name.
`want` is computed from it before a device is touched. A site's own profiles lie in `profiles/` of
its inventory and come before those that Edgewright carries.

Example:
    profile = load_profile("x86_vm", [Path("inventories/factory/profiles"), carried_profiles()])
    profile.as_dict()["cpus"]  # 4
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgewright.device import _yaml
from edgewright.device.topology import parse_topology
from edgewright.errors import InputError

__all__ = [
    "SCHEMA",
    "Profile",
    "carried_profiles",
    "known_profiles",
    "load_profile",
    "missing_profile",
    "parse_profile",
]

SCHEMA = "edgewright.profile/v1"
ARCHES = ("amd64", "arm64")
BOOT_MECHANISMS = ("grub", "extlinux", "firmware", "snapd", "given", "none")
GPUS = ("none", "nvidia", "tegra")
_OPTIONAL_NAMES = ("gpu_model", "jetson_module", "topology")
# Above this a number is a slip of the keyboard, not a device: Linux' own NR_CPUS limit on amd64 is 8192.
MAX_CPUS = 8192
MAX_MEMORY_MIB = 64 * 1024 * 1024

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")
_MODULE = re.compile(r"^p[0-9]{4}-[0-9]{4}$")


@dataclass(frozen=True)
class Profile:
    """What a kind of hardware is.

    Attributes:
        name: the profile's name, which is its file's name without `.yml`.
        arch: Debian's word for the architecture.
        cpus: logical CPUs, numbered 0 to cpus - 1.
        memory_mib: main memory in MiB.
        boot: what chooses the kernel at power on: `firmware` where the board's own firmware does (Raspberry
            Pi), `snapd` where snapd manages the boot (Ubuntu Core), `given` where the kernel is the machine's
            own and nothing here chooses it (a twin that stands for Ubuntu Core); `none` where the device has
            no kernel of
            its own.
        gpu: `none`, `nvidia` (a discrete card) or `tegra` (Jetson).
        power_modes: names of the modes that the device's power tool knows; empty when it has none.
        description: one line for a person.
        gpu_model: the GPU's name in the facts (`edgewright/data/facts/gpus.yml`); empty where there is none.
        jetson_module: a Jetson module's part number, such as `p3767-0003`; empty elsewhere.
        topology: which CPUs share a core, are of one type, lie in one NUMA node or behind one cache, as
            `edgewright.device.topology` has it; empty where the profile says nothing of it.
    """

    name: str
    arch: str
    cpus: int
    memory_mib: int
    boot: str
    gpu: str
    power_modes: tuple[str, ...] = ()
    description: str = ""
    gpu_model: str = ""
    jetson_module: str = ""
    topology: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """The same with JSON types only, as areas' `want` functions take it; without empty names."""
        named = {key: value for key, value in asdict(self).items() if value or key not in _OPTIONAL_NAMES}
        return {**named, "power_modes": list(self.power_modes)}


def carried_profiles() -> Path:
    """Directory of the profiles that Edgewright itself carries."""
    return Path(__file__).resolve().parent.parent / "data" / "profiles"


def known_profiles(directories: Sequence[Path]) -> list[str]:
    """Sorted names of the profiles in these directories; a directory that is not there has none."""
    return sorted({path.stem for directory in directories for path in directory.glob("*.yml")})


def missing_profile(host: str, directories: Sequence[Path]) -> InputError:
    """The error for a host that names no profile: says where to set it and what there is to choose."""
    return InputError(
        f"host {host} has no hardware profile: set edgewright_profile in host_vars/{host}/ or group_vars/"
        f" of the inventory to one of: {', '.join(known_profiles(directories)) or 'none found'}"
    )


def load_profile(name: object, directories: Sequence[Path]) -> Profile:
    """Find and read a profile by name; the first directory that holds it wins.

    Args:
        name: value of `edgewright_profile`.
        directories: where to look, in order.

    Raises:
        InputError: no such profile (the message names the nearest and all there are), or a bad one.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        known = known_profiles(directories)
        raise InputError(
            f"edgewright_profile is {name!r}: expected a name of small letters, digits, - and _, one of:"
            f" {', '.join(known)}"
        )
    for directory in directories:
        path = directory / f"{name}.yml"
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"profile {name}: cannot read {path}: {error}") from error
            return parse_profile(name, text, str(path))
    known = known_profiles(directories)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    looked = ", ".join(str(directory) for directory in directories)
    raise InputError(
        f"edgewright_profile is {name!r}, and there is no such profile: known are"
        f" {', '.join(known) or 'none'}{hint} Looked in {looked}"
    )


# A fleet asks for few profiles, many times. What it gives out cannot be changed.
@functools.lru_cache(maxsize=32)
def parse_profile(name: str, text: str, source: str) -> Profile:
    """Check and build a profile from its YAML text.

    Args:
        name: name to give it.
        text: the file's content.
        source: the file, for messages.

    Raises:
        InputError: not YAML, another schema, an unknown or missing key, a wrong value.
    """
    where = f"profile {name} ({source})"
    raw = _yaml.load_mapping(text, where, SCHEMA)
    required = {"schema", "arch", "cpus", "memory_mib", "boot", "gpu"}
    allowed = required | {"power_modes", "description", "gpu_model", "jetson_module", "topology"}
    unknown = sorted(str(key) for key in raw if key not in allowed)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(allowed), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(
            f"{where}: unknown key {', '.join(unknown)}{hint}; a profile has {', '.join(sorted(allowed))}"
        )
    missing = sorted(required - set(raw))
    if missing:
        raise InputError(f"{where}: missing {', '.join(missing)}")
    modes = raw.get("power_modes", [])
    if not isinstance(modes, list) or not all(isinstance(mode, str) and mode for mode in modes):
        raise InputError(f"{where}: power_modes: expected a list of names, got {modes!r}")
    description = raw.get("description", "")
    if not isinstance(description, str):
        raise InputError(f"{where}: description: expected a line of text, got {description!r}")
    cpus = _count(where, raw, "cpus", MAX_CPUS)
    return Profile(
        name=name,
        arch=_choice(where, raw, "arch", ARCHES),
        cpus=cpus,
        memory_mib=_count(where, raw, "memory_mib", MAX_MEMORY_MIB),
        boot=_choice(where, raw, "boot", BOOT_MECHANISMS),
        gpu=_choice(where, raw, "gpu", GPUS),
        power_modes=tuple(modes),
        description=description,
        gpu_model=_named(where, raw, "gpu_model", ("nvidia", "tegra"), _NAME),
        jetson_module=_named(where, raw, "jetson_module", ("tegra",), _MODULE),
        topology=parse_topology(raw["topology"], where, cpus) if "topology" in raw else {},
    )


def _named(where: str, raw: Mapping[str, Any], key: str, gpus: Sequence[str], form: re.Pattern[str]) -> str:
    """An optional name that only profiles with certain values of `gpu` may have."""
    if key not in raw:
        return ""
    value = raw[key]
    if raw["gpu"] not in gpus:
        raise InputError(
            f"{where}: {key} is {value!r} where gpu is {raw['gpu']!r}; only a profile with gpu:"
            f" {' or '.join(gpus)} has a {key}"
        )
    if not isinstance(value, str) or not form.match(value):
        example = "p3767-0003" if key == "jetson_module" else "t4"
        raise InputError(f"{where}: {key}: expected a name such as {example}, got {value!r}")
    return value


def _choice(where: str, raw: Mapping[str, Any], key: str, choices: Sequence[str]) -> str:
    value = raw[key]
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{where}: {key}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def _count(where: str, raw: Mapping[str, Any], key: str, most: int) -> int:
    value = raw[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"{where}: {key}: expected a whole number from 1 to {most}, got {value!r}")
    return value

# SPDX-License-Identifier: Apache-2.0
"""What GPUs are known by and can be cut into, and whether a declared MIG layout fits one of them.

The rows are data of the package (`edgewright/data/nvidia/gpus.yml`), with their sources, read once.
Versions and what fits together are facts (`edgewright.release.stack.facts`); this is recognition.

Example:
    layout = mig_layout({"all": ["3g.40gb", "3g.40gb"]}, "a100-80gb")     # {"all": ["3g.40gb", "3g.40gb"]}
    mig_layout({"all": ["4g.40gb", "4g.40gb"]}, "a100-80gb")              # InputError: at most 1
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.device import _yaml
from edgewright.errors import InputError

__all__ = ["DATA", "SCHEMA", "VENDOR", "Gpu", "MigProfile", "known_gpus", "mig_apply_script", "mig_layout"]

SCHEMA = "edgewright.nvidia-gpus/v1"
DATA = Path(__file__).resolve().parent.parent / "data" / "nvidia"

VENDOR = "10de"
"""NVIDIA's PCI vendor number, in hexadecimal digits as sysfs and lspci write it."""

# A host with more GPUs than this is a slip of the keyboard; NVIDIA's HGX boards have 8, hosts up to 16.
MOST_GPUS = 32


@dataclass(frozen=True)
class MigProfile:
    """A kind of GPU instance.

    Attributes:
        name: such as `3g.40gb`.
        size: places that it takes on the GPU's memory axis.
        starts: places at which it may start.
        most: how many of it a GPU can have.
    """

    name: str
    size: int
    starts: tuple[int, ...]
    most: int


@dataclass(frozen=True)
class Gpu:
    """What a GPU is known by.

    Attributes:
        name: its name in the facts, such as `a100-80gb`.
        pci: PCI device numbers as `10de:20b5`; empty where no source names one.
        mig: the kinds of instances it can be cut into, by name; empty where it can't.
    """

    name: str
    pci: tuple[str, ...]
    mig: Mapping[str, MigProfile]


@functools.cache
def known_gpus() -> Mapping[str, Gpu]:
    """The GPUs of the package's data, by name.

    Raises:
        InputError: the data is damaged.
    """
    path = DATA / "gpus.yml"
    raw = _yaml.load_mapping(path.read_text(encoding="utf-8"), f"GPU data {path}", SCHEMA)
    return {
        name: Gpu(
            name,
            tuple(f"{VENDOR}:{number}" for number in row["pci"]),
            {
                profile: MigProfile(profile, place["size"], tuple(place["starts"]), place["most"])
                for profile, place in row.get("mig", {}).get("profiles", {}).items()
            },
        )
        for name, row in raw["gpus"].items()
    }


@functools.cache
def mig_apply_script() -> str:
    """Text of the program that makes a GPU's MIG layout what it is declared to be."""
    return (DATA / "mig-apply.sh").read_text(encoding="utf-8")


def mig_layout(value: object, gpu_model: str) -> dict[str, list[str]]:
    """Check a declared MIG layout against what the GPU can be cut into.

    Args:
        value: GPU index, or `all`, to the profiles of its instances, such as `{all: [3g.40gb, 3g.40gb]}`;
            no profiles mean MIG off for that GPU.
        gpu_model: the GPU of the hardware profile.

    Returns:
        The same with sorted profiles, keys in order; empty where no GPU is cut.

    Raises:
        InputError: no mapping, a GPU that can't be cut, an unknown profile, too many, or they don't fit.
    """
    where = "nvidia_mig"
    if not isinstance(value, Mapping):
        raise InputError(
            f"{where}: expected GPUs with profiles such as {{all: [3g.40gb, 3g.40gb]}}, got {value!r}"
        )
    layout: dict[str, list[str]] = {}
    for key, profiles in value.items():
        index = str(key)
        if index != "all" and not (index.isascii() and index.isdigit() and int(index) < MOST_GPUS):
            raise InputError(
                f"{where}: {key!r} is no GPU: expected all, or an index from 0 as nvidia-smi prints it"
            )
        if not isinstance(profiles, list | tuple) or not all(isinstance(each, str) for each in profiles):
            raise InputError(
                f"{where}: {index}: expected a list of profiles such as [3g.40gb], got {profiles!r}"
            )
        if profiles:
            _check(f"{where}: {index}", list(profiles), gpu_model)
            layout[str(int(index)) if index != "all" else index] = sorted(profiles)
    if "all" in layout and len(value) > 1:
        raise InputError(f"{where}: names all and single GPUs: name either all, or each GPU")
    return dict(sorted(layout.items()))


def _check(where: str, profiles: Sequence[str], gpu_model: str) -> None:
    gpu = known_gpus().get(gpu_model)
    kinds = gpu.mig if gpu else {}
    if not kinds:
        able = ", ".join(name for name, each in known_gpus().items() if each.mig)
        raise InputError(
            f"{where}: wants {', '.join(profiles)}, but GPU {gpu_model or '(none)'} has no MIG profiles"
            f" that a source names; known are those of {able}. Take the layout out, or correct the"
            " hardware profile"
        )
    for name in profiles:
        if name not in kinds:
            near = difflib.get_close_matches(name, list(kinds), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(
                f"{where}: {gpu_model} has no MIG profile {name!r}: it has {', '.join(kinds)}{hint}"
            )
        if profiles.count(name) > kinds[name].most:
            raise InputError(
                f"{where}: {profiles.count(name)} instances of {name}, and {gpu_model} can have"
                f" {kinds[name].most}"
            )
    media = [name for name in profiles if name.endswith("+me")]
    if len(media) > 1:
        raise InputError(
            f"{where}: {' and '.join(media)}: one instance only can have the media engines (+me)"
        )
    if not _fits([kinds[name] for name in sorted(profiles, key=lambda each: -kinds[each].size)], frozenset()):
        raise InputError(
            f"{where}: {', '.join(profiles)} do not fit on one {gpu_model} side by side: their places are"
            " "
            + "; ".join(
                f"{name} {{{','.join(map(str, kinds[name].starts))}}}:{kinds[name].size}"
                for name in dict.fromkeys(profiles)
            )
        )


def _fits(kinds: Sequence[MigProfile], taken: frozenset[int]) -> bool:
    """Whether each instance finds a place: at most 7 of them, so trying all is quick."""
    if not kinds:
        return True
    first, rest = kinds[0], kinds[1:]
    for start in first.starts:
        places = frozenset(range(start, start + first.size))
        if not places & taken and _fits(rest, taken | places):
            return True
    return False

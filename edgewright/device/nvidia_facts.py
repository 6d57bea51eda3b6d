# SPDX-License-Identifier: Apache-2.0
"""What the facts say of a locked NVIDIA stack and of what a device answers: known, dropped, unknown.

The facts are the package's own data (`edgewright.release.stack.facts`), read once. A version that no
verified fact names is refused before a device is asked, and told by name when a device has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewright.device.nvidia_gpus import known_gpus
from edgewright.errors import InputError
from edgewright.release.stack.facts import Row, load_facts

__all__ = ["check_branch", "check_chosen", "dropped", "known_l4t", "l4t_is_known", "same_version"]

# Item to the kind of fact and the key that names its version.
_NAMED = {
    "driver": ("drivers", "version"),
    "module": ("modules", "version"),
    "cuda": ("cuda", "release"),
    "cudnn": ("cudnn", "release"),
    "tensorrt": ("tensorrt", "release"),
    "container-toolkit": ("container-toolkit", "release"),
}
# JetPack brings these along; a Jetson's are facts of its JetPack and not rows of their own.
_OF_JETPACK = frozenset({"cuda", "cudnn", "tensorrt"})


def same_version(one: str | None, other: str | None) -> bool:
    """Whether two versions agree in the places that both have: 12.2 and 12.2.2 do, 12.2 and 12.20 don't."""
    if not one or not other:
        return False
    both = zip(one.split("."), other.split("."), strict=False)
    return all(_number(a) == _number(b) for a, b in both)


def known_l4t() -> tuple[str, ...]:
    """The L4T releases that a verified fact names, in the order of the facts."""
    return tuple(
        str(release) for row in load_facts().all("jetpack") if row.verified for release in row["l4t"] or ()
    )


def l4t_is_known(release: str) -> bool:
    """Whether a verified fact names an L4T release; 38.4.0 and 38.4 are the same."""
    return any(_padded(release) == _padded(known) for known in known_l4t())


def check_chosen(chosen: Mapping[str, str], gpu_model: str, tegra: bool, where: str) -> None:
    """Refuse a stack with a version that no verified fact names, or a driver that dropped the GPU.

    Args:
        chosen: item to version, of the lock.
        gpu_model: the GPU of the hardware profile.
        tegra: whether the device is a Jetson.
        where: the lock's entry, the message's first words.

    Raises:
        InputError: names the item, its version and what to do.
    """
    again = (
        "lock again with `edgewright release lock` by today's facts, or add the fact with its source"
        " (docs/how-to/add-a-fact.md)"
    )
    facts = load_facts()
    for item, (kind, key) in _NAMED.items():
        version = chosen.get(item)
        if version is None or (tegra and item in _OF_JETPACK):
            continue
        rows = [row for row in facts.all(kind) if row.written.get(key) == version and row.verified]
        if not rows:
            raise InputError(f"{where}: wants {item} {version}, which no verified fact names; {again}")
    if tegra:
        l4t = chosen.get("l4t", "")
        if not l4t_is_known(l4t):
            raise InputError(
                f"{where}: wants L4T {l4t or '(none)'}, which no verified fact names"
                f" (known: {', '.join(known_l4t())}); {again}"
            )
        return
    check_branch(chosen.get("driver", ""), gpu_model, where, "want driver<{} in release.yml and lock again")


def check_branch(driver: str, gpu_model: str, where: str, hint: str) -> None:
    """Refuse a driver that dropped the GPU.

    Args:
        driver: its version, or its branch alone.
        gpu_model: the GPU of the hardware profile.
        where: what wants it, the message's first words.
        hint: what to do, the message's last; `{}` in it becomes the first branch that is too new.

    Raises:
        InputError: it did.
    """
    branch = _dropped(gpu_model, driver)
    if branch is not None:
        last, row = branch
        raise InputError(
            f"{where}: wants driver {driver} for GPU {gpu_model}, which drivers after branch {last}"
            f" no longer drive ({row.told}); {hint.format(last + 1)}"
        )


def dropped(pci: str, driver: str) -> str | None:
    """Why a loaded driver leaves a GPU alone, as far as the facts tell.

    Args:
        pci: the GPU's PCI number, such as `10de:1db4`.
        driver: version of the loaded driver.

    Returns:
        A clause such as "v100 is driven up to branch 580 only", or None where the facts give no reason.
    """
    for gpu in known_gpus().values():
        branch = _dropped(gpu.name, driver) if pci in gpu.pci else None
        if branch is not None:
            return f"{gpu.name} is driven up to driver branch {branch[0]} only ({branch[1].told})"
    return None


def _dropped(gpu_model: str, driver: str) -> tuple[int, Row] | None:
    facts = load_facts()
    gpu: Any = facts.one("gpus", name=gpu_model)
    row = facts.one("architectures", compute_capability=gpu["compute_capability"]) if gpu else None
    last = row["last_driver_branch"] if row else None
    major = _number(driver.split(".", maxsplit=1)[0])
    return (int(last), row) if row and last and isinstance(major, int) and major > int(last) else None


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _padded(version: str) -> list[int | str]:
    numbers = [_number(part) for part in version.split(".")]
    return numbers + [0] * (3 - len(numbers))

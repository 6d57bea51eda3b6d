# SPDX-License-Identifier: Apache-2.0
"""Area `nvidia` on Ubuntu Core: refused, with the sentences of the facts that refuse it. Pure.

What Ubuntu Core offers a GPU are components of a kernel snap; whether one is there for a device's card is a
question of
facts (`edgewright/data/os/facts.yml`), and of snaps that a release would have to name. Until a release can,
a device
with a GPU is refused here rather than served without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewright.device.drift import Drift, Have, Want
from edgewright.device.places import UBUNTU_CORE
from edgewright.errors import InputError

__all__ = ["AREA", "drift", "want"]

AREA = "nvidia"

# The profile's gpu -> the questions of the OS facts that decide about it.
_TOPICS = {"nvidia": ("nvidia", "nvidia_rt"), "tegra": ("jetson", "jetson_rt")}


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing where the device has no GPU, or none that the model is to use.

    Raises:
        InputError: it has one.
    """
    del lock
    if profile["gpu"] == "none" or variables.get("nvidia_managed") is False:
        return {}
    said = _said(str(profile["gpu"]))
    raise InputError(
        f"profile {profile['name']} has a GPU ({profile['gpu']}), and the collection puts no GPU's stack"
        " on Ubuntu Core:"
        f" {said}. Set edgewright_os: debian for this host, or nvidia_managed: false where the model does"
        " not use the GPU"
    )


def _said(gpu: str) -> str:
    from edgewright.osadvice.facts import load_os_facts  # noqa: PLC0415 - only for a GPU

    facts = load_os_facts()
    rows = [facts.row(topic, UBUNTU_CORE) for topic in _TOPICS[gpu]]
    return "; ".join(f"{row.says} ({row.told})" for row in rows)


def drift(have: Have, want: Want) -> list[Drift]:  # noqa: ARG001 - one signature for all areas
    """Nothing is wanted, so nothing differs."""
    return []

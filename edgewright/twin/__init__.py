# SPDX-License-Identifier: Apache-2.0
"""Twins: machines that stand in for devices: a VM with a kernel of its own, one whose system is snapd's, or a
fast container."""

from __future__ import annotations

from edgewright.twin.container import ContainerTwin
from edgewright.twin.machine import Twin
from edgewright.twin.snapd import SnapdTwin
from edgewright.twin.spec import TwinSpec
from edgewright.twin.tools import Say, say_print
from edgewright.twin.vm import VmTwin

__all__ = ["ContainerTwin", "SnapdTwin", "Twin", "TwinSpec", "VmTwin", "make_twin"]

_CLASSES: dict[str, type[Twin]] = {"vm": VmTwin, "snapd": SnapdTwin, "container": ContainerTwin}


def make_twin(spec: TwinSpec, say: Say = say_print) -> Twin:
    """The twin that a spec asks for."""
    return _CLASSES[spec.kind](spec, say)

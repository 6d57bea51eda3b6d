# SPDX-License-Identifier: Apache-2.0
"""Twins: machines that stand in for devices, a VM with a kernel of its own or a fast container."""

from __future__ import annotations

import subprocess
from typing import Protocol

from edgewright.twin.container import ContainerTwin
from edgewright.twin.spec import TwinSpec
from edgewright.twin.tools import Say, say_print
from edgewright.twin.vm import VmTwin

__all__ = ["ContainerTwin", "Twin", "TwinSpec", "VmTwin", "make_twin"]


class Twin(Protocol):
    """What every kind of twin can do; `edgewright.twin.vm.VmTwin` explains each."""

    spec: TwinSpec

    def up(self, timeout_s: float = ...) -> bool:
        """Start it and wait for ssh. Returns False when it was up already."""

    def is_up(self) -> bool:
        """Whether it runs."""

    def accelerator(self) -> str | None:
        """What runs its code (`kvm`, `tcg`, `host`), or None when it is down."""

    def run(
        self, command: str, *, stdin: str | None = None, timeout_s: float = ...
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on it as root."""

    def down(self, timeout_s: float = ...) -> bool:
        """Switch it off in order. Returns False when it was down already."""

    def kill(self) -> bool:
        """Cut its power. Returns False when it was down already."""

    def purge(self) -> None:
        """Stop it and forget its disk."""


def make_twin(spec: TwinSpec, say: Say = say_print) -> Twin:
    """The twin that a spec asks for."""
    return VmTwin(spec, say) if spec.kind == "vm" else ContainerTwin(spec, say)

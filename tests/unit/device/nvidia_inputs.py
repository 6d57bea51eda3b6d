# SPDX-License-Identifier: Apache-2.0
"""Lock, profile and variables of the documented machines, for tests of the nvidia area."""

from __future__ import annotations

from typing import Any

from ansible_collections.edgewright.factory.plugins.module_utils import nvidia as reader

from edgewright.device import nvidia
from edgewright.device.drift import Drift
from edgewright.device.profile import carried_profiles, load_profile
from tests.documented import DocumentedSystem

__all__ = ["Machine", "machine"]


class Machine:
    """A documented machine with what its site wants of it."""

    def __init__(self, name: str) -> None:
        self.device = DocumentedSystem(name)
        chosen = dict(self.device.locked["chosen"])
        self.profile = load_profile(name, [carried_profiles()]).as_dict()
        suite = chosen.get("suite", "bookworm")
        self.lock: dict[str, Any] = {
            "release": {"name": "line", "version": "1.0.0", "sha256": "0" * 64},
            "os": {"family": "debian", "suite": suite, "arch": self.profile["arch"]},
            "kernel": {"release": self.device.locked["kernel"]},
            "apt": {"packages": [*self.device.lock_packages, {"name": "openssl", "version": "3.0.17-1"}]},
        }
        if chosen:
            target = f"{suite}/{self.profile['arch']}"
            entry = {"profile": name, "target": target, "chosen": chosen, "warnings": [], "waiver": None}
            self.lock["nvidia"] = [entry]
        self.variables: dict[str, Any] = dict(self.device.variables)

    @property
    def chosen(self) -> dict[str, str]:
        """The lock's chosen versions, to be changed by a test."""
        chosen: dict[str, str] = self.lock["nvidia"][0]["chosen"]
        return chosen

    def want(self) -> dict[str, Any]:
        """The area's want."""
        return nvidia.want(self.variables, self.profile, self.lock)

    def have(self) -> dict[str, Any]:
        """What the probe reads."""
        return reader.read(self.device, self.want())

    def drift(self) -> list[Drift]:
        """What differs."""
        return nvidia.drift(self.have(), self.want())

    def told(self) -> dict[str, str]:
        """Item that differs to its sentence."""
        return {drift.item: drift.why for drift in self.drift()}


def machine(name: str) -> Machine:
    """A documented machine on which the role has placed its files: as wanted."""
    found = Machine(name)
    found.device.put(found.want().get("files", {}))
    return found

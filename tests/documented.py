# SPDX-License-Identifier: Apache-2.0
"""A `System` over a machine that was written from documentation: tests/fixtures/devices/documented/NAME.yml.

    device = DocumentedSystem("x86_t4")
    device.files["/sys/module/nouveau/version"] = "1.0\n"        # break it
    have = nvidia.read(device, want)

Unlike a recording the file is the whole machine: what it does not hold is not there. Every place asked for is
kept in `asked`, every command in `ran`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.edgewright.factory.plugins.module_utils.nvidia import STATUS
from ansible_collections.edgewright.factory.plugins.module_utils.system import Result, System

from tests.support import FIXTURES

__all__ = ["MACHINES", "DocumentedSystem"]

DOCUMENTED = FIXTURES / "devices" / "documented"
MACHINES = tuple(sorted(path.stem for path in DOCUMENTED.glob("*.yml")))


@functools.cache
def _read(name: str) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((DOCUMENTED / f"{name}.yml").read_text(encoding="utf-8"))
    return raw


class DocumentedSystem(System):
    """The machine.

    Args:
        name: one of `MACHINES`.

    Attributes:
        machine: what it is, in words.
        locked: profile, kernel and chosen versions of its lock.
        variables: variables of its inventory.
        files: path to text; to be changed by a test.
        data: path to bytes.
        packages: package to (version, words of dpkg's Status field).
        commands: command line to answer.
    """

    def __init__(self, name: str) -> None:
        raw = copy.deepcopy(_read(name))
        self.machine: str = raw["machine"]
        self.locked: dict[str, Any] = raw["locked"]
        self.variables: dict[str, Any] = raw.get("variables", {})
        self.files: dict[str, str] = dict(raw["files"])
        self.data = {path: bytes.fromhex(digits) for path, digits in raw.get("bytes", {}).items()}
        self.arch = "arm64" if raw["locked"]["chosen"].get("arch") == "arm64" else "amd64"
        self.packages = {each: (text, "hold ok installed") for each, text in raw["packages"].items()}
        self.packages |= {
            each: (text, "install ok installed") for each, text in raw["other_packages"].items()
        }
        self.commands = {tuple(each["argv"]): each["out"] for each in raw["commands"]}
        self.asked: list[str] = []
        self.ran: list[tuple[str, ...]] = []

    @property
    def lock_packages(self) -> list[dict[str, str]]:
        """What the lock's closure holds of NVIDIA's stack: the machine is as wanted."""
        return [
            {"name": name, "version": version, "arch": self.arch}
            for name, (version, words) in self.packages.items()
            if words.startswith("hold")
        ]

    def put(self, files: Mapping[str, str]) -> None:
        """Place files, as the role does."""
        self.files |= files

    def read_bytes(self, path: str) -> bytes | None:
        self.asked.append(path)
        if path == STATUS:
            return self._status().encode()
        if path in self.data:
            return self.data[path]
        return self.files[path].encode() if path in self.files else None

    def read(self, path: str) -> str | None:
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace")

    def listdir(self, path: str) -> list[str]:
        below = path.rstrip("/") + "/"
        paths = (each for each in (*self.files, *self.data) if each.startswith(below))
        return sorted({each[len(below) :].split("/", 1)[0] for each in paths})

    def stat(self, path: str) -> dict[str, object] | None:
        there = path in self.files or path in self.data
        return {"mode": "0644", "owner": "root", "group": "root", "size": 1} if there else None

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:  # noqa: ARG002 - the interface's
        self.ran.append(tuple(argv))
        out = self.commands.get(tuple(argv))
        return Result(127, "", f"no such program: {argv[0]}") if out is None else Result(0, out, "")

    def _status(self) -> str:
        """dpkg's status file."""
        return "\n\n".join(
            f"Package: {name}\nStatus: {words}\nPriority: optional\nSection: non-free/libs\nArchitecture:"
            f" {'all' if name.startswith(('firmware-', 'base-')) else self.arch}\nVersion: {version}\n"
            f"Description: {name}\n Of its description the second line."
            for name, (version, words) in sorted(self.packages.items())
        )

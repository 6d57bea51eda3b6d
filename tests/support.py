# SPDX-License-Identifier: Apache-2.0
"""A `System` over a tree that `scripts/record_fixture.py` recorded on a real machine.

    system = TreeSystem(FIXTURES / "devices" / "vm_bare")
    have = kernel.read(system, system.want("kernel"))

Below the tree's directory: `root/` with the files, `listings.json`, `stats.json`, `commands.json` and
`missing.json` with the other answers, `want.json` with the areas' wants of that recording. What was never
asked on the machine is an error here, so that a probe that starts to read more can't pass on an old
recording.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.edgewright.factory.plugins.module_utils.system import Result, System

__all__ = ["FIXTURES", "TreeSystem"]

FIXTURES = Path(__file__).resolve().parent / "fixtures"


class TreeSystem(System):
    """The recorded machine.

    Args:
        directory: what `scripts/record_fixture.py` wrote.
        changes: files that shall read otherwise than recorded: path to text, or to None for no such file.
    """

    def __init__(self, directory: Path, changes: dict[str, str | None] | None = None) -> None:
        self._root = directory / "root"
        self._changes = changes or {}
        self._listings: dict[str, list[str]] = self._load(directory, "listings")
        self._stats: dict[str, dict[str, object] | None] = self._load(directory, "stats")
        self._missing: list[str] = self._load(directory, "missing")
        self._wants: dict[str, Any] = self._load(directory, "want")
        self._commands = {tuple(each["argv"]): each for each in self._load(directory, "commands")}

    @staticmethod
    def _load(directory: Path, name: str) -> Any:
        return json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))

    def want(self, area: str) -> dict[str, Any]:
        """The want with which the area was recorded: the scope to read it with."""
        return dict(self._wants[area])

    def read_bytes(self, path: str) -> bytes | None:
        if path in self._changes:
            text = self._changes[path]
            return None if text is None else text.encode()
        file = self._root / path.lstrip("/")
        if not file.is_file() and path not in self._missing:
            raise LookupError(f"{path} was never read when {self._root.parent} was recorded: record it again")
        return file.read_bytes() if file.is_file() else None

    def read(self, path: str) -> str | None:
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace")

    def listdir(self, path: str) -> list[str]:
        return self._listings[path]

    def stat(self, path: str) -> dict[str, object] | None:
        return self._stats[path]

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:  # noqa: ARG002 - the interface's
        each = self._commands[tuple(argv)]
        return Result(each["rc"], each["out"], each["err"])

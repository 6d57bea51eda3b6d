# SPDX-License-Identifier: Apache-2.0
"""A `System` over files that a test writes down: for states that no recorded machine was in.

system = MadeSystem({"/proc/cmdline": "root=U ro"}, {("uname", "-r"): "6.1.0"})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.edgewright.factory.plugins.module_utils.system import Result, System

__all__ = ["MadeSystem"]


class MadeSystem(System):
    """Files by path, directories by what lies below them, answers of commands by their words.

    Args:
        files: path to text.
        commands: words to what is printed; every other command is not there.
        answers: path of snapd's API to what it answers; without any, no snapd is there.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        commands: Mapping[tuple[str, ...], str] | None = None,
        answers: Mapping[str, Any] | None = None,
    ) -> None:
        self.files = dict(files)
        self.commands = dict(commands or {})
        self.answers = dict(answers or {})

    def fingerprint(self, path: str) -> list[int] | None:
        return [1, len(self.files[path]), hash(self.files[path])] if path in self.files else None

    def snapd(self, path: str) -> Any:
        return self.answers.get(path)

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def read_bytes(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return None if text is None else text.encode()

    def listdir(self, path: str) -> list[str]:
        below = path.rstrip("/") + "/"
        return sorted({name[len(below) :].split("/")[0] for name in self.files if name.startswith(below)})

    def stat(self, path: str) -> dict[str, object] | None:
        if path not in self.files:
            return None
        return {"mode": "0644", "owner": "root", "group": "root", "size": len(self.files[path])}

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:  # noqa: ARG002 - the interface's
        if tuple(argv) in self.commands:
            return Result(0, self.commands[tuple(argv)], "")
        return Result(127, "", "no such program: " + argv[0])

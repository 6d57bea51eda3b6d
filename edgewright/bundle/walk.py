# SPDX-License-Identifier: Apache-2.0
"""Compares what lies on a stick with what its metadata names: names, kinds and sizes, no contents.

The walk enters only directories that the metadata needs, opens nothing else, and stops after a few faults,
so that neither a forest of directories nor a million files costs more than a glance.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from edgewright.bundle.reader import Stick, kind_of
from edgewright.bundle.refusal import BundleRefused

__all__ = ["walk"]

_TOLD = 5
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OF_THE_SYSTEM = (
    "System Volume Information",
    "$RECYCLE.BIN",
    ".Trashes",
    ".Spotlight-V100",
    ".fseventsd",
    ".DS_Store",
)
_LOST_AND_FOUND = "lost+found"
"""mke2fs makes this directory at the top of every ext file system; empty, it carries nothing."""


def walk(stick: Stick, sizes: Mapping[str, int]) -> None:
    """Hold the stick to a list of files.

    Args:
        stick: The stick.
        sizes: Bytes of every file that must be there, by name from the stick's top.

    Raises:
        BundleRefused: Something is missing, extra, of another size or of another kind; a missing file is told
            before a wrong size, that before something extra.
    """
    found = _Walk(stick, sizes)
    try:
        found.directory(os.open(".", _OPEN, dir_fd=stick.fd), "")
    except OSError as error:
        raise stick.unreadable("the directories", error) from error
    found.judge()


class _Walk:
    def __init__(self, stick: Stick, sizes: Mapping[str, int]) -> None:
        self._stick = stick
        self._sizes = sizes
        self._seen: set[str] = set()
        self._kinds: list[str] = []
        self._lengths: list[str] = []
        self._extra: list[str] = []
        self._directories: set[str] = set()
        for name in sizes:
            above = name.rpartition("/")[0]
            while above and above not in self._directories:
                self._directories.add(above)
                above = above.rpartition("/")[0]

    @property
    def _enough(self) -> bool:
        return max(len(self._kinds), len(self._lengths), len(self._extra)) > _TOLD

    def directory(self, descriptor: int, above: str) -> None:
        """Look at one directory and those below it; closes the descriptor."""
        below = []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if self._enough:
                        return
                    name = f"{above}{entry.name}"
                    status = entry.stat(follow_symlinks=False)
                    if name in self._directories and stat.S_ISDIR(status.st_mode):
                        below.append(entry.name)
                    else:
                        self._entry(name, status, descriptor)
            for step in sorted(below):
                self.directory(os.open(step, _OPEN, dir_fd=descriptor), f"{above}{step}/")
        finally:
            os.close(descriptor)

    def _entry(self, name: str, status: os.stat_result, parent: int) -> None:
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")[:200]
        expected = self._sizes.get(name)
        if name in self._directories:
            self._seen.add(name)
            self._kinds.append(f"{shown} is {kind_of(status.st_mode)}, expected a directory")
        elif expected is None:
            if not (name == _LOST_AND_FOUND and _is_empty(name, parent)):
                self._extra.append(f"{shown!r} ({kind_of(status.st_mode)})")
        else:
            self._seen.add(name)
            if not stat.S_ISREG(status.st_mode):
                self._kinds.append(f"{shown} is {kind_of(status.st_mode)}, expected a file")
            elif status.st_size != expected:
                self._lengths.append(f"{shown} has {status.st_size} bytes, expected {expected}")

    def judge(self) -> None:
        """Raise the worst that was found."""
        if self._kinds:
            raise self._refuse("kind", self._kinds, "a bundle has plain files only: get it again")
        if not self._enough:
            gone = [f"{name} is missing" for name in sorted(self._sizes) if name not in self._seen]
            if gone:
                raise self._refuse("missing", gone, "copy the whole bundle to the stick again")
        if self._lengths:
            raise self._refuse("length", self._lengths, "the copy was cut short or changed: copy it again")
        if self._extra:
            by_system = any(known in entry for entry in self._extra for known in _OF_THE_SYSTEM)
            hint = (
                "another operating system left it there: remove it, or keep the bundle in a directory of "
                "its own"
                if by_system
                else "find out who put it there; if you did, remove it"
            )
            raise self._refuse(
                "extra", [f"{entry} is not named by any metadata" for entry in self._extra], hint
            )

    def _refuse(self, why: str, faults: list[str], hint: str) -> BundleRefused:
        more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        return BundleRefused(
            why, f"checking the bundle {self._stick.path}: {'; '.join(faults[:_TOLD])}{more}; {hint}"
        )


def _is_empty(name: str, parent: int) -> bool:
    try:
        descriptor = os.open(name, _OPEN, dir_fd=parent)
    except OSError:
        return False
    try:
        return not os.listdir(descriptor)  # noqa: PTH208 - below a descriptor, never by a path
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: Apache-2.0
"""What a FAT stick, and Windows that may copy one, can't hold: names and full directories.

    fault = fat_fault(["install", "targets/blobs/ab12..."])      # None, or a sentence
    most = fullest_directory(names)                              # ("targets/blobs", 1234 entries)

Sources: Microsoft FAT32 specification 1.03 (long names, short names, a directory's most bytes) and "Naming
Files, Paths, and Namespaces" (learn.microsoft.com/windows/win32/fileio/naming-a-file: reserved names, a dot
at the end). A tilde marks the short names that drivers make up, such as `BUNDLE~1.JSO`: a name of one's own
may be taken by one, and mtools 4.0.32 writes `foo_1.0~rc1.whl` as `FOO_10~` (tried). Other characters are the
grammar's business, see `layout`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["MAX_DIRECTORY_ENTRIES", "directory_entries", "fat_fault", "fullest_directory"]

MAX_DIRECTORY_ENTRIES = 65_536
"""Entries of 32 bytes in 2 MiB, the most that a FAT32 directory may have."""

_LONG_NAME_PART = 13
"""Characters of a long name that one entry holds."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.ASCII)


def fat_fault(names: Iterable[str]) -> str | None:
    """Hold names from the stick's top to what FAT can tell apart and may hold.

    Args:
        names: Paths of files with slashes, of the stick's grammar.

    Returns:
        What is wrong with the first that is; None when all are right.
    """
    spelt: dict[str, str] = {}
    directories: set[str] = set()
    for name in names:
        steps = name.split("/")
        for length in range(1, len(steps) + 1):
            path = "/".join(steps[:length])
            if path in directories:
                continue
            if length < len(steps):
                directories.add(path)
            other = spelt.setdefault(path.lower(), path)
            fault = f"{path}: a FAT stick cannot tell it from {other}" if other != path else _fault(path)
            if fault:
                return fault
    return None


def directory_entries(name: str) -> int:
    """How many entries a name takes in its directory: one for the short name, others for the long one."""
    return 1 - (-len(name) // _LONG_NAME_PART)


def fullest_directory(names: Iterable[str]) -> tuple[str, int]:
    """The directory with the most entries, and their number; to be held to `MAX_DIRECTORY_ENTRIES`."""
    found: Counter[str] = Counter({"": 0})
    for name in set(names):
        above, _, last = name.rpartition("/")
        found[above] += directory_entries(last)
    above, entries = found.most_common(1)[0]
    return above or "the top", entries + 2  # "." and ".."


def _fault(path: str) -> str | None:
    last = path.rpartition("/")[2].lower()
    if last.endswith("."):
        return f"{path}: a FAT stick drops the dot at its end"
    if "~" in last:
        return f"{path}: FAT makes up short names with a tilde, and programs that write sticks mangle it"
    if _RESERVED.fullmatch(last):
        return f"{path}: Windows reserves this name for a device, so that it cannot copy the stick"
    return None

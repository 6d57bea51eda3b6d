# SPDX-License-Identifier: Apache-2.0
"""A stick as a file system: what lies on it, and having that on the medium before it is pulled.

    found = look(Path("/media/stick"), "building a bundle in /media/stick")
    found.files["targets/bundle.json"].st_size
    flush(stick, files=[stick / "install"], directories=[stick])

After `flush` the named files and directories are on the medium. A few are flushed one by one, so that what
other programs have written to the same file system meanwhile is not waited for; many at once.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle.reader import kind_of
from edgewright.bundle.trust import sync_directory
from edgewright.errors import InputError

__all__ = ["Listing", "flush", "look", "sync"]

_FEW = 64
"""Files up to which each is flushed by itself; a journal takes several threads' flushes in one go."""

_WORKERS = 8


@dataclass(frozen=True)
class Listing:
    """What lies in a directory: `files` with what `stat` says, and `directories`, by name from its top."""

    files: Mapping[str, os.stat_result]
    directories: tuple[str, ...]


def look(root: Path, doing: str) -> Listing:
    """List a directory to its last leaf.

    Args:
        root: The directory.
        doing: What is being done, the first words of a message.

    Returns:
        What is there; a directory comes before those below it.

    Raises:
        InputError: A link or a special file is there.
        OSError: It cannot be read.
    """
    files: dict[str, os.stat_result] = {}
    directories: list[str] = []
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(root / above) as entries:
            for entry in entries:
                name = f"{above}{entry.name}"
                state = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    directories.append(name)
                    waiting.append(f"{name}/")
                elif stat.S_ISREG(state.st_mode):
                    files[name] = state
                else:
                    raise InputError(
                        f"{doing}: {name} is {kind_of(state.st_mode)}; a bundle has plain files only: remove "
                        "it, or name another directory"
                    )
    return Listing(files, tuple(directories))


def flush(root: Path, files: Iterable[Path], directories: Iterable[Path]) -> None:
    """Have files and the names in directories on the medium.

    Args:
        root: A directory of their file system.
        files: Files that were written, linked or renamed; those that are gone since are passed over.
        directories: Where names came or went; those that are gone since are passed over.

    Raises:
        OSError: The medium refuses.
    """
    waiting = list(files)
    if len(waiting) > _FEW:
        sync(root)
        return
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(_flush, waiting))
    for directory in sorted(set(directories), reverse=True):  # what lies below comes first
        if directory.is_dir():
            sync_directory(directory)


def sync(directory: Path) -> None:
    """Have everything of this directory's file system on its medium."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(directory))
    finally:
        os.close(descriptor)


def _flush(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: Apache-2.0
"""Kills work with SIGKILL just before a chosen change below a directory: any point, the same each time.

    points = changes(work, stick)          # how many there are
    assert killed(work, stick, at=7)       # the eighth never happens

The work runs in a forked child. Python tells an audit hook of each change (a file opened for writing, a
rename, a link, a removal, a directory made) before it asks the kernel for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["changes", "killed"]

_EVENTS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR


def _is_change(event: str, args: tuple[Any, ...], below: str) -> bool:
    if event == "open":
        return bool(args[2] & _WRITING) and str(args[0]).startswith(below)
    if event not in _EVENTS:
        return False
    by_descriptor = isinstance(args[-1], int) and args[-1] > 0  # rmtree names files from a directory
    return by_descriptor or any(str(arg).startswith(below) for arg in args if isinstance(arg, str | Path))


def _run(work: Callable[[], object], below: Path, at: int) -> tuple[int, int]:
    """Run in a child. Returns its wait status, and how many changes it made."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        lock, seen, prefix = threading.Lock(), 0, str(below)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            if _is_change(event, args, prefix):
                with lock:
                    if seen == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    seen += 1

        sys.addaudithook(hook)
        try:
            work()
            os.write(writing, str(seen).encode())
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    return os.waitpid(child, 0)[1], int(told or 0)


def changes(work: Callable[[], object], below: Path) -> int:
    """How many changes below a directory the work makes when nobody kills it."""
    status, seen = _run(work, below, -1)
    assert status == 0
    return seen


def killed(work: Callable[[], object], below: Path, at: int) -> bool:
    """Run the work, killed before the change of this number, from 0. Returns whether it came that far."""
    status, _ = _run(work, below, at)
    assert status in (0, signal.SIGKILL), "it failed on its own"
    return status == signal.SIGKILL

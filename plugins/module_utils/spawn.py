# SPDX-License-Identifier: Apache-2.0
"""Run one command and take what it says: what a probe needs of `subprocess`, whose import costs more than
most commands.

    status, out, err = run(["/usr/bin/openssl", "version"], {"PATH": "/usr/bin"}, timeout_s=30.0)

Standard library only, Python 3.9 and later; Linux.
"""

from __future__ import annotations

import os
import select
import time
from typing import Dict, List, Tuple

# Python ignores these two signals; a command gets them as the system has them.
_SIGPIPE, _SIGXFSZ = 13, 25
_SIGKILL = 9
_PIECE_BYTES = 65536


class TimeUpError(Exception):
    """The command did not end in time, and was killed."""


def find(name: str, path: str) -> str:
    """Where a program lies.

    Args:
        name: a name, or a path, which is given back.
        path: directories, parted by colons.

    Raises:
        FileNotFoundError: in none of them.
    """
    if "/" in name:
        return name
    for directory in path.split(":"):
        found = directory + "/" + name
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    raise FileNotFoundError(2, "no such program", name)


def run(argv: List[str], environment: Dict[str, str], timeout_s: float) -> Tuple[int, bytes, bytes]:
    """Run a command to its end, without standard input.

    Args:
        argv: the command; its program is looked for in the environment's `PATH`.
        environment: all of its environment.
        timeout_s: after which it is killed.

    Returns:
        Exit status (negative: the signal that ended it), standard output, standard error.

    Raises:
        FileNotFoundError: there is no such program.
        OSError: it cannot be started.
        TimeUpError: it was killed because it took too long.
    """
    end = time.monotonic() + timeout_s
    program = find(argv[0], environment.get("PATH", ""))
    ours, theirs = [], []
    try:
        for _ in range(2):
            reading, writing = os.pipe()
            ours.append(reading)
            theirs.append(writing)
        actions: List[Tuple[int, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),  # type: ignore[list-item]
            (os.POSIX_SPAWN_DUP2, theirs[0], 1),
            (os.POSIX_SPAWN_DUP2, theirs[1], 2),
        ]
        pid = os.posix_spawn(program, argv, environment, file_actions=actions, setsigdef=[_SIGPIPE, _SIGXFSZ])
        for writing in theirs:
            os.close(writing)
        theirs = []
        try:
            said = _said(ours, end)
        except BaseException:
            os.kill(pid, _SIGKILL)
            os.waitpid(pid, 0)
            raise
        # It has closed both, and so is about to end.
        status = _ended(pid, end)
    finally:
        for each in ours + theirs:
            os.close(each)
    return status, said[0], said[1]


def _said(pipes: List[int], end: float) -> List[bytes]:
    """All that comes out of the pipes, until both are closed."""
    poll, open_ones = select.poll(), set(pipes)
    pieces: Dict[int, List[bytes]] = {pipe: [] for pipe in pipes}
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    while open_ones:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeUpError
        for pipe, _ in poll.poll(left * 1000 + 1):
            piece = os.read(pipe, _PIECE_BYTES)
            if piece:
                pieces[pipe].append(piece)
            else:
                poll.unregister(pipe)
                open_ones.discard(pipe)
    return [b"".join(pieces[pipe]) for pipe in pipes]


def _ended(pid: int, end: float) -> int:
    """Exit status of a process that has closed its output; killed where it goes on beyond its time."""
    pause = 0.0001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            os.kill(pid, _SIGKILL)
            os.waitpid(pid, 0)
            raise TimeUpError
        time.sleep(pause)
        pause = min(0.05, pause * 2)

# SPDX-License-Identifier: Apache-2.0
"""How far a long transfer is: bytes done, bytes in all, time left. On a terminal one line that moves."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

__all__ = ["Progress", "human_bytes", "say"]

_MOVING_S = 0.2
_LOGGED_S = 3.0


def human_bytes(count: float) -> str:
    """A number of bytes for people: `0.4 MB`, `1.2 GB` (powers of ten)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def say(text: str) -> None:
    """One line for the person who waits, on standard error; standard output stays for results."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts bytes from several threads and shows them.

    Args:
        what: What is being done, the line's first words.
        total: Bytes in all.
        stream: Where to write; standard error when not given.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what = what
        self._total = total
        self._stream = stream or sys.stderr
        self._moving = self._stream.isatty()
        self._lock = threading.Lock()
        self._done = 0
        self._fetched = 0
        self._start = time.monotonic()
        self._shown = self._start

    def add(self, count: int, fetched: bool = True) -> None:
        """Count bytes; `fetched` False for bytes that were there already (they say nothing about speed)."""
        with self._lock:
            self._done += count
            self._fetched += count if fetched else 0
            now = time.monotonic()
            if now - self._shown >= (_MOVING_S if self._moving else _LOGGED_S):
                self._shown = now
                self._show(now)

    def close(self) -> None:
        """Say the last state; call it once, when all is done."""
        with self._lock:
            if self._moving or self._fetched:
                self._show(time.monotonic())
            if self._moving:
                print(file=self._stream, flush=True)

    def _show(self, now: float) -> None:
        spent = max(now - self._start, 1e-6)
        rate = self._fetched / spent
        left = (self._total - self._done) / rate if rate > 0 else None
        ending = f"{rate / 1e6:.1f} MB/s" + (f", {left:.0f} s left" if left else "")
        line = f"{self._what}: {human_bytes(self._done)} of {human_bytes(self._total)}, {ending}"
        print(
            f"\r\x1b[K{line}" if self._moving else line,
            end="" if self._moving else "\n",
            file=self._stream,
            flush=True,
        )

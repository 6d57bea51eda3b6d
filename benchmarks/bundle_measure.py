# SPDX-License-Identifier: Apache-2.0
"""Measuring side by side: turns, medians, ratios, tables."""

from __future__ import annotations

import contextlib
import io
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bundle_world import World
from edgewright.bundle.keys import KeySet

__all__ = [
    "Action",
    "Bench",
    "Times",
    "command",
    "forget",
    "in_turns",
    "nothing",
    "quiet",
    "ratio",
    "skipped",
    "table",
]


@dataclass(frozen=True)
class Times:
    """Seconds of one action, one for each turn."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.seconds):.2f} to {max(self.seconds):.2f})"


@dataclass(frozen=True)
class Bench:
    """What every piece needs: the release, where to work, and how often to measure."""

    world: World
    repeats: int
    elsewhere: Path | None

    @property
    def keys(self) -> KeySet:
        return self.world.keys


Action = Callable[[], object]


def in_turns(repeats: int, *actions: tuple[Action, Action]) -> list[Times]:
    """Measure actions in turns.

    Args:
        repeats: How often each.
        actions: Pairs: what to do before, which is not measured, and what to measure.
    """
    found: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats):
        for number, (before, action) in enumerate(actions):
            before()
            begun = time.monotonic()
            action()
            found[number].append(time.monotonic() - begun)
    return [Times(seconds) for seconds in found]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]


def ratio(ours: Times, theirs: Times) -> str:
    """Ours over theirs."""
    return f"{ours.median / theirs.median:.2f}"


def nothing() -> None:
    """Before an action that needs no preparation."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the lines that builds show to people."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def command(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a program; its failure ends the benchmark with its words."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")


def forget(bench: Bench, *places: Path) -> None:
    """Remove a bundle, and what earlier builds left beside the store and the keys."""
    world = bench.world
    for place in (
        *places,
        world.room / "cache/bills",
        world.room / "cache/control",
        world.room / "cache/parts",
        world.room / "keys/signatures",
    ):
        shutil.rmtree(place, ignore_errors=True)


def skipped(title: str, why: str) -> list[str]:
    """A piece that cannot be measured here, by name."""
    return [f"## {title}", "", f"Skipped: {why}.", ""]

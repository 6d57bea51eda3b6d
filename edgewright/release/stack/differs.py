# SPDX-License-Identifier: Apache-2.0
"""What differs between the NVIDIA stacks of two locks: item by item, by profile and target. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["StackChange", "stack_changes"]


@dataclass(frozen=True)
class StackChange:
    """Something of a stack that differs.

    Attributes:
        profile: The hardware profile.
        target: `SUITE/ARCH`.
        item: An item of the stack; `waiver` or `reasons` beside them; `stack` where the whole is new or gone.
        old: Version or words in the old lock; None where it had none.
        new: The same in the new one.
    """

    profile: str
    target: str
    item: str
    old: str | None
    new: str | None

    def sentence(self) -> str:
        """For people."""
        return f"nvidia {self.profile} on {self.target}: {self.item} {self.words()}"

    def words(self) -> str:
        """What became of it."""
        if self.old is None:
            return f"new, {self.new}"
        return "gone" if self.new is None else f"{self.old} -> {self.new}"


def stack_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[StackChange, ...]:
    """Compare the `nvidia` of two locks.

    Args:
        old: A lock; empty where there was none.
        new: The other.

    Returns:
        Changes by profile and target, items in the order of the stack.
    """
    before, after = _by_key(old), _by_key(new)
    return tuple(
        change for key in sorted({*before, *after}) for change in _entry(key, before.get(key), after.get(key))
    )


def _by_key(lock: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(entry["profile"], entry["target"]): entry for entry in lock.get("nvidia", [])}


def _entry(
    key: tuple[str, str], old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> Iterator[StackChange]:
    if old == new:
        return
    if old is None or new is None:
        sides = [None if entry is None else _short(entry) for entry in (old, new)]
        yield StackChange(*key, "stack", *sides)
        return
    found = False
    for item in dict.fromkeys([*old["chosen"], *new["chosen"]]):
        versions = old["chosen"].get(item), new["chosen"].get(item)
        if versions[0] != versions[1]:
            found = True
            yield StackChange(*key, item, *versions)
    if old["waiver"] != new["waiver"]:
        found = True
        yield StackChange(*key, "waiver", _waiver(old), _waiver(new))
    if not found:  # facts or artefacts moved, the versions did not
        yield StackChange(
            *key, "reasons", f"{len(old['warnings'])} warnings", f"{len(new['warnings'])} warnings"
        )


def _short(entry: Mapping[str, Any]) -> str:
    """The parts of a stack that people ask for first."""
    named = ("driver", "l4t", "cuda", "tensorrt")
    return ", ".join(f"{item} {entry['chosen'][item]}" for item in named if item in entry["chosen"])


def _waiver(entry: Mapping[str, Any]) -> str | None:
    waiver = entry["waiver"]
    return None if waiver is None else f"of {waiver['who']} until {waiver['until']} ({waiver['why']})"

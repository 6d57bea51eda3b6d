# SPDX-License-Identifier: Apache-2.0
"""What differs between two locks: entry by entry, as sentences, as a table, as JSON, and in one line.

diff = diff_locks(old, new)
print(diff.summary())       # 2 packages (openssl, libssl3), 1 image (edgewright/runtime)
print(diff.table())
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgewright.depot.progress import human_bytes
from edgewright.release.stack.differs import StackChange, stack_changes
from edgewright.snaps.components import carried

__all__ = ["Change", "LockDiff", "diff_locks"]

_KINDS = {
    "deb": "package",
    "image deb": "package of an image",
    "wheel": "wheel",
    "image": "image",
    "file": "file",
    "modules": "package of kernel modules",
    "modules deb": "package that modules are built with",
    "snap": "snap",
    "validation set": "validation set",
}
"""Kinds of entries in the order in which they are told, and one of them in words."""

_PLURALS = {
    "package of an image": "packages of images",
    "package of kernel modules": "packages of kernel modules",
    "package that modules are built with": "packages that modules are built with",
}
_NAMED = 8
"""Names per kind in a summary; the rest is counted."""


@dataclass(frozen=True)
class Side:
    """An entry in one lock: `version`, `size` in bytes, `sha256` (of an image: its manifest), `licence`."""

    version: str
    size: int
    sha256: str
    licence: str | None


@dataclass(frozen=True)
class Change:
    """An entry that differs; `old` None where it is new, `new` None where it is gone.

    `target` is empty for the release's first target; of another one it is `SUITE/ARCH`, and of an image made
    for another platform that platform.
    """

    target: str
    kind: str
    name: str
    old: Side | None
    new: Side | None

    @property
    def what(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"

    @property
    def bytes(self) -> int:
        """How much larger the new lock's artefacts are by it."""
        return (self.new.size if self.new else 0) - (self.old.size if self.old else 0)

    def sentence(self) -> str:
        """For people who wait for `release lock`."""
        if self.old is None and self.new is not None:
            return f"{self.words}: new, {_short(self.new)}"
        if self.new is None or self.old is None:
            return f"{self.words}: gone"
        if (self.old.version, self.old.sha256) == (self.new.version, self.new.sha256):
            return f"{self.words}: {self.new.version}: licence {_licences(self)}"
        return f"{self.words}: {_short(self.old)} -> {_short(self.new)}"

    @property
    def words(self) -> str:
        """Kind, name, and the target where it is a further one."""
        return f"{self.kind} {self.name}" + (f" for {self.target}" if self.target else "")


@dataclass(frozen=True)
class LockDiff:
    """The differences of two locks by target, kind and name.

    `fields` are other parts that differ, `stack` what of the NVIDIA stack does.
    """

    changes: tuple[Change, ...]
    fields: tuple[str, ...]
    old_bytes: int
    new_bytes: int
    stack: tuple[StackChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes or self.fields or self.stack)

    def sentences(self) -> list[str]:
        """One sentence each."""
        told = [change.sentence() for change in self.changes]
        told += [change.sentence() for change in self.stack]
        return told + [f"{name} differs" for name in self.fields]

    def summary(self) -> str:
        """One line: how many of each kind, and their names."""
        parts = []
        for kind, one in _KINDS.items():
            names = [_named(change) for change in self.changes if change.kind == kind]
            if names:
                word = one if len(names) == 1 else _PLURALS.get(one, f"{one}s")
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                parts.append(f"{len(names)} {word} ({', '.join(names[:_NAMED])}{more})")
        if self.stack:
            told = [f"{each.profile} {each.item} {each.words()}" for each in self.stack]
            more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
            parts.append(f"the NVIDIA stack ({', '.join(told[:_NAMED])}{more})")
        if self.fields:
            parts.append(", ".join(self.fields))
        return ", ".join(parts) or "nothing"

    def table(self) -> str:
        """For people: one line for each entry, then the sum."""
        rows = [("", "what", "name", "old", "new", "bytes", "licence")]
        for change in self.changes:
            sign = {"added": "+", "removed": "-", "changed": "~"}[change.what]
            name = f"{change.name} ({change.target})" if change.target else change.name
            row = (sign, change.kind, name, _short(change.old), _short(change.new))
            rows.append((*row, f"{change.bytes:+d}", _licences(change)))
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = [
            "  ".join(
                cell.rjust(width) if column == 5 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row[:6], widths, strict=True))
            )
            + f"  {row[6]}"
            for row in rows
        ]
        counts = {what: sum(change.what == what for change in self.changes) for what in _WHATS}
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        step = self.new_bytes - self.old_bytes
        ending = f"{human_bytes(self.old_bytes)} -> {human_bytes(self.new_bytes)} ({step:+d} bytes)"
        other = f"; also {', '.join(self.fields)}" if self.fields else ""
        shown = [line.rstrip() for line in lines] if self.changes else []
        shown += [f"~  {change.sentence()}" for change in self.stack]
        return "\n".join([*shown, f"{told}{other}; {ending}"])

    def as_json(self) -> dict[str, Any]:
        """Schema `edgewright.lock-diff/v1`."""
        return {
            "schema": "edgewright.lock-diff/v1",
            "changes": [
                {"what": change.what, **asdict(change), "bytes": change.bytes} for change in self.changes
            ],
            "fields": list(self.fields),
            "stack": [asdict(change) for change in self.stack],
            "old_bytes": self.old_bytes,
            "new_bytes": self.new_bytes,
        }


_FIELDS = {"release": "release.yml", "os": "os", "kernel": "the kernel"}
"""Parts of a lock that are no artefacts, in the words in which a difference is told."""

_WHATS = ("added", "removed", "changed")


def diff_locks(old: Mapping[str, Any], new: Mapping[str, Any]) -> LockDiff:
    """Compare two locks.

    Args:
        old: A lock; empty where there was none.
        new: The other.

    Returns:
        What differs. Bytes count every content once, however many entries are made of it.
    """
    before, after = dict(_entries(old)), dict(_entries(new))
    order = list(_KINDS)
    keys = sorted({*before, *after}, key=lambda key: (key[0], order.index(key[1]), key[2]))
    changes = [
        Change(*key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    ]
    fields = [words for name, words in _FIELDS.items() if old and old.get(name) != new.get(name)]
    stack = stack_changes(old, new)
    if old and not changes and not fields and not stack and old != new:
        fields = ["other fields"]
    return LockDiff(tuple(changes), tuple(fields), _bytes(before), _bytes(after), stack)


def _entries(lock: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], Side]]:
    """Every artefact: by target (empty for the first one), kind and name."""
    if not lock:
        return
    yield from _packages("", lock)
    for target in lock.get("targets", []):
        yield from _packages(f"{target['os']['suite']}/{target['os']['arch']}", target)
    for image in lock["images"]:
        digest = str(image["digest"]).removeprefix("sha256:")
        target = "" if image["platform"] == f"linux/{lock['os']['arch']}" else image["platform"]
        side = Side(image["version"], image["size"], digest, image["licence"])
        yield (target, "image", image["name"]), side
        for deb in image.get("debs", []):
            yield (target, "image deb", deb["name"]), _side(deb)
        if "wheel" in image:
            yield (target, "wheel", f"{image['wheel']['name']} of {image['name']}"), _side(image["wheel"])
    for entry in lock.get("files", []):
        yield ("", "file", entry["name"]), _side(entry)
    for entry in carried(lock):
        yield ("", "snap", entry["name"]), _side({**entry, "version": entry.get("revision", entry["grade"])})
    for entry in lock.get("validation_sets", []):
        yield (
            ("", "validation set", entry["name"]),
            _side({**entry["assertions"], "version": entry["sequence"]}),
        )


def _packages(target: str, part: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], Side]]:
    for entry in part.get("modules", []):
        yield (target, "modules", entry["package"]), _side(entry)
        for deb in entry["debs"]:
            yield (target, "modules deb", deb["name"]), _side(deb)
    for deb in part["apt"]["packages"]:
        yield (target, "deb", deb["name"]), _side(deb)
    for wheel in part["python"]["wheels"]:
        yield (target, "wheel", wheel["name"]), _side(wheel)


def _side(entry: Mapping[str, Any]) -> Side:
    return Side(str(entry.get("version", "")), entry["size"], entry["sha256"], entry.get("licence"))


def _bytes(entries: Mapping[tuple[str, str, str], Side]) -> int:
    return sum({side.sha256: side.size for side in entries.values()}.values())


def _named(change: Change) -> str:
    if change.old is None or change.new is None:
        return f"{change.name} {'new' if change.old is None else 'gone'}"
    if change.old.version != change.new.version:
        return f"{change.name} {change.old.version} -> {change.new.version}"
    return change.name


def _short(side: Side | None) -> str:
    if side is None:
        return "-"
    return f"{side.version} {side.sha256[:12]}".strip()


def _licences(change: Change) -> str:
    sides: Sequence[str] = [side.licence or "not recorded" for side in (change.old, change.new) if side]
    return sides[0] if len(set(sides)) == 1 else " -> ".join(sides)

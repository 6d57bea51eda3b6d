# SPDX-License-Identifier: Apache-2.0
"""A bill of materials line by line, so that a bundle's next bill only makes the lines that changed.

    @line
    def package(entry): return Component(...)           # cyclonedx's own object, which tells its JSON

    bill = Bill(Memory(cache / "label-reader.json", made_by))
    bill.add(package(entry))                            # made only when no earlier bill had this very entry
    bill.register_dependency(package(entry), [package(other)])
    data = bill.write(head)
    ...                                                 # hold `bill.unproven(head)` to the official schema
    bill.remember()

A remembered line was in a bill that the schema accepted, and was made from the same entry by the same code:
the memory changes how long a bill takes, never what it says.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cyclonedx.model.component import Component
from cyclonedx.schema import SchemaVersion
from cyclonedx.schema.schema import SCHEMA_VERSIONS

__all__ = ["Bill", "Line", "Memory", "line"]

_SCHEMA = "edgewright.bill-lines/v1"
_LISTS = ("components", "dependencies")


@dataclass(frozen=True)
class Line:
    """A component that is made when it is needed.

    Attributes:
        key: Digest of what it is made from.
        make: Makes it.
    """

    key: str
    make: Callable[[], Component]


@dataclass(frozen=True)
class _Made:
    """A component's reference within the bill, and its JSON as the bill writes it."""

    ref: str
    text: str


def line(function: Callable[..., Component]) -> Callable[..., Line]:
    """Make a function that makes a component one that makes a `Line`; its arguments are JSON's types."""

    @functools.wraps(function)
    def made(*arguments: Any) -> Line:
        told = json.dumps([function.__name__, *arguments], sort_keys=True, default=str)
        return Line(sha256(told.encode()).hexdigest(), lambda: function(*arguments))

    return made


class Memory:
    """The lines of an earlier bill, in a file.

    Args:
        place: The file; none remembers nothing.
        made_by: What the lines depend on beside their entries: the code that makes them.
    """

    def __init__(self, place: Path | None, made_by: str = "") -> None:
        self._place = place
        self._made_by = made_by
        self.lines: Mapping[str, _Made] = {}
        self.proven: frozenset[str] = frozenset()
        if place is not None:
            self.lines, self.proven = _read(place, made_by)

    def keep(self, lines: Mapping[str, _Made], proven: Iterable[str]) -> None:
        """Keep what a bill consists of; a place that cannot be written costs the next one its time only."""
        if self._place is None:
            return
        body = {
            "lines": {key: [made.ref, made.text] for key, made in lines.items()},
            "proven": sorted(proven),
        }
        told = {"schema": _SCHEMA, "made_by": self._made_by, "sha256": _digest(body), **body}
        new = self._place.with_suffix(f".{os.getpid()}")
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(told), "utf-8")
            new.replace(self._place)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()


class Bill:
    """Components and who needs whom.

    Args:
        memory: Lines of an earlier bill.
        version: The specification's version that components are told in.
    """

    def __init__(self, memory: Memory, version: SchemaVersion) -> None:
        self._memory = memory
        self._view = SCHEMA_VERSIONS[version]
        self._made: dict[str, _Made] = {}
        self._components: dict[str, str] = {}
        self._needs: dict[str, set[str]] = {}
        self._written: dict[str, list[str]] | None = None

    def add(self, component: Line) -> None:
        """Have a component in the bill."""
        made, self._written = self._resolve(component), None
        self._components[made.ref] = made.text
        self._needs.setdefault(made.ref, set())

    def register_dependency(self, target: Line, depends_on: Iterable[Line]) -> None:
        """Say that a component, or what the bill is about, needs others."""
        self._written = None
        found = self._needs.setdefault(self._resolve(target).ref, set())
        found.update(self._resolve(other).ref for other in depends_on)

    def write(self, head: Mapping[str, Any]) -> bytes:
        """The document's bytes: names sorted, indented, components and dependencies in order of reference.

        Args:
            head: All but components and dependencies.
        """
        members = {name: _text(value, 1) for name, value in head.items()} | {
            name: _list(texts) for name, texts in self._lists().items()
        }
        lines = (f" {json.dumps(name)}: {text}" for name, text in sorted(members.items()))
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")

    def unproven(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """The document with those items only that no earlier bill had: the schema holds for the others."""
        return dict(head) | {
            name: [json.loads(text) for text in texts if _short(text) not in self._memory.proven]
            for name, texts in self._lists().items()
        }

    def remember(self) -> None:
        """Keep the lines; call it once the schema has accepted the bill."""
        proven = {_short(text) for texts in self._lists().values() for text in texts}
        if proven != self._memory.proven or self._made != self._memory.lines:
            self._memory.keep(self._made, proven)

    def _lists(self) -> dict[str, list[str]]:
        """Texts of the items of both lists, in order."""
        if self._written is not None:
            return self._written
        needs = (
            {"ref": ref} | ({"dependsOn": sorted(others)} if others else {})
            for ref, others in sorted(self._needs.items())
        )
        components = [text for _, text in sorted(self._components.items())]
        self._written = dict(zip(_LISTS, (components, [_text(one, 2) for one in needs]), strict=True))
        return self._written

    def _resolve(self, one: Line) -> _Made:
        made = self._made.get(one.key) or self._memory.lines.get(one.key)
        if made is None:
            component = one.make()
            told = json.loads(component.as_json(self._view))  # type: ignore[attr-defined]
            made = _Made(str(component.bom_ref.value), _text(told, 2))
        self._made[one.key] = made
        return made


def _text(value: Any, depth: int) -> str:
    """A value as JSON, for a place so many steps below the document's top."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).replace("\n", "\n" + " " * depth)


def _list(texts: Iterable[str]) -> str:
    inner = ",\n".join(f"  {text}" for text in texts)
    return f"[\n{inner}\n ]" if inner else "[]"


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _digest(body: Mapping[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(place: Path, made_by: str) -> tuple[dict[str, _Made], frozenset[str]]:
    """What was kept; nothing where it is damaged, or other code made it."""
    try:
        told = json.loads(place.read_bytes())
        body = {name: told[name] for name in ("lines", "proven")}
        if (told["schema"], told["made_by"], told["sha256"]) != (_SCHEMA, made_by, _digest(body)):
            return {}, frozenset()
        return {key: _Made(*made) for key, made in body["lines"].items()}, frozenset(body["proven"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}, frozenset()

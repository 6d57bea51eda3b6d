# SPDX-License-Identifier: Apache-2.0
"""YAML that remembers its lines, so that every complaint about a release says where to look.

    document = read_marked(Path("releases/label-reader/release.yml").read_bytes(), path)
    document.content["os"]["arch"]          # plain dictionaries, lists and scalars
    document.place("os", "arch")            # "releases/label-reader/release.yml:10"

A key that is written twice is refused: YAML's own loaders keep the last one silently. Dates stay text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgewright.errors import InputError

__all__ = ["Marked", "read_marked"]

Step = str | int

_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it: a release is read ten times as fast."""

_AS_TEXT = "tag:yaml.org,2002:timestamp"
"""Tag of scalars that look like dates; a release's are text, checked where they are used."""


@dataclass(frozen=True)
class Marked:
    """A document.

    Attributes:
        path: The file.
        content: What it says, of plain types.
        lines: Line (from 1) of each key and list item, by its steps from the top.
    """

    path: Path
    content: Any
    lines: Mapping[tuple[Step, ...], int]

    def line(self, *steps: Step) -> int:
        """The line of a key or list item; of the nearest one above it where it is not written itself."""
        for length in range(len(steps), 0, -1):
            found = self.lines.get(steps[:length])
            if found is not None:
                return found
        return 1

    def place(self, *steps: Step) -> str:
        """`FILE:LINE` of a key or list item."""
        return f"{self.path}:{self.line(*steps)}"


def read_marked(data: bytes, path: Path) -> Marked:
    """Read a YAML document.

    Args:
        data: The file's bytes.
        path: The file, for messages.

    Returns:
        Its content and lines.

    Raises:
        InputError: It is not YAML, a key is written twice, or it names types beyond the plain ones.
    """
    try:
        content, lines = _read(data, _FastLoader)
        return Marked(path, content, lines)
    except (yaml.YAMLError, RecursionError):
        pass  # told below, in the words of the slower loader, which knows the places better
    try:
        content, lines = _read(data, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        told = " ".join(str(word) for word in (error.context, error.problem) if word)
        raise InputError(f"reading {path}:{line}: it is not YAML: {told}; correct this line") from error
    except yaml.reader.ReaderError as error:
        line = data[: max(error.position, 0)].count(b"\n") + 1
        raise InputError(
            f"reading {path}:{line}: it is not YAML: {error.reason} (character {error.character!r}); "
            "save it as UTF-8"
        ) from error
    except RecursionError as error:
        raise InputError(f"reading {path}:1: it is not YAML that can be used: nested too deeply") from error
    return Marked(path, content, lines)


def _read(data: bytes, loader_class: Any) -> tuple[Any, Mapping[tuple[Step, ...], int]]:
    loader = loader_class(data)
    node = loader.get_single_node()
    reader = _Reader(loader)
    return (None if node is None else reader.read(node, ())), reader.lines


class _Reader:
    """Turns nodes into plain values and notes where each began."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._loader = loader
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()
        self.lines: dict[tuple[Step, ...], int] = {}

    def read(self, node: yaml.Node, steps: tuple[Step, ...]) -> Any:
        """The value of a node; an alias gives the value that its anchor gave, and keeps its lines."""
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open:
            raise yaml.constructor.ConstructorError(None, None, "an anchor holds itself", node.start_mark)
        self._open.add(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, steps)
        elif isinstance(node, yaml.SequenceNode):
            value = []
            for number, item in enumerate(node.value):
                self.lines[(*steps, number)] = item.start_mark.line + 1
                value.append(self.read(item, (*steps, number)))
        elif node.tag == _AS_TEXT:
            value = node.value
        else:
            try:
                value = self._loader.construct_object(node, deep=True)
            except ValueError as error:  # such as an integer of the wrong base
                raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error
        self._open.discard(id(node))
        self._done[id(node)] = value
        return value

    def _mapping(self, node: yaml.MappingNode, steps: tuple[Step, ...]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.read(key_node, steps)
            if not isinstance(key, str | int):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key_node.start_mark
                )
            line = key_node.start_mark.line + 1
            if key in found:
                first = self.lines[(*steps, key)]
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice (first in line {first})", key_node.start_mark
                )
            self.lines[(*steps, key)] = line
            found[key] = self.read(value_node, (*steps, key))
        return found

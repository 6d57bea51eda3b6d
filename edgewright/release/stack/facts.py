# SPDX-License-Identifier: Apache-2.0
"""The facts: rows with source, date and whether they were verified, one file per kind.

    facts = load_facts()
    row = facts.one("cuda", release="12.4.0")
    row["toolkit_driver"], row.told          # "550.54.14", the source with its date

A row that was not verified gives None for every value but its key: it can't say yes. The same holds for
the values that a row lists under `unverified`. What was left out is None too.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.errors import InputError
from edgewright.release.stack.version import Version
from edgewright.release.yamlmarks import Marked, read_marked

if TYPE_CHECKING:
    import jsonschema

__all__ = ["KEYS", "KINDS", "SCHEMA", "Facts", "Row", "carried_facts", "load_facts"]

SCHEMA = "edgewright.facts/v1"

KEYS: Mapping[str, tuple[str, ...]] = {
    "gpus": ("name",),
    "architectures": ("compute_capability",),
    "kernels": ("package_version", "suite", "flavour", "package"),
    "modules": ("version", "flavour", "package_version"),
    "drivers": ("version", "package_version"),
    "branches": ("branch",),
    "cuda": ("release",),
    "cuda_majors": ("major",),
    "cudnn": ("release",),
    "tensorrt": ("release",),
    "onnxruntime-gpu": ("release",),
    "container-toolkit": ("release",),
    "pythons": ("suite",),
    "preempt-rt": ("subject", "branch"),
    "jetpack": ("jetpack",),
    "jetson-rt": ("l4t",),
    "jetson-modules": ("module",),
    "jetson-firmware": ("firmware", "l4t_major"),
}
"""The values that name a row of each kind. Two rows of a file can't have the same."""

KINDS = tuple(KEYS)

_TOLD = 20
"""Complaints in one message."""

_HINT = "docs/how-to/add-a-fact.md tells how a row is written"


@dataclass(frozen=True)
class Row(Mapping[str, Any]):
    """One fact. Values that were not verified read as None, but for the row's key.

    Attributes:
        kind: The file it stands in.
        written: What the file says.
        source: The source, in words.
        date: The day on which the source was read, such as 2026-11-21; empty for what stands in a
            lock or on a device.
        verified: Whether it was read in the source, not recalled or inferred.
        place: FILE:LINE, for messages.
    """

    kind: str
    written: Mapping[str, Any]
    source: str
    date: str
    verified: bool
    place: str

    def __getitem__(self, key: str) -> Any:
        if key in KEYS[self.kind] or (self.verified and key not in self.written.get("unverified", ())):
            return self.written.get(key)
        return None

    def __iter__(self) -> Any:
        return iter(self.written)

    def __len__(self) -> int:
        return len(self.written)

    def __hash__(self) -> int:
        return hash((self.kind, self.place))

    @property
    def told(self) -> str:
        """Source and date, for messages."""
        if not self.verified:
            return f"{self.source} (not verified)"
        return f"{self.source}; read {self.date}" if self.date else self.source

    @property
    def key(self) -> tuple[Any, ...]:
        """What names it within its kind."""
        named = (self.written.get(key) for key in KEYS[self.kind])
        return tuple(tuple(value) if isinstance(value, list) else value for value in named)


@dataclass(frozen=True)
class Facts:
    """All rows, by kind, in the order of their files."""

    rows: Mapping[str, tuple[Row, ...]]

    def all(self, kind: str) -> tuple[Row, ...]:
        """Rows of a kind."""
        return self.rows[kind]

    def one(self, kind: str, **key: Any) -> Row | None:
        """The one row whose key values are these; None when there is none."""
        for row in self.rows[kind]:
            if all(row.written.get(name) == value for name, value in key.items()):
                return row
        return None


def carried_facts() -> Path:
    """Directory of the facts that Edgewright carries."""
    return Path(__file__).resolve().parents[2] / "data" / "facts"


@functools.cache
def _schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((carried_facts() / "facts.schema.json").read_text("utf-8"))
    return loaded


@functools.cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    import jsonschema  # noqa: PLC0415 - a device without a GPU needs no facts, and each run would pay for it

    schema = _schema()
    return jsonschema.Draft202012Validator({**schema["$defs"][kind], "$defs": schema["$defs"]})


@functools.cache
def _carried() -> Facts:
    return _read(carried_facts())


def load_facts(directory: Path | None = None) -> Facts:
    """Read and check facts.

    Args:
        directory: One file per kind, `KIND.yml`; not given: those that Edgewright carries.

    Raises:
        InputError: A file is missing, unknown or wrong; with FILE:LINE of every complaint.
    """
    return _carried() if directory is None else _read(directory)


def _read(directory: Path) -> Facts:
    names = {path.stem: path for path in sorted(directory.glob("*.yml"))}
    if missing := [kind for kind in KINDS if kind not in names]:
        raise InputError(
            f"reading facts in {directory}: missing {', '.join(f'{kind}.yml' for kind in missing)}; {_HINT}"
        )
    if unknown := sorted(set(names) - set(KINDS)):
        raise InputError(
            f"reading facts in {directory}: {unknown[0]}.yml is of no known kind ({', '.join(KINDS)});"
            f" {_HINT}"
        )
    return Facts({kind: _read_file(kind, names[kind]) for kind in KINDS})


def _read_file(kind: str, path: Path) -> tuple[Row, ...]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"reading facts {path}: {error.strerror}") from error
    marked = read_marked(data, path)
    _check(marked, kind)
    content = marked.content
    return tuple(
        Row(
            kind,
            values,
            content["sources"][values["source"]],
            values["date"],
            values["verified"],
            marked.place("rows", number),
        )
        for number, values in enumerate(content["rows"])
    )


def _check(marked: Marked, kind: str) -> None:
    content = marked.content
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or content.get("kind") != kind:
        found = (content.get("schema"), content.get("kind")) if isinstance(content, dict) else content
        raise InputError(
            f"reading facts {marked.path}: expected schema: {SCHEMA} and kind: {kind}, got {found!r}; {_HINT}"
        )
    told: list[tuple[int, str]] = []
    import jsonschema  # noqa: PLC0415 - see above

    for error in jsonschema.Draft202012Validator(_schema()).iter_errors(
        {**content, "rows": [{}] if content.get("rows") else content.get("rows")}
    ):
        if list(error.absolute_path)[:1] != ["rows"] or not content.get("rows"):
            told.append((marked.line(*error.absolute_path), error.message))
    rows = content.get("rows")
    sources: dict[str, Any] = content["sources"] if isinstance(content.get("sources"), dict) else {}
    if isinstance(rows, list):
        for number, row in enumerate(rows):
            told += _check_row(marked, kind, number, row, sources)
        told += _check_keys(marked, kind, rows)
        told += [
            (marked.line("sources", name), f"source {name!r} is named by no row; remove it")
            for name in sources
            if not any(isinstance(row, dict) and row.get("source") == name for row in rows)
        ]
    if told:
        lines = [f"{marked.path}:{line}: {words}" for line, words in sorted(set(told))]
        more = f"\n  and {len(lines) - _TOLD} more" if len(lines) > _TOLD else ""
        raise InputError("reading facts " + "\n  ".join(lines[:_TOLD]) + f"{more}; {_HINT}")


def _check_row(
    marked: Marked, kind: str, number: int, row: Any, sources: Mapping[str, Any]
) -> list[tuple[int, str]]:
    told = []
    for error in _validator(kind).iter_errors(row):
        meant = error.schema.get("description") if isinstance(error.schema, Mapping) else None
        step = error.absolute_path[0] if error.absolute_path else None
        line = marked.line("rows", number, *error.absolute_path)
        words = f"{step}: " if step is not None else ""
        told.append((line, f"{words}{error.message}" + (f" (expected {meant})" if meant else "")))
    if told:
        return told
    if row["source"] not in sources:
        told.append((marked.line("rows", number, "source"), f"source {row['source']!r} is not among sources"))
    try:
        datetime.date.fromisoformat(row["date"])
    except ValueError:
        told.append((marked.line("rows", number, "date"), f"date {row['date']!r} is no day of the calendar"))
    for name in row.get("unverified", ()):
        if name not in row or name in KEYS[kind]:
            told.append(
                (
                    marked.line("rows", number, "unverified"),
                    f"unverified names {name!r}, which is no value of this row beyond its key",
                )
            )
    return told


def _check_keys(marked: Marked, kind: str, rows: Sequence[Any]) -> list[tuple[int, str]]:
    """Complaints about two rows for one thing: which of them counted would be chance."""
    seen: dict[str, int] = {}
    told = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            continue
        named = [row.get(key) for key in KEYS[kind]]
        text = " ".join(_plain(value) for value in named if value is not None)
        if text in seen:
            first = marked.line("rows", seen[text])
            told.append(
                (marked.line("rows", number), f"a second row for {text} (the first is in line {first})")
            )
        seen.setdefault(text, number)
    return told


def _plain(value: Any) -> str:
    """A key's value as text; versions without trailing zeros, since 12.4 and 12.4.0 are the same."""
    if isinstance(value, str) and Version.is_version(value):
        numbers = list(Version.parse(value).numbers)
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers.pop()
        return ".".join(map(str, numbers))
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)

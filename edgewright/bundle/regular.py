# SPDX-License-Identifier: Apache-2.0
"""Holds an index to `bundle.schema.json`, fast: 20,000 files take a schema's validator seconds.

    fault = find_fault(content)      # (("blobs", "ab12...", "size"), "-1 is less than the minimum of 0")

What is right is found right by plain checks. Only where these find something odd the schema itself is asked,
about the first odd entry of each kind, so that its word decides and its message is told. The schema is the
contract: tests/unit/bundle/test_regular.py compares both.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

__all__ = ["find_fault", "is_regular", "schema"]

_TOP = frozenset(
    {
        *("schema", "release", "version", "lock_sha256", "signed_at", "expires", "development", "blobs"),
        *("depot", "depot_sha256", "documents"),
    }
)
_PART = frozenset({"name", "size", "sha256"})
_DOCUMENT = frozenset({"sha256", "size"})
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
_PART_NAME = re.compile(r"[0-9a-f]{64}\.[0-9]{3}", re.ASCII)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_MAX_NAME = 100
_MAX_BLOB_BYTES = 1 << 50
_MAX_PART_BYTES = (1 << 32) - 1
_MAX_PARTS = 1000
_MAX_ENTRIES = {"blobs": 200_000, "depot": 200_000, "documents": 10_000}


def is_regular(content: Any) -> bool:
    """Whether parsed JSON is what the schema says. What is called regular here the schema accepts as well."""
    if type(content) is not dict or content.keys() != _TOP:
        return False
    return (
        content["schema"] == "edgewright.bundle/v1"
        and type(content["development"]) is bool
        and all(_fits(content[key], _NAME, _MAX_NAME) for key in ("release", "version"))
        and all(_fits(content[key], _HEX) for key in ("lock_sha256", "depot_sha256"))
        and all(_fits(content[key], _MOMENT) for key in ("signed_at", "expires"))
        and all(
            type(content[key]) is dict and len(content[key]) <= most for key, most in _MAX_ENTRIES.items()
        )
        and all(check(key, value) for name, check in _CHECKS.items() for key, value in content[name].items())
    )


def find_fault(content: Any) -> tuple[tuple[str | int, ...], str] | None:
    """What the schema has against an index.

    Args:
        content: The parsed JSON, from outside.

    Returns:
        Where and what; None when it has nothing.
    """
    if is_regular(content):
        return None
    import jsonschema  # noqa: PLC0415 - a right index needs none, and loading it takes longer than most checks

    looked_at = [_first_odd(content), content] if type(content) is dict else [content]
    for part in looked_at:
        first = next(iter(jsonschema.Draft202012Validator(schema()).iter_errors(part)), None)
        if first is not None:
            return tuple(first.absolute_path), first.message
    return None


@functools.cache
def schema() -> Mapping[str, Any]:
    """The schema of an index."""
    found: dict[str, Any] = json.loads(files("edgewright.bundle").joinpath("bundle.schema.json").read_text())
    return found


def _first_odd(content: Mapping[str, Any]) -> dict[str, Any]:
    """The index with no more than the first odd entry of each kind, or all where they are too many."""
    found = dict(content)
    for name, check in _CHECKS.items():
        entries = found.get(name)
        if type(entries) is dict and len(entries) <= _MAX_ENTRIES[name]:
            odd = next((key for key, value in entries.items() if not check(key, value)), None)
            found[name] = {} if odd is None else {odd: entries[odd]}
    return found


def _fits(value: Any, pattern: re.Pattern[str], most: int | None = None) -> bool:
    return (
        type(value) is str and (most is None or len(value) <= most) and pattern.fullmatch(value) is not None
    )


def _is_size(value: Any, least: int = 0, most: int = _MAX_BLOB_BYTES) -> bool:
    return type(value) is int and least <= value <= most  # True and False are no sizes


def _is_blob(entry: Any) -> bool:
    if type(entry) is not dict or not _is_size(entry.get("size")):
        return False
    if len(entry) == 1:
        return True
    parts = entry.get("parts")
    few = len(entry) == 2 and type(parts) is list and 2 <= len(parts) <= _MAX_PARTS
    return few and all(_is_part(part) for part in parts or [])


def _is_part(part: Any) -> bool:
    whole = type(part) is dict and part.keys() == _PART
    return (
        whole
        and _fits(part["name"], _PART_NAME)
        and _is_size(part["size"], 1, _MAX_PART_BYTES)
        and _fits(part["sha256"], _HEX)
    )


def _is_document(entry: Any) -> bool:
    whole = type(entry) is dict and entry.keys() == _DOCUMENT
    return whole and _is_size(entry["size"]) and _fits(entry["sha256"], _HEX)


_CHECKS: Mapping[str, Callable[[str, Any], bool]] = {
    "blobs": lambda key, value: _HEX.fullmatch(key) is not None and _is_blob(value),
    "depot": lambda _, value: _fits(value, _HEX),
    "documents": lambda _, value: _is_document(value),
}

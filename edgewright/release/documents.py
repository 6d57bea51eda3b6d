# SPDX-License-Identifier: Apache-2.0
"""`release.yml` and `release.lock.yml`: read and checked strictly, written canonically.

A release is written by a person, so that what is wrong is told with its place and what was expected,
unknown keys included. A lock is written by `edgewright release lock`; the same content always gives the
same bytes, so that its sha256 stands for it.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from edgewright.depot.blobs import sha256_bytes
from edgewright.errors import InputError
from edgewright.release.checks import check_release
from edgewright.release.yamlmarks import Marked, read_marked

__all__ = [
    "LOCK_FILE",
    "RELEASE_FILE",
    "dump_lock",
    "load_lock",
    "load_lock_file",
    "load_release",
    "read_release",
    "relock_hint",
]

RELEASE_FILE = "release.yml"
LOCK_FILE = "release.lock.yml"

_TOLD = 20
"""Complaints in one message: enough for one pass through a file."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Writes what several entries share out in each: an alias would hang on how the lock was made."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the interface's
        return True


def relock_hint(release_dir: Path, images_only: bool = False) -> str:
    """The command that makes a lock fit again, for messages."""
    return f"`edgewright release lock {release_dir}{' --images-only' if images_only else ''}`"


def load_release(release_dir: Path) -> tuple[dict[str, Any], str]:
    """Read a release and check it.

    Args:
        release_dir: Directory with `release.yml`.

    Returns:
        Its content, and the sha256 of the file.

    Raises:
        InputError: It is missing, not YAML, or not what the schema says.
    """
    marked, digest = read_release(release_dir)
    content: dict[str, Any] = marked.content
    return content, digest


def read_release(release_dir: Path) -> tuple[Marked, str]:
    """Read a release and check it, as `load_release`; the lines of its keys stay known.

    Raises:
        InputError: It is missing, not YAML, or not what the schema says; with file and line.
    """
    path = release_dir / RELEASE_FILE
    data = _read(path, "name a directory that holds a release, such as releases/label-reader")
    marked = read_marked(data, path)
    _check(marked, "release.schema.json")
    complaints = check_release(marked.content)
    if complaints:
        _refuse(marked, [(steps, f"{_where(steps)}: {words}") for steps, words in complaints])
    return marked, sha256_bytes(data)


def load_lock(release_dir: Path, fitting: bool = True) -> tuple[dict[str, Any], str]:
    """Read a release's lock and check it; a release that changed since then is refused.

    Args:
        release_dir: Directory with `release.yml` and `release.lock.yml`.
        fitting: Whether it must have been made from the `release.yml` of today.

    Returns:
        Its content, and the sha256 of the file.

    Raises:
        InputError: It is missing, damaged, or made from another `release.yml`.
    """
    path = release_dir / LOCK_FILE
    content, digest = load_lock_file(path, f"make it with {relock_hint(release_dir)}")
    release = release_dir / RELEASE_FILE
    if fitting and release.is_file():
        found = sha256_bytes(release.read_bytes())
        if found != content["release"]["sha256"]:
            raise InputError(
                f"reading {path}: it was made from a release.yml with sha256 {content['release']['sha256']}, "
                f"but {release} has {found}; lock it anew with {relock_hint(release_dir)}"
            )
    return content, digest


def load_lock_file(path: Path, hint: str = "name a release.lock.yml") -> tuple[dict[str, Any], str]:
    """Read and check a lock wherever it lies, without its release.

    Args:
        path: The file.
        hint: What to do when it is not there.

    Returns:
        Its content, and the sha256 of the file.

    Raises:
        InputError: It is missing or damaged.
    """
    data = _read(path, hint)
    try:
        content = yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"reading {path}: it is not YAML: {error}") from error
    if _errors(content, "lock.schema.json"):
        _check(read_marked(data, path), "lock.schema.json")  # read again, for the lines
    return content, sha256_bytes(data)


def dump_lock(lock: Mapping[str, Any]) -> bytes:
    """A lock's bytes: keys in the given order, one way to write each value."""
    head = b"# Written by `edgewright release lock`; change release.yml and run it again.\n"
    text: str = yaml.dump(dict(lock), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return head + text.encode("utf-8")


def _read(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"reading {path}: there is no such file; {hint}") from error
    except OSError as error:
        raise InputError(f"reading {path}: {error.strerror}") from error


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("edgewright.release").joinpath(name).read_text("utf-8"))
    return loaded


def _errors(content: Any, schema: str) -> list[jsonschema.ValidationError]:
    found = jsonschema.Draft202012Validator(_schema(schema)).iter_errors(content)
    return sorted(found, key=lambda error: [str(step) for step in error.absolute_path])


def _check(marked: Marked, schema: str) -> None:
    errors = _errors(marked.content, schema)
    if errors:
        _refuse(marked, [told for error in errors for told in _complaints(error)])


def _refuse(marked: Marked, complaints: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
    """Raise with every complaint (steps, sentence) in the order of the file's lines, each with its own."""
    told = sorted({(marked.line(*steps), words) for steps, words in complaints})
    lines = [f"{marked.path}:{line}: {words}" for line, words in told[:_TOLD]]
    more = f"\n  and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    raise InputError("reading " + "\n  ".join(lines) + f"{more}; docs/reference/release.md explains each key")


def _where(steps: Sequence[str | int]) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place.lstrip(".") or "the top level"


def _complaints(error: jsonschema.ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Steps to the place, and a sentence; an unknown key's place is that key itself."""
    steps: tuple[str | int, ...] = tuple(error.absolute_path)
    where, schema = _where(steps), error.schema
    properties: Mapping[str, Any] = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(properties)
        unknown = [key for key in error.instance if key not in known]
        return [((*steps, key), f"{where}: unknown key {key!r}{_near(str(key), known)}") for key in unknown]
    if error.validator == "required" and isinstance(error.instance, dict):
        required: Any = error.validator_value
        missing = [key for key in required if key not in error.instance]
        why = [properties.get(key, {}).get("description") for key in missing]
        told = f" ({'; '.join(filter(None, why))})" if any(why) else ""
        return [(steps, f"{where}: missing {', '.join(map(repr, missing))}{told}")]
    if error.validator == "const":
        return [(steps, f"{where}: expected {error.validator_value!r}, got {error.instance!r}")]
    meant = schema.get("description") if isinstance(schema, Mapping) else None
    return [(steps, f"{where}: {error.message}" + (f" ({meant})" if meant else ""))]


def _near(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"

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
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from edgewright.depot.blobs import sha256_bytes
from edgewright.errors import InputError

__all__ = ["LOCK_FILE", "RELEASE_FILE", "dump_lock", "load_lock", "load_release", "relock_hint"]

RELEASE_FILE = "release.yml"
LOCK_FILE = "release.lock.yml"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key written twice: YAML's own would keep the last one silently."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is written twice", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


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
    path = release_dir / RELEASE_FILE
    data = _read(path, "name a directory that holds a release, such as releases/label-reader")
    content = _parse(data, path, _UniqueKeys)
    _check(content, path, "release.schema.json")
    _check_bootstrap(content, path)
    return content, sha256_bytes(data)


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
    data = _read(path, f"make it with {relock_hint(release_dir)}")
    content = _parse(data, path, _Loader)
    _check(content, path, "lock.schema.json")
    release = release_dir / RELEASE_FILE
    if fitting and release.is_file():
        found = sha256_bytes(release.read_bytes())
        if found != content["release"]["sha256"]:
            raise InputError(
                f"reading {path}: it was made from a release.yml with sha256 {content['release']['sha256']}, "
                f"but {release} has {found}; lock it anew with {relock_hint(release_dir)}"
            )
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


def _parse(data: bytes, path: Path, loader: Any) -> Any:
    try:
        return yaml.load(data, Loader=loader)  # noqa: S506 - both loaders are safe ones
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"reading {path}: it is not YAML: {error}") from error


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("edgewright.release").joinpath(name).read_text("utf-8"))
    return loaded


def _check(content: Any, path: Path, schema: str) -> None:
    found = jsonschema.Draft202012Validator(_schema(schema)).iter_errors(content)
    errors = sorted(found, key=lambda error: [str(step) for step in error.absolute_path])
    if errors:
        told = "; ".join(_sentence(error) for error in errors[:5])
        more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
        raise InputError(f"reading {path}: {told}{more}; docs/reference/release.md explains each key")


def _sentence(error: jsonschema.ValidationError) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    where = place.lstrip(".") or "the top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        schema: Any = error.schema
        known = sorted(schema.get("properties", {}))
        unknown = sorted(str(key) for key in error.instance if key not in known)
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f", did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"
        return f"{where}: unknown key {', '.join(map(repr, unknown))}{hint}"
    if error.validator == "required" and isinstance(error.instance, dict):
        required: Any = error.validator_value
        missing = [key for key in required if key not in error.instance]
        return f"{where}: missing {', '.join(map(repr, missing))}"
    if error.validator == "const":
        return f"{where}: expected {error.validator_value!r}, got {error.instance!r}"
    return f"{where}: {error.message}"


def _check_bootstrap(content: Mapping[str, Any], path: Path) -> None:
    apt = content["apt"]
    unknown = sorted(set(apt["bootstrap"]) - set(apt["packages"]))
    if unknown:
        raise InputError(
            f"reading {path}: apt.bootstrap: {', '.join(unknown)} not in apt.packages; what is copied first "
            "must be part of the release: add it there"
        )

# SPDX-License-Identifier: Apache-2.0
"""The lock as an area sees it: read, and checked for the parts that a `want` reads.

A lock is written by `edgewright release lock` and read here on the way to `want`; a lock that was
cut short or edited by hand is refused with the place of the fault, never half used.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.device import _yaml
from edgewright.errors import InputError

__all__ = ["SCHEMA", "for_target", "load_lock", "parse_lock"]

SCHEMA = "edgewright.lock/v1"

_TEXTS = {
    "release": ("name", "version", "sha256"),
    "os": ("family", "suite", "arch"),
    "kernel": ("package", "version", "release", "flavour"),
}
_LISTS = {
    ("apt", "packages"): ("name", "version", "arch", "filename", "sha256"),
    ("images",): ("role", "name", "digest"),
}


def load_lock(path: Path) -> dict[str, Any]:
    """Read and check a lock file.

    Raises:
        InputError: it is not there, not readable, or not a lock of this schema.
    """
    if path.is_dir():
        raise InputError(f"lock {path} is a directory: name the file, such as {path / 'release.lock.yml'}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"lock {path} does not exist: set edgewright_release_dir to a directory with release.lock.yml,"
            f" or make it with `edgewright release lock {path.parent}`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"lock {path} cannot be read: {error}") from error
    return parse_lock(text, str(path))


def parse_lock(text: str, source: str) -> dict[str, Any]:
    """Check a lock's text and give it out as plain data.

    Args:
        text: the file's content, YAML.
        source: the file, for messages.

    Raises:
        InputError: not YAML, another schema, or a part that an area reads is missing or misshapen.
    """
    where = f"lock {source}"
    again = "write it again with `edgewright release lock`"
    raw = _yaml.load_mapping(text, where, SCHEMA, again)
    for part, keys in _TEXTS.items():
        _check_texts(f"{where}: {part}", raw.get(part), keys, again)
    if "nvidia" in raw:
        _check_stacks(f"{where}: nvidia", raw["nvidia"], again)
    for path, keys in _LISTS.items():
        name = ".".join(path)
        found: Any = raw
        for step in path:
            found = found.get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, list):
            raise InputError(f"{where}: {name}: expected a list, got {_kind(found)}; {again}")
        for number, entry in enumerate(found):
            _check_texts(f"{where}: {name}[{number}]", entry, keys, again)
    return raw


def for_target(lock: Mapping[str, Any], arch: str, suite: object = None) -> Mapping[str, Any]:
    """A lock as one of its targets sees it: `os`, `kernel`, `apt` and `python` of that target, its images.

    Args:
        lock: the lock.
        arch: Debian's name of the device's architecture.
        suite: the device's suite, which decides where several targets have the architecture.

    Returns:
        The lock itself where it has one target only.

    Raises:
        InputError: no target is of that architecture, or several are and none of them has the suite.
    """
    if not lock.get("targets"):
        return lock
    parts = [lock, *lock["targets"]]
    there = ", ".join(f"{part['os']['suite']} on {part['os']['arch']}" for part in parts)
    found = [part for part in parts if part["os"]["arch"] == arch]
    chosen = [part for part in found if len(found) == 1 or part["os"]["suite"] == suite]
    if not chosen:
        raise InputError(
            f"lock of release {lock['release']['name']} {lock['release']['version']}: expected a target"
            f" {suite or 'of any suite'} on {arch}, it has {there}: add it to targets of release.yml and run"
            " `edgewright release lock`, or correct the device's profile"
        )
    own = {key: chosen[0][key] for key in ("os", "kernel", "apt", "python", "modules") if key in chosen[0]}
    images = [image for image in lock["images"] if image.get("platform") == f"linux/{arch}"]
    shared = {key: value for key, value in lock.items() if key not in {"targets", "modules"}}
    return {**shared, **own, "images": images}


def _check_texts(where: str, part: object, keys: tuple[str, ...], again: str) -> None:
    if not isinstance(part, Mapping):
        raise InputError(f"{where}: expected a mapping with {', '.join(keys)}, got {_kind(part)}; {again}")
    for key in keys:
        value = part.get(key)
        if not isinstance(value, str) or not value:
            raise InputError(f"{where}: {key}: expected text, got {value!r}; {again}")


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _check_stacks(where: str, stacks: object, again: str) -> None:
    """The NVIDIA stack of each profile, as `edgewright.device.nvidia_lock` reads it."""
    if not isinstance(stacks, list):
        raise InputError(f"{where}: expected a list, got {_kind(stacks)}; {again}")
    for number, stack in enumerate(stacks):
        place = f"{where}[{number}]"
        _check_texts(place, stack, ("profile", "target"), again)
        _check_texts(f"{place}: chosen", stack.get("chosen"), ("arch", "suite", "kernel-flavour"), again)
        for item, version in stack["chosen"].items():
            if not isinstance(version, str):
                raise InputError(f"{place}: chosen: {item}: expected text, got {version!r}; {again}")
        waiver = stack.get("waiver", "nothing")
        if waiver is not None:
            _check_texts(f"{place}: waiver", waiver, ("who", "why", "until"), again)
            try:
                datetime.date.fromisoformat(waiver["until"])
            except ValueError as error:
                raise InputError(
                    f"{place}: waiver: until: expected a day such as 2027-06-30, got {waiver['until']!r};"
                    f" {again}"
                ) from error

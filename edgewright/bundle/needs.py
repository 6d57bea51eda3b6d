# SPDX-License-Identifier: Apache-2.0
"""Which of a lock's packages and wheels need which others, as they declare it themselves.

    deb_needs(lock["apt"]["packages"], store)        # {filename: [filenames that it depends on]}

Versions are not compared: the resolver did that when it chose them. What lies outside of the lock (a device's
base system) is not listed.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from edgewright.depot.blobs import BlobStore
from edgewright.depot.debfile import control_fields
from edgewright.errors import IntegrityError
from edgewright.release.wheels import normal_name

__all__ = ["deb_needs", "wheel_needs"]

Needs = dict[str, list[str]]

_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name of an architecture -> the kernel's (`uname -m`)."""


def deb_needs(debs: Sequence[Mapping[str, Any]], store: BlobStore) -> Needs:
    """What each package depends on among the others: `Depends` and `Pre-Depends`, `Provides` included.

    Args:
        debs: Entries of the lock.
        store: Holds them.

    Returns:
        Filenames in order, by filename.

    Raises:
        IntegrityError: The store lacks one, or it is no Debian package.
    """
    for deb in debs:
        _there(deb, store)
    controls = [
        HeaderParser().parsestr(control_fields(store.path(deb["sha256"]), deb["filename"])) for deb in debs
    ]
    offered: dict[str, list[Mapping[str, Any]]] = {}
    for deb, control in zip(debs, controls, strict=True):
        offered.setdefault(deb["name"], []).insert(0, deb)  # a package itself comes before who stands for it
        for group in _groups(control, "Provides"):
            offered.setdefault(group[0], []).append(deb)
    found: Needs = {}
    for deb, control in zip(debs, controls, strict=True):
        needed = {
            chosen["filename"]
            for field in ("Pre-Depends", "Depends")
            for group in _groups(control, field)
            if (chosen := _chosen(group, deb["arch"], offered)) is not None
        }
        found[deb["filename"]] = sorted(needed - {deb["filename"]})
    return found


def wheel_needs(
    wheels: Sequence[Mapping[str, Any]],
    requirements: Sequence[str],
    python: str,
    arch: str,
    store: BlobStore,
) -> Needs:
    """What each wheel depends on among the others: `Requires-Dist`, with markers and extras.

    Args:
        wheels: Entries of the lock.
        requirements: What the release asks for, for its extras.
        python: The version that runs them, such as `3.11`.
        arch: Debian's name of the machine.
        store: Holds them.

    Returns:
        Filenames in order, by filename.

    Raises:
        IntegrityError: The store lacks one, or it is no wheel.
    """
    by_name = {normal_name(wheel["name"]): wheel for wheel in wheels}
    declared = {name: _requires(wheel, store) for name, wheel in by_name.items()}
    environment = _environment(python, arch)
    extras: dict[str, set[str]] = {name: set() for name in by_name}
    for requirement in map(Requirement, requirements):
        extras.get(normal_name(requirement.name), set()).update(requirement.extras)
    needed: dict[str, set[str]] = {name: set() for name in by_name}
    waiting = list(by_name)
    while waiting:  # an extra that one wheel asks of another makes that other need more
        name = waiting.pop()
        for requirement in declared[name]:
            other = normal_name(requirement.name)
            if other not in by_name or not _applies(requirement, environment, extras[name]):
                continue
            needed[name].add(other)
            if not requirement.extras <= extras[other]:
                extras[other] |= requirement.extras
                waiting.append(other)
    return {
        wheel["filename"]: sorted(by_name[other]["filename"] for other in needed[name] - {name})
        for name, wheel in by_name.items()
    }


def _there(entry: Mapping[str, Any], store: BlobStore) -> None:
    if not store.has(entry["sha256"], entry["size"]):
        raise IntegrityError(
            f"reading what {entry['filename']} needs: expected it in the cache with sha256 "
            f"{entry['sha256']}, it is not there or cut short; build the bundle again, so that it is fetched"
        )


def _groups(control: Message, field: str) -> list[list[str]]:
    """Names of a relation field: groups joined by commas, alternatives by bars."""
    groups = []
    for group in str(control.get(field, "")).split(","):
        names = [match[1] for part in group.split("|") if (match := _NAME.match(part))]
        if names:
            groups.append(names)
    return groups


def _chosen(
    group: list[str], arch: str, offered: Mapping[str, list[Mapping[str, Any]]]
) -> Mapping[str, Any] | None:
    for name in group:
        for deb in offered.get(name, []):
            if arch in {"all", deb["arch"]} or deb["arch"] == "all":
                return deb
    return None


def _requires(wheel: Mapping[str, Any], store: BlobStore) -> list[Requirement]:
    _there(wheel, store)
    try:
        with zipfile.ZipFile(store.path(wheel["sha256"])) as archive:
            name = next(
                name
                for name in archive.namelist()
                if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
            )
            metadata = HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))
        return [Requirement(str(text)) for text in metadata.get_all("Requires-Dist", [])]
    except (zipfile.BadZipFile, StopIteration, InvalidRequirement) as error:
        raise IntegrityError(
            f"reading what {wheel['filename']} needs: it is no wheel with readable metadata: {error!r}; "
            "choose another version in release.yml and lock anew"
        ) from error


def _environment(python: str, arch: str) -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": _MACHINES.get(arch, arch),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def _applies(requirement: Requirement, environment: Mapping[str, str], extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({**environment, "extra": extra}) for extra in {"", *extras})

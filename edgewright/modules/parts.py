# SPDX-License-Identifier: Apache-2.0
"""Which targets have kernel modules, in a release and in its lock; and what of them travels in a bundle.

    for entry in module_entries(lock): ...      # of the first target, then of the further ones
    shipped_modules(lock, depot, store)         # what devices get of them, by file name

A lock names a package of modules as it is before it is signed, since that is what its inputs decide. What
devices get was signed with a site's key. Both digests are told, and each module's as it lies on a device,
so that a file that is found there can be matched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.errors import IntegrityError
from edgewright.modules.debpack import read_members

__all__ = ["Shipped", "check_wishes", "lock_parts", "module_entries", "shipped_modules", "wishes_for"]

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Shipped:
    """A package of modules as devices get it.

    Attributes:
        sha256: Of the package in the depot, in hex.
        size: Its bytes.
        unsigned_sha256: Of the package before its modules were signed: the lock's.
        signer: sha256 of the certificate of the key that signed; empty where nothing is signed.
        modules: sha256 of each module as it lies on a device, by path below the root.
    """

    sha256: str
    size: int
    unsigned_sha256: str
    signer: str
    modules: Mapping[str, str]


def lock_parts(lock: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A lock's targets: the first one lies in the lock itself."""
    return [lock, *lock.get("targets", [])]


def module_entries(lock: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of kernel modules of all targets, the first one's first."""
    return [entry for part in lock_parts(lock) for entry in part.get("modules", [])]


def wishes_for(release: Mapping[str, Any], suite: str, arch: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Which of a release's `modules` are for a target, each with its number in the list.

    An entry without `suites` and `arches` is for the first target: a driver's version is one suite's.
    """
    first = release["os"]
    return [
        (number, wanted)
        for number, wanted in enumerate(release.get("modules", []))
        if suite in wanted.get("suites", [first["suite"]]) and arch in wanted.get("arches", [first["arch"]])
    ]


def check_wishes(release: Mapping[str, Any]) -> Iterator[tuple[Steps, str]]:
    """Complaints about `modules` that no target, or more than one entry for a target, takes.

    Yields:
        Steps to the place, and a sentence.
    """
    targets = [(part["suite"], part["arch"]) for part in [release["os"], *release.get("targets", [])]]
    there = ", ".join(f"{suite} on {arch}" for suite, arch in targets)
    used: set[int] = set()
    for suite, arch in targets:
        seen: dict[str, int] = {}
        for number, wanted in wishes_for(release, suite, arch):
            used.add(number)
            if wanted["name"] in seen:
                yield (
                    ("modules", number),
                    f"modules[{seen[wanted['name']]}] makes {wanted['name']} for {suite} on {arch} already; "
                    "keep one of them, or say `suites` and `arches` of both",
                )
            seen.setdefault(wanted["name"], number)
    for number, wanted in enumerate(release.get("modules", [])):
        known = {"suites": {suite for suite, _ in targets}, "arches": {arch for _, arch in targets}}
        for key, names in known.items():
            for place, name in enumerate(wanted.get(key, [])):
                if name not in names:
                    told = f"no target of the release is {name} (they are: {there})"
                    yield ("modules", number, key, place), told
        if number not in used:
            yield (
                ("modules", number),
                f"no target of the release takes {wanted['name']} {wanted['driver']} (they are: {there}); "
                "correct suites and arches, or take it out",
            )


def shipped_modules(
    lock: Mapping[str, Any], depot: Mapping[str, str], store: BlobStore
) -> dict[str, Shipped]:
    """What a depot gives to devices of a lock's modules.

    Args:
        lock: The lock.
        depot: sha256 of the depot's files, by path.
        store: Holds them.

    Returns:
        By the package's file name.

    Raises:
        IntegrityError: The depot has no such package, or it is none.
    """
    found = {}
    for entry in module_entries(lock):
        digest = depot.get(f"apt/pool/{entry['filename']}")
        if digest is None:
            raise IntegrityError(
                f"laying out the bundle: expected apt/pool/{entry['filename']} in the depot, it is not there"
            )
        path = store.path(digest)
        told = _manifest(entry["filename"], read_members(path, "usr/share/edgewright/modules"))
        below = f"lib/modules/{entry['kernel']['release']}/updates/edgewright"
        signer = str(told.get("signer") or "")
        modules = {
            f"{below}/{name}": str(each["signed_sha256" if signer else "sha256"])
            for name, each in sorted(told["modules"].items())
        }
        found[entry["filename"]] = Shipped(digest, path.stat().st_size, entry["sha256"], signer, modules)
    return found


def _manifest(name: str, files: Mapping[str, bytes]) -> Mapping[str, Any]:
    try:
        (data,) = files.values()
        told = json.loads(data)
        if not isinstance(told["modules"], dict):
            raise TypeError("its modules are no mapping")
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"reading {name}: its manifest does not tell its modules: {error}") from error
    found: Mapping[str, Any] = told
    return found

# SPDX-License-Identifier: Apache-2.0
"""The real driver and the real RT kernel of Debian 12, ordered as `release lock` orders them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgewright.depot.blobs import BlobStore
from edgewright.modules.order import draft_modules, needed, order_modules
from edgewright.modules.ship import lock_modules
from edgewright.release.aptresolve import AptRoom, Deb
from edgewright.release.targets import Target, release_targets
from edgewright.release.yamlmarks import Marked, read_marked

__all__ = ["DRIVER", "RELEASE", "Order", "ordered", "real_modules"]

DRIVER = "535.309.01"
"""Debian 12's, as bookworm-security has it (/docs/reference/nvidia-stack.md has its facts and sources)."""

_COMPONENTS = ["main", "contrib", "non-free", "non-free-firmware"]

RELEASE: dict[str, Any] = {
    "os": {"family": "debian", "suite": "bookworm", "arch": "amd64", "kernel": "linux-image-rt-amd64"},
    "nvidia": {"rt_waiver": {"who": "The tests", "why": "no machine is harmed", "until": "2099-01-01"}},
    "modules": [
        {"name": "nvidia", "flavour": "proprietary", "source": "nvidia-kernel-dkms", "driver": DRIVER}
    ],
    "apt": {
        "sources": [
            {"uri": "archive:debian", "suites": ["bookworm", "bookworm-updates"], "components": _COMPONENTS},
            {"uri": "archive:debian-security", "suites": ["bookworm-security"], "components": _COMPONENTS},
        ],
        "packages": ["kmod"],
        "bootstrap": [],
    },
    "python": {"version": "3.11", "platforms": [], "requirements": []},
    "images": {"runtime": {"name": "r", "debs": []}, "models": []},
}


@dataclass(frozen=True)
class Order:
    """What was ordered: the lock's kernel, its entry for the modules, and what devices get."""

    kernel: dict[str, str]
    entry: dict[str, Any]
    closure: list[Deb]


def marked(release: dict[str, Any], folder: Path) -> Marked:
    """A release as it is read from a file."""
    data = yaml.safe_dump(release, sort_keys=False).encode()
    return read_marked(data, folder / "release.yml")


def ordered(release: dict[str, Any], folder: Path, more: list[str] | None = None) -> Order:
    """Resolve a release's modules against its archives, as `release lock` does.

    Args:
        release: The release.
        folder: Its directory.
        more: Further packages of devices.
    """
    read = marked(release, folder)
    target: Target = release_targets(release)[0]
    with AptRoom(target.arch, target.sources, folder) as room:
        room.update()
        base = room.resolve(room.essential())
        drafts = draft_modules(room, read, target)
        names = [*release["apt"]["packages"], target.kernel, *needed(drafts), *(more or [])]
        closure = room.resolve(names, [*base, *(draft.stand_in for draft in drafts)])
        image = next(deb for deb in closure if deb.name.startswith("linux-image-6"))
        found = image.name.removeprefix("linux-image-")
        kernel = {"package": image.name, "version": image.version, "release": found}
        kernel["flavour"] = "rt" if "-rt-" in found else "generic"
        (entry,) = order_modules(room, drafts, read, kernel, closure, {})
    return Order(kernel, entry, closure)


@functools.cache
def real_modules() -> tuple[Order, dict[str, Any]]:
    """The real driver's order, and its entry with the package built (or taken from the cache)."""
    order = ordered(RELEASE, Path("/nonexistent"))
    (entry,) = lock_modules([order.entry], {}, BlobStore())
    return order, entry

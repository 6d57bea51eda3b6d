# SPDX-License-Identifier: Apache-2.0
"""Which wheels a controller's environment is made of: locked with Edgewright itself, not with a release.

The environment belongs to a version of Edgewright and is tested with it, so its lock lies in the package,
`edgewright/data/installer/lock.json`, and a bundle that is built twice carries the same one. It holds this
project's own runtime dependencies for each Python and machine that a controller may be. The `ansible`
package is not among them: the few collections that are used are taken out of its wheel, which is locked too.

    scripts/lock_installer.py        # after a change of `dependencies` in pyproject.toml
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import Progress, say
from edgewright.errors import InputError, IntegrityError
from edgewright.release.wheels import fetch_wheels, normal_name, resolve_wheels

__all__ = [
    "MACHINES",
    "PYTHONS",
    "SCHEMA",
    "Environment",
    "InstallerLock",
    "Wheel",
    "load_installer_lock",
    "resolve_installer_lock",
    "wanted_requirements",
]

SCHEMA = "edgewright.installer-lock/v1"
LOCK_FILE = "lock.json"

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's suites -> the Python that their `python3` is."""

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name of an architecture -> the kernel's (`uname -m`)."""

_GLIBC = (36, 35, 34, 31, 28, 27, 26, 24, 17)
"""Minor versions of glibc 2 that wheels are built against; Debian 12 has 2.36."""

_COLLECTIONS_FROM = "ansible"


@dataclass(frozen=True, order=True)
class Environment:
    """A kind of controller.

    Attributes:
        python: Its Python, such as "3.11".
        arch: Debian's name of its architecture.
    """

    python: str
    arch: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """Wheel platform tags that it takes, best first."""
        machine = MACHINES[self.arch]
        return (*(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC), f"manylinux2014_{machine}")


@dataclass(frozen=True)
class Wheel:
    """A locked wheel; `size` in bytes."""

    filename: str
    name: str
    version: str
    size: int
    sha256: str
    licence: str


@dataclass(frozen=True)
class InstallerLock:
    """What a controller's environment is made of.

    Attributes:
        requirements: What was resolved.
        environments: Wheels of each kind of controller.
        collections: The wheel that collections are taken out of.
    """

    requirements: tuple[str, ...]
    environments: Mapping[Environment, tuple[Wheel, ...]]
    collections: Wheel

    def dump(self) -> bytes:
        """The file's bytes: canonical, a wheel once however many environments hold it."""
        wheels = {wheel.filename: wheel for held in self.environments.values() for wheel in held}
        content = {
            "schema": SCHEMA,
            "requirements": list(self.requirements),
            "environments": [
                {
                    "python": environment.python,
                    "arch": environment.arch,
                    "wheels": sorted(wheel.filename for wheel in held),
                }
                for environment, held in sorted(self.environments.items())
            ],
            "wheels": [_entry(wheel) for _, wheel in sorted(wheels.items())],
            "collections": _entry(self.collections),
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    def fetch(self, environments: Sequence[Environment], store: BlobStore) -> None:
        """Get the wheels of some environments, and the collections' one, that the store lacks.

        Raises:
            InputError: The index no longer has one, or an environment is not locked.
            IntegrityError: The index serves other bytes than locked.
            UnreachableError: The index does not answer.
        """
        missing = [environment for environment in environments if environment not in self.environments]
        if missing:
            known = ", ".join(f"Python {one.python} on {one.arch}" for one in self.environments)
            raise InputError(
                f"carrying an installer for Python {missing[0].python} on {missing[0].arch}: it is not "
                f"locked; locked are {known}"
            )
        first = environments[0]
        wanted = {first: [_entry(self.collections)]}
        seen = set()
        for environment in environments:
            for wheel in self.environments[environment]:
                if wheel.filename not in seen:
                    seen.add(wheel.filename)
                    wanted.setdefault(environment, []).append(_entry(wheel))
        size = sum(entry["size"] for entries in wanted.values() for entry in entries)
        progress = Progress("fetching the wheels of controllers", size)
        for environment, entries in wanted.items():
            fetch_wheels(entries, environment.python, environment.platforms, store, progress)
        progress.close()


def load_installer_lock() -> InstallerLock:
    """The lock that this Edgewright was tested with.

    Raises:
        IntegrityError: The package is damaged.
    """
    path = files("edgewright").joinpath("data", "installer", LOCK_FILE)
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {content['schema']!r}")
        wheels = {entry["filename"]: Wheel(**entry) for entry in content["wheels"]}
        return InstallerLock(
            tuple(content["requirements"]),
            {
                Environment(one["python"], one["arch"]): tuple(wheels[name] for name in one["wheels"])
                for one in content["environments"]
            },
            Wheel(**content["collections"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"reading {path}: {error!r}; this copy of Edgewright is damaged: install it again"
        ) from error


def wanted_requirements(dependencies: Sequence[str]) -> tuple[str, ...]:
    """What a controller's environment holds: a project's runtime dependencies without `ansible`.

    Args:
        dependencies: `project.dependencies` of pyproject.toml.
    """
    return tuple(sorted({text for text in dependencies if normal_name(_name(text)) != _COLLECTIONS_FROM}))


def resolve_installer_lock(
    dependencies: Sequence[str], environments: Sequence[Environment], store: BlobStore
) -> InstallerLock:
    """Resolve anew, for each kind of controller.

    Args:
        dependencies: `project.dependencies` of pyproject.toml.
        environments: The kinds.
        store: Where the wheels go.

    Raises:
        InputError: There is no such set of wheels.
    """
    requirements = wanted_requirements(dependencies)
    resolved = {}
    for environment in environments:
        say(f"resolving for Python {environment.python} on {environment.arch}")
        found = resolve_wheels(
            requirements, environment.python, environment.platforms, store, place="pyproject.toml"
        )
        resolved[environment] = tuple(Wheel(**entry) for entry in found)
    source = [text for text in dependencies if normal_name(_name(text)) == _COLLECTIONS_FROM]
    first = environments[0]
    collections = resolve_wheels(
        source, first.python, first.platforms, store, dependencies=False, place="pyproject.toml"
    )
    return InstallerLock(requirements, resolved, Wheel(**collections[0]))


def _name(requirement: str) -> str:
    for at, letter in enumerate(requirement):
        if not (letter.isalnum() or letter in "-_."):
            return requirement[:at]
    return requirement


def _entry(wheel: Wheel) -> dict[str, Any]:
    return dict(vars(wheel))

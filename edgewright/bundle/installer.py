# SPDX-License-Identifier: Apache-2.0
"""What a bundle carries for a bare controller: the command `install`, and what it starts with.

    install                   POSIX sh: finds python3
    installer/bootstrap.py    standard library only: verifies all that follows
    installer/environment.py  standard library only: lays out the environment, and goes on from there
    installer/keyring.pgp     the OpenPGP certificate that root 1 names, see `installer_key`
    installer/pins.json       size and sha256 of everything in installer/, schema edgewright.installer/v1
    installer/pins.json.sig   its signature, OpenPGP
    installer/collections.zip the Ansible collections that are used, no others
    installer/wheels/         Edgewright and what it needs, for each kind of controller

How it is trusted is told in docs/adr/0007-how-the-installer-is-trusted.md. The same Edgewright, keys and
moment give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import edgewright
from edgewright.bundle.installer_key import keyring
from edgewright.bundle.installer_lock import (
    MACHINES,
    PYTHONS,
    Environment,
    InstallerLock,
    load_installer_lock,
)
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INSTALL, INSTALLER, canonical, format_time
from edgewright.bundle.packing import collections_archive, own_wheel, unpacked_size, used_collections
from edgewright.depot.blobs import BlobStore, sha256_file
from edgewright.depot.keys import ReleaseKey
from edgewright.errors import InputError, IntegrityError

__all__ = [
    "BOOTSTRAP",
    "COLLECTIONS",
    "ENVIRONMENT",
    "KEYRING",
    "PINS",
    "PINS_SCHEMA",
    "SIGNATURE",
    "controllers_of",
    "installer_files",
]

PINS_SCHEMA = "edgewright.installer/v1"
BOOTSTRAP = "bootstrap.py"
ENVIRONMENT = "environment.py"
KEYRING = "keyring.pgp"
PINS = "pins.json"
SIGNATURE = "pins.json.sig"
COLLECTIONS = "collections.zip"
_WHEELS = "wheels"
_OFFICE_ARCH = "amd64"
"""What a controller is beside the devices' own kind: an ordinary PC."""


def controllers_of(lock: Mapping[str, Any]) -> tuple[Environment, ...]:
    """The kinds of controller that a release's bundle carries an environment for.

    For each target: a controller of its suite on its own architecture (a device that is its own controller)
    and on amd64.

    Args:
        lock: The release's lock.

    Raises:
        InputError: A suite or an architecture has none.
    """
    found = set()
    for target in [lock, *lock.get("targets", [])]:
        suite, arch = str(target["os"]["suite"]), str(target["os"]["arch"])
        if suite not in PYTHONS or arch not in MACHINES:
            raise InputError(
                f"carrying an installer for {suite} on {arch}: known are {', '.join(PYTHONS)} on "
                f"{', '.join(MACHINES)}; build with --no-installer for controllers that hold Edgewright"
            )
        found |= {Environment(PYTHONS[suite], one) for one in (arch, _OFFICE_ARCH)}
    return tuple(sorted(found))


def installer_files(
    lock: Mapping[str, Any],
    keys: KeySet,
    moment: datetime,
    expires: datetime,
    store: BlobStore,
    *,
    carried: InstallerLock | None = None,
) -> dict[str, bytes | Path]:
    """All of it, by name from the stick's top: what `build_bundle(installer=...)` is given.

    Args:
        lock: The release's lock: which kinds of controller there may be.
        keys: The set that signs the bundle.
        moment: The bundle's own moment, UTC: the signature's, too.
        expires: From when on `install` refuses, UTC.
        store: Where wheels are fetched to.
        carried: What to carry; what this Edgewright was tested with when not given.

    Raises:
        InputError: The keys cannot sign an installer, or a kind of controller is not known.
        IntegrityError: A wheel is not what the lock says.
        UnreachableError: A source does not answer.
    """
    certificate = keyring(keys.directory, keys.roots[1])
    carried = carried or load_installer_lock()
    environments = controllers_of(lock)
    carried.fetch(environments, store)
    found: dict[str, bytes | Path] = {name: _data(name) for name in (BOOTSTRAP, ENVIRONMENT)}
    name, wheel = own_wheel()
    found[f"{_WHEELS}/{name}"] = wheel
    found[COLLECTIONS] = collections_archive(_stored(store, carried.collections.sha256), used_collections())
    common = [f"{_WHEELS}/{name}", COLLECTIONS]
    needed = {}
    for environment in environments:
        wheels = {f"{_WHEELS}/{one.filename}": one for one in carried.environments[environment]}
        found |= {path: _stored(store, one.sha256) for path, one in wheels.items()}
        needed[environment] = [*sorted(wheels), *common]
    content = {
        "schema": PINS_SCHEMA,
        "version": edgewright.__version__,
        "root_sha256": keys.fingerprint,
        "expires": format_time(expires),
        "environments": [_environment(one, names, found) for one, names in sorted(needed.items())],
        "files": {path: _pin(data) for path, data in sorted(found.items())},
    }
    pins = canonical(content)
    found |= {KEYRING: certificate, PINS: pins}
    found[SIGNATURE] = ReleaseKey(keys.directory).sign_apart(pins, moment)
    return {INSTALL: _data("install")} | {f"{INSTALLER}/{path}": data for path, data in sorted(found.items())}


def _environment(
    environment: Environment, names: Iterable[str], found: Mapping[str, bytes | Path]
) -> dict[str, Any]:
    sizes = [unpacked_size(found[name]) for name in names]
    return {
        "python": environment.python,
        "machine": MACHINES[environment.arch],
        "archives": list(names),
        "unpacked_files": sum(count for count, _ in sizes),
        "unpacked_bytes": sum(size for _, size in sizes),
    }


def _pin(data: bytes | Path) -> dict[str, Any]:
    if isinstance(data, Path):
        return {"size": data.stat().st_size, "sha256": sha256_file(data)}
    return {"size": len(data), "sha256": sha256(data).hexdigest()}


def _stored(store: BlobStore, digest: str) -> Path:
    path = store.path(digest)
    if sha256_file(path) != digest:
        path.unlink()
        raise IntegrityError(
            f"reading {path} in the cache: it was damaged and is gone now; run the same again"
        )
    return path


def _data(name: str) -> bytes:
    return files("edgewright").joinpath("data", "installer", name).read_bytes()

# SPDX-License-Identifier: Apache-2.0
"""Locked kernel modules as packages of a depot: taken from the cache or built, held to the lock, signed.

    lock = with_modules(lock, store, keys)          # each target's apt.packages has them too

The lock holds the sha256 of the unsigned package. With a machine owner's key in the directory of keys, the
modules are signed and packed again; what the signed package holds beside signatures was compared with the
lock before.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgewright.archives import address
from edgewright.depot.blobs import BlobStore, Wanted, sha256_bytes
from edgewright.depot.progress import Progress, say
from edgewright.errors import IntegrityError
from edgewright.modules.build import (
    MANIFEST,
    build_modules,
    control_fields,
    module_directory,
    scripts,
    sweep,
)
from edgewright.modules.debpack import Member, read_members, write_deb
from edgewright.modules.order import check_rt_waiver
from edgewright.modules.parts import lock_parts, module_entries
from edgewright.modules.signing import Mok
from edgewright.paths import cache_dir
from edgewright.release.ocitar import canonical_json
from edgewright.twin.keys import locked

__all__ = [
    "fetch_inputs",
    "lock_modules",
    "mok_file",
    "restore_modules",
    "ship_modules",
    "sign_package",
    "with_modules",
]


def lock_modules(
    entries: list[dict[str, Any]], old: Mapping[str, Any], store: BlobStore
) -> list[dict[str, Any]]:
    """Build what a lock's entries name, and write down what came of it.

    Args:
        entries: As `order_modules` wrote them.
        old: The lock so far: an entry of the same inputs keeps its result.
        store: Gets inputs and packages.

    Returns:
        The entries, with `sha256` and `size` of the unsigned package.

    Raises:
        EdgewrightError: As `build_modules`.
    """
    known = {entry["name"]: entry for entry in old.get("modules", [])}
    found = []
    for entry in entries:
        was = known.get(entry["name"])
        if was is not None and {**was, "sha256": "", "size": 0} == {**entry, "sha256": "", "size": 0}:
            found.append(dict(was))
            continue
        fetch_inputs(entry, store)
        built = build_modules(entry, store)
        found.append({**entry, "size": built.size, "sha256": built.sha256})
    return found


def restore_modules(entry: Mapping[str, Any], store: BlobStore) -> Path:
    """Have a locked unsigned package in the store, building it where it is missing.

    Args:
        entry: The lock's entry.
        store: Where it shall be.

    Returns:
        The package.

    Raises:
        IntegrityError: What was built is not what the lock says.
        EdgewrightError: As `build_modules`.
    """
    if not store.has(entry["sha256"], entry["size"]):
        fetch_inputs(entry, store)
        built = build_modules(entry, store)
        if built.sha256 != entry["sha256"]:
            raise IntegrityError(
                f"building {entry['package']}: the lock expects sha256 {entry['sha256']}, got "
                f"{built.sha256} from "
                "the same inputs; the recipe changed since the release was locked: lock it anew with "
                "`edgewright release lock RELEASE_DIR`"
            )
    return store.path(entry["sha256"])


def ship_modules(lock: Mapping[str, Any], store: BlobStore, keys: Path) -> list[dict[str, Any]]:
    """The packages of modules for a depot, of all targets.

    Args:
        lock: The lock.
        store: Gets the packages.
        keys: Directory of keys: `mok.key` and `mok.crt` in it sign.

    Returns:
        Entries as `apt.packages` has them; none for a lock without modules.

    Raises:
        InputError: A waiver ended, or the key cannot be used.
        IntegrityError: What was built is not what the lock says.
    """
    return [shipped for part in _shipped(lock, store, keys) for shipped in part]


def with_modules(lock: Mapping[str, Any], store: BlobStore, keys: Path) -> Mapping[str, Any]:
    """The lock with the packages of modules among each target's `apt.packages`, as `ship_modules` gives them.

    Raises:
        InputError: As `ship_modules`, like the next.
        IntegrityError: What was built is not what the lock says.
    """
    if not module_entries(lock):
        return lock
    first, *more = (
        {**part, "apt": {**part["apt"], "packages": [*part["apt"]["packages"], *packages]}}
        for part, packages in zip(lock_parts(lock), _shipped(lock, store, keys), strict=True)
    )
    return {**first, "targets": more} if more else first


def _shipped(lock: Mapping[str, Any], store: BlobStore, keys: Path) -> list[list[dict[str, Any]]]:
    """Entries of packages, target by target."""
    if not module_entries(lock):
        return []
    mok = Mok.find(keys)
    return [_ship(part.get("modules", []), store, keys, mok) for part in lock_parts(lock)]


def _ship(
    entries: Iterable[Mapping[str, Any]], store: BlobStore, keys: Path, mok: Mok | None
) -> list[dict[str, Any]]:
    today = datetime.datetime.now(datetime.UTC).date()
    found = []
    for entry in entries:
        check_rt_waiver(entry, "checking the lock", today)
        unsigned = restore_modules(entry, store)
        if mok is None:
            say(
                f"NOTICE: {entry['package']}: the modules are not signed ({keys} holds no mok.key): devices "
                "with Secure Boot on will not load them"
            )
            digest, size = entry["sha256"], entry["size"]
        else:
            digest, size = sign_package(entry, unsigned, mok, store)
            say(f"{entry['package']}: modules signed by the key with certificate sha256 {mok.fingerprint}")
        found.append(
            {
                "name": entry["package"],
                **{key: entry[key] for key in ("version", "arch", "filename")},
                **{"size": size, "sha256": digest, "source": "edgewright"},
            }
        )
    return found


def mok_file(lock: Mapping[str, Any], keys: Path) -> dict[str, bytes]:
    """The certificate that devices enrol, as `files/edgewright-mok.der` of a depot; nothing without a key."""
    mok = Mok.find(keys) if module_entries(lock) else None
    return {"files/edgewright-mok.der": mok.der} if mok else {}


def sign_package(entry: Mapping[str, Any], unsigned: Path, mok: Mok, store: BlobStore) -> tuple[str, int]:
    """Pack an unsigned package's modules again, each with a signature.

    Args:
        entry: The lock's entry.
        unsigned: The package.
        mok: The key.
        store: Gets the signed package.

    Returns:
        Its sha256 and size.

    Raises:
        IntegrityError: The unsigned package does not hold what it tells.
    """
    release = entry["kernel"]["release"]
    place = MANIFEST.format(package=entry["package"])
    files = {**read_members(unsigned, "lib"), **read_members(unsigned, "usr")}
    manifest: dict[str, Any] = json.loads(files.pop(place, b"{}"))
    directory, told = module_directory(release), dict(manifest.get("modules", {}))
    for path in [path for path in files if path.startswith(f"{directory}/")]:
        name = Path(path).name
        if sha256_bytes(files[path]) != told.get(name, {}).get("sha256"):
            raise IntegrityError(f"signing {entry['package']}: {path} is not what its manifest says")
        files[path] = mok.sign(files[path])
        told[name] = {**told[name], "signed_sha256": sha256_bytes(files[path])}
    manifest |= {"modules": told, "signer": mok.fingerprint}
    files[place] = canonical_json(manifest) + b"\n"
    with _room(f"sign-{entry['sha256']}") as room:
        target = room / "signed.deb"
        members = {path: Member(data) for path, data in files.items()}
        fields = control_fields(entry, mok.fingerprint)
        write_deb(target, fields, members, scripts(release), int(manifest["moment"]))
        size = target.stat().st_size
        return store.put_file(target), size


@contextlib.contextmanager
def _room(key: str) -> Iterator[Path]:
    """A directory to work in; whatever was killed in one leaves it to the next that comes here."""
    place = cache_dir() / "modules"
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / f".{key}.lock"):
        sweep(place, key)
        with tempfile.TemporaryDirectory(prefix=f".{key}.", suffix=".work", dir=place) as name:
            yield Path(name)


def fetch_inputs(entry: Mapping[str, Any], store: BlobStore) -> None:
    """Fetch what an entry is built of, where the store lacks it."""
    missing = [
        Wanted(deb["filename"], address(deb["url"]), deb["size"], deb["sha256"])
        for deb in entry["debs"]
        if not store.has(deb["sha256"], deb["size"])
    ]
    progress = Progress(
        f"fetching {len(missing)} packages to build modules with", sum(w.size for w in missing)
    )
    store.fetch(missing, progress)
    progress.close()

# SPDX-License-Identifier: Apache-2.0
"""Building a depot from a lock, and checking one against it.

    result = build_depot(Path("releases/label-reader"), Path(".edgewright/depot"), Path(".edgewright/keys"))

A depot is complete or not there: it grows under a temporary name beside its place and is swapped in whole.
Every byte in it was hashed on its way in. Building again when nothing changed does nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes, sha256_file
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.manifest import DEPOT_FILE, LAYOUT, describe_depot, load_depot
from edgewright.depot.progress import Progress, human_bytes, say
from edgewright.depot.trees import Linked, Tree, apt_tree, files_tree, oci_tree, pypi_tree, write_tree
from edgewright.errors import InputError, IntegrityError
from edgewright.modules.parts import module_entries
from edgewright.modules.ship import mok_file, with_modules
from edgewright.release.documents import load_lock, load_release
from edgewright.release.lock import ensure_images, fetch_sources, stale_images
from edgewright.snaps.components import carried
from edgewright.snaps.depot import snaps_tree

__all__ = ["BuildResult", "build_depot", "exchange", "make_tree", "verify_depot"]

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # linux/fcntl.h


@dataclass(frozen=True)
class BuildResult:
    """What building did: whether anything `changed`, how many `files` of how many `size` bytes are there."""

    changed: bool
    files: int
    size: int


def build_depot(release_dir: Path, depot: Path, keys: Path | None = None) -> BuildResult:
    """Build a release's depot.

    Args:
        release_dir: Directory with `release.yml` and its lock.
        depot: Where the depot shall be.
        keys: Directory of the release key; `keys` beside the depot when not given.

    Returns:
        What was done.

    Raises:
        InputError: The release or lock is wrong, or `depot` holds something else.
        IntegrityError: Something is not what the lock says.
        UnreachableError: A source does not answer.
    """
    release, _ = load_release(release_dir)
    lock, lock_sha256 = load_lock(release_dir)
    depot = depot.absolute()
    key = ReleaseKey(keys or depot.parent / "keys")
    for line in stale_images(lock, release_dir):
        say(f"NOTICE: {line}; the depot holds the locked image")
    if depot.exists():
        kept = _kept(depot, lock_sha256, key)
        if kept is not None:
            return kept
    store = BlobStore()
    tree = make_tree(lock, release, release_dir, key, store)
    say("writing the depot")
    depot.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{depot.name}.", dir=depot.parent))
    try:
        files = write_tree(tree, new, store)
        named = lock["release"]
        (new / DEPOT_FILE).write_bytes(describe_depot(named["name"], named["version"], lock_sha256, files))
        (new / DEPOT_FILE).chmod(0o644)
        new.chmod(0o755)
        exchange(new, depot)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return BuildResult(True, len(files), sum(entry["size"] for entry in files.values()))


def make_tree(
    lock: Mapping[str, Any],
    release: Mapping[str, Any],
    release_dir: Path,
    key: ReleaseKey,
    store: BlobStore,
    *,
    check: bool = True,
) -> Tree:
    """A depot's files: what is missing is fetched and built, the apt repository is signed.

    Args:
        lock: The lock.
        release: Its release.
        release_dir: Their directory.
        key: Signs the apt repository.
        store: Where sources are, images go, and the tree's links lead.
        check: Hash what the store holds already; without, whoever uses the tree hashes what it links.

    Returns:
        Files by path.

    Raises:
        InputError: A source no longer has a locked file.
        IntegrityError: Something is not what the lock says.
        UnreachableError: A source does not answer.
    """
    if check:
        _drop_damaged(lock, store)
    fetch_sources(lock, release, store, everything=True)
    ensure_images(lock, release, release_dir, store)
    lock = with_modules(lock, store, key.directory)
    served = apt_tree(lock, key, store) | pypi_tree(lock) | oci_tree(lock, store)
    return served | files_tree(lock) | snaps_tree(lock) | mok_file(lock, key.directory)


def verify_depot(depot: Path, release_dir: Path | None = None) -> list[str]:
    """Hash every file of a depot and compare.

    Args:
        depot: The depot.
        release_dir: A release whose lock it must also agree with.

    Returns:
        One sentence for each fault, naming the object, expected and got; empty when all is right.
    """
    told = load_depot(depot)
    files: Mapping[str, Mapping[str, Any]] = told["files"]
    faults = []
    progress = Progress("checking the depot", sum(entry["size"] for entry in files.values()))
    with ThreadPoolExecutor(2) as pool:
        checked = pool.map(lambda path: _fault(depot, path, files[path], progress), sorted(files))
        faults += [fault for fault in checked if fault]
    progress.close()
    there = {str(path.relative_to(depot)) for path in depot.rglob("*") if path.is_file()}
    faults += [
        f"{path}: not part of the depot, someone put it there"
        for path in sorted(there - {*files, DEPOT_FILE})
    ]
    if release_dir is not None:
        faults += _against_lock(told, release_dir)
    return faults


def _fault(depot: Path, path: str, entry: Mapping[str, Any], progress: Progress) -> str | None:
    try:
        found = sha256_file(depot / path)
    except OSError:
        return f"{path}: missing, expected sha256 {entry['sha256']}"
    progress.add(entry["size"])
    return None if found == entry["sha256"] else f"{path}: expected sha256 {entry['sha256']}, got {found}"


def _against_lock(told: Mapping[str, Any], release_dir: Path) -> list[str]:
    lock, digest = load_lock(release_dir)
    if told["lock_sha256"] != digest:
        return [f"{DEPOT_FILE}: built from a lock with sha256 {told['lock_sha256']}, expected {digest}"]
    wanted = {f"apt/pool/{deb['filename']}": deb["sha256"] for deb in lock["apt"]["packages"]}
    wanted |= {f"pypi/files/{wheel['filename']}": wheel["sha256"] for wheel in lock["python"]["wheels"]}
    wanted |= {f"files/{entry['name']}": entry["sha256"] for entry in lock.get("files", [])}
    wanted |= {path: str(held) for path, held in snaps_tree(lock).items() if isinstance(held, Linked)}
    for image in lock["images"]:
        wanted[f"v2/{image['name']}/manifests/{image['digest']}"] = image["digest"].removeprefix("sha256:")
    listed = {path: entry["sha256"] for path, entry in told["files"].items()}
    return [
        f"{path}: the lock expects sha256 {digest}, the depot lists {listed.get(path, 'nothing')}"
        for path, digest in wanted.items()
        if listed.get(path) != digest
    ]


def _kept(depot: Path, lock_sha256: str, key: ReleaseKey) -> BuildResult | None:
    """The depot that is there, if building would make the same one: by what it says and its files' sizes."""
    if not (depot / DEPOT_FILE).is_file():
        if depot.is_dir() and not any(depot.iterdir()):
            return None
        raise InputError(f"building a depot: {depot} exists and is no depot; name another place or remove it")
    try:
        told = load_depot(depot)
    except IntegrityError:
        return None
    public = key.public()
    same = told.get("lock_sha256") == lock_sha256 and told.get("layout") == LAYOUT
    if not same or public is None or told.get("key_sha256") != sha256_bytes(public):
        return None
    for path, entry in told["files"].items():
        try:
            if (depot / path).stat().st_size != entry["size"]:
                return None
        except OSError:
            return None
    return BuildResult(False, len(told["files"]), sum(entry["size"] for entry in told["files"].values()))


def _drop_damaged(lock: Mapping[str, Any], store: BlobStore) -> None:
    """Hash what the cache already holds of this lock; a damaged file is removed, to be fetched again."""
    targets = [lock, *lock.get("targets", [])]
    wanted: Sequence[str] = [
        *(deb["sha256"] for part in targets for deb in part["apt"]["packages"]),
        *(deb["sha256"] for image in lock["images"] for deb in image.get("debs", [])),
        *(wheel["sha256"] for part in targets for wheel in part["python"]["wheels"]),
        *(image["wheel"]["sha256"] for image in lock["images"] if "wheel" in image),
        *(entry["sha256"] for entry in lock.get("files", [])),
        *(entry["sha256"] for entry in module_entries(lock)),
        *(deb["sha256"] for entry in module_entries(lock) for deb in entry["debs"]),
        *(entry["sha256"] for entry in carried(lock)),
        *(entry["assertions"]["sha256"] for entry in lock.get("snaps", []) if "assertions" in entry),
        *(entry["assertions"]["sha256"] for entry in lock.get("validation_sets", [])),
    ]
    for image in lock["images"]:
        manifest = image["digest"].removeprefix("sha256:")
        wanted = [*wanted, manifest]
        if store.has(manifest) and sha256_file(store.path(manifest)) == manifest:
            listed = json.loads(store.path(manifest).read_bytes())
            parts = [listed["config"], *listed["layers"]]
            wanted = [*wanted, *(part["digest"].removeprefix("sha256:") for part in parts)]
    for digest in dict.fromkeys(wanted):
        path = store.path(digest)
        if path.is_file() and sha256_file(path) != digest:
            size = human_bytes(path.stat().st_size)
            say(f"NOTICE: {path} in the cache was damaged ({size}); getting it again")
            path.unlink()


def exchange(new: Path, depot: Path) -> None:
    """Put `new` in the place of `depot` in one step where the kernel can; `new` then holds the old one."""
    if not depot.exists():
        new.rename(depot)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    exchanged = getattr(libc, "renameat2", None)
    if exchanged is not None:
        done = exchanged(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(depot), _RENAME_EXCHANGE)
        if done == 0:
            return
    aside = new.with_name(f"{new.name}.old")
    depot.rename(aside)
    new.rename(depot)
    shutil.rmtree(aside, ignore_errors=True)

# SPDX-License-Identifier: Apache-2.0
"""Files that a site supplies itself, or that lie behind an address: NVIDIA's packages, firmware, documents.

Each is pinned in `release.yml` by sha256, so that locking only checks and measures. They lie in the depot
under `files/NAME`; what is for apt or pip (`kind`) lies in their indices too, see `supplied`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, Wanted, sha256_file
from edgewright.depot.progress import Progress, human_bytes, say
from edgewright.errors import InputError, IntegrityError
from edgewright.release.yamlmarks import Marked

__all__ = ["lock_files", "restore_files", "wanted_files"]

_TELL_BYTES = 50_000_000
"""A file from which on copying is worth a line."""


def lock_files(marked: Marked, release_dir: Path, store: BlobStore) -> list[dict[str, Any]]:
    """The lock's entries of a release's files, which are in the store afterwards.

    Args:
        marked: The release.
        release_dir: Where paths begin.
        store: Where the files go.

    Returns:
        Entries, sorted by name.

    Raises:
        InputError: A supplied file is not there, or an address no longer has it.
        IntegrityError: A file's sha256 or size is not what the release says.
        UnreachableError: An address does not answer.
    """
    entries = []
    for number, wanted in enumerate(marked.content.get("files", [])):
        place = marked.place("files", number)
        size = wanted.get("size") or _measure(release_dir / wanted["path"], wanted, place)
        entry: dict[str, Any] = {"name": wanted["name"]}
        entry |= {key: wanted[key] for key in ("kind", "suites", "version") if key in wanted}
        entry |= {"size": size, "sha256": wanted["sha256"], "licence": wanted["licence"]}
        entry |= {key: wanted[key] for key in ("path", "url", "waiver") if key in wanted}
        if "path" in wanted:
            _take(entry, release_dir, store, f"{place}: ")
        entries.append(entry)
    fetched = wanted_files(entries, store)
    progress = Progress(f"fetching {len(fetched)} files", sum(item.size for item in fetched))
    store.fetch(fetched, progress)
    progress.close()
    return sorted(entries, key=lambda entry: str(entry["name"]))


def wanted_files(entries: Sequence[Mapping[str, Any]], store: BlobStore) -> list[Wanted]:
    """Locked files that lie behind an address and are not in the store."""
    return [
        Wanted(entry["name"], entry["url"], entry["size"], entry["sha256"])
        for entry in entries
        if "url" in entry and not store.has(entry["sha256"], entry["size"])
    ]


def restore_files(entries: Sequence[Mapping[str, Any]], release_dir: Path, store: BlobStore) -> None:
    """Have every locked file that the site supplies in the store.

    Raises:
        InputError: A file is not there.
        IntegrityError: A file is not the locked one.
    """
    for entry in entries:
        if "path" in entry:
            _take(entry, release_dir, store, "")


def _take(entry: Mapping[str, Any], release_dir: Path, store: BlobStore, place: str) -> None:
    """Copy a supplied file into the store."""
    if store.has(entry["sha256"], entry["size"]):
        return
    path = release_dir / entry["path"]
    size = _measure(path, entry, place.removesuffix(": "))
    if size != entry["size"]:
        raise IntegrityError(
            f"reading {place}{path}: expected {entry['size']} bytes, got {size}; supply the file that is "
            "meant, "
            "or correct size and sha256 in release.yml"
        )
    if size >= _TELL_BYTES:
        say(f"copying {entry['name']}: {human_bytes(size)}")
    part = store.root / f"{entry['sha256']}.{os.getpid()}.copy"
    try:
        shutil.copyfile(path, part)
        found = sha256_file(part)
        if found != entry["sha256"]:
            raise IntegrityError(
                f"reading {place}{path}: expected sha256 {entry['sha256']}, got {found}; supply the file "
                "that "
                "is meant, or correct the sha256 in release.yml"
            )
        store.put_file(part, entry["sha256"], entry["name"])
    finally:
        part.unlink(missing_ok=True)


def _measure(path: Path, entry: Mapping[str, Any], place: str) -> int:
    try:
        if not path.is_file():
            raise FileNotFoundError(path)
        return path.stat().st_size
    except OSError as error:
        where = f"{place}: " if place else ""
        raise InputError(
            f"reading {where}file {entry['name']}: there is no file {path}; put it there: the site supplies "
            "it"
        ) from error

# SPDX-License-Identifier: Apache-2.0
"""Validation sets of a release: from the files that a site supplies into the lock, cache and depot.

    lock["validation_sets"] = lock_sets(marked, lock["snaps"], release_dir, store, now)
    restore_sets(lock["validation_sets"], lock["snaps"], release_dir, store, now)       # at build
    check_sets(index["validation_sets"], index["snaps"], read, "label-reader 1.0.0", now)   # later

A set comes as one file of assertions: account, account-key and the validation-set that this key signed. It is
checked up to snapd's root key as the snaps' own assertions are, and the release's snaps are held against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import say
from edgewright.errors import IntegrityError
from edgewright.release.yamlmarks import Marked
from edgewright.snaps import trusted
from edgewright.snaps.assertion import MAX_FILE_BYTES, read_assertions
from edgewright.snaps.chain import believe
from edgewright.snaps.grade import DANGEROUS
from edgewright.snaps.inputs import read_small
from edgewright.snaps.refusal import SnapRefused
from edgewright.snaps.validation import Named, ValidationSet, find_set, refuse_contradictions

__all__ = ["INDEX_FIELDS", "check_sets", "file_name", "lock_sets", "restore_sets"]

INDEX_FIELDS = ("account", "name", "sequence", "revision", "snaps")
"""What the depot's index says of a set beside its file."""

Entry = Mapping[str, Any]


def file_name(entry: Entry) -> str:
    """The set's file in the depot."""
    return f"validation-set-{entry['name']}_{entry['sequence']}.assert"


def lock_sets(
    marked: Marked, snaps: Sequence[Entry], release_dir: Path, store: BlobStore, now: datetime
) -> list[dict[str, Any]]:
    """The lock's entries of a release's validation sets, whose files are in the store afterwards.

    Args:
        marked: The release.
        snaps: The lock's supplied snaps; those that are built are of grade dangerous and need not be there.
        release_dir: Where paths begin.
        store: Where files go.
        now: The time it is taken to be.

    Returns:
        Entries, sorted by name.

    Raises:
        InputError: A file is not there.
        IntegrityError: A set may not be believed, is another, or contradicts the release.
    """
    entries = []
    every = [*snaps, *_built(marked.content.get("snaps", []))]
    for number, wanted in enumerate(marked.content.get("validation_sets", [])):
        place = marked.place("validation_sets", number)
        say(f"checking validation set {wanted['name']}")
        data = read_small(release_dir / wanted["assertions"], _called(wanted), place)
        found = _believed(wanted, every, data, f"{place}: {wanted['assertions']}", now)
        entry: dict[str, Any] = {key: wanted[key] for key in ("account", "name", "sequence")}
        entry |= {"revision": found.revision, "snaps": [pin.as_dict() for pin in found.pins]}
        entry["assertions"] = {
            "filename": file_name(wanted),
            "path": wanted["assertions"],
            "size": len(data),
            "sha256": store.put(data),
        }
        entries.append(entry)
    return sorted(entries, key=lambda entry: str(entry["name"]))


def restore_sets(
    entries: Sequence[Entry], snaps: Sequence[Entry], release_dir: Path, store: BlobStore, now: datetime
) -> None:
    """Have every locked set in the store, and check it again.

    Args:
        entries: The lock's sets.
        snaps: Its snaps.
        release_dir: Where paths begin.
        store: Where files go.
        now: The time it is taken to be.

    Raises:
        InputError: A file is not there.
        IntegrityError: A file is not the locked one, or no longer counts.
    """
    for entry in entries:
        held = entry["assertions"]
        if not store.has(held["sha256"], held["size"]):
            found = store.put(read_small(release_dir / held["path"], _called(entry), ""))
            if found != held["sha256"]:
                raise IntegrityError(
                    f"reading {_called(entry)} ({held['path']}): expected sha256 {held['sha256']}, got "
                    f"{found}; supply the locked file, or lock the release anew"
                )
        data = store.path(held["sha256"]).read_bytes()
        _same(entry, _believed(entry, snaps, data, held["filename"], now), held["filename"])


def check_sets(
    entries: Sequence[Entry],
    snaps: Sequence[Entry],
    read: Callable[[str, int], bytes],
    name: str,
    now: datetime,
) -> None:
    """Check the validation sets of a depot or bundle.

    Args:
        entries: The sets of its index.
        snaps: The snaps of its index, already held against their own assertions.
        read: Gives a file beside the index: name, and the most bytes that it may have.
        name: What holds them, such as `label-reader 1.0.0`.
        now: The time it is taken to be.

    Raises:
        SnapRefused: A set may not be believed, or contradicts the snaps or the index.
    """
    for entry in entries:
        held = entry["assertions"]
        data = read(held["filename"], MAX_FILE_BYTES)
        where = f"{held['filename']} of {name}"
        if hashlib.sha256(data).hexdigest() != held["sha256"]:
            raise SnapRefused(
                "changed",
                f"checking {_called(entry)}: {where} is not the file that the index names; build or get the "
                "bundle again",
            )
        _same(entry, _believed(entry, snaps, data, where, now), where)


def _believed(wanted: Entry, snaps: Sequence[Entry], data: bytes, where: str, now: datetime) -> ValidationSet:
    believed = believe(read_assertions(data, where), trusted.canonical_roots(), now)
    found = find_set(Named(wanted["account"], wanted["name"], wanted["sequence"]), believed, where)
    refuse_contradictions(found, snaps, where)
    return found


def _same(entry: Entry, found: ValidationSet, where: str) -> None:
    """Hold what a lock or index says of a set against its assertion."""
    told = {"revision": found.revision, "snaps": [pin.as_dict() for pin in found.pins]}
    odd = [key for key, value in told.items() if entry[key] != value]
    if odd:
        raise SnapRefused(
            "set",
            f"checking {_called(entry)} ({where}): {', '.join(odd)} are not what its assertion says; lock "
            "the release and build the bundle again",
        )


def _built(snaps: Sequence[Entry]) -> list[Entry]:
    return [{"name": snap["name"], "grade": DANGEROUS} for snap in snaps if "built" in snap]


def _called(entry: Entry) -> str:
    return f"validation set {entry['account']}/{entry['name']}={entry['sequence']}"

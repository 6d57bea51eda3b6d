# SPDX-License-Identifier: Apache-2.0
"""Snaps of a release: from the files that a site supplies into the lock and the cache.

    entries = lock_snaps(marked, release_dir, store, now)       # the lock's snaps[]
    restore_snaps(entries, release_dir, store, now)             # at build: have them, checked once more

A snap comes as `snap download` writes it: NAME_REVISION.snap and NAME_REVISION.assert. Locking hashes it
(SHA3-384 for its assertions, SHA-256 for the bundle, in one pass), checks the whole chain of assertions, and
holds it against name, revision and publisher in `release.yml`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import Progress, say
from edgewright.errors import InputError, IntegrityError
from edgewright.release.yamlmarks import Marked
from edgewright.snaps import trusted
from edgewright.snaps.assertion import MAX_FILE_BYTES, read_assertions
from edgewright.snaps.chain import Asserted, Claim, believe, match
from edgewright.snaps.components import ComponentClaim, SnapOfComponent, full_name, match_component
from edgewright.snaps.grade import DANGEROUS, SIGNED, notice
from edgewright.snaps.openpgp import encode_digest
from edgewright.snaps.refusal import SnapRefused

__all__ = ["Hashed", "check_snap", "hash_snap", "lock_snaps", "read_small", "restore_snaps"]

_CHUNK = 1 << 20
_TELL_BYTES = 50_000_000
"""A file from which on hashing is worth a line."""

_MAGIC = b"hsqs"
"""What a squashfs file begins with (Linux, fs/squashfs/squashfs_fs.h: SQUASHFS_MAGIC, little-endian)."""


@dataclass(frozen=True)
class Hashed:
    """A file: `size` in bytes, `sha256` in hex, `sha3_384` as assertions write it."""

    size: int
    sha256: str
    sha3_384: str


def lock_snaps(marked: Marked, release_dir: Path, store: BlobStore, now: datetime) -> list[dict[str, Any]]:
    """The lock's entries of a release's snaps, which are in the store afterwards.

    Args:
        marked: The release.
        release_dir: Where paths begin.
        store: Where snaps and assertions go.
        now: The time it is taken to be.

    Returns:
        Entries, sorted by name.

    Raises:
        InputError: A file is not there.
        IntegrityError: A file is not what the release or its assertions say.
    """
    entries = []
    for number, wanted in enumerate(marked.content.get("snaps", [])):
        if "built" in wanted:
            continue  # packed once its image is built: edgewright.snaps.built
        place = marked.place("snaps", number)
        path = _there(release_dir / wanted["path"], f"snap {wanted['name']}", place)
        say(f"checking snap {wanted['name']}")
        hashed = hash_snap(path)
        _is_wanted(wanted, hashed, path, place)
        entry: dict[str, Any] = {"name": wanted["name"], "grade": wanted.get("grade", SIGNED)}
        entry |= {
            key: wanted[key] for key in ("revision", "publisher", "developer", "channel") if key in wanted
        }
        own = f"{wanted['name']}_{wanted.get('revision', DANGEROUS)}"
        entry |= {"filename": f"{own}.snap", "path": wanted["path"]}
        entry |= {"size": hashed.size, "sha256": hashed.sha256, "sha3_384": hashed.sha3_384}
        if "assertions" in wanted:
            data = read_small(release_dir / wanted["assertions"], f"snap {wanted['name']}", place)
            listed = [_component(each, wanted, release_dir, place) for each in wanted.get("components", [])]
            entry |= {"components": [component for component, _ in listed]} if listed else {}
            hashes = {component["name"]: found for component, found in listed}
            asserted = check_snap(
                entry, hashed, data, f"{place}: {wanted['assertions']}", now, components=hashes
            )
            for component, _ in listed:
                _keep(release_dir / component["path"], component, store)
            entry |= {"snap_id": asserted.snap_id, "publisher_id": asserted.publisher_id}
            entry["assertions"] = {
                "filename": f"{own}.assert",
                "path": wanted["assertions"],
                "size": len(data),
                "sha256": store.put(data),
            }
        entry |= {key: wanted[key] for key in ("licence", "waiver") if key in wanted}
        _keep(path, entry, store)
        entries.append(entry)
    _tell(entries, marked.content)
    return sorted(entries, key=lambda entry: str(entry["name"]))


def _component(
    wanted: Mapping[str, Any], snap: Mapping[str, Any], release_dir: Path, place: str
) -> tuple[dict[str, Any], Hashed]:
    """The lock's entry of a component, as its file is; its assertions are not looked at yet."""
    called = full_name(snap["name"], wanted["name"])
    path = _there(release_dir / wanted["path"], f"component {called}", place)
    say(f"checking component {called}")
    hashed = hash_snap(path)
    _is_wanted(wanted, hashed, path, place)
    entry: dict[str, Any] = {key: wanted[key] for key in ("name", "revision")}
    entry |= {"filename": f"{called}_{wanted['revision']}.comp", "path": wanted["path"]}
    entry |= {"size": hashed.size, "sha256": hashed.sha256, "sha3_384": hashed.sha3_384}
    return entry | {key: wanted[key] for key in ("licence", "waiver") if key in wanted}, hashed


def check_snap(
    entry: Mapping[str, Any],
    hashed: Hashed,
    data: bytes,
    source: str,
    now: datetime,
    *,
    components: Mapping[str, Hashed] | None = None,
) -> Asserted:
    """Check one asserted snap, and its components.

    Args:
        entry: `name`, `filename`, `revision`, `publisher` and perhaps `developer` and `components`: what the
            release says.
        hashed: The file as it is.
        data: Its assertions.
        source: Where those are from, for messages.
        now: The time it is taken to be.
        components: The components' files as they are, by name; needed where the entry has some.

    Returns:
        What the assertions say, an `Asserted`.

    Raises:
        SnapRefused: They may not be believed, or say something else.
    """
    believed = believe(read_assertions(data, source), trusted.canonical_roots(), now)
    claim = Claim(
        name=entry["name"],
        file=entry["filename"],
        sha3_384=hashed.sha3_384,
        size=hashed.size,
        revision=entry["revision"],
        publisher=entry["publisher"],
        developer=entry.get("developer"),
    )
    asserted = match(claim, believed)
    owner = SnapOfComponent(asserted.snap_id, entry["revision"], asserted.developer_id)
    for each in entry.get("components", []):
        found = (components or {})[each["name"]]
        names = (entry["name"], each["name"], each["filename"])
        match_component(ComponentClaim(*names, found.sha3_384, found.size, each["revision"]), owner, believed)
    return asserted


def restore_snaps(
    entries: Sequence[Mapping[str, Any]], release_dir: Path, store: BlobStore, now: datetime
) -> None:
    """Have every locked snap and its assertions in the store, and check them again.

    Raises:
        InputError: A file is not there.
        IntegrityError: A file is not the locked one, or its assertions no longer count.
    """
    for entry in entries:
        if "built" in entry:
            continue
        for each in (entry, *entry.get("components", [])):
            if not store.has(each["sha256"], each["size"]):
                path = _there(release_dir / each["path"], f"snap {entry['name']}", "")
                _same(each, hash_snap(path), path)
                _keep(path, each, store)
        assertions = entry.get("assertions")
        if assertions is None:
            continue
        if not store.has(assertions["sha256"], assertions["size"]):
            found = store.put(read_small(release_dir / assertions["path"], f"snap {entry['name']}", ""))
            if found != assertions["sha256"]:
                raise IntegrityError(
                    f"reading the assertions of snap {entry['name']} ({assertions['path']}): expected sha256 "
                    f"{assertions['sha256']}, got {found}; lock the release anew if others are meant"
                )
        hashes = {}
        for each in (entry, *entry.get("components", [])):
            hashes[each["filename"]] = hash_snap(store.path(each["sha256"]))
            _same(each, hashes[each["filename"]], store.path(each["sha256"]))
        data = store.path(assertions["sha256"]).read_bytes()
        parts = {each["name"]: hashes[each["filename"]] for each in entry.get("components", [])}
        check_snap(entry, hashes[entry["filename"]], data, assertions["filename"], now, components=parts)


def hash_snap(path: Path) -> Hashed:
    """Both digests of a snap's file, in one pass.

    Raises:
        SnapRefused: It is no squashfs file.
        InputError: It cannot be read.
    """
    sha256, sha3_384 = hashlib.sha256(), hashlib.sha3_384()
    size = 0
    try:
        with path.open("rb") as stream:
            total = os.fstat(stream.fileno()).st_size
            progress = Progress(f"hashing {path.name}", total) if total >= _TELL_BYTES else None
            while data := stream.read(_CHUNK):
                if not size and not data.startswith(_MAGIC):
                    raise SnapRefused(
                        "file",
                        f"reading {path}: it is no snap: expected a squashfs file, which begins with hsqs",
                    )
                size += len(data)
                sha256.update(data)
                sha3_384.update(data)
                if progress is not None:
                    progress.add(len(data))
            if progress is not None:
                progress.close()
    except OSError as error:
        raise InputError(f"reading {path}: {error.strerror}; supply the snap's file there") from error
    if not size:
        raise SnapRefused("file", f"reading {path}: it is empty; copy the snap's file again")
    return Hashed(size, sha256.hexdigest(), encode_digest(sha3_384.digest()))


def _is_wanted(wanted: Mapping[str, Any], hashed: Hashed, path: Path, place: str) -> None:
    if hashed.sha3_384 != wanted["sha3_384"]:
        raise SnapRefused(
            "changed",
            f"reading {place}: {path}: expected sha3_384 {wanted['sha3_384']}, got {hashed.sha3_384}; supply "
            "the file that is meant, or correct sha3_384 in release.yml",
        )


def _same(entry: Mapping[str, Any], hashed: Hashed, path: Path) -> None:
    if (hashed.sha256, hashed.sha3_384) != (entry["sha256"], entry["sha3_384"]):
        raise SnapRefused(
            "changed",
            f"reading snap {entry['name']} ({path}): expected sha256 {entry['sha256']} and sha3_384 "
            f"{entry['sha3_384']}, got {hashed.sha256} and {hashed.sha3_384}; supply the locked file, or "
            "lock the release anew",
        )


def _keep(path: Path, entry: Mapping[str, Any], store: BlobStore) -> None:
    """Copy a snap into the store; hashed again there, for the file could change meanwhile."""
    if store.has(entry["sha256"], entry["size"]):
        return
    part = store.root / f"{entry['sha256']}.{os.getpid()}.copy"
    try:
        with path.open("rb") as source, part.open("wb") as target:
            while data := source.read(_CHUNK):
                target.write(data)
        _same(entry, hash_snap(part), path)
        store.put_file(part, entry["sha256"], entry["name"])
    except OSError as error:
        raise InputError(f"copying {path} into the cache: {error.strerror}; free some space there") from error
    finally:
        part.unlink(missing_ok=True)


def _there(path: Path, called: str, place: str) -> Path:
    if not path.is_file():
        where = f"{place}: " if place else ""
        raise InputError(
            f"reading {where}{called}: there is no file {path}; put it there: `snap download` writes it "
            "on a connected machine"
        )
    return path


def read_small(path: Path, called: str, place: str) -> bytes:
    """Read a file of assertions, and at most one byte more than such a file may have.

    Args:
        path: The file.
        called: What it is about, such as `snap pc-kernel`.
        place: Where the release names it, or empty.

    Raises:
        InputError: It is not there, or cannot be read.
    """
    _there(path, called, place)
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"reading {path}: {error.strerror}; supply the assertions there") from error


def _tell(entries: Sequence[Mapping[str, Any]], release: Mapping[str, Any]) -> None:
    names = [entry["name"] for entry in entries if entry["grade"] == DANGEROUS]
    if names:
        say(notice(names, f"release {release['name']} {release['version']}"))

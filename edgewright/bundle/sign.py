# SPDX-License-Identifier: Apache-2.0
"""Signs a bundle: TUF metadata over all the files that lie on a stick.

    sign_bundle(Path("/media/stick"), KeySet.open(Path("keys")), signed_at=index.signed_at,
    expires=index.expires)

The same files and keys give the same bytes: nothing depends on the clock or the machine, see `history`.
Everything is written under a temporary name first. `timestamp.json`, which makes a bundle of it, is removed
before anything else and written last, after metadata of an earlier signing is gone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import MetaFile, Snapshot, TargetFile, Targets, Timestamp

from edgewright.bundle.client import CONFIG
from edgewright.bundle.history import History
from edgewright.bundle.keyfile import write_file
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import (
    INDEX,
    INSTALL,
    INSTALLER,
    MAX_FILE_BYTES,
    MAX_INDEX_BYTES,
    METADATA,
    TARGETS,
    TIMESTAMP,
    BundleIndex,
    File,
    check_stick_names,
    format_time,
)
from edgewright.bundle.medium import look
from edgewright.bundle.trust import sync_directory
from edgewright.depot.progress import Progress
from edgewright.errors import EdgewrightError, InputError

__all__ = ["sign_bundle"]

_CHUNK = 1 << 20
_LEFT_OVER = re.compile(r"\.?[0-9]*\.?(root|targets|snapshot|timestamp)\.json(\..*)?")


def sign_bundle(
    stick: Path,
    keys: KeySet,
    *,
    signed_at: datetime,
    expires: datetime,
    known: Mapping[str, File] | None = None,
) -> None:
    """Write `metadata/` over all files below `targets/` and `installer/`, and the file `install`.

    Args:
        stick: The bundle's directory; `targets/bundle.json` must be there.
        keys: Who signs.
        signed_at: The bundle's own moment, UTC: what its index says.
        expires: From when on it is refused, UTC: what its index says.
        known: Size and sha256, by name from the stick's top, of files that the caller has placed there and
            hashed itself; all others are hashed here.

    Raises:
        InputError: The files are no bundle, the times disagree, or keys are missing.
        EdgewrightError: The stick cannot be read or written.
    """
    signed_at, expires = signed_at.astimezone(UTC), expires.astimezone(UTC).replace(microsecond=0)
    _check_index(stick, signed_at, expires)
    root = keys.root
    if root.expires <= expires:
        raise InputError(
            f"signing {stick}: root {root.version} of {keys.directory} ends {format_time(root.expires)}, "
            "before the bundle "
            f"({format_time(expires)}); extend it with `edgewright keys rotate root {keys.directory}`"
        )
    roots = {f"{METADATA}/{version}.root.json": data for version, data in keys.roots.items()}
    files = _files(stick, known or {}) | {
        name: File(len(data), hashlib.sha256(data).hexdigest()) for name, data in roots.items()
    }
    metadata = _sign(keys, files, expires)
    _write(stick, roots | metadata)


def _sign(keys: KeySet, files: Mapping[str, File], expires: datetime) -> dict[str, bytes]:
    """The signed files, by name; `timestamp.json` last."""
    root = keys.root
    signers = {role: keys.signers(role) for role in (Targets.type, Snapshot.type, Timestamp.type)}
    with History.open(keys.directory / "repository") as history:
        targets = Targets(
            expires=expires,
            targets={
                name: TargetFile(file.size, {"sha256": file.sha256}, name)
                for name, file in sorted(files.items())
            },
        )
        targets_data = history.sign(targets, signers[Targets.type], root)
        if len(targets_data) > CONFIG.targets_max_length:
            raise InputError(
                f"signing: {len(files)} files are more than a bundle may have; divide the release"
            )
        snapshot = Snapshot(expires=expires, meta={"targets.json": _named(targets.version, targets_data)})
        snapshot_data = history.sign(snapshot, signers[Snapshot.type], root)
        timestamp = Timestamp(expires=expires, snapshot_meta=_named(snapshot.version, snapshot_data))
        timestamp_data = history.sign(timestamp, signers[Timestamp.type], root)
    return {
        f"{METADATA}/{targets.version}.targets.json": targets_data,
        f"{METADATA}/{snapshot.version}.snapshot.json": snapshot_data,
        TIMESTAMP: timestamp_data,
    }


def _named(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _check_index(stick: Path, signed_at: datetime, expires: datetime) -> None:
    path = stick / INDEX
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise InputError(f"signing {stick}: {INDEX} has more than {MAX_INDEX_BYTES} bytes")
        index = BundleIndex.load(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"signing {stick}: there is no {INDEX}; `edgewright bundle build` makes it"
        ) from error
    except OSError as error:
        raise EdgewrightError(f"signing {stick}: reading {INDEX}: {error.strerror}") from error
    for what, said, given in (("signed_at", index.signed_at, signed_at), ("expires", index.expires, expires)):
        if said != given:
            raise InputError(
                f"signing {stick}: {INDEX} has {what} {format_time(said)}, expected {format_time(given)}; "
                "build the bundle anew"
            )


def _files(stick: Path, known: Mapping[str, File]) -> dict[str, File]:
    """Size and sha256 of every file that is signed."""
    try:
        sizes = _sizes(stick)
        right = {
            name: known[name] for name in sizes if name in known and _fits(stick, known[name], sizes[name])
        }
        others = [name for name in sizes if name not in right]
        progress = Progress("hashing what is signed", sum(sizes[name] for name in others))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            hashed = list(pool.map(lambda name: _hash(stick / name, progress), others))
        progress.close()
        return right | dict(zip(others, hashed, strict=True))
    except OSError as error:
        raise EdgewrightError(f"signing {stick}: reading {error.filename}: {error.strerror}") from error


def _sizes(stick: Path) -> dict[str, int]:
    """Bytes of every file that is signed, by name; refuses what has no place in a bundle."""
    found = look(stick, f"signing {stick}")
    tops = {name for name in (*found.files, *found.directories) if "/" not in name}
    strange = sorted(tops - {METADATA, TARGETS, INSTALLER, INSTALL} | ({METADATA} & found.files.keys()))
    if strange:
        raise InputError(f"signing {stick}: {strange[0]!r} has no place in a bundle; remove it")
    if INSTALL in found.directories:
        raise InputError(f"signing {stick}: {INSTALL} is a directory; a bundle has plain files only")
    sizes = {
        name: state.st_size
        for name, state in sorted(found.files.items())
        if not name.startswith(f"{METADATA}/")
    }
    wrong = check_stick_names(sizes)
    if wrong:
        raise InputError(f"signing {stick}: {wrong}; rename it")
    return sizes


def _fits(stick: Path, file: File, size: int) -> bool:
    """Whether a file may be signed by what is known of it; one of another size changed, and is hashed."""
    if file.size > MAX_FILE_BYTES:
        raise InputError(
            f"signing {stick}: {file.size} bytes in one file, expected at most {MAX_FILE_BYTES} (FAT)"
        )
    return file.size == size


def _hash(path: Path, progress: Progress) -> File:
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        buffer = memoryview(bytearray(_CHUNK))
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            progress.add(count)
    if size > MAX_FILE_BYTES:
        raise InputError(f"signing {path}: {size} bytes in one file, expected at most {MAX_FILE_BYTES} (FAT)")
    return File(size, digest.hexdigest())


def _write(stick: Path, files: Mapping[str, bytes]) -> None:
    """Have these files in `metadata/` and no others; `timestamp.json` goes first and comes last."""
    directory, timestamp = stick / METADATA, stick / TIMESTAMP
    try:
        directory.mkdir(exist_ok=True)
        others = [path for path in sorted(directory.iterdir()) if f"{METADATA}/{path.name}" not in files]
        strange = [path.name for path in others if not _LEFT_OVER.fullmatch(path.name)]
        if strange:
            raise InputError(f"signing {stick}: {METADATA}/{strange[0]} has no place in a bundle; remove it")
        new = [stick / name for name, data in files.items() if not _holds(stick / name, data)]
        if not new and not others:
            return
        timestamp.unlink(missing_ok=True)
        with ThreadPoolExecutor(len(files)) as pool:  # one flush of the medium serves all
            before = [path for path in new if path != timestamp]
            list(pool.map(lambda path: write_file(path, files[f"{METADATA}/{path.name}"]), before))
        for path in others:
            path.unlink(missing_ok=True)
        sync_directory(directory)
        write_file(timestamp, files[TIMESTAMP])
        sync_directory(directory)
    except OSError as error:
        raise EdgewrightError(f"signing {stick}: writing {METADATA}: {error.strerror}") from error


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == data

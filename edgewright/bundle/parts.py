# SPDX-License-Identifier: Apache-2.0
"""Contents as files that FAT can hold: whole, or in parts below 4 GiB.

blob = split(digest, Path("model.onnx"), CHUNK_BYTES, notes)
pieces = pieces_of(digest, blob, Path("model.onnx"))
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle.layout import BLOBS, MAX_FILE_BYTES, Blob, Part, blob_name, canonical, part_name
from edgewright.errors import InputError, IntegrityError

__all__ = ["Piece", "pieces_of", "split"]

_BUFFER = 1 << 23
"""Large enough that handing it to another thread costs nothing beside hashing it."""

_MAX_PARTS = 1000
"""Three digits in a part's name."""


@dataclass(frozen=True)
class Piece:
    """A file that shall lie on the stick.

    Attributes:
        name: From the stick's top.
        source: Its bytes, or a file that holds them.
        size: In bytes.
        sha256: What its digest must be.
        offset: Where it begins in that file, in bytes.
        mode: Its permission bits where the file system has any.
    """

    name: str
    source: bytes | Path
    size: int
    sha256: str
    offset: int = 0
    mode: int = 0o644


def split(digest: str, source: Path, chunk_bytes: int, notes: Path) -> Blob:
    """Cut a content into parts where it is larger than a chunk.

    Reading a large file twice, once for the parts' digests and once to copy them, lets parts be copied side
    by side and be kept one by one when a build is killed; the digests are noted, for the next build.

    Args:
        digest: The content's sha256; checked where it is split.
        source: The file that holds it.
        chunk_bytes: The largest size of one file.
        notes: Directory for notes, made when missing.

    Returns:
        The content, without parts when it fits into one file.

    Raises:
        InputError: `chunk_bytes` is no size that a stick can hold, or gives too many parts.
        IntegrityError: The file holds something else.
    """
    if not 1 <= chunk_bytes <= MAX_FILE_BYTES:
        raise InputError(
            f"splitting files: expected chunks of 1 to {MAX_FILE_BYTES} bytes (the most that FAT holds in "
            f"one file), got {chunk_bytes}"
        )
    size = source.stat().st_size
    if size <= chunk_bytes:
        return Blob(size)
    if -(-size // chunk_bytes) > _MAX_PARTS:
        raise InputError(
            f"splitting {source}: {size} bytes in chunks of {chunk_bytes} are more than {_MAX_PARTS} "
            "parts; choose larger chunks"
        )
    note = notes / f"{digest}.{chunk_bytes}.json"
    digests = _noted(note, -(-size // chunk_bytes))
    if digests is None:
        digests = _part_digests(digest, source, chunk_bytes)
        notes.mkdir(parents=True, exist_ok=True)
        new = note.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        new.write_bytes(canonical(digests))
        new.replace(note)
    return Blob(
        size,
        tuple(
            Part(part_name(digest, number), min(chunk_bytes, size - number * chunk_bytes), found)
            for number, found in enumerate(digests)
        ),
    )


def pieces_of(digest: str, blob: Blob, source: bytes | Path) -> list[Piece]:
    """The files of a content."""
    if not blob.parts:
        return [Piece(blob_name(digest), source, blob.size, digest)]
    found, offset = [], 0
    for part in blob.parts:
        found.append(Piece(f"{BLOBS}/{part.name}", source, part.size, part.sha256, offset))
        offset += part.size
    return found


def _noted(note: Path, count: int) -> list[str] | None:
    try:
        found = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    right = isinstance(found, list) and len(found) == count
    return found if right and all(isinstance(item, str) for item in found) else None


def _part_digests(digest: str, source: Path, chunk_bytes: int) -> list[str]:
    """The parts' digests, and the whole's on a second core; one pass over the file.

    Where the first part ends, the whole's state is that part's digest: it is hashed once.
    """
    whole, found = hashlib.sha256(), []
    buffer = memoryview(bytearray(_BUFFER))
    with source.open("rb", buffering=0) as stream, ThreadPoolExecutor(1) as beside:
        part, left = whole, chunk_bytes
        while count := stream.readinto(buffer[: min(_BUFFER, left)]):
            done = beside.submit(whole.update, buffer[:count])
            if part is not whole:
                part.update(buffer[:count])
            done.result()
            left -= count
            if left == 0:
                found.append(part.hexdigest())
                part, left = hashlib.sha256(), chunk_bytes
        if left < chunk_bytes:
            found.append(part.hexdigest())
    if whole.hexdigest() != digest:
        raise IntegrityError(
            f"reading {source}: expected sha256 {digest}, got {whole.hexdigest()}; the cache is damaged: "
            "remove the file and run the same command again"
        )
    return found

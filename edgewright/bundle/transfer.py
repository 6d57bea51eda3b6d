# SPDX-License-Identifier: Apache-2.0
"""Moves bytes off the stick and hashes them on the way: one pass, and a bound on it.

What leaves this module was hashed in the same read that fetched it. The stick may change between two reads;
then the second one fails.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from edgewright.bundle.layout import File
from edgewright.bundle.reader import CHUNK, Stick
from edgewright.bundle.refusal import BundleRefused
from edgewright.depot.progress import Progress
from edgewright.errors import EdgewrightError

__all__ = ["copy_parts", "pump", "read_small"]

_PIECE = 256 << 10
"""Bytes that are read at once: what was read is hashed while it is still in the core's own cache. Larger
pieces, and mapping the file instead (where a failing stick would kill the process), were slower (tried)."""

_OF_THREAD = threading.local()


def pump(
    stick: Stick,
    name: str,
    expected: File,
    *,
    into: int | None = None,
    progress: Progress | None = None,
    whole: hashlib._Hash | None = None,
) -> None:
    """Read one file to its end.

    Args:
        stick: The stick.
        name: From the stick's top.
        expected: Its signed size and sha256.
        into: Descriptor that gets the bytes, from its current position on; none to hash only.
        progress: Is told of the bytes.
        whole: Gets the bytes as well: the digest of all parts of a file.

    Raises:
        BundleRefused: It is not what was signed. `into` has got bytes that must not be used.
        OSError: `into` cannot be written.
    """
    try:
        descriptor = stick.open(name)
    except FileNotFoundError as error:
        raise BundleRefused(
            "missing",
            f"reading {name} from {stick.path}: it is missing; copy the whole bundle to the stick again",
        ) from error
    digest = hashlib.sha256()
    buffer = _buffer()
    left = expected.size
    try:
        if expected.size > CHUNK:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while left:
            count = _read(stick, name, descriptor, buffer[: min(len(buffer), left)])
            if not count:
                raise _length(stick, name, expected, f"only {expected.size - left}")
            piece = buffer[:count]
            digest.update(piece)
            if whole is not None:
                whole.update(piece)
            if into is not None:
                _write(into, piece)
            if progress is not None:
                progress.add(count)
            left -= count
        if _read(stick, name, descriptor, memoryview(bytearray(1))):
            raise _length(stick, name, expected, "more")
    finally:
        os.close(descriptor)
    if digest.hexdigest() != expected.sha256:
        raise BundleRefused(
            "changed",
            f"reading {name} from {stick.path}: expected sha256 {expected.sha256}, got "
            f"{digest.hexdigest()}; the file "
            "was changed or the stick is failing: copy it again, and find out who changed it if it happens "
            "twice",
        )


def read_small(stick: Stick, name: str, expected: File, limit: int) -> bytes:
    """Read a file into memory.

    Args:
        stick: The stick.
        name: From the stick's top.
        expected: Its signed size and sha256.
        limit: Most bytes that are read.

    Returns:
        Its bytes, which are those that were signed.

    Raises:
        BundleRefused: It is larger than `limit`, or not what was signed.
    """
    if expected.size > limit:
        raise BundleRefused(
            "length", f"reading {name} from {stick.path}: expected at most {limit} bytes, got {expected.size}"
        )
    try:
        data = stick.read(name, expected.size)
    except FileNotFoundError as error:
        raise BundleRefused(
            "missing",
            f"reading {name} from {stick.path}: it is missing; copy the whole bundle to the stick again",
        ) from error
    if data is None or len(data) != expected.size:
        raise _length(stick, name, expected, "more" if data is None else f"only {len(data)}")
    found = hashlib.sha256(data).hexdigest()
    if found != expected.sha256:
        raise BundleRefused(
            "changed",
            f"reading {name} from {stick.path}: expected sha256 {expected.sha256}, got {found}; get the "
            "bundle again",
        )
    return data


def copy_parts(
    stick: Stick,
    parts: Sequence[tuple[str, File]],
    blob: str,
    target: int | Path,
    progress: Progress | None = None,
) -> None:
    """Write a blob to staging, its parts joined.

    Args:
        stick: The stick.
        parts: The blob's files on the stick, in order, with what each must be.
        blob: The blob's sha256.
        target: A new file in staging, or a descriptor that is written from its current position on.
        progress: Is told of the bytes.

    Raises:
        BundleRefused: The bytes are not those that were signed. The file was removed; a descriptor was cut
            back to where it began.
        EdgewrightError: Staging cannot be written, for want of space or otherwise.
    """
    size = sum(expected.size for _, expected in parts)
    try:
        if isinstance(target, int):
            _copy_to(stick, parts, blob, target, progress)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, 0o644)
        try:
            _copy_to(stick, parts, blob, descriptor, progress)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        where = "staging" if isinstance(target, int) else str(target)
        hint = f"; it needs {size} bytes there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise EdgewrightError(f"copying blob {blob} to {where}: {error.strerror}{hint}") from error


def _copy_to(
    stick: Stick, parts: Sequence[tuple[str, File]], blob: str, into: int, progress: Progress | None
) -> None:
    start = os.lseek(into, 0, os.SEEK_CUR)
    whole = hashlib.sha256() if len(parts) > 1 else None
    size = sum(expected.size for _, expected in parts)
    try:
        if size > CHUNK:
            os.posix_fallocate(into, start, size)
        for name, expected in parts:
            pump(stick, name, expected, into=into, progress=progress, whole=whole)
        if whole is not None and whole.hexdigest() != blob:
            raise BundleRefused(
                "changed",
                f"copying blob {blob} from {stick.path}: its {len(parts)} parts are as signed but make "
                "sha256 "
                f"{whole.hexdigest()}; the bundle was built wrong: build it anew",
            )
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.ftruncate(into, start)
            os.lseek(into, start, os.SEEK_SET)
        raise


def _buffer() -> memoryview:
    """This thread's buffer, the same for every file."""
    found: memoryview | None = getattr(_OF_THREAD, "buffer", None)
    if found is None:
        found = _OF_THREAD.buffer = memoryview(bytearray(_PIECE))
    return found


def _read(stick: Stick, name: str, descriptor: int, buffer: memoryview) -> int:
    try:
        return os.readv(descriptor, [buffer])
    except OSError as error:
        raise stick.unreadable(name, error) from error


def _write(into: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(into, piece) :]


def _length(stick: Stick, name: str, expected: File, got: str) -> BundleRefused:
    return BundleRefused(
        "length",
        f"reading {name} from {stick.path}: expected {expected.size} bytes, got {got}; the copy was cut "
        "short or "
        "changed: copy it again",
    )

# SPDX-License-Identifier: Apache-2.0
"""Files by their sha256, in the cache that every checkout shares; fetched once, verified always.

A file gets its name `blobs/sha256/<hex>` only after its bytes were hashed and found right, so whatever
has a name there was right when it was put there. A broken transfer leaves `<hex>.part` and goes on from
there. Several threads and several processes may fetch at once: a part is locked while it is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from edgewright.depot.progress import Progress
from edgewright.errors import InputError, IntegrityError, UnreachableError
from edgewright.paths import cache_dir

__all__ = ["BlobStore", "Wanted", "sha256_bytes", "sha256_file"]

_CHUNK = 1 << 20
_TIMEOUT_S = 60
_TRIES = 4
_PARALLEL = 4
"""Transfers at once: enough to hide a source's answer time, few enough to be a polite client."""


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: `url` where it comes from, `size` in bytes and `sha256` what it must be."""

    name: str
    url: str
    size: int
    sha256: str


def sha256_bytes(data: bytes) -> str:
    """Digest of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Digest of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class BlobStore:
    """The store of files by digest.

    Args:
        root: Its directory; `cache_dir()/blobs/sha256` when not given.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_dir() / "blobs" / "sha256"
        self.root.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the file of this digest lies, or would lie."""
        return self.root / sha256

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Whether the file is there, with this size if one is given (a cut-off file is not there)."""
        try:
            found = self.path(sha256).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def put(self, data: bytes) -> str:
        """Store bytes. Returns their sha256."""
        digest = sha256_bytes(data)
        if not self.has(digest, len(data)):
            part = self.root / f"{digest}.{os.getpid()}.new"
            part.write_bytes(data)
            part.chmod(0o644)
            part.replace(self.path(digest))
        return digest

    def put_file(self, source: Path, sha256: str | None = None, what: str = "") -> str:
        """Store a file's content, moving it where it can.

        Args:
            source: The file; gone afterwards.
            sha256: What its digest must be, if that is known.
            what: Its name in a message.

        Returns:
            Its sha256.

        Raises:
            IntegrityError: The digest is another.
        """
        found = sha256_file(source)
        if sha256 is not None and found != sha256:
            raise IntegrityError(_differs(what or source.name, str(source), sha256, found))
        part = self.root / f"{found}.{os.getpid()}.new"
        shutil.move(source, part)
        part.chmod(0o644)
        part.replace(self.path(found))
        return found

    def place(self, sha256: str, target: Path) -> None:
        """Put the file at `target`: as a hard link when the file system allows it, else as a copy."""
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.path(sha256)
        source.chmod(0o644)
        try:
            os.link(source, target)
        except FileExistsError:
            return
        except OSError:
            shutil.copyfile(source, target)
            target.chmod(0o644)

    def fetch(self, wanted: Iterable[Wanted], progress: Progress) -> None:
        """Fetch over HTTP what is missing, several at once.

        Args:
            wanted: The files.
            progress: Told of every byte.

        Raises:
            InputError: A source no longer has a file.
            IntegrityError: A source sent other bytes than wanted.
            UnreachableError: A source does not answer.
        """
        _each(list(wanted), lambda item: self._fetch_one(item, progress))

    def _fetch_one(self, item: Wanted, progress: Progress) -> None:
        part = self.root / f"{item.sha256}.part"
        with part.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if self.has(item.sha256, item.size):  # another process was faster
                progress.add(item.size, fetched=False)
                part.unlink(missing_ok=True)
                return
            _transfer(item, stream, progress)
            part.chmod(0o644)
            part.replace(self.path(item.sha256))


def _each(items: list[Wanted], action: Callable[[Wanted], None]) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        futures = [pool.submit(action, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _transfer(item: Wanted, stream: BufferedRandom, progress: Progress) -> None:
    """Fill `stream` with the item's bytes, going on where it ends, until its digest is right."""
    for attempt in range(1, _TRIES + 1):
        stream.seek(0, os.SEEK_END)
        have = stream.tell()
        if have > item.size:
            stream.truncate(0)
            have = 0
        try:
            if have < item.size:
                _read_from(item, stream, have, progress, first=attempt == 1)
            elif attempt == 1:
                progress.add(have, fetched=False)
        except urllib.error.HTTPError as error:
            if error.code in {404, 410}:
                raise InputError(
                    f"fetching {item.name}: {item.url} is no longer there (HTTP {error.code}); the source "
                    "has moved on since the release was locked: run `edgewright release lock RELEASE_DIR`"
                ) from error
            _give_up_or_wait(item, error, attempt)
            continue
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            _give_up_or_wait(item, error, attempt)
            continue
        stream.flush()
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == item.sha256:
            return
        stream.truncate(0)
        if attempt > 1:  # once may be a stale part file; twice is the source
            raise IntegrityError(_differs(item.name, item.url, item.sha256, found))


def _read_from(item: Wanted, stream: BufferedRandom, have: int, progress: Progress, first: bool) -> None:
    url = urllib.parse.quote(item.url, safe=":/%~+")
    request = urllib.request.Request(url, headers={"User-Agent": "edgewright"})  # noqa: S310 - scheme checked
    if not url.startswith(("http://", "https://")):
        raise InputError(f"fetching {item.name}: expected an http or https address, got {item.url}")
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        if have and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            stream.truncate(0)
            have = 0
        if have and first:
            progress.add(have, fetched=False)
        stream.seek(0, os.SEEK_END)
        left = item.size - have
        while left > 0 and (data := answer.read(min(_CHUNK, left))):
            stream.write(data)
            left -= len(data)
            progress.add(len(data))
    if left:
        raise ConnectionError(f"the transfer ended {left} bytes early")


def _give_up_or_wait(item: Wanted, error: Exception, attempt: int) -> None:
    if attempt == _TRIES:
        raise UnreachableError(
            f"fetching {item.name} from {item.url}: {error} ({attempt} tries); check this host's network or "
            "proxy, then run the same command again: it goes on where it stopped"
        ) from error
    time.sleep(2 ** (attempt - 1))


def _differs(what: str, where: str, expected: str, got: str) -> str:
    return (
        f"checking {what} from {where}: expected sha256 {expected}, got {got}; the source serves other bytes "
        "than were locked: find out why, or lock anew with `edgewright release lock RELEASE_DIR`"
    )

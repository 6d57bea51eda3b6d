# SPDX-License-Identifier: Apache-2.0
"""Building a bundle: a locked release, its depot's contents, installer and documents on a stick, signed.

    keys = KeySet.open(Path("keys"))
    result = build_bundle(Path("releases/label-reader"), Path("/media/stick"), keys)

The same lock and keys give the same bytes, whatever the directory, the day or the machine's settings: the one
moment in a bundle is the lock's. Contents are fetched into the cache, verified, and lie on the stick once per
digest. A build that is killed at any point leaves no bundle (its timestamp goes first and is written last),
and the next run keeps what was placed. A licence's waiver that ended since locking refuses the build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.archives import release_date
from edgewright.bundle.fat import MAX_DIRECTORY_ENTRIES, fullest_directory
from edgewright.bundle.known import Known
from edgewright.bundle.layout import (
    CHUNK_BYTES,
    INDEX,
    INSTALL,
    INSTALLER,
    MAX_FILE_BYTES,
    Blob,
    BundleIndex,
    Document,
    check_depot_paths,
    check_stick_names,
    document_name,
)
from edgewright.bundle.parts import Piece, pieces_of, split
from edgewright.bundle.writer import StickWriter
from edgewright.depot.blobs import BlobStore, sha256_bytes, sha256_file
from edgewright.depot.build import make_tree
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.progress import Progress, human_bytes, say
from edgewright.depot.trees import Linked, Tree
from edgewright.errors import InputError, IntegrityError
from edgewright.modules.parts import Shipped, shipped_modules
from edgewright.paths import cache_dir
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE, load_lock, load_release
from edgewright.release.licences import refuse_expired
from edgewright.release.lock import stale_images

if TYPE_CHECKING:
    from edgewright.bundle.keys import KeySet

__all__ = ["LIFETIME", "BundleResult", "Installer", "build_bundle"]

Installer = Callable[[Mapping[str, Any], "KeySet", datetime, datetime, BlobStore], Mapping[str, bytes | Path]]
"""Makes what a bare controller starts with, `install` and files below `installer/`, by name from the stick's
top: from the lock, the keys, the bundle's moment, its end, and the store where it may fetch to."""

LIFETIME = timedelta(days=365)
"""How long after its lock's moment a bundle may be installed."""


@dataclass(frozen=True)
class BundleResult:
    """What building did.

    Attributes:
        index: What the bundle holds.
        files: How many files lie on the stick beside the metadata.
        size: Their bytes.
        written: Bytes of them that were written or linked now; the others were there and right.
        removed: How many files of an earlier bundle went.
    """

    index: BundleIndex
    files: int
    size: int
    written: int
    removed: int


def build_bundle(
    release_dir: Path,
    stick: Path,
    keys: KeySet,
    *,
    installer: Installer | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> BundleResult:
    """Build a release's bundle.

    Args:
        release_dir: Directory with `release.yml` and its lock.
        stick: The directory that becomes the bundle: empty, missing, or with an earlier bundle.
        keys: Signs the metadata and the apt repository.
        installer: Makes what a bare controller starts with; without, they must hold Edgewright.
        chunk_bytes: Contents larger than this lie in parts of this size.

    Returns:
        What was done.

    Raises:
        InputError: The release, the lock, the keys or the stick are wrong, or the stick is full.
        IntegrityError: Something is not what the lock says.
        UnreachableError: A source does not answer.
    """
    release, _ = load_release(release_dir)
    lock, lock_sha256 = load_lock(release_dir)
    moment = _moment(lock, release_dir)
    _check_waivers(release, lock, release_dir)
    known = Known(stick)
    writer = StickWriter(stick, known)
    key = _apt_key(keys)
    store = BlobStore()
    for line in stale_images(lock, release_dir):
        say(f"NOTICE: {line}; the bundle holds the locked image")
    job = _Job(
        *(release, lock, lock_sha256, release_dir, store, keys, key, moment, installer, chunk_bytes), known
    )
    try:
        return _build(job, writer)
    except IntegrityError as error:
        # The store's files are hashed where they are used. One was damaged: hash them all, get it again.
        say(f"NOTICE: {error}; checking the cache, then once more")
        make_tree(lock, release, release_dir, key, store)
        return _build(job, writer)


@dataclass(frozen=True)
class _Job:
    release: Mapping[str, Any]
    lock: Mapping[str, Any]
    lock_sha256: str
    release_dir: Path
    store: BlobStore
    keys: KeySet
    key: ReleaseKey
    moment: datetime
    installer: Installer | None
    chunk_bytes: int
    known: Known


def _build(job: _Job, writer: StickWriter) -> BundleResult:
    from edgewright.bundle.sign import sign_bundle  # noqa: PLC0415 - only building signs

    tree = make_tree(job.lock, job.release, job.release_dir, job.key, job.store, check=False)
    depot, contents = _contents(tree, job.store)
    blobs = _blobs(contents, job.chunk_bytes)
    installer = _installer(job, job.moment + LIFETIME)
    documents = _documents(job, installer, shipped_modules(job.lock, depot, job.store))
    index = BundleIndex(
        release=job.lock["release"]["name"],
        version=job.lock["release"]["version"],
        lock_sha256=job.lock_sha256,
        signed_at=job.moment,
        expires=job.moment + LIFETIME,
        development=job.keys.development,
        blobs=blobs,
        depot=depot,
        documents={name: Document(sha256_bytes(data), len(data)) for name, data in documents.items()},
    )
    last = _piece(INDEX, index.dump())
    _check_index(last)
    pieces = [piece for digest, blob in blobs.items() for piece in pieces_of(digest, blob, contents[digest])]
    pieces += [_piece(document_name(name), data) for name, data in documents.items()]
    pieces += [_piece(name, content) for name, content in installer.items()]
    _check_names(pieces)
    writer.need_space(pieces)
    writer.invalidate()
    with writer:
        progress = Progress("writing the bundle", sum(piece.size for piece in pieces))
        writer.place(pieces, progress)
        progress.close()
        removed = writer.remove_others([*(piece.name for piece in pieces), INDEX])
        writer.place([last], Progress("writing the index", last.size))
    say("waiting until the stick has everything")
    writer.flush()
    job.known.save()
    say(f"signing {index.name}")
    sign_bundle(writer.root, job.keys, signed_at=index.signed_at, expires=index.expires, known=writer.placed)
    writer.settle()
    pieces.append(last)
    return BundleResult(index, len(pieces), sum(piece.size for piece in pieces), writer.written, removed)


def _check_waivers(release: Mapping[str, Any], lock: Mapping[str, Any], release_dir: Path) -> None:
    """Refuse what a waiver no longer lets travel: the day counts on which copies are made."""
    today = datetime.now(UTC).date()
    refuse_expired(release, str(release_dir / RELEASE_FILE), today)
    refuse_expired(lock, str(release_dir / LOCK_FILE), today)


def _moment(lock: Mapping[str, Any], release_dir: Path) -> datetime:
    """The lock's own moment: the date of the newest index that it was made from."""
    text = str(lock["apt"]["date"])
    try:
        return release_date(text)
    except ValueError as error:
        raise InputError(
            f"reading {release_dir / LOCK_FILE}: apt.date: expected a date such as Thu, 19 Nov 2026 02:12:54 "
            f"UTC, got {text!r}; lock the release anew with `edgewright release lock {release_dir}`"
        ) from error


def _apt_key(keys: KeySet) -> ReleaseKey:
    """The key of the apt repository, from the same directory; only a development set may make one."""
    key = ReleaseKey(keys.directory)
    if key.public() is None and not keys.development:
        raise InputError(
            f"building a bundle: {keys.directory} holds no key for the apt repository; put release.key.asc "
            "and release.pub.asc there (OpenPGP, armoured), docs/reference/release.md tells more"
        )
    key.ensure()
    return key


def _contents(tree: Tree, store: BlobStore) -> tuple[dict[str, str], dict[str, bytes | Path]]:
    """A tree as paths to digests, and what holds each digest's bytes."""
    said = check_depot_paths(tree)
    if said:
        raise InputError(f"laying out the depot: {said}; correct the release and lock it anew")
    depot: dict[str, str] = {}
    contents: dict[str, bytes | Path] = {}
    for path, content in sorted(tree.items()):
        linked = isinstance(content, Linked)
        digest = str(content) if isinstance(content, Linked) else sha256_bytes(content)
        depot[path] = digest
        if linked or digest not in contents:
            contents[digest] = store.path(digest) if isinstance(content, Linked) else content
    return depot, contents


def _blobs(contents: Mapping[str, bytes | Path], chunk_bytes: int) -> dict[str, Blob]:
    """How each content lies on the stick, in the same order."""
    sizes = {
        digest: content.stat().st_size if isinstance(content, Path) else len(content)
        for digest, content in contents.items()
    }

    def cut(digest: str) -> Blob:
        source = contents[digest]
        if not isinstance(source, Path):
            return Blob(len(source))
        return split(digest, source, chunk_bytes, cache_dir() / "parts")

    large = [digest for digest, size in sizes.items() if size > chunk_bytes]
    with ThreadPoolExecutor(2) as pool:  # each keeps two cores busy with a large file
        found = dict(zip(large, pool.map(cut, large), strict=True))
    return {digest: found.get(digest) or Blob(size) for digest, size in sizes.items()}


def _documents(
    job: _Job, installer: Mapping[str, bytes | Path], shipped: Mapping[str, Shipped]
) -> dict[str, bytes]:
    from edgewright.bundle.documents import make  # noqa: PLC0415 - pulls in what only building needs

    made = make(
        *(job.release, job.lock, job.release_dir, job.store, job.keys, job.moment, installer), shipped
    )
    own = {name: (job.release_dir / name).read_bytes() for name in (RELEASE_FILE, LOCK_FILE)}
    return dict(sorted({**made, **own}.items()))


def _installer(job: _Job, expires: datetime) -> dict[str, bytes | Path]:
    if job.installer is None:
        return {}
    found = job.installer(job.lock, job.keys, job.moment, expires, job.store)
    strange = next((name for name in found if name != INSTALL and not name.startswith(f"{INSTALLER}/")), None)
    if strange is not None:
        raise InputError(
            f"laying out the bundle: {strange} is no part of an installer; expected {INSTALL} or names below "
            f"{INSTALLER}/"
        )
    return dict(sorted(found.items()))


def _piece(name: str, content: bytes | Path) -> Piece:
    mode = 0o755 if name == INSTALL else 0o644
    if isinstance(content, Path):
        return Piece(name, content, content.stat().st_size, sha256_file(content), mode=mode)
    return Piece(name, content, len(content), sha256_bytes(content), mode=mode)


def _check_index(piece: Piece) -> None:
    """Refuse here what a controller would refuse."""
    try:
        BundleIndex.load(piece.source if isinstance(piece.source, bytes) else b"")
    except IntegrityError as error:
        raise InputError(f"laying out the bundle: {error}") from error


def _check_names(pieces: list[Piece]) -> None:
    said = check_stick_names([*(piece.name for piece in pieces), INDEX])
    if said:
        raise InputError(f"laying out the bundle: {said}; choose another name")
    large = next((piece for piece in pieces if piece.size > MAX_FILE_BYTES), None)
    if large is not None:
        raise InputError(
            f"laying out the bundle: {large.name} has {human_bytes(large.size)}, a FAT stick holds no file "
            f"of more than {MAX_FILE_BYTES} bytes; make it smaller"
        )
    directory, entries = fullest_directory(piece.name for piece in pieces)
    if entries > MAX_DIRECTORY_ENTRIES:
        say(
            f"NOTICE: {directory} takes {entries} entries of a FAT32 directory, which has "
            f"{MAX_DIRECTORY_ENTRIES}: use a stick with exFAT or ext4 for this release"
        )

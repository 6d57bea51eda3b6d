# SPDX-License-Identifier: Apache-2.0
"""Taking a verified bundle into a controller: the depot's next release, whole or not at all.

    with open_bundle(stick, trust) as bundle:
        result = take_in(bundle, Path("/srv/edgewright/depots"))

Below `depots`:

    current -> releases/label-reader-1.0.0-5b2d...   what nginx serves; switched in one step
    releases/NAME-VERSION-LOCK/                      one depot each; LOCK: 12 digits of the lock's sha256
    .staging/                                        the next one while it grows

Each content is read from the stick once and verified on its way; equal contents are hard links, to each
other and to those of releases that are here already (hashed again first). A kill at any point leaves the old
release served; the next run keeps what was staged and finishes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.bundle.layout import BundleIndex, format_time
from edgewright.bundle.medium import sync
from edgewright.depot.build import exchange
from edgewright.depot.manifest import ARCHIVE_KEY, DEPOT_FILE, describe_depot, load_depot
from edgewright.depot.progress import Progress, human_bytes, say
from edgewright.errors import EdgewrightError, InputError, IntegrityError
from edgewright.snaps.depot import check_depot_snaps

if TYPE_CHECKING:
    from edgewright.bundle.verify import VerifiedBundle

__all__ = ["CURRENT", "KEEP", "TakeInResult", "reclaim", "release_name", "take_in"]

CURRENT = "current"
KEEP = 3
"""Releases that stay by default: the new one, the one before it, and one to go back to."""

_RELEASES = "releases"
_STAGING = ".staging"
_TRASH = ".trash-"
_LINK = ".current"
_WORKERS = min(8, os.cpu_count() or 1)
_SPARE_BYTES = 4096
"""Room for each file's inode and directory entry, in the reckoning of free space."""


@dataclass(frozen=True)
class TakeInResult:
    """What taking in did.

    Attributes:
        changed: Whether the depot changed.
        release: The release's directory.
        copied: Bytes that came from the stick.
        linked: Bytes that were here already.
        removed: Names of older releases that went.
    """

    changed: bool
    release: Path
    copied: int
    linked: int
    removed: tuple[str, ...]

    def told(self, depot: Path, name: str) -> str:
        """What was done, for a person: lines.

        Args:
            depot: Where the depot is, as the person knows it.
            name: The bundle's release and version.
        """
        if not self.changed:
            return f"depot {depot}: {name} is served already, nothing to do"
        first = f"depot {depot}: {name} is served now, {human_bytes(self.copied)} from the stick"
        gone = [f"  removed {name}" for name in self.removed]
        return "\n".join([f"{first}, {human_bytes(self.linked)} were here already", *gone])


def release_name(index: BundleIndex) -> str:
    """The directory name of a bundle's release."""
    return f"{index.release}-{index.version}-{index.lock_sha256[:12]}"


def take_in(
    bundle: VerifiedBundle, depots: Path, keep: int = KEEP, progress: Progress | None = None
) -> TakeInResult:
    """Make a verified bundle's content the depot's release.

    Args:
        bundle: The bundle; its contents are verified while they are copied.
        depots: Directory of the controller's releases; made when missing.
        keep: How many releases stay, the new one among them.
        progress: Told of every byte; one is made when not given.

    Returns:
        What was done; taking in the release that is served already changes nothing.

    Raises:
        InputError: `depots` is something else, another run is at work, or there is too little space.
        IntegrityError: A content is not what the index says; the old release stays served.
    """
    index = bundle.index
    if ARCHIVE_KEY not in index.depot:
        raise IntegrityError(
            f"taking in {index.name}: its depot has no {ARCHIVE_KEY}, devices could not check a package; "
            "build the bundle anew"
        )
    with _locked(depots, keep):
        target = depots / _RELEASES / release_name(index)
        if _serves(depots, target, index):
            shutil.rmtree(depots / _STAGING, ignore_errors=True)  # of a run that was killed when all was done
            return TakeInResult(False, target, 0, 0, ())
        with _telling(f"taking in {index.name}", depots):
            work = _TakeIn(bundle, depots)
            work.need_space()
            total = progress or Progress(f"taking in {index.name}", index.depot_bytes)
            work.stage(total)
            total.close()
            check_depot_snaps(depots / _STAGING, index.name, bundle.clock.now)
            _activate(depots, target)
            removed = _remove(depots, keep)
        return TakeInResult(True, target, work.copied, work.linked, tuple(removed))


def reclaim(depots: Path, keep: int = 1) -> int:
    """Free space: what an interrupted run left, and all releases but the newest; tells what it frees.

    Args:
        depots: Directory of the controller's releases.
        keep: How many releases stay; the one that is served always does.

    Returns:
        Bytes that were freed; contents that a kept release shares are not counted.

    Raises:
        InputError: `depots` is something else, or another run is at work.
    """
    if not depots.is_dir():
        raise InputError(f"freeing space: there is no directory {depots}; name the one that `install` used")
    with _locked(depots, keep), _telling("freeing space", depots):
        freed = 0
        staging = depots / _STAGING
        if staging.exists():
            size = _own_bytes(staging)
            shutil.rmtree(staging)
            say(f"removed what an interrupted run left: {human_bytes(size)}")
            freed += size
        for name in _superfluous(depots, keep):
            size = _own_bytes(depots / _RELEASES / name)
            _discard(depots, depots / _RELEASES / name)
            say(f"removed {name}: {human_bytes(size)}")
            freed += size
        return freed


class _TakeIn:
    """One run: the staging directory and what may be linked into it."""

    def __init__(self, bundle: VerifiedBundle, depots: Path) -> None:
        self._bundle, self._index = bundle, bundle.index
        self._depots = depots
        self._staging = depots / _STAGING
        self._paths: dict[str, list[str]] = {}
        for path, digest in sorted(self._index.depot.items()):
            self._paths.setdefault(digest, []).append(path)
        self._here = _contents_here(depots)
        self.copied = 0
        self.linked = 0

    def need_space(self) -> None:
        """Refuse before anything is copied when the bundle can't fit."""
        needed = _SPARE_BYTES * len(self._index.depot)
        for digest, paths in self._paths.items():
            size = self._index.blobs[digest].size
            staged = self._staging / paths[0]
            if digest not in self._here and not (staged.is_file() and staged.stat().st_size == size):
                needed += size
        free = shutil.disk_usage(self._depots).free
        if needed > free:
            raise InputError(
                f"taking in {self._index.name}: {self._depots} needs {human_bytes(needed)}, "
                f"{human_bytes(free)} are available; free some space, or keep fewer releases"
            )

    def stage(self, progress: Progress) -> None:
        """Fill the staging directory; what an earlier run left there and is right stays."""
        self._clear()
        with ThreadPoolExecutor(_WORKERS) as pool:
            futures = [pool.submit(self._content, digest, progress) for digest in self._paths]
            try:
                done = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self.copied = sum(size for size, new in done if new)
        self.linked = sum(size for size, new in done if not new)
        for directory in [self._staging, *(path for path in self._staging.rglob("*") if path.is_dir())]:
            directory.chmod(0o755)
        self._describe()

    def _clear(self) -> None:
        """Remove from the staging directory what this bundle does not put there."""
        self._staging.mkdir(exist_ok=True)
        wanted = set(self._index.depot)
        for path in sorted(self._staging.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif str(path.relative_to(self._staging)) not in wanted:
                path.unlink()

    def _content(self, digest: str, progress: Progress) -> tuple[int, bool]:
        """Have one content at all its paths. Returns its size, and whether it came from the stick."""
        size = self._index.blobs[digest].size
        first, *others = (self._staging / path for path in self._paths[digest])
        first.parent.mkdir(parents=True, exist_ok=True)
        fresh = not (_is(first, digest, size) or self._link_here(digest, size, first))
        if fresh:
            first.unlink(missing_ok=True)
            self._bundle.copy(digest, first, progress)
        else:
            progress.add(size, fetched=False)
        first.chmod(0o644)
        for other in others:
            other.parent.mkdir(parents=True, exist_ok=True)
            other.unlink(missing_ok=True)
            _link(first, other)
        return size, fresh

    def _link_here(self, digest: str, size: int, target: Path) -> bool:
        """Link a content that a release here has, if it still is what it was."""
        found = self._here.get(digest)
        if found is None or not _is(found, digest, size):
            return False
        target.unlink(missing_ok=True)
        try:
            os.link(found, target)
        except OSError:
            return False  # no links here, or too many of this file: it comes from the stick
        return True

    def _describe(self) -> None:
        index = self._index
        files = {
            path: {"sha256": digest, "size": index.blobs[digest].size}
            for path, digest in sorted(index.depot.items())
        }
        told = describe_depot(
            index.release,
            index.version,
            index.lock_sha256,
            files,
            depot_sha256=index.depot_sha256,
            signed_at=format_time(index.signed_at),
        )
        path = self._staging / DEPOT_FILE
        path.write_bytes(told)
        path.chmod(0o644)


def _activate(depots: Path, target: Path) -> None:
    """Give the staged release its name, and serve it; both are on the disk before the old one is let go."""
    sync(depots)
    target.parent.mkdir(exist_ok=True)
    target.parent.chmod(0o755)
    staging = depots / _STAGING
    exchange(staging, target)  # an old one of this name, of another key, lies in staging then
    new = depots / _LINK
    new.unlink(missing_ok=True)
    new.symlink_to(f"{_RELEASES}/{target.name}")
    sync(depots)
    new.replace(depots / CURRENT)
    sync(depots)
    shutil.rmtree(staging, ignore_errors=True)


def _serves(depots: Path, target: Path, index: BundleIndex) -> bool:
    """Whether this very content is what is served: by what it says of itself and its files' sizes."""
    if _current(depots) != target.name:
        return False
    told = _told(target)
    if told is None or told.get("lock_sha256") != index.lock_sha256:
        return False
    wanted = {
        path: {"sha256": digest, "size": index.blobs[digest].size} for path, digest in index.depot.items()
    }
    if told["files"] != wanted or told.get("signed_at") != format_time(index.signed_at):
        return False
    try:
        return all((target / path).stat().st_size == entry["size"] for path, entry in wanted.items())
    except OSError:
        return False


def _contents_here(depots: Path) -> dict[str, Path]:
    """Files of the releases that are here, by digest; those of the served one come first."""
    found: dict[str, Path] = {}
    for name in reversed(_by_age(depots)):
        release = depots / _RELEASES / name
        for path, entry in ((_told(release) or {}).get("files") or {}).items():
            found.setdefault(entry["sha256"], release / path)
    return found


def _told(release: Path) -> dict[str, Any] | None:
    try:
        return load_depot(release)
    except (InputError, IntegrityError):
        return None


def _current(depots: Path) -> str | None:
    """The name of the release that is served."""
    try:
        return (depots / CURRENT).readlink().name
    except FileNotFoundError:
        return None


def _by_age(depots: Path) -> list[str]:
    """Names of the releases, oldest first, the served one last.

    By the signed moment in each, which a controller accepts in rising order only: its own clock may be wrong.
    """
    releases = depots / _RELEASES
    names = [path.parent.name for path in releases.glob(f"*/{DEPOT_FILE}")]
    current = _current(depots)

    def age(name: str) -> tuple[bool, str, str]:
        return name == current, str((_told(releases / name) or {}).get("signed_at", "")), name

    return sorted(names, key=age)


def _superfluous(depots: Path, keep: int) -> list[str]:
    names = _by_age(depots)
    return names[: max(len(names) - keep, 0)]


def _remove(depots: Path, keep: int) -> list[str]:
    names = _superfluous(depots, keep)
    for name in names:
        _discard(depots, depots / _RELEASES / name)
    return names


def _discard(depots: Path, release: Path) -> None:
    """Remove a release; under another name first, so that none is ever half there under its own."""
    trash = depots / f"{_TRASH}{release.name}"
    shutil.rmtree(trash, ignore_errors=True)
    release.rename(trash)
    shutil.rmtree(trash)


def _own_bytes(directory: Path) -> int:
    """Bytes of the files that only this directory links to."""
    links: dict[int, tuple[int, int, int]] = {}
    for path in directory.rglob("*"):
        state = path.lstat()
        if not path.is_dir():
            seen = links.get(state.st_ino, (0, 0, 0))[0]
            links[state.st_ino] = (seen + 1, state.st_nlink, state.st_size)
    return sum(size for seen, count, size in links.values() if seen == count)


def _is(path: Path, digest: str, size: int) -> bool:
    """Whether a file has this content."""
    try:
        if path.is_symlink() or path.stat().st_size != size:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest
    except OSError:
        return False


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV}:
            raise
        shutil.copyfile(source, target)
        target.chmod(0o644)


@contextmanager
def _locked(depots: Path, keep: int) -> Iterator[None]:
    """The one run at a time; also checks that the directory is one of ours, and takes out the trash."""
    if keep < 1:
        raise InputError(f"keeping releases in {depots}: expected 1 or more, got {keep}")
    with _telling("preparing", depots):
        if not depots.exists():
            depots.mkdir(parents=True)
            depots.chmod(0o755)
        if not depots.is_dir() or ((depots / CURRENT).exists() and not (depots / CURRENT).is_symlink()):
            raise InputError(
                f"preparing {depots}: expected a directory whose {CURRENT} is a symbolic link to the release "
                "that is served; name another directory"
            )
        descriptor = os.open(depots, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"preparing {depots}: another run is at work there; wait until it has ended"
            ) from error
        for trash in depots.glob(f"{_TRASH}*"):
            shutil.rmtree(trash, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _telling(doing: str, depots: Path) -> Iterator[None]:
    """Turns the operating system's errors into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            free = human_bytes(shutil.disk_usage(depots).free)
            raise InputError(
                f"{doing}: {depots} is full ({free} available); the old release stays served: free some "
                "space, then run the same command again"
            ) from error
        where = error.filename or depots
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG}:
            raise InputError(
                f"{doing}: {where}: {error.strerror}; the old release stays served: make it possible to "
                "write there, then run the same command again"
            ) from error
        raise EdgewrightError(
            f"{doing}: {where}: {error.strerror or error}; the old release stays served"
        ) from error

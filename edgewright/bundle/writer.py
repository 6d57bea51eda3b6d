# SPDX-License-Identifier: Apache-2.0
"""A stick while its bundle is built: files are placed in parallel and verified before they are named.

    with StickWriter(Path("/media/stick")) as stick:
        stick.need_space(pieces)
        stick.invalidate()
        stick.place(pieces, progress)
        stick.remove_others(names)

A file grows in `.edgewright-build/` and gets its name only when its digest was found right, so that whatever
has a name may stay after a kill at any moment; the next run hashes it and keeps it, unless it was noted (see
`known`) and is as it was then. Where the stick is on the cache's own file system a whole file is a hard link,
hashed all the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from edgewright.bundle.known import Known
from edgewright.bundle.layout import (
    DOCUMENTS,
    INDEX,
    INSTALL,
    INSTALLER,
    METADATA,
    TARGETS,
    TIMESTAMP,
    File,
    check_stick_names,
)
from edgewright.bundle.medium import flush, look
from edgewright.bundle.parts import Piece
from edgewright.bundle.trust import sync_directory
from edgewright.depot.progress import Progress, human_bytes
from edgewright.errors import EdgewrightError, InputError, IntegrityError

__all__ = ["ROOM", "StickWriter"]

ROOM = ".edgewright-build"
"""Where files grow: its name is none that a bundle may hold, so a stick with it is never taken for whole."""

_BUFFER = 1 << 20
_WORKERS = min(8, os.cpu_count() or 1)
_ZEROS = bytes(_BUFFER)
_HALF_SIGNED = re.compile(r"\.[0-9]*\.?(root|targets|snapshot|timestamp)\.json\.[A-Za-z0-9_]+\Z")
"""What a signing that was killed leaves in `metadata/`; the next one removes it."""

_BLOB = re.compile(r"[0-9a-f]{64}(\.[0-9]{3})?\Z")


class StickWriter:
    """The directory that becomes a bundle; `with` makes and removes the room where files grow.

    Args:
        root: The directory; made when missing.
        known: What earlier builds hashed on it; without, all that stays is hashed.

    Raises:
        InputError: It holds something else, which stays untouched.
    """

    def __init__(self, root: Path, known: Known | None = None) -> None:
        self.root = root
        self._known = known
        self._placed: dict[str, File] = {}
        self._there = self._look()
        self._written = 0
        self._kept = 0
        self._unsettled: set[Path] = set()
        self._changed: set[Path] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> StickWriter:
        with self._telling("making", ROOM):
            self.root.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.root / ROOM, ignore_errors=True)
            (self.root / ROOM).mkdir(exist_ok=True)
            _mode(self.root, 0o755)
        self._there = self._look()
        self._written = self._kept = 0
        self._placed = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with self._telling("removing", ROOM):
                shutil.rmtree(self.root / ROOM)

    @property
    def written(self) -> int:
        """Bytes that were written, or linked."""
        return self._written

    @property
    def kept(self) -> int:
        """Bytes that were there already, and right."""
        return self._kept

    @property
    def placed(self) -> Mapping[str, File]:
        """Size and sha256 of every file that was placed, or found right."""
        return self._placed

    def need_space(self, pieces: Iterable[Piece]) -> None:
        """Refuse when the pieces can't fit, before anything is written.

        Raises:
            InputError: They do not; needed and available are told.
        """
        parent = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        device = parent.stat().st_dev
        needed = 0
        for piece in pieces:
            linked = isinstance(piece.source, Path) and piece.offset == 0
            if linked and isinstance(piece.source, Path):
                found = piece.source.stat()
                linked = found.st_dev == device and found.st_size == piece.size
            if not linked and self._there.get(piece.name) != piece.size:
                needed += piece.size
        free = shutil.disk_usage(parent).free
        if needed > free:
            raise InputError(
                f"building a bundle in {self.root}: it needs {human_bytes(needed)} more, {human_bytes(free)} "
                "are available; take a larger stick, or remove what is on this one"
            )

    def invalidate(self) -> None:
        """From here on the stick is no bundle: its timestamp goes first, and is written last."""
        with self._telling("removing", TIMESTAMP):
            timestamp = self.root / TIMESTAMP
            if timestamp.exists():
                timestamp.unlink()
                sync_directory(timestamp.parent)

    def place(self, pieces: Sequence[Piece], progress: Progress) -> None:
        """Have every piece on the stick, several at once.

        Args:
            pieces: What shall be there.
            progress: Told of every byte.

        Raises:
            InputError: The stick is full, or its file system refuses.
            IntegrityError: A source has other bytes than it must; nothing got that piece's name.
        """
        waiting = [piece for piece in pieces if not self._stays_as_noted(piece, progress)]
        with ThreadPoolExecutor(_WORKERS) as pool:
            futures = [
                pool.submit(self._place, number, piece, progress) for number, piece in enumerate(waiting)
            ]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def remove_others(self, names: Iterable[str]) -> int:
        """Remove every file that is not named, and directories that are empty then; metadata is its signer's.

        Args:
            names: What stays, from the stick's top.

        Returns:
            How many files went.
        """
        stay, gone = set(names), 0
        found = look(self.root, self._doing)
        for name in sorted(found.files):
            if name not in stay and name.split("/")[0] not in {ROOM, METADATA}:
                with self._telling("removing", name):
                    (self.root / name).unlink()
                self._changed.add((self.root / name).parent)
                gone += 1
        for name in sorted(found.directories, reverse=True):
            directory = self.root / name
            if name.split("/")[0] not in {ROOM, METADATA} and not any(directory.iterdir()):
                directory.rmdir()
                self._changed.add(directory.parent)
        return gone

    def flush(self) -> None:
        """Have all that lies here on the medium: what this build placed, and what it cannot tell is there.

        Files that an earlier build noted as known were flushed then, and did not change since.
        """
        with self._telling("finishing", "the files"):
            flush(self.root, self._unsettled, {*self._changed, self.root})
        self._unsettled, self._changed = set(), set()

    def settle(self) -> None:
        """Make what signing wrote, and flushed, readable by all; then it is all on the medium."""
        metadata = self.root / METADATA
        with self._telling("finishing", METADATA):
            _mode(metadata, 0o755)
            for path in metadata.iterdir():
                _mode(path, 0o644)
            flush(self.root, [], [metadata, self.root])

    def _place(self, number: int, piece: Piece, progress: Progress) -> None:
        target, new = self.root / piece.name, self.root / ROOM / str(number)
        with self._telling("writing", piece.name):
            if self._stays(target, piece):
                self._keep(piece, target, progress, flushed=False)
                return
            found = self._link(piece, new, progress) or self._copy(piece, new, progress)
            if found != piece.sha256:
                new.unlink()
                source = piece.source if isinstance(piece.source, Path) else "what was made for it"
                raise IntegrityError(
                    f"writing {target}: {source} has sha256 {found}, expected {piece.sha256}; the cache is "
                    "damaged: remove that file and run the same command again"
                )
            _mode(new, piece.mode)
            made = _directories(self.root, target.parent)
            new.replace(target)
            with self._lock:
                self._written += piece.size
                self._changed.update([target.parent, *made])
            self._note(piece, target, flushed=False)

    def _note(self, piece: Piece, target: Path, flushed: bool) -> None:
        with self._lock:
            self._placed[piece.name] = File(piece.size, piece.sha256)
            if not flushed:
                self._unsettled.add(target)
        if self._known is not None:
            self._known.note(piece.name, target, piece.sha256)

    def _keep(self, piece: Piece, target: Path, progress: Progress, flushed: bool) -> None:
        _mode(target, piece.mode)
        progress.add(piece.size, fetched=False)
        with self._lock:
            self._kept += piece.size
        self._note(piece, target, flushed)

    def _stays_as_noted(self, piece: Piece, progress: Progress) -> bool:
        """Keep a file that is as an earlier build noted it, and flushed it then."""
        target = self.root / piece.name
        if self._known is None or self._there.get(piece.name) != piece.size:
            return False
        with self._telling("reading", piece.name):
            if self._known.find(piece.name, target) != piece.sha256:
                return False
            self._keep(piece, target, progress, flushed=True)
        return True

    def _stays(self, target: Path, piece: Piece) -> bool:
        """Whether the file that is there is right, as it is hashed now; a wrong one is removed."""
        if self._there.get(piece.name) is None:
            return False
        if self._there[piece.name] == piece.size and _hash(target) == piece.sha256:
            return True
        target.unlink()
        with self._lock:
            self._changed.add(target.parent)
        return False

    def _link(self, piece: Piece, new: Path, progress: Progress) -> str | None:
        """Link a whole file. Returns its digest, None where that can't be done."""
        if isinstance(piece.source, bytes) or piece.offset or piece.mode != 0o644:
            return None
        try:
            os.link(piece.source, new)
        except OSError:
            return None  # another file system, or one without links
        if new.stat().st_size != piece.size:
            new.unlink()
            return None
        found = _hash(new)
        progress.add(piece.size)
        return found

    def _copy(self, piece: Piece, new: Path, progress: Progress) -> str:
        """Copy, hashing on the way; holes stay holes. Returns the digest."""
        digest = hashlib.sha256()
        with new.open("wb", buffering=0) as out:
            if isinstance(piece.source, bytes):
                _write(out.fileno(), memoryview(piece.source))
                progress.add(len(piece.source))
                return hashlib.sha256(piece.source).hexdigest()
            buffer, left = memoryview(bytearray(_BUFFER)), piece.size
            with piece.source.open("rb", buffering=0) as stream:
                stream.seek(piece.offset)
                while left and (count := stream.readinto(buffer[: min(_BUFFER, left)])):
                    data = buffer[:count]
                    digest.update(data)
                    if not data[0] and data.tobytes() == _ZEROS[:count]:
                        out.seek(count, os.SEEK_CUR)
                    else:
                        _write(out.fileno(), data)
                    left -= count
                    progress.add(count)
            out.truncate(out.tell())
        return digest.hexdigest()

    def _look(self) -> dict[str, int]:
        """Sizes of the files that are there, by name; refuses what no build left."""
        if not self.root.exists():
            return {}
        if not self.root.is_dir():
            raise InputError(f"building a bundle: {self.root} is no directory; name another place")
        there = self._walk()
        ours = INDEX in there or (self.root / ROOM).is_dir()
        strange = next((name for name in sorted(there) if not ours or not _belongs(name)), None)
        if strange is not None:
            raise InputError(
                f"building a bundle in {self.root}: {strange} is there and is no part of a bundle; move it "
                "away, or name an empty directory"
            )
        return there

    def _walk(self) -> dict[str, int]:
        return {name: state.st_size for name, state in look(self.root, self._doing).files.items()}

    @property
    def _doing(self) -> str:
        return f"building a bundle in {self.root}"

    def _telling(self, doing: str, name: str) -> _Telling:
        return _Telling(doing, self.root, name)


class _Telling:
    """Turns the operating system's errors into sentences."""

    def __init__(self, doing: str, root: Path, name: str) -> None:
        self._doing, self._root, self._name = doing, root, name

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        where = f"{self._doing} {self._name} in {self._root}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            free = human_bytes(shutil.disk_usage(self._root).free)
            raise InputError(
                f"{where}: it is full ({free} available); take a larger stick, then run the same command "
                "again: it goes on where it stopped"
            ) from error
        if error.errno == errno.EFBIG:
            raise InputError(
                f"{where}: this file system or this process may not write a file as large as that "
                f"({error.strerror}); look at `ulimit -f`, or format the stick anew"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise InputError(f"{where}: {error.strerror}; make it writable, or name another place") from error
        raise EdgewrightError(
            f"{where}: {error.strerror or error}; look at the stick, it may be broken"
        ) from error


def _belongs(name: str) -> bool:
    top, _, rest = name.partition("/")
    if top == ROOM or (top == METADATA and _HALF_SIGNED.match(rest)):
        return True
    if check_stick_names([name]):
        return False
    if not rest:
        return name == INSTALL
    if top == TARGETS:
        kind, _, file = name.removeprefix(f"{TARGETS}/").partition("/")
        return (
            name == INDEX or f"{TARGETS}/{kind}" == DOCUMENTS or bool(kind == "blobs" and _BLOB.match(file))
        )
    return top in {METADATA, INSTALLER}


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _directories(root: Path, directory: Path) -> list[Path]:
    """Make a directory and those above it, readable by all whatever the umask. Returns where names came."""
    made = []
    for path in [*reversed(directory.relative_to(root).parents), directory.relative_to(root)]:
        here = root / path
        if not here.is_dir():
            here.mkdir(exist_ok=True)
            _mode(here, 0o755)
            made.append(here.parent)
    return made


def _mode(path: Path, mode: int) -> None:
    try:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
    except OSError:  # FAT has no permission bits
        return

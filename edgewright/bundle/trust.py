# SPDX-License-Identifier: Apache-2.0
"""What a controller trusts: TUF's metadata of the last accepted bundle, and the floor of its time.

    TRUST/current -> states/NNN
    TRUST/states/NNN/metadata/    root_history/N.root.json, timestamp.json, snapshot.json, targets.json
    TRUST/states/NNN/floor.json   {"schema": "edgewright.floor/v1", "signed_at": ..., "files": {NAME: SHA256}}

A bundle is checked on a copy. When it is accepted, the copy becomes a new state beside the old one, and one
rename of the link `current` puts it in place: a power cut leaves the old state or the new one, never half.

Clocks in an air gap are wrong. The floor is the highest `signed_at` of an accepted bundle; the time is taken
as the later of the two. A clock that is behind is mended by it, a clock that is ahead is not: it would make
good bundles look expired, and no signature can tell that from the truth.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from edgewright.bundle.layout import canonical, format_time, time_of
from edgewright.bundle.refusal import BundleRefused
from edgewright.errors import EdgewrightError, InputError

__all__ = ["Clock", "TrustedState", "group_fingerprint", "parse_fingerprint", "sync_directory", "utc_now"]

FLOOR_SCHEMA = "edgewright.floor/v1"
FIRST_ROOT = "metadata/root_history/1.root.json"

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
_MAX_STATE_FILE = 128 << 20
_GENERATION = re.compile(r"[0-9]{6}\Z", re.ASCII)
_RECENT = {f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets")}
_STATE_FILES = re.compile(
    r"metadata/(timestamp|snapshot|targets)\.json|metadata/root_history/[1-9][0-9]*\.root\.json"
)


def parse_fingerprint(text: str) -> str:
    """A fingerprint as people give it: 64 hexadecimal digits, with spaces, colons or dashes between groups.

    Raises:
        InputError: It is none.
    """
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not _FINGERPRINT.match(digits):
        raise InputError(
            f"reading the fingerprint {text[:100]!r}: expected 64 hexadecimal digits (the SHA-256 of "
            f"1.root.json; spaces do not matter), got {len(digits)} characters; `edgewright keys fingerprint "
            "KEYS` on the build host prints it"
        )
    return digits


def group_fingerprint(digits: str) -> str:
    """A fingerprint in groups of four, as it is printed and read aloud."""
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


@dataclass(frozen=True)
class Clock:
    """What time it is taken to be.

    Attributes:
        clock: What this machine's clock says, UTC.
        floor: The highest `signed_at` that was accepted here, UTC; None on a controller that accepted
            nothing.
    """

    clock: datetime
    floor: datetime | None

    @property
    def now(self) -> datetime:
        """The later of the two."""
        return self.clock if self.floor is None else max(self.clock, self.floor)

    def told(self) -> str:
        """Both, for messages."""
        said = f"this machine's clock says {format_time(self.clock)}"
        if self.floor is not None and self.floor > self.clock:
            signed = format_time(self.floor)
            said += f" but a bundle signed at {signed} was accepted here, so it cannot be earlier"
        return said


@dataclass(frozen=True)
class TrustedState:
    """The trusted state as it was when it was read.

    Attributes:
        place: The directory that a controller keeps.
        generation: Name of the state within it; empty when nothing was accepted yet.
        floor: See `Clock`.
        fingerprint: SHA-256 of the pinned `1.root.json`; None when nothing was accepted yet.
        files: Names of its metadata files, from the state's top.
    """

    place: Path
    generation: str
    floor: datetime | None
    fingerprint: str | None
    files: tuple[str, ...] = ()

    @classmethod
    def read(cls, place: Path) -> TrustedState:
        """Read it; a place that does not exist holds nothing, and is not made.

        Raises:
            BundleRefused: It is damaged.
            InputError: The place is no directory.
        """
        if place.exists() and not place.is_dir():
            raise InputError(f"reading the trusted state {place}: expected a directory")
        link = place / "current"
        try:
            generation = link.readlink().name
        except FileNotFoundError:
            return cls(place, "", None, None)
        except OSError as error:
            raise _damaged(place, link, f"expected a link to a state: {error.strerror}") from error
        state = place / "states" / generation
        if not _GENERATION.match(generation):
            raise _damaged(place, link, f"it leads to {generation[:100]!r}, expected six digits")
        try:
            floor = json.loads(_state_file(place, state / "floor.json"))
            if floor["schema"] != FLOOR_SCHEMA:
                raise ValueError(f"expected schema {FLOOR_SCHEMA}, got {floor['schema']!r}")
            moment = time_of(floor["signed_at"])
            digests = dict(floor["files"])
            fingerprint = str(digests[FIRST_ROOT])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _damaged(place, state / "floor.json", f"expected {FLOOR_SCHEMA}, got {error!r}") from error
        # python-tuf's client passes over local metadata that it cannot read, and with it over the versions
        # there.
        for name, digest in digests.items():
            if not _STATE_FILES.fullmatch(name):
                raise _damaged(place, state / "floor.json", f"it names {name[:100]!r}")
            if sha256(_state_file(place, state / name)).hexdigest() != digest:
                raise _damaged(place, state / name, f"expected sha256 {digest}, got another")
        if _RECENT - digests.keys():
            raise _damaged(place, state / "floor.json", "it does not name all of the last bundle's metadata")
        return cls(place, generation, moment, fingerprint, tuple(sorted(digests)))

    @property
    def pinned(self) -> bool:
        """Whether it names a root to trust."""
        return bool(self.generation)

    def copy(self, into: Path) -> bytes | None:
        """Copy it to work on.

        Args:
            into: A new directory, which gets `metadata/`.

        Returns:
            The pinned `1.root.json`; None when nothing was accepted yet.
        """
        metadata = into / "metadata"
        (metadata / "root_history").mkdir(parents=True)
        if not self.pinned:
            return None
        state = self.place / "states" / self.generation
        for name in self.files:
            (into / name).write_bytes(_state_file(self.place, state / name))
        return (into / FIRST_ROOT).read_bytes()

    def commit(self, work: Path, signed_at: datetime) -> None:
        """Put a worked-on copy in place of the state that it was copied from.

        Args:
            work: The directory that `copy` filled.
            signed_at: The accepted bundle's; the floor becomes the later of it and the old one.

        Raises:
            BundleRefused: Another bundle was accepted since this state was read.
            EdgewrightError: It cannot be written.
        """
        floor = signed_at if self.floor is None else max(signed_at, self.floor)
        try:
            with _locked(self.place):
                now = TrustedState.read(self.place)
                if now.generation != self.generation:
                    raise BundleRefused(
                        "state",
                        f"accepting a bundle in {self.place}: another bundle was accepted meanwhile; verify "
                        "this "
                        "one again",
                    )
                self._put(work, floor)
        except OSError as error:
            raise EdgewrightError(
                f"accepting a bundle in {self.place}: {error.strerror or error}; the trusted state is as it "
                "was"
            ) from error

    def _put(self, work: Path, floor: datetime) -> None:
        states = self.place / "states"
        states.mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=states))
        try:
            (new / "metadata" / "root_history").mkdir(parents=True)
            digests: dict[str, str] = {}
            for source in sorted((work / "metadata").rglob("*.json")):
                name = source.relative_to(work).as_posix()
                if _STATE_FILES.fullmatch(name) and not source.is_symlink():
                    data = source.read_bytes()
                    _write(new / name, data)
                    digests[name] = sha256(data).hexdigest()
            told = {"schema": FLOOR_SCHEMA, "signed_at": format_time(floor), "files": digests}
            _write(new / "floor.json", canonical(told))
            for directory in (new / "metadata" / "root_history", new / "metadata", new):
                directory.chmod(0o755)
                sync_directory(directory)
            name = f"{(int(self.generation or 0) + 1) % 1_000_000:06d}"
            shutil.rmtree(states / name, ignore_errors=True)  # of a run that ended before the link was moved
            new.rename(states / name)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        sync_directory(states)
        link = self.place / ".current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("states") / name)
        link.replace(self.place / "current")
        sync_directory(self.place)
        for old in states.iterdir():
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make names in a directory last over a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _state_file(place: Path, path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_STATE_FILE:
            raise _damaged(place, path, f"expected at most {_MAX_STATE_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _damaged(place, path, error.strerror or str(error)) from error


def _damaged(place: Path, path: Path, what: str) -> BundleRefused:
    return BundleRefused(
        "state",
        f"reading the trusted state {place}: {path.relative_to(place)}: {what}; restore this directory from "
        "the "
        "controller's backup, or move it away and verify again with the fingerprint, which forgets which "
        "bundle "
        "was the newest",
    )


def utc_now() -> datetime:
    """What this machine's clock says, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)

# SPDX-License-Identifier: Apache-2.0
"""Verifies a bundle, and hands out its contents.

    with open_bundle(Path("/media/stick"), Path("/var/lib/edgewright/trust"), fingerprint=typed) as bundle:
        bundle.check_all(Progress("verifying", bundle.size))
        for digest in bundle.index.blobs:
            bundle.copy(digest, staging / digest)
        ...                                # put in place what staging holds
        bundle.accept()                    # only now the controller trusts this bundle as its newest

`open_bundle` reads metadata and index and looks at every name, kind and size; contents are hashed when they
are read, copied or checked. It refuses with `BundleRefused` and has then changed nothing. There is no way to
get at a file of the stick that skips this. What this guards against is listed, with the test of each, in
docs/reference/bundle-attacks.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from tuf.api.metadata import TargetFile

from edgewright.bundle.client import CONFIG, Repository, refresh
from edgewright.bundle.layout import (
    BLOBS,
    INDEX,
    INSTALL,
    INSTALLER,
    MAX_FILE_BYTES,
    MAX_INDEX_BYTES,
    METADATA,
    TARGETS,
    BundleIndex,
    File,
    blob_name,
    check_stick_names,
    format_time,
)
from edgewright.bundle.reader import Stick
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.transfer import copy_parts, pump, read_small
from edgewright.bundle.trust import Clock, TrustedState, group_fingerprint, parse_fingerprint, utc_now
from edgewright.bundle.walk import walk
from edgewright.depot.progress import Progress
from edgewright.errors import EdgewrightError, InputError

__all__ = ["BundleRefused", "VerifiedBundle", "open_bundle"]

_TOLD = 5
_MAX_DEPTH = 16
"""Directories below one another; a bundle needs four."""


class VerifiedBundle:
    """A bundle whose metadata, index, names and sizes are right; made by `open_bundle` only.

    Attributes:
        index: What the bundle holds.
        fingerprint: SHA-256 of the root that it is trusted by.
        clock: What time it is taken to be; `clock.now` never lies before this bundle's `signed_at`.
        files: Signed size and sha256 of every file but the metadata's three newest, by name from the stick's
            top.
    """

    def __init__(
        self, stick: Stick, index: BundleIndex, files: Mapping[str, File], clock: Clock, accepting: _Accepting
    ) -> None:
        self.index = index
        self.files = files
        self.clock = clock
        self.fingerprint = accepting.fingerprint
        self._stick = stick
        self._accepting = accepting

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the stick and remove the copy of the trusted state."""
        self._stick.close()
        self._accepting.close()

    @property
    def size(self) -> int:
        """Bytes that `check_all` reads."""
        return sum(file.size for file in self.files.values())

    @property
    def clock_note(self) -> str | None:
        """A sentence for the person when this machine's clock is certainly behind; else None."""
        if self.clock.clock >= self.clock.now:
            return None
        return (
            f"NOTICE: this machine's clock says {format_time(self.clock.clock)}, but it is at least "
            f"{format_time(self.clock.now)}: set it, for example with `date -u --set "
            f"'{self.clock.now:%F %T}'`"
        )

    def read(self, name: str, limit: int) -> bytes:
        """Read a small file whole.

        Args:
            name: From the stick's top, such as `targets/documents/sbom.cdx.json`.
            limit: Most bytes to take.

        Returns:
            The bytes that were signed.

        Raises:
            InputError: The bundle has no such file.
            BundleRefused: It is larger than `limit`, or no longer what was signed.
        """
        expected = self.files.get(name)
        if expected is None:
            raise InputError(f"reading {name} from {self._stick.path}: the bundle has no such file")
        return read_small(self._stick, name, expected, limit)

    def copy(self, digest: str, target: int | Path, progress: Progress | None = None) -> None:
        """Write a blob to staging; may run in several threads at once.

        Args:
            digest: The blob's sha256.
            target: A new file in staging, or a descriptor that is written from its current position on.
            progress: Is told of the bytes.

        Raises:
            InputError: The bundle has no such blob.
            BundleRefused: It is not what was signed; what was written of it was removed.
            EdgewrightError: Staging cannot be written.
        """
        names = self._names(digest)
        copy_parts(self._stick, [(name, self.files[name]) for name in names], digest, target, progress)

    def read_blob(self, digest: str, limit: int) -> bytes:
        """Read a small content whole; arguments and errors as of `read`, by the content's sha256."""
        return b"".join(self.read(name, limit) for name in self._names(digest))

    def feed(self, digest: str, into: hashlib._Hash, progress: Progress | None = None) -> None:
        """Put a content's bytes into another digest, verified on the way.

        Args:
            digest: The blob's sha256.
            into: Gets the bytes; must not be used when this raises.
            progress: Is told of the bytes.

        Raises:
            InputError: The bundle has no such blob.
            BundleRefused: It is not what was signed.
        """
        for name in self._names(digest):
            pump(self._stick, name, self.files[name], progress=progress, whole=into)

    def _names(self, digest: str) -> list[str]:
        """The files of a content on the stick, in order."""
        blob = self.index.blobs.get(digest)
        if blob is None:
            raise InputError(f"reading blob {digest} from {self._stick.path}: the bundle has no such blob")
        return [f"{BLOBS}/{part.name}" for part in blob.parts] or [blob_name(digest)]

    def check_all(self, progress: Progress | None = None) -> None:
        """Hash every file of the bundle, on all cores.

        Args:
            progress: Is told of the bytes; `size` of them in all.

        Raises:
            BundleRefused: Files are not what was signed; the message names the first few.
        """

        def check(item: tuple[str, File]) -> BundleRefused | None:
            try:
                pump(self._stick, item[0], item[1], progress=progress)
            except BundleRefused as fault:
                return fault
            return None

        largest_first = sorted(self.files.items(), key=lambda item: (-item[1].size, item[0]))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            faults = [fault for fault in pool.map(check, largest_first) if fault is not None]
        if len(faults) == 1:
            raise faults[0]
        if faults:
            told = "\n  ".join(str(fault) for fault in faults[:_TOLD])
            more = f"\n  and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
            raise BundleRefused(
                faults[0].why,
                f"verifying the bundle {self._stick.path}: {len(faults)} files:\n  {told}{more}",
            )

    def accept(self) -> None:
        """Keep this bundle's metadata as the trusted state: nothing older is taken from now on.

        Call it once, after everything was taken in.

        Raises:
            BundleRefused: Another bundle was accepted since this one was opened.
            EdgewrightError: The trusted state cannot be written; it is as it was.
        """
        self._accepting.commit(self.index.signed_at)


class _Accepting:
    """The copy of the trusted state that belongs to an open bundle."""

    def __init__(self, state: TrustedState) -> None:
        self._state = state
        self.work = Path(tempfile.mkdtemp(prefix="ew-trust-"))
        self.close = weakref.finalize(self, shutil.rmtree, self.work, True)  # also when nobody closes it
        self.fingerprint = ""
        self._done = False

    def commit(self, signed_at: datetime) -> None:
        if not self._done:
            self._state.commit(self.work, signed_at)
            self._done = True


def open_bundle(
    stick: Path, trust: Path, *, fingerprint: str | None = None, now: datetime | None = None
) -> VerifiedBundle:
    """Verify a bundle's metadata, index, names, kinds and sizes.

    Args:
        stick: The directory that holds `metadata` and `targets`.
        trust: The controller's trusted state; need not exist yet, and is changed by `accept()` only.
        fingerprint: SHA-256 of `1.root.json` as a person gives it; needed while there is no trusted state,
            and compared with it afterwards.
        now: What the clock says; this machine's when not given.

    Returns:
        The bundle. Close it.

    Raises:
        BundleRefused: It is not what keys that count here have signed, or not complete, or too old.
        InputError: The stick is no directory, or the fingerprint is none.
    """
    digits = parse_fingerprint(fingerprint) if fingerprint is not None else None
    state = TrustedState.read(trust)
    clock = Clock((now or utc_now()).astimezone(UTC), state.floor)
    with ExitStack() as undo:
        try:
            accepting = _Accepting(state)
            undo.callback(accepting.close)
            opened = undo.enter_context(Stick(stick))
            bundle = _open(opened, state, clock, accepting, digits)
        except OSError as error:  # errors of the stick are told as such where they happen
            raise EdgewrightError(
                f"verifying the bundle {stick}: the working copy of the trusted state cannot be made in "
                f"{tempfile.gettempdir()}: {error.strerror}; TMPDIR names another place for it"
            ) from error
        undo.pop_all()
        return bundle


def _open(
    stick: Stick, state: TrustedState, clock: Clock, accepting: _Accepting, digits: str | None
) -> VerifiedBundle:
    first = _first_root(stick, state, accepting, digits)
    found = refresh(stick, accepting.work, first, clock)
    files = _files(stick, found)
    _same_roots(stick, found, files, accepting.work)
    metadata = {f"{METADATA}/{name}": len(data) for name, data in found.served.items()}
    walk(stick, metadata | {name: file.size for name, file in files.items()})
    index = BundleIndex.load(read_small(stick, INDEX, files[INDEX], MAX_INDEX_BYTES))
    _agree(stick, index, found, files)
    floor = index.signed_at if state.floor is None else max(index.signed_at, state.floor)
    return VerifiedBundle(stick, index, files, Clock(clock.clock, floor), accepting)


def _first_root(stick: Stick, state: TrustedState, accepting: _Accepting, digits: str | None) -> bytes:
    """The root that everything hangs on: pinned by the trusted state, or by the fingerprint."""
    pinned = state.copy(accepting.work)
    if pinned is not None and state.fingerprint is not None:
        accepting.fingerprint = state.fingerprint
        if digits is not None and digits != state.fingerprint:
            raise BundleRefused(
                "key",
                f"verifying the bundle {stick.path}: this controller trusts the root with fingerprint\n  "
                f"{group_fingerprint(state.fingerprint)}\nbut the one that was given is\n  "
                f"{group_fingerprint(digits)}\n"
                f"check where the fingerprint comes from; a controller that changes hands gets a new "
                f"{state.place}",
            )
        return pinned
    if digits is None:
        raise BundleRefused(
            "untrusted",
            f"verifying the bundle {stick.path}: nothing was accepted here yet ({state.place} holds no "
            "trusted state), "
            "so the root's fingerprint is needed; whoever built the bundle gets it with `edgewright keys "
            "fingerprint "
            "KEYS` and gives it to you another way than on this stick",
        )
    name = f"{METADATA}/1.root.json"
    try:
        data = stick.read(name, CONFIG.root_max_length)
    except FileNotFoundError as error:
        raise BundleRefused(
            "missing",
            f"verifying the bundle {stick.path}: {name} is missing; is this the directory of a bundle? If "
            "so, copy the "
            "whole bundle to the stick again",
        ) from error
    if data is None:
        raise BundleRefused(
            "metadata",
            f"verifying the bundle {stick.path}: {name} is too large, expected at most "
            f"{CONFIG.root_max_length} bytes; "
            "get the bundle again",
        )
    found = sha256(data).hexdigest()
    if found != digits:
        raise BundleRefused(
            "key",
            f"verifying the bundle {stick.path}: the root on it has the fingerprint\n  "
            f"{group_fingerprint(found)}\n"
            f"but the one that was given is\n  {group_fingerprint(digits)}\nthe bundle was signed by "
            "somebody else, or "
            "the fingerprint belongs to other keys: ask whoever built it, another way than by this stick",
        )
    accepting.fingerprint = found
    return data


def _files(stick: Stick, found: Repository) -> dict[str, File]:
    """What the metadata names, held to names and digests that a bundle may have."""
    if found.targets.delegations is not None:
        raise _refuse(stick, "metadata", "its targets.json delegates to other keys, which bundles never do")
    if not found.root.consistent_snapshot:
        raise _refuse(stick, "metadata", "its root does not say consistent_snapshot")
    wrong = check_stick_names(found.targets.targets)
    if wrong:
        raise _refuse(stick, "name", f"its targets.json names {wrong}")
    files = {}
    for name, target in found.targets.targets.items():
        top = name.partition("/")[0]
        if top not in (TARGETS, INSTALLER, METADATA) and name != INSTALL:
            raise _refuse(stick, "name", f"its targets.json names {name}, which has no place in a bundle")
        if name.count("/") > _MAX_DEPTH:
            raise _refuse(stick, "name", f"its targets.json names {name}, nested more than {_MAX_DEPTH} deep")
        files[name] = _file(stick, name, target)
    if INDEX not in files:
        raise _refuse(stick, "metadata", f"its targets.json does not name {INDEX}")
    return files


def _file(stick: Stick, name: str, target: TargetFile) -> File:
    digest = target.hashes.get("sha256", "")
    if set(target.hashes) != {"sha256"} or len(digest) != 64 or digest.strip("0123456789abcdef"):
        raise _refuse(stick, "metadata", f"its targets.json has no plain sha256 of {name}")
    if not isinstance(target.length, int) or not 0 <= target.length <= MAX_FILE_BYTES:
        raise _refuse(stick, "length", f"its targets.json says {str(target.length)[:30]} bytes of {name}")
    return File(target.length, digest)


def _same_roots(stick: Stick, found: Repository, files: Mapping[str, File], work: Path) -> None:
    """The stick carries every root up to the trusted one, and they are the trusted ones byte for byte."""
    history = work / "metadata" / "root_history"
    expected = {
        f"{METADATA}/{version}.root.json": (history / f"{version}.root.json").read_bytes()
        for version in range(1, found.root.version + 1)
    }
    listed = {name for name in files if name.startswith(f"{METADATA}/")}
    if listed - expected.keys():
        raise _refuse(
            stick, "metadata", f"its targets.json names {min(listed - expected.keys())}, no root that counts"
        )
    for name, data in expected.items():
        if name not in files:
            raise _refuse(
                stick,
                "rollback",
                f"it was signed before {name} came into being, which is trusted here; sign it anew",
            )
        if files[name] != File(len(data), sha256(data).hexdigest()):
            raise _refuse(stick, "changed", f"its {name} is not the root that is trusted here")
        found.served.pop(name.rpartition("/")[2], None)
        read_small(stick, name, files[name], CONFIG.root_max_length)


def _agree(stick: Stick, index: BundleIndex, found: Repository, files: Mapping[str, File]) -> None:
    """The index says the same as the metadata."""
    indexed = index.files()
    for name, file in indexed.items():
        if name not in files:
            raise _refuse(stick, "index", f"{INDEX} lists {name}, but targets.json does not name it")
        if files[name] != file:
            raise _refuse(
                stick,
                "index",
                f"{INDEX} says {file.size} bytes of {name}, targets.json {files[name].size}, or other sha256",
            )
    for name in files:
        if name.startswith(f"{TARGETS}/") and name not in indexed and name != INDEX:
            raise _refuse(stick, "index", f"targets.json names {name}, but {INDEX} does not list it")
    ends = {found.timestamp.expires, found.snapshot.expires, found.targets.expires}
    if ends != {index.expires}:
        raise _refuse(
            stick,
            "index",
            f"{INDEX} says it expires {format_time(index.expires)}, the metadata {format_time(min(ends))}",
        )


def _refuse(stick: Stick, why: str, told: str) -> BundleRefused:
    return BundleRefused(
        why,
        f"verifying the bundle {stick.path}: {told}; the bundle was built by another program or changed: "
        "get it again",
    )

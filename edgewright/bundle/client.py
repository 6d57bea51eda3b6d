# SPDX-License-Identifier: Apache-2.0
"""python-tuf's own client over a stick, and its refusals in sentences.

Everything that TUF decides, python-tuf decides: which root counts, thresholds, versions, digests, ends. This
module adds three things. The client works at a time that is given to it (`_work_at`). Metadata is held to
Edgewright's own spelling, so that a file that means the same in other bytes is refused as well. And each
refusal says what is wrong with which file, and what to do.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import Updater, UpdaterConfig

from edgewright.bundle.layout import METADATA, format_time
from edgewright.bundle.reader import BASE_URL, Stick, StickFetcher
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.trust import Clock

__all__ = ["CONFIG", "Repository", "refresh"]

CONFIG = UpdaterConfig(
    max_root_rotations=256,
    root_max_length=256 << 10,
    timestamp_max_length=16 << 10,
    snapshot_max_length=64 << 10,
    targets_max_length=64 << 20,  # 200,000 files, as many as an index names, take about 40 MB
    prefix_targets_with_hash=False,  # files lie under their own names
)
"""Bounds in bytes. What is parsed before its signature is known (root, timestamp) is small."""

MAX_DEPTH = 12
"""TUF's metadata nests seven deep; Python's parser gives up at a thousand."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_VERSIONED = re.compile(r"(\d+)\.(root|snapshot|targets)\.json\Z")


@dataclass(frozen=True)
class Repository:
    """What the client found, all of it verified.

    Attributes:
        root: The newest root.
        timestamp: The timestamp; `timestamp.expires` is the end of the bundle.
        snapshot: What it names.
        targets: The bundle's files.
        served: Bytes of the metadata that was read from the stick, by file name.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    served: dict[str, bytes]


def refresh(stick: Stick, work: Path, first_root: bytes, clock: Clock) -> Repository:
    """Let the client read the stick's metadata.

    Args:
        stick: The stick.
        work: A copy of the trusted state; the client reads and changes its `metadata/`.
        first_root: The pinned `1.root.json`.
        clock: What time it is.

    Returns:
        What it found.

    Raises:
        BundleRefused: The metadata is not what the trusted root's keys signed, too old, or past its end.
    """
    fetcher = _CheckedFetcher(stick)
    updater: Updater | None = None
    try:
        updater = Updater(
            metadata_dir=str(work / "metadata"),
            metadata_base_url=f"{BASE_URL}{METADATA}/",
            fetcher=fetcher,
            config=CONFIG,
            bootstrap=first_root,
        )
        _work_at(updater, clock.now)
        updater.refresh()
        trusted = updater._trusted_set
        found = Repository(
            trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets, dict(fetcher.served)
        )
        _Reader(stick, clock, fetcher, updater).one_spelling(found, work)
        return found
    except (exceptions.RepositoryError, exceptions.DownloadError, RecursionError, ValueError) as error:
        raise _Reader(stick, clock, fetcher, updater).refusal(error) from error


def _work_at(updater: Updater, moment: datetime) -> None:
    """Tell the client what time it is.

    python-tuf 7 takes the time from the machine's clock, once, and has no public way to give it another. The
    attribute is private: test_clock.py fails when a new version of python-tuf moves it.
    """
    updater._trusted_set.reference_time = moment


class _CheckedFetcher(StickFetcher):
    """Refuses metadata by its shape before anything parses it."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        data = super().download_bytes(url, max_length)
        depth = deepest = 0
        for token in _TOKEN.finditer(data):
            letter = token[0]
            if letter in (b"{", b"["):
                depth += 1
                deepest = max(deepest, depth)
                if deepest > MAX_DEPTH:
                    raise DeserializationError(f"it nests more than {MAX_DEPTH} deep")
            elif letter in (b"}", b"]"):
                depth -= 1
        return data


class _Reader:
    """Knows what happened, to tell it."""

    def __init__(self, stick: Stick, clock: Clock, fetcher: StickFetcher, updater: Updater | None) -> None:
        self._stick = stick
        self._clock = clock
        self._fetcher = fetcher
        self._trusted = updater._trusted_set if updater else None
        self._last = fetcher.asked.rpartition("/")[2] or "1.root.json"

    def one_spelling(self, found: Repository, work: Path) -> None:
        """The stick's metadata is exactly what is trusted now, in the one spelling that Edgewright writes."""
        kept = work / "metadata"
        for role in ("timestamp", "snapshot", "targets"):
            version = {"snapshot": found.snapshot.version, "targets": found.targets.version}.get(role)
            name = f"{role}.json" if version is None else f"{version}.{role}.json"
            trusted = (kept / f"{role}.json").read_bytes()
            on_stick = self._fetcher.served.get(name)
            if (
                on_stick is None
            ):  # the trusted state's is the newest, so that the client did not look at this one
                on_stick = self._again(name)
            found.served[name] = on_stick
            if on_stick != trusted:
                raise self._refuse(
                    "mixed" if role == "timestamp" else "changed",
                    f"{name} has version {self._version(name)} like the one that was accepted here, but "
                    "other bytes",
                    "two different bundles were signed under one version, or it was changed: sign again on "
                    "the build "
                    "host that holds the keys' history",
                )
        for name, meta in (
            (f"{found.snapshot.version}.snapshot.json", found.timestamp.snapshot_meta),
            (f"{found.targets.version}.targets.json", found.snapshot.meta.get("targets.json")),
        ):
            if meta is None or not _exact(meta, found.served[name]):
                raise self._refuse("metadata", f"no size and SHA-256 are signed for {name}", _AGAIN)
        for name in found.served:
            self._spelling(name, found)

    def _spelling(self, name: str, found: Repository) -> None:
        data = found.served[name]
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        role = metadata.signed.type
        if role == Root.type:
            return  # roots are targets as well: each has its SHA-256
        plain = all(
            not signature.unrecognized_fields and _HEX.fullmatch(signature.signature)
            for signature in metadata.signatures.values()
        )
        same = metadata.to_bytes(JSONSerializer(compact=True)) == data
        if not (same and plain) or metadata.unrecognized_fields:
            raise self._refuse(
                "metadata", f"{name} is not in the one spelling that Edgewright writes", _AGAIN
            )
        result = found.root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        spare = metadata.signatures.keys() - result.signed.keys()
        if spare:
            raise self._refuse(
                "changed", f"{name} carries a signature that does not fit, by key {min(spare)}", _AGAIN
            )

    def _again(self, name: str) -> bytes:
        self._last = name
        limit = CONFIG.targets_max_length if name.endswith("targets.json") else CONFIG.snapshot_max_length
        return self._fetcher.download_bytes(f"{BASE_URL}{METADATA}/{name}", limit)

    def refusal(self, error: Exception) -> BundleRefused:
        """What the client's error means."""
        last = self._last
        if isinstance(error, exceptions.UnsignedMetadataError):
            return self._unsigned(last)
        if isinstance(error, exceptions.ExpiredMetadataError):
            return self._expired(last)
        if isinstance(error, exceptions.BadVersionNumberError):
            return self._version_wrong(last, error)
        if isinstance(error, exceptions.LengthOrHashMismatchError):
            return self._other_bytes(last)
        if isinstance(error, exceptions.DownloadHTTPError):
            return self._gone(last)
        if isinstance(error, exceptions.DownloadLengthMismatchError):
            return self._too_long(last)
        told = str(error) or type(error).__name__
        if isinstance(error, DeserializationError) and error.__cause__ is not None:
            told = f"{told}: {error.__cause__}"
        if isinstance(error, RecursionError):
            told = "it nests too deep"
        return self._refuse("metadata", f"{last} cannot be read as TUF metadata: {told[:200]}", _AGAIN)

    def _unsigned(self, name: str) -> BundleRefused:
        """Tell a stranger's signature from a damaged one and from too few."""
        metadata: Metadata[Any] = Metadata.from_bytes(self._fetcher.served[name])
        trusted = self._trusted
        role = metadata.signed.type
        deciding = [trusted.root] if trusted else []
        if isinstance(metadata.signed, Root):
            deciding.append(metadata.signed)
        for root in deciding:
            result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
            if result.verified:
                continue
            known = metadata.signatures.keys() & set(root.roles[role].keyids)
            whose = "the new root's" if root is metadata.signed else "the trusted root's"
            if not known:
                return self._refuse(
                    "key",
                    f"{name} is signed by none of {whose} keys for {role}",
                    "this bundle was signed with other keys than this controller trusts: check where the "
                    "stick comes "
                    "from; after a rotation of keys, the bundle must carry every new N.root.json",
                )
            if known - result.signed.keys():
                return self._refuse(
                    "changed", f"{name} was changed: a signature by key {min(known)} does not fit it", _AGAIN
                )
            return self._refuse(
                "threshold",
                f"{name} has {len(result.signed)} fitting signatures of {whose} keys, expected "
                f"{result.threshold}",
                "the other holders must sign it: see `edgewright keys sign-root` and docs/how-to/keys.md",
            )
        return self._refuse("threshold", f"{name} is not signed as its root says", _AGAIN)

    def _expired(self, name: str) -> BundleRefused:
        trusted = self._trusted
        what, end = "the bundle", None
        if trusted is not None and trusted.root.is_expired(self._clock.now):
            what, end = f"root {trusted.root.version}", trusted.root.expires
        elif trusted is not None:
            ends = [signed.expires for signed in trusted if signed.type != Root.type]
            end = min(ends) if ends else None
        if end is None:
            signed: Signed = Metadata.from_bytes(self._fetcher.served[name]).signed
            end = signed.expires
        renew = (
            "extend the root with `edgewright keys rotate root`"
            if what != "the bundle"
            else "build and sign it anew"
        )
        return self._refuse(
            "expired",
            f"{what} was good until {format_time(end)}, and {self._clock.told()}",
            "if the clock is wrong, set it (`date -u --set '2026-11-19 02:12:54'`) and try again; if it is "
            "right, "
            f"{renew}",
        )

    def _version_wrong(self, name: str, error: Exception) -> BundleRefused:
        told = f"version {self._version(name)}"
        if name == "timestamp.json":
            return self._refuse(
                "rollback",
                f"timestamp.json has {told}: this bundle is older than one that was accepted here",
                "use the newest bundle; to go back to an older release, use the one that the depot kept, or "
                "build "
                "and sign it anew",
            )
        if name.endswith("root.json"):
            return self._refuse("mixed", f"{name} has {told}, expected the version in its name", _AGAIN)
        return self._refuse(
            "rollback" if "xpected targets.json" in str(error) else "mixed",
            f"{name} has {told}, other than the metadata that names it says or accepted before",
            "metadata of two bundles is mixed, or an older bundle's was put back: get the bundle again",
        )

    def _too_long(self, name: str) -> BundleRefused:
        limits = {
            "root": CONFIG.root_max_length,
            "timestamp": CONFIG.timestamp_max_length,
            "snapshot": CONFIG.snapshot_max_length,
        }
        limit = limits.get(name.removesuffix(".json").rpartition(".")[2], CONFIG.targets_max_length)
        data = self._stick.read(f"{METADATA}/{name}", limit)
        if data is None:
            return self._refuse("metadata", f"{name} is too large: it has more than {limit} bytes", _AGAIN)
        self._fetcher.served[name] = data  # longer than what names it says
        return self._other_bytes(name)

    def _other_bytes(self, name: str) -> BundleRefused:
        """Bytes differ from the digest: of another bundle when its own signature fits, else changed."""
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(self._fetcher.served[name])
            if self._trusted is not None:
                self._trusted.root.verify_delegate(
                    metadata.signed.type, metadata.signed_bytes, metadata.signatures
                )
        except (exceptions.RepositoryError, KeyError, ValueError, RecursionError):
            return self._refuse("changed", f"{name} is not the file that was signed", _AGAIN)
        return self._refuse(
            "mixed",
            f"{name} is rightly signed but not the one that belongs here: metadata of two bundles is mixed",
            "copy the whole bundle to an empty stick again",
        )

    def _gone(self, name: str) -> BundleRefused:
        match = _VERSIONED.match(name)
        others = self._others(match[2]) if match else []
        if others:
            return self._refuse(
                "mixed",
                f"{name} is missing, and {', '.join(others)} lies there instead: metadata of two bundles is "
                "mixed, or "
                "an old timestamp.json was kept",
                "copy the whole bundle to an empty stick again",
            )
        return self._refuse(
            "missing", f"{METADATA}/{name} is missing", "copy the whole bundle to the stick again"
        )

    def _others(self, role: str) -> list[str]:
        try:
            descriptor = os.open(
                METADATA, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._stick.fd
            )
        except OSError:
            return []
        try:
            with os.scandir(descriptor) as entries:
                names = [
                    entry.name
                    for entry, _ in zip(entries, range(1000), strict=False)
                    if (match := _VERSIONED.match(entry.name)) and match[2] == role
                ]
        finally:
            os.close(descriptor)
        return sorted(names)[:3]

    def _version(self, name: str) -> str:
        try:
            return str(Metadata.from_bytes(self._fetcher.served[name]).signed.version)
        except (KeyError, exceptions.RepositoryError):
            return "unknown"

    def _refuse(self, why: str, told: str, hint: str) -> BundleRefused:
        return BundleRefused(why, f"verifying the bundle {self._stick.path}: {told}; {hint}")


_AGAIN = "get the bundle again, and find out who changed it if it happens twice"


def _exact(meta: MetaFile, data: bytes) -> bool:
    return meta.length == len(data) and set(meta.hashes or ()) == {"sha256"}

# SPDX-License-Identifier: Apache-2.0
"""What lies where on a stick, and its index `targets/bundle.json`.

The index is read after its signature was checked and is still not trusted: every name is held to one
narrow grammar (no traversal, nothing that FAT cannot hold), every size to a limit, and its halves must agree:
parts add up, each depot path names a known blob, each blob is named by a depot path. What `load` returns can
be used without a second look.

    index = BundleIndex.load(data)
    for name, file in index.files().items():
        print(name, file.size, file.sha256)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from edgewright.bundle.fat import fat_fault
from edgewright.bundle.regular import find_fault
from edgewright.errors import IntegrityError

__all__ = [
    "BLOBS",
    "CHUNK_BYTES",
    "DOCUMENTS",
    "INDEX",
    "INSTALL",
    "INSTALLER",
    "MAX_FILE_BYTES",
    "MAX_INDEX_BYTES",
    "METADATA",
    "SCHEMA",
    "TARGETS",
    "TIMESTAMP",
    "Blob",
    "BundleIndex",
    "Document",
    "File",
    "Part",
    "blob_name",
    "canonical",
    "check_depot_paths",
    "check_stick_names",
    "depot_digest",
    "document_name",
    "format_time",
    "part_name",
    "time_of",
]

SCHEMA = "edgewright.bundle/v1"
INSTALL = "install"
INSTALLER = "installer"
METADATA = "metadata"
TIMESTAMP = f"{METADATA}/timestamp.json"
TARGETS = "targets"
INDEX = f"{TARGETS}/bundle.json"
BLOBS = f"{TARGETS}/blobs"
DOCUMENTS = f"{TARGETS}/documents"

MAX_FILE_BYTES = (1 << 32) - 1
"""The largest file that FAT holds (Microsoft FAT specification 1.03: a 32-bit size)."""

CHUNK_BYTES = (1 << 32) - (1 << 20)
"""Files larger than this are split: 1 MiB below 4 GiB, so that parts begin on whole MiB."""

MAX_INDEX_BYTES = 64 << 20
"""A release of 200,000 files has an index of about 50 MB."""

_MAX_PATH = 1024
"""Bytes in a path: a quarter of Linux's PATH_MAX, so that it fits below any directory."""

_MAX_PART = 255
"""Bytes in one part of a path (NAME_MAX; FAT's long names hold as many characters)."""

_STICK_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*\Z", re.ASCII)
_DEPOT_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:!-]*\Z", re.ASCII)  # "sha256:..." of OCI, "!" of epochs
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SHOWN = 100
_RESERVED = ("depot.json",)


@dataclass(frozen=True)
class Part:
    """A piece of a blob: its file's `name` below `targets/blobs`, `size` in bytes, `sha256`."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Blob:
    """A content: `size` in bytes, and its `parts` in order where it is split (else none)."""

    size: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Document:
    """A document: `sha256`, and `size` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class File:
    """What a file on the stick must be: `size` in bytes, `sha256`."""

    size: int
    sha256: str


@dataclass(frozen=True)
class BundleIndex:
    """What a bundle holds.

    Attributes:
        release: The release's name; `version` its version.
        lock_sha256: Digest of `release.lock.yml`.
        signed_at: The lock's own moment, UTC: the floor of the time on a controller.
        expires: From when on the bundle is refused, UTC.
        development: Whether it was signed with a development set of keys.
        blobs: Contents by sha256.
        depot: The depot's tree: path -> sha256 of a blob.
        documents: By name below `targets/documents`.
    """

    release: str
    version: str
    lock_sha256: str
    signed_at: datetime
    expires: datetime
    development: bool
    blobs: Mapping[str, Blob]
    depot: Mapping[str, str]
    documents: Mapping[str, Document]

    @property
    def name(self) -> str:
        """What people call it: `label-reader 1.0.0`."""
        return f"{self.release} {self.version}"

    @property
    def depot_sha256(self) -> str:
        """One digest that stands for the depot's whole tree."""
        return depot_digest(self.depot)

    @property
    def depot_bytes(self) -> int:
        """Bytes of all contents, each counted once."""
        return sum(blob.size for blob in self.blobs.values())

    def files(self) -> dict[str, File]:
        """Every file of blobs and documents, by its name from the stick's top."""
        found: dict[str, File] = {}
        for digest, blob in self.blobs.items():
            if blob.parts:
                found |= {f"{BLOBS}/{part.name}": File(part.size, part.sha256) for part in blob.parts}
            else:
                found[blob_name(digest)] = File(blob.size, digest)
        return found | {
            document_name(name): File(document.size, document.sha256)
            for name, document in self.documents.items()
        }

    def dump(self) -> bytes:
        """The index's bytes: canonical, so that the same bundle has the same index."""
        blobs: dict[str, Any] = {digest: {"size": blob.size} for digest, blob in self.blobs.items()}
        for digest, blob in self.blobs.items():
            if blob.parts:
                blobs[digest]["parts"] = [vars(part) for part in blob.parts]
        return canonical(
            {
                "schema": SCHEMA,
                "release": self.release,
                "version": self.version,
                "lock_sha256": self.lock_sha256,
                "signed_at": format_time(self.signed_at),
                "expires": format_time(self.expires),
                "development": self.development,
                "blobs": blobs,
                "depot": dict(self.depot),
                "depot_sha256": self.depot_sha256,
                "documents": {name: vars(document) for name, document in self.documents.items()},
            }
        )

    @classmethod
    def load(cls, data: bytes) -> BundleIndex:
        """Read an index strictly.

        Args:
            data: The file `targets/bundle.json`.

        Returns:
            The index.

        Raises:
            IntegrityError: It is not what the schema says, or its halves do not agree.
        """
        content = _parse(data)
        fault = find_fault(content)
        if fault is not None:
            place = "/".join(str(step) for step in fault[0]) or "the top level"
            raise _wrong(f"{_short(place)}: {_short(fault[1])}")
        index = cls(
            release=content["release"],
            version=content["version"],
            lock_sha256=content["lock_sha256"],
            signed_at=_moment(content, "signed_at"),
            expires=_moment(content, "expires"),
            development=content["development"],
            blobs={digest: _blob(digest, entry) for digest, entry in content["blobs"].items()},
            depot=content["depot"],
            documents={name: Document(**entry) for name, entry in content["documents"].items()},
        )
        _agree(index, content["depot_sha256"])
        return index


def blob_name(digest: str) -> str:
    """A content's file, from the stick's top."""
    return f"{BLOBS}/{digest}"


def part_name(digest: str, number: int) -> str:
    """The file name of a content's part, counted from 0."""
    return f"{digest}.{number:03d}"


def document_name(name: str) -> str:
    """A document's file, from the stick's top."""
    return f"{DOCUMENTS}/{name}"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def depot_digest(depot: Mapping[str, str]) -> str:
    """The sha256 over the canonical JSON of a depot's tree."""
    return sha256(canonical(dict(depot))).hexdigest()


def format_time(moment: datetime) -> str:
    """A moment as the index writes it: whole seconds, UTC, `2026-11-19T02:12:54Z`."""
    return moment.astimezone(UTC).strftime(_TIME)


def time_of(text: str) -> datetime:
    """The moment that such a text names.

    Raises:
        ValueError: It names none.
    """
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def check_stick_names(names: Iterable[str]) -> str | None:
    """Hold names from the stick's top to the grammar.

    Args:
        names: Paths with slashes.

    Returns:
        What is wrong with the first that is; None when all are right.
    """
    found = list(names)
    return (
        _check_paths(found, _STICK_PART) or _nested([one.lower() for one in found]) or _told(fat_fault(found))
    )


def check_depot_paths(paths: Iterable[str]) -> str | None:
    """Hold a depot's paths to the grammar; the same answer as `check_stick_names`."""
    found = list(paths)
    taken = next((path for path in found if path in _RESERVED), None)
    if taken is not None:
        return f"{taken}: this name is the depot's own"
    return _check_paths(found, _DEPOT_PART) or _nested(found)


def _check_paths(paths: Iterable[str], part: re.Pattern[str]) -> str | None:
    for path in paths:
        if len(path) > _MAX_PATH:
            return f"{_short(path)}: longer than {_MAX_PATH} bytes"
        for step in path.split("/"):
            if not part.match(step) or len(step) > _MAX_PART:
                allowed = part.pattern.removesuffix(r"\Z")
                limit = f"{_MAX_PART} bytes at most"
                return f"{_short(path)}: {_short(step)!r} is no name; expected {allowed}, {limit}"
    return None


def _told(fault: str | None) -> str | None:
    return None if fault is None else _short(fault, 4 * _SHOWN)


def _nested(paths: list[str]) -> str | None:
    known = set(paths)
    for path in paths:
        at = path.find("/")
        while at >= 0:
            if path[:at] in known:
                return f"{_short(path[:at])}: it cannot be a file and the directory of {_short(path)}"
            at = path.find("/", at + 1)
    return None


def _parse(data: bytes) -> Any:
    if len(data) > MAX_INDEX_BYTES:
        raise _wrong(f"expected at most {MAX_INDEX_BYTES} bytes, got {len(data)}")
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is not JSON: {_short(str(error))}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is written twice")
    return found


def _refuse(text: str) -> Any:
    raise ValueError(f"{_short(text)}: only whole numbers belong here")


def _moment(content: Mapping[str, Any], key: str) -> datetime:
    try:
        return time_of(content[key])
    except ValueError as error:
        raise _wrong(f"{key}: expected a time such as 2026-11-19T02:12:54Z, got {content[key]}") from error


def _blob(digest: str, entry: Mapping[str, Any]) -> Blob:
    parts = tuple(Part(**part) for part in entry.get("parts", ()))
    for number, part in enumerate(parts):
        if part.name != part_name(digest, number):
            raise _wrong(
                f"blobs/{digest}: part {number}: expected {part_name(digest, number)}, got {part.name}"
            )
    total = sum(part.size for part in parts)
    if parts and total != entry["size"]:
        raise _wrong(f"blobs/{digest}: its parts add up to {total} bytes, expected {entry['size']}")
    if not parts and entry["size"] > MAX_FILE_BYTES:
        raise _wrong(
            f"blobs/{digest}: {entry['size']} bytes in one file, expected parts above {MAX_FILE_BYTES}"
        )
    return Blob(entry["size"], parts)


def _agree(index: BundleIndex, depot_sha256: str) -> None:
    for key, value in (("release", index.release), ("version", index.version)):
        if not _STICK_PART.match(value):  # the schema's `$` lets a line's end pass
            raise _wrong(f"{key}: {_short(value)!r} is no name")
    if index.expires <= index.signed_at:
        raise _wrong(f"expires: expected a time after {index.signed_at}, got {index.expires}")
    said = check_depot_paths(index.depot)
    if said:
        raise _wrong(f"depot: {said}")
    said = check_stick_names(document_name(name) for name in index.documents)
    if said:
        raise _wrong(f"documents: {said}")
    named = set(index.depot.values())
    for path, digest in index.depot.items():
        if digest not in index.blobs:
            raise _wrong(f"depot/{_short(path)}: no blob {digest} is listed")
    spare = sorted(index.blobs.keys() - named)
    if spare:
        raise _wrong(f"blobs/{spare[0]}: no path of the depot has this content")
    if index.depot_sha256 != depot_sha256:
        raise _wrong(f"depot_sha256: expected {index.depot_sha256}, got {depot_sha256}")


def _short(text: str, most: int = _SHOWN) -> str:
    """A text for one line of a message: its middle left out where it is long, escaped where it is odd."""
    shown = text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"
    return shown.encode("unicode_escape").decode("ascii")


def _wrong(what: str) -> IntegrityError:
    return IntegrityError(
        f"reading {INDEX}: {what}; the bundle is damaged or was made by another program: get it again"
    )

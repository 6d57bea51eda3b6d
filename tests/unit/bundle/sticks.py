# SPDX-License-Identifier: Apache-2.0
"""Small real bundles for tests: real keys, real metadata, contents of a few hundred bytes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import (
    BLOBS,
    DOCUMENTS,
    INDEX,
    METADATA,
    Blob,
    BundleIndex,
    Document,
    Part,
    blob_name,
    part_name,
)
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.sign import sign_bundle
from edgewright.bundle.verify import VerifiedBundle, open_bundle

SIGNED_AT = datetime(2026, 11, 19, 2, 12, 54, tzinfo=UTC)
NOW = SIGNED_AT + timedelta(days=30)
EXPIRES = SIGNED_AT + timedelta(days=365)
SPLIT = b"".join(bytes([number]) * 700 for number in range(5))
"""Content that is stored in parts."""

CONTENTS = {
    "apt/pool/hello.deb": b"hello deb " * 200,
    "pypi/files/hello-1.whl": b"wheel",
    "v2/model/blobs/sha256:00": SPLIT,
    "empty": b"",
}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Made:
    """A signed bundle: its `stick` and the `keys` that signed it; `trust` does not exist until it is
    accepted."""

    stick: Path
    keys: KeySet
    trust: Path

    def open(
        self,
        fingerprint: bool = True,
        now: datetime = NOW,
        stick: Path | None = None,
        trust: Path | None = None,
    ) -> VerifiedBundle:
        """Verify it as a controller does."""
        return open_bundle(
            stick or self.stick,
            trust or self.trust,
            fingerprint=self.keys.fingerprint if fingerprint else None,
            now=now,
        )

    def accept(self) -> None:
        """Take it in."""
        with self.open() as bundle:
            bundle.check_all()
            bundle.accept()

    def metadata(self, role: str) -> Path:
        """The metadata file of a role that is in use."""
        if role == "timestamp":
            return self.stick / METADATA / "timestamp.json"
        found = list((self.stick / METADATA).glob(f"*.{role}.json"))
        return max(found, key=lambda path: int(path.name.partition(".")[0]))

    def signers(self, role: str) -> list[Signer]:
        return self.keys.signers(role)


def write_stick(
    stick: Path,
    contents: Mapping[str, bytes] = CONTENTS,
    part_bytes: int = 1500,
    signed_at: datetime = SIGNED_AT,
    expires: datetime = EXPIRES,
) -> BundleIndex:
    """Write an unsigned bundle."""
    (stick / BLOBS).mkdir(parents=True)
    (stick / DOCUMENTS).mkdir()
    (stick / "installer" / "wheels").mkdir(parents=True)
    (stick / "install").write_bytes(b"#!/bin/sh\nexit 0\n")
    (stick / "installer" / "bootstrap.py").write_bytes(b"print('bootstrap')\n")
    (stick / "installer" / "wheels" / "a-1.0-py3-none-any.whl").write_bytes(b"PK wheel")
    blobs = {}
    for data in contents.values():
        name = digest(data)
        if data != SPLIT:
            (stick / blob_name(name)).write_bytes(data)
            blobs[name] = Blob(len(data))
            continue
        parts = []
        for number, at in enumerate(range(0, len(data), part_bytes)):
            piece = data[at : at + part_bytes]
            (stick / BLOBS / part_name(name, number)).write_bytes(piece)
            parts.append(Part(part_name(name, number), len(piece), digest(piece)))
        blobs[name] = Blob(len(data), tuple(parts))
    lock = b"schema: edgewright.lock/v1\n"
    (stick / DOCUMENTS / "release.lock.yml").write_bytes(lock)
    index = BundleIndex(
        release="label-reader",
        version="1.0.0",
        lock_sha256=digest(lock),
        signed_at=signed_at,
        expires=expires,
        development=True,
        blobs=blobs,
        depot={path: digest(data) for path, data in contents.items()},
        documents={"release.lock.yml": Document(digest(lock), len(lock))},
    )
    (stick / INDEX).write_bytes(index.dump())
    return index


def make(
    place: Path, keys: KeySet, name: str = "stick", contents: Mapping[str, bytes] = CONTENTS, days: int = 0
) -> Made:
    """Write and sign a bundle.

    Args:
        place: Directory of sticks and trusted state.
        keys: Who signs.
        name: The stick's name.
        contents: What the depot gets.
        days: How much later than the first one it is.
    """
    late = timedelta(days=days)
    index = write_stick(place / name, contents, signed_at=SIGNED_AT + late, expires=EXPIRES + late)
    sign_bundle(place / name, keys, signed_at=index.signed_at, expires=index.expires)
    return Made(place / name, keys, place / "trust")


def change_index(made: Made, **changes: object) -> None:
    """Write another index; sign afterwards."""
    path = made.stick / INDEX
    index = BundleIndex.load(path.read_bytes())
    path.write_bytes(replace(index, **changes).dump())  # type: ignore[arg-type]


def resign(
    made: Made,
    targets: Callable[[Targets], None] = lambda _: None,
    snapshot: Callable[[Snapshot], None] = lambda _: None,
    timestamp: Callable[[Timestamp], None] = lambda _: None,
) -> None:
    """Sign again what a dishonest or broken builder with the right keys would: nothing here is checked."""
    one = Metadata[Targets].from_file(str(made.metadata("targets")))
    index = made.stick / INDEX
    one.signed.targets[INDEX] = TargetFile.from_data(INDEX, index.read_bytes(), ["sha256"])
    targets(one.signed)
    data = _signed(made, one, made.metadata("targets"))
    two = Metadata[Snapshot].from_file(str(made.metadata("snapshot")))
    two.signed.meta["targets.json"] = _named(one.signed.version, data)
    snapshot(two.signed)
    data = _signed(made, two, made.metadata("snapshot"))
    three = Metadata[Timestamp].from_file(str(made.metadata("timestamp")))
    three.signed.snapshot_meta = _named(two.signed.version, data)
    timestamp(three.signed)
    _signed(made, three, made.metadata("timestamp"))


def _signed(made: Made, metadata: Metadata, path: Path) -> bytes:  # type: ignore[type-arg]
    metadata.signatures.clear()
    for signer in made.signers(metadata.signed.type):
        metadata.sign(signer, append=True)
    data = metadata.to_bytes(JSONSerializer(compact=True))
    path.write_bytes(data)
    return data


def _named(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": digest(data)})


def copy_stick(source: Path, target: Path) -> Path:
    """A second stick with the same files, links and all."""
    shutil.copytree(source, target, symlinks=True)
    return target


def snapshot_of(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, to compare before and after."""
    if not directory.exists():
        return {}
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@contextmanager
def refused(why: str, *told: str) -> Iterator[None]:
    """Expect a refusal for this reason whose message says all of this."""
    with pytest.raises(BundleRefused) as caught:
        yield
    assert caught.value.why == why, str(caught.value)
    for words in told:
        assert words in str(caught.value)


def check(made: Made, **options: object) -> None:
    """All that a controller does before it takes a bundle in."""
    before = snapshot_of(made.trust)
    try:
        with made.open(**options) as bundle:  # type: ignore[arg-type]
            bundle.check_all()
    finally:
        assert snapshot_of(made.trust) == before

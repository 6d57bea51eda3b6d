# SPDX-License-Identifier: Apache-2.0
"""A small release with sources of its own: an apt archive, wheels, files."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.depot.blobs import BlobStore
from edgewright.release.documents import RELEASE_FILE, read_release
from edgewright.release.resolve import find_only, resolve
from tests.integration.release_sources import Archive, serve, tiny_wheel

__all__ = ["FILE", "Place", "make_place"]

FILE = b"firmware\n" * 100


class Place:
    """A release in a directory, its sources, and a store."""

    def __init__(self, folder: Path, archive: Archive, address: str) -> None:
        self.archive, self.address = archive, address
        self.folder, self.store = folder / "release", BlobStore(folder / "blobs")
        self.wheels = folder / "wheels"
        (self.folder / "supplied").mkdir(parents=True)
        (self.folder / "archive.asc").write_bytes(archive.key)
        (self.folder / "supplied/firmware.bin").write_bytes(FILE)
        self.release: dict[str, Any] = {
            "schema": "edgewright.release/v1",
            "name": "tiny",
            "version": "1.0.0",
            "os": {"family": "debian", "suite": "tiny", "arch": "amd64", "kernel": "linux-image-rt-amd64"},
            "apt": {
                "sources": [
                    {
                        "uri": f"http://{address}",
                        "suites": ["tiny"],
                        "components": ["main"],
                        "key": "archive.asc",
                    }
                ],
                "packages": ["tool", "other"],
                "bootstrap": ["other"],
            },
            "python": {"version": "3.11", "platforms": ["any"], "requirements": ["alpha", "beta"]},
            "files": [
                {
                    "name": "firmware.bin",
                    "path": "supplied/firmware.bin",
                    "sha256": hashlib.sha256(FILE).hexdigest(),
                    "licence": "LicenseRef-own-work",
                }
            ],
            "images": {
                "runtime": {"name": "tiny/runtime", "licence": "MIT", "debs": ["libtool1"]},
                "models": [],
            },
        }

    def resolve(self, old: dict[str, Any] | None = None, only: str | None = None) -> dict[str, Any]:
        (self.folder / RELEASE_FILE).write_text(yaml.safe_dump(self.release))
        marked, digest = read_release(self.folder)
        moving = find_only(only, old or {}, marked.content) if only else None
        return resolve(marked, digest, self.folder, self.store, old=old or {}, only=moving)


@contextlib.contextmanager
def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place whose archive is served, below a directory."""
    archive = Archive(tmp_path / "archive")
    archive.add("base", "1", Essential="yes")
    archive.add("linux-image-rt-amd64", "1", "linux-image-1.0-rt-amd64", "amd64")
    archive.add("linux-image-1.0-rt-amd64", "1.0-1", arch="amd64")
    archive.add("tool", "1.0", "libtool1 (>= 1.0)")
    archive.add("libtool1", "1.0")
    archive.add("other", "1.0")
    archive.publish()
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    tiny_wheel(tmp_path / "wheels", "alpha", "1.0", ["gamma"])
    tiny_wheel(tmp_path / "wheels", "beta", "1.0")
    tiny_wheel(tmp_path / "wheels", "gamma", "1.0")
    try:
        with serve(archive.root) as address:
            yield Place(tmp_path, archive, address)
    finally:
        archive.close()

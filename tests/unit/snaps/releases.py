# SPDX-License-Identifier: Apache-2.0
"""Releases with snaps for tests: what they name, and the files that they name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from edgewright.release.documents import RELEASE_FILE
from tests.unit.bundle.small_release import make_release
from tests.unit.snaps import asserting as a

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ASSERTED: dict[str, Any] = {
    "name": "reader",
    "path": "snaps/reader_7.snap",
    "assertions": "snaps/reader_7.assert",
    "revision": 7,
    "publisher": "brand",
    "channel": "1/stable",
    "sha3_384": a.sha3(a.FILE),
    "licence": "Apache-2.0",
}
SET: dict[str, Any] = {
    "account": a.PUBLISHER,
    "name": "edge-set",
    "sequence": 3,
    "assertions": "snaps/edge-set.assert",
}
LOCAL = b"hsqs" + b"own" * 100
DANGEROUS: dict[str, Any] = {
    "name": "own-tool",
    "path": "snaps/own.snap",
    "sha3_384": a.sha3(LOCAL),
    "grade": "dangerous",
    "licence": "Apache-2.0",
}


def write(directory: Path, *snaps: dict[str, Any], file: bytes = a.FILE, chain: bytes | None = None) -> Path:
    """A release with these snaps, not locked for them yet."""
    make_release(directory)
    (directory / "snaps").mkdir(exist_ok=True)
    (directory / "snaps" / "reader_7.snap").write_bytes(file)
    (directory / "snaps" / "reader_7.assert").write_bytes(a.chain() if chain is None else chain)
    (directory / "snaps" / "own.snap").write_bytes(LOCAL)
    release = yaml.safe_load((directory / RELEASE_FILE).read_text())
    release["snaps"] = list(snaps)
    (directory / RELEASE_FILE).write_text(yaml.safe_dump(release, sort_keys=False))
    return directory

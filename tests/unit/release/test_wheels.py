# SPDX-License-Identifier: Apache-2.0
"""Locked wheels are fetched by real pip runs, several at once; a refusal names the one at fault."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import Progress
from edgewright.errors import EdgewrightError, InputError, IntegrityError
from edgewright.release.wheels import fetch_wheels
from tests.integration.release_sources import tiny_wheel

NAMES = [f"tiny{number}" for number in range(10)]
"""More than one run of pip fetches together."""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Entries of a lock, whose wheels lie in pip's one source."""
    source = tmp_path / "source"
    for name in NAMES:
        tiny_wheel(source, name, "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    return [
        {
            "name": path.name.split("-")[0],
            "version": "1.0",
            "filename": path.name,
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(source.iterdir())
    ]


def fetch(wheels: list[dict[str, Any]], store: BlobStore) -> None:
    fetch_wheels(wheels, "3.11", ["any"], store, Progress("wheels", 1, io.StringIO()))


def test_all_are_in_the_store(wheels: list[dict[str, Any]], tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    fetch(wheels, store)
    assert [wheel["name"] for wheel in wheels if store.has(wheel["sha256"], wheel["size"])] == NAMES


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"sha256": "a" * 64}, IntegrityError, r"fetching tiny1==1\.0: the index serves other bytes"),
        ({"version": "2.0"}, InputError, r"fetching tiny1==2\.0: the index no longer has tiny1-1\.0"),
        (
            {"filename": "tiny1-1.0-cp311.whl"},
            InputError,
            r"fetching tiny1==1\.0: pip gave no tiny1-1\.0-cp311",
        ),
    ],
)
def test_the_one_at_fault_is_named_and_those_before_it_are_kept(
    change: dict[str, Any],
    kind: type[EdgewrightError],
    words: str,
    wheels: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path / "store")
    right, wrong = wheels[0], wheels[1] | change
    with pytest.raises(kind, match=words):
        fetch([right, wrong], store)
    assert store.has(right["sha256"], right["size"])
    assert not store.has(wrong["sha256"], None)

# SPDX-License-Identifier: Apache-2.0
"""A remembered bill says what a new one says; only lines that changed are made and held to the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle import sbom
from edgewright.bundle.bill import Line
from edgewright.bundle.sbom import make_sbom, validate_sbom
from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError
from tests.unit.bundle import locks

MOMENT = datetime(2026, 11, 19, 2, 12, 54, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def lock(store: BlobStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return locks.lock(store, tmp_path_factory.mktemp("debs"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the components that were made anew."""
    names: list[str] = []
    make = Line.__init__

    def note(self: Line, key: str, maker: Any) -> None:
        def noting() -> Any:
            component = maker()
            names.append(component.name)
            return component

        make(self, key, noting)

    monkeypatch.setattr(Line, "__init__", note)
    yield names


def _bill(lock: dict[str, Any], store: BlobStore, memory: Path | None, digest: str = "10" * 32) -> bytes:
    return make_sbom(locks.release(), lock, digest, store, MOMENT, memory=memory)


def _changed(lock: dict[str, Any]) -> dict[str, Any]:
    first, *others = lock["files"]
    return {**lock, "files": [{**first, "sha256": "ab" * 32}, *others]}


def test_it_is_the_same_bytes_with_and_without_memory(
    lock: dict[str, Any], store: BlobStore, tmp_path: Path
) -> None:
    memory = tmp_path / "bills" / "reader.json"
    for told, digest in (
        (lock, "10" * 32),
        (lock, "10" * 32),
        (_changed(lock), "11" * 32),
        (lock, "10" * 32),
    ):
        found = _bill(told, store, memory, digest)
        assert found == _bill(told, store, None, digest)
        assert validate_sbom(found) is None


def test_the_text_is_one_spelling_of_the_document(lock: dict[str, Any], store: BlobStore) -> None:
    data = _bill(lock, store, None)
    spelt = json.dumps(json.loads(data), indent=1, sort_keys=True, ensure_ascii=False)
    assert data == spelt.encode() + b"\n"


def test_only_what_changed_is_made_anew(
    lock: dict[str, Any], store: BlobStore, tmp_path: Path, made: list[str]
) -> None:
    _bill(lock, store, tmp_path / "m.json")
    assert len(made) > 10
    made.clear()
    _bill(_changed(lock), store, tmp_path / "m.json", "11" * 32)
    assert sorted(set(made)) == sorted({lock["release"]["name"], lock["files"][0]["name"]})


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"{}",
        lambda data: data[:-9],
        lambda data: data.replace(b"archive.example", b"another.example"),
        lambda data: data.replace(b'"made_by": "', b'"made_by": "0'),
        lambda data: data.replace(b"/v1", b"/v0"),
    ],
)
def test_a_damaged_memory_is_no_memory(
    damage: Any, lock: dict[str, Any], store: BlobStore, tmp_path: Path
) -> None:
    memory = tmp_path / "m.json"
    right = _bill(lock, store, memory)
    data = memory.read_bytes()
    spoilt = damage if isinstance(damage, bytes) else damage(data)
    assert spoilt != data
    memory.write_bytes(spoilt)
    assert _bill(lock, store, memory) == right
    assert memory.read_bytes() == data


def test_what_the_schema_refuses_is_not_remembered(
    lock: dict[str, Any], store: BlobStore, tmp_path: Path
) -> None:
    wrong = {**lock, "files": [{**lock["files"][0], "sha256": "too short"}]}
    for _ in range(2):
        with pytest.raises(EdgewrightError, match="refuses it"):
            _bill(wrong, store, tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()


def test_other_code_makes_all_lines_anew(
    lock: dict[str, Any], store: BlobStore, tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _bill(lock, store, tmp_path / "m.json")
    before = len(made)
    made.clear()
    monkeypatch.setattr(sbom, "_made_by", lambda: "a later version")
    _bill(lock, store, tmp_path / "m.json")
    assert len(made) == before


def test_a_place_that_cannot_be_written_is_passed_over(
    lock: dict[str, Any], store: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert _bill(lock, store, tmp_path / "file" / "m.json") == _bill(lock, store, None)

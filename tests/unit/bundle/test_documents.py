# SPDX-License-Identifier: Apache-2.0
"""All documents of a bundle together, with a real set of keys: complete, and the same bytes again."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle.documents import PROVENANCE, SBOM, make
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import check_stick_names, document_name
from edgewright.bundle.modelsigning import extract_model, verify_model
from edgewright.bundle.provenance import verify_statement
from edgewright.bundle.sbom import validate_sbom
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.errors import InputError, IntegrityError
from tests.unit.bundle import locks

MOMENT = datetime(2026, 11, 19, 2, 12, 54, tzinfo=UTC)
LOCK_BYTES = b"the lock's bytes"


class World:
    """A release's directory, a store and keys."""

    def __init__(self, root: Path) -> None:
        self.store = BlobStore(root / "store")
        self.lock = locks.lock(self.store, root / "debs")
        self.directory = root / "release"
        self.directory.mkdir()
        (self.directory / "release.lock.yml").write_bytes(LOCK_BYTES)
        self.keys = KeySet.develop(root / "keys")

    def make(self, lock: dict[str, Any] | None = None, keys: KeySet | None = None) -> dict[str, bytes]:
        """Make the documents."""
        return make(locks.release(), lock or self.lock, self.directory, self.store, keys or self.keys, MOMENT)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))


def test_they_are_complete_and_their_names_fit_a_stick(world: World) -> None:
    made = world.make()
    assert sorted(made) == ["models/reader/model.pub", "models/reader/model.sig", PROVENANCE, SBOM]
    assert check_stick_names(document_name(name) for name in made) is None


def test_each_verifies(world: World, tmp_path: Path) -> None:
    made = world.make()
    assert validate_sbom(made[SBOM]) is None
    public = [signer.public_key for signer in world.keys.signers("targets")]
    told = verify_statement(made[PROVENANCE], public, subjects={"release.lock.yml": sha256_bytes(LOCK_BYTES)})
    byproducts = {
        one["name"]: one["digest"]["sha256"] for one in told["predicate"]["runDetails"]["byproducts"]
    }
    assert byproducts == {name: sha256_bytes(data) for name, data in made.items() if name != PROVENANCE}
    extract_model(world.lock["images"][1]["digest"], world.store, tmp_path / "reader")
    verify_model(tmp_path / "reader", made["models/reader/model.sig"], made["models/reader/model.pub"])


def test_the_same_lock_and_keys_give_the_same_bytes(world: World) -> None:
    assert world.make() == world.make(keys=KeySet.open(world.keys.directory))


def test_keys_that_moved_give_the_same_bytes(world: World, tmp_path: Path) -> None:
    first = world.make()
    shutil.copytree(world.keys.directory, tmp_path / "moved")
    assert world.make(keys=KeySet.open(tmp_path / "moved")) == first


def test_a_changed_lock_changes_the_provenance(world: World) -> None:
    lock = {**world.lock, "files": world.lock["files"][:1]}
    assert world.make(lock)[PROVENANCE] != world.make()[PROVENANCE]


def test_a_lock_without_models_makes_no_model_key(world: World, tmp_path: Path) -> None:
    keys = KeySet.develop(tmp_path / "keys")
    made = world.make({**world.lock, "images": world.lock["images"][:1]}, keys)
    assert sorted(made) == [PROVENANCE, SBOM]
    assert not (tmp_path / "keys/model.key.pem").exists()


def test_a_kept_provenance_that_was_changed_is_signed_anew(world: World) -> None:
    first = world.make()[PROVENANCE]
    for place in (world.keys.directory / "signatures").glob("*.dsse"):
        raw = json.loads(place.read_bytes())
        raw["signatures"] = []
        place.write_text(json.dumps(raw))
    assert world.make()[PROVENANCE] == first  # Ed25519 draws no random number


def test_a_missing_lock_and_a_missing_model_are_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lock the release"):
        make(locks.release(), world.lock, tmp_path, world.store, world.keys, MOMENT)
    image = {**world.lock["images"][1], "digest": f"sha256:{'0' * 64}"}
    with pytest.raises(IntegrityError, match="does not hold it whole"):
        world.make({**world.lock, "images": [world.lock["images"][0], image]})

# SPDX-License-Identifier: Apache-2.0
"""The example release as a bundle: hundreds of megabytes, built twice, verified, taken in.

Its packages come from this host's archives, or from the cache when they are there already.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.bundle.build import BundleResult, build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX, MAX_FILE_BYTES
from edgewright.bundle.takein import CURRENT, reclaim, take_in
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import sha256_file
from edgewright.depot.build import build_depot, verify_depot
from edgewright.depot.manifest import load_depot

pytestmark = pytest.mark.slow

RELEASE = Path(__file__).resolve().parents[2] / "releases" / "label-reader"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, KeySet, BundleResult]]:
    """A stick with the release, its keys, and what building said."""
    room = tmp_path_factory.mktemp("bundle")
    keys = KeySet.develop(room / "keys")
    yield room / "stick", keys, build_bundle(RELEASE, room / "stick", keys)
    shutil.rmtree(room)


def _digests(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): sha256_file(path) for path in root.rglob("*") if path.is_file()}


def test_two_builds_are_the_same(built: tuple[Path, KeySet, BundleResult], tmp_path: Path) -> None:
    stick, keys, result = built
    copy = tmp_path / "elsewhere" / "release"
    shutil.copytree(RELEASE, copy)
    again = build_bundle(copy, tmp_path / "stick", keys)
    assert again.index == result.index
    assert _digests(tmp_path / "stick") == _digests(stick)
    shutil.rmtree(tmp_path / "stick")


def test_each_content_is_there_once_and_fits_on_fat(built: tuple[Path, KeySet, BundleResult]) -> None:
    stick, _, result = built
    blobs = list((stick / "targets" / "blobs").iterdir())
    assert len(blobs) == len(set(result.index.depot.values())) < len(result.index.depot)
    assert all(path.stat().st_size <= MAX_FILE_BYTES for path in blobs)
    assert sum(path.stat().st_size for path in blobs) == result.index.depot_bytes


def test_the_depot_is_the_one_that_depot_build_makes(
    built: tuple[Path, KeySet, BundleResult], tmp_path: Path
) -> None:
    stick, keys, result = built
    with open_bundle(stick, tmp_path / "trust", fingerprint=keys.fingerprint) as bundle:
        bundle.check_all()
        taken = take_in(bundle, tmp_path / "depots")
        assert taken.copied == result.index.depot_bytes
        bundle.accept()
    served = tmp_path / "depots" / CURRENT
    assert verify_depot(served, RELEASE) == []
    build_depot(RELEASE, tmp_path / "depot", keys.directory)
    assert load_depot(served)["files"] == load_depot(tmp_path / "depot")["files"]
    with open_bundle(stick, tmp_path / "trust") as bundle:
        assert not take_in(bundle, tmp_path / "depots").changed
    assert reclaim(tmp_path / "depots") == 0


def test_building_again_writes_nothing(built: tuple[Path, KeySet, BundleResult]) -> None:
    stick, keys, result = built
    before = sha256_file(stick / INDEX)
    again = build_bundle(RELEASE, stick, keys)
    assert (again.written, again.removed, again.size) == (0, 0, result.size)
    assert sha256_file(stick / INDEX) == before

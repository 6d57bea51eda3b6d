# SPDX-License-Identifier: Apache-2.0
"""The bill of materials lists what the installer is made of, read from its own files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import edgewright
from edgewright.bundle.carried import Carried, carried
from edgewright.bundle.installer import installer_files
from edgewright.bundle.keys import KeySet
from edgewright.bundle.sbom import make_sbom, validate_sbom
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.errors import IntegrityError
from edgewright.release.documents import load_lock, load_release
from tests.unit.bundle.installers import COLLECTIONS, LOCK, small_lock, wheel_bytes
from tests.unit.bundle.small_release import make_release

MOMENT = datetime(2026, 11, 19, 2, 12, 54, tzinfo=UTC)
MANIFEST = {"collection_info": {"version": "3.0.1", "license": ["GPL-3.0-or-later", "BSD-2-Clause"]}}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A small installer, made and signed as a build does it."""
    keys, store = KeySet.develop(tmp_path / "keys"), BlobStore(tmp_path / "blobs")
    return installer_files(LOCK, keys, MOMENT, MOMENT + timedelta(9), store, carried=small_lock(store))


def test_each_wheel_and_collection_is_told_with_its_digest(files: dict[str, Any]) -> None:
    found = {part.name: part for part in carried(files)}
    assert set(found) == {"edgewright", "small", *COLLECTIONS}
    own = found["edgewright"]
    assert (own.kind, own.version, own.licence) == ("wheel", edgewright.__version__, "Apache-2.0")
    assert own.sha256 == sha256_bytes(files[f"installer/wheels/{own.filename}"])
    assert found["small"].filename == "small-1-py3-none-any.whl"
    assert found["small"].licence is None
    for name in COLLECTIONS:
        assert found[name].kind == "collection"
        assert found[name].sha256 == sha256_bytes(files["installer/collections.zip"])


def test_a_collection_says_its_version_and_licences() -> None:
    place = "ansible_collections/community/crypto"
    data = wheel_bytes({f"{place}/MANIFEST.json": json.dumps(MANIFEST), f"{place}/a/MANIFEST.json": "no"})
    (part,) = carried({"installer/collections.zip": data})
    assert (part.name, part.version) == ("community.crypto", "3.0.1")
    assert part.licence == "GPL-3.0-or-later AND BSD-2-Clause"


def test_no_installer_has_no_parts() -> None:
    assert carried({}) == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("installer/wheels/a-1-py3-none-any.whl", b"no zip"),
        ("installer/wheels/a-1-py3-none-any.whl", wheel_bytes({"a.py": ""})),
        ("installer/collections.zip", wheel_bytes({"ansible_collections/a/b/MANIFEST.json": "[]"})),
        ("installer/collections.zip", wheel_bytes({"ansible_collections/a/b/MANIFEST.json": "{"})),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, data: bytes) -> None:
    with pytest.raises(IntegrityError, match=f"{name} cannot be read"):
        carried({name: data})


def test_the_bill_lists_them_and_the_release_needs_them(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    directory = make_release(tmp_path / "release")
    release, (lock, digest) = load_release(directory)[0], load_lock(directory)
    shared = lock["python"]["wheels"][0]
    parts = [
        *(part for part in carried(files) if part.kind == "wheel"),
        Carried("wheel", "small", "1.0", shared["filename"], shared["sha256"], "MIT"),
        Carried("collection", "community.crypto", "3.0.1", "more.zip", "0" * 64, "(GPL-3.0-or-later)"),
    ]
    data = make_sbom(release, lock, digest, BlobStore(), MOMENT, parts)
    assert validate_sbom(data) is None
    told = json.loads(data)
    found = {component["bom-ref"]: component for component in told["components"]}
    own = found[f"installer:edgewright-{edgewright.__version__}-py3-none-any.whl"]
    assert own["hashes"][0]["content"] == next(part.sha256 for part in parts if part.name == "edgewright")
    assert found["installer:community.crypto"]["purl"] == "pkg:generic/ansible/community/crypto@3.0.1"
    needs = {one["ref"]: one.get("dependsOn", []) for one in told["dependencies"]}
    assert "installer" in needs["release"]
    assert set(needs["installer"]) == {
        own["bom-ref"], "installer:small-1-py3-none-any.whl", f"wheel:{shared['filename']}",
        "installer:community.crypto",
    }  # fmt: skip
    assert make_sbom(release, lock, digest, BlobStore(), MOMENT, list(reversed(parts))) == data

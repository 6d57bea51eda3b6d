# SPDX-License-Identifier: Apache-2.0
"""Modules in what goes with a lock: depot, SBOM, provenance, differences; and locks without modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle.provenance import statement
from edgewright.bundle.sbom import _fill as fill_sbom
from edgewright.depot.blobs import BlobStore
from edgewright.depot.build import make_tree
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.trees import Linked
from edgewright.modules.build import control_fields, scripts
from edgewright.modules.debpack import Member, write_deb
from edgewright.release.changes import diff_locks
from edgewright.release.documents import dump_lock, load_lock, load_lock_file
from tests.unit.modules.tiny import entry, make_mok

RELEASE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"
LOCK, LOCK_SHA256 = load_lock(RELEASE, fitting=False)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def made(store: BlobStore) -> dict[str, Any]:
    """An entry whose package is in the store."""
    told = entry()
    target = store.root / "made.deb"
    manifest = f"usr/share/edgewright/modules/{told['package']}.json"
    files = {manifest: Member(b'{"moment": 5, "modules": {}}')}
    write_deb(target, control_fields(told, ""), files, scripts("x"), 5)
    size = target.stat().st_size
    return {**told, "size": size, "sha256": store.put_file(target)}


def test_a_lock_with_modules_is_read_and_a_wrong_one_refused(tmp_path: Path, made: dict[str, Any]) -> None:
    path = tmp_path / "release.lock.yml"
    path.write_bytes(dump_lock({**LOCK, "modules": [made]}))
    assert load_lock_file(path)[0]["modules"] == [made]
    path.write_bytes(dump_lock({**LOCK, "modules": [{**made, "sha256": "short"}]}))
    with pytest.raises(Exception, match=r"release\.lock\.yml:\d+: modules\[0\]\.sha256"):
        load_lock_file(path)


@pytest.mark.parametrize("signed", [False, True])
def test_the_depots_repository_has_the_package_and_only_a_signers_certificate(
    tmp_path: Path, store: BlobStore, made: dict[str, Any], signed: bool
) -> None:
    keys = tmp_path / "keys"
    if signed:
        make_mok(keys)
    lock = {**LOCK, "apt": {**LOCK["apt"], "packages": []}, "images": [], "snaps": [], "modules": [made]}
    lock["python"] = {"wheels": []}
    release = {"os": {**LOCK["os"], "kernel": "k"}, "apt": {"sources": []}, "python": {"version": "3.11"}}
    release["python"]["platforms"] = []
    release["images"] = {"runtime": {"debs": []}}
    tree = make_tree(lock, release, tmp_path, ReleaseKey(keys), store)
    held = tree[f"apt/pool/{made['filename']}"]
    assert isinstance(held, Linked)
    assert (str(held) == made["sha256"]) is not signed
    index = tree["apt/dists/bookworm/main/binary-amd64/Packages"]
    assert isinstance(index, bytes)
    assert f"Package: {made['package']}\n".encode() in index
    assert f"SHA256: {held}\n".encode() in index
    assert ("files/edgewright-mok.der" in tree) is signed


def test_provenance_and_sbom_name_the_package_and_what_it_was_built_of(made: dict[str, Any]) -> None:
    told = statement({**LOCK, "modules": [made]}, LOCK_SHA256)
    spoken = {one["name"]: one["digest"]["sha256"] for one in told["subject"]}
    assert spoken[made["filename"]] == made["sha256"]
    needs = told["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert "headers.deb" in [one["name"] for one in needs]
    nothing = {"apt": {"packages": []}, "python": {"wheels": []}, "images": [], "snaps": []}
    bare = {**LOCK, **nothing, "modules": [made]}
    components: list[Any] = []
    links: dict[str, list[Any]] = {}

    class Bom:
        def add(self, component: Any) -> None:
            components.append(component)

        def register_dependency(self, one: Any, others: Any = ()) -> None:
            links[str(one)] = list(others)

    release = {"apt": {"packages": []}, "python": {"requirements": [], "version": "3.11"}}
    fill_sbom(Bom(), "root", release, bare, BlobStore(), [], {})  # type: ignore[arg-type]
    (line,) = components
    component = line.make()
    assert (component.name, component.version) == (made["filename"], made["version"])
    assert links["root"] == [line]


def test_a_difference_of_modules_is_told_by_package(made: dict[str, Any]) -> None:
    old = {**LOCK, "modules": [made]}
    new = {**LOCK, "modules": [{**made, "sha256": "c" * 64, "version": "535.309.01+6.1.192.2-2"}]}
    said = diff_locks(old, new).summary()
    assert said.startswith(f"1 package of kernel modules ({made['package']} 535.309.01+6.1.192.2-1 -> ")
    assert diff_locks(LOCK, old).summary().startswith(f"1 package of kernel modules ({made['package']} new)")
    assert not diff_locks(old, old)


def test_a_release_without_modules_locks_as_before() -> None:
    assert "modules" not in LOCK
    assert dump_lock(LOCK) == (RELEASE / "release.lock.yml").read_bytes()

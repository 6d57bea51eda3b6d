# SPDX-License-Identifier: Apache-2.0
"""Modules of several targets: who gets which, and what of them is told as shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle.provenance import statement
from edgewright.bundle.sbom import _as_shipped, _modules
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.device.lock import for_target
from edgewright.errors import IntegrityError
from edgewright.modules.build import MANIFEST, control_fields, module_directory, scripts
from edgewright.modules.debpack import Member, read_members, write_deb
from edgewright.modules.parts import check_wishes, module_entries, shipped_modules, wishes_for
from edgewright.modules.ship import ship_modules, with_modules
from edgewright.release.changes import diff_locks
from edgewright.release.documents import dump_lock, load_lock, load_lock_file
from edgewright.release.lock import _same_target
from tests.unit.modules.tiny import RELEASE, entry, make_mok, tiny_module

LOCK, LOCK_SHA256 = load_lock(
    Path(__file__).resolve().parents[3] / "releases" / "label-reader", fitting=False
)
MODULE = tiny_module(f"vermagic={RELEASE} SMP preempt_rt ", "license=NVIDIA")
TRIXIE = "6.12.57+deb13-rt-amd64"


def release(*wishes: dict[str, Any]) -> dict[str, Any]:
    """A release of three targets."""
    return {
        "os": {"suite": "bookworm", "arch": "amd64"},
        "targets": [{"suite": "trixie", "arch": "amd64"}, {"suite": "bookworm", "arch": "arm64"}],
        "modules": [{"name": "nvidia", "driver": "1", **wish} for wish in wishes],
    }


def test_modules_are_for_the_first_target_unless_they_say_otherwise() -> None:
    told = release({}, {"suites": ["trixie"]}, {"arches": ["arm64"]})
    assert list(check_wishes(told)) == []
    assert [number for number, _ in wishes_for(told, "bookworm", "amd64")] == [0]
    assert [number for number, _ in wishes_for(told, "trixie", "amd64")] == [1]
    assert [number for number, _ in wishes_for(told, "bookworm", "arm64")] == [2]
    whole = release({"suites": ["bookworm", "trixie"], "arches": ["amd64", "arm64"]})
    assert list(check_wishes(whole)) == []
    assert wishes_for(whole, "trixie", "amd64") == wishes_for(whole, "bookworm", "arm64") != []


@pytest.mark.parametrize(
    ("wishes", "steps", "said"),
    [
        (({"suites": ["sid"]},), ("modules", 0, "suites", 0), "no target of the release is sid"),
        (
            ({"suites": ["sid"]},),
            ("modules", 0),
            "no target of the release takes nvidia 1 (they are: bookworm",
        ),
        (({"suites": ["trixie"], "arches": ["arm64"]},), ("modules", 0), "no target of the release takes"),
        (({}, {}), ("modules", 1), "modules[0] makes nvidia for bookworm on amd64 already"),
        (({}, {"arches": ["arm64", "amd64"]}), ("modules", 1), "say `suites` and `arches` of both"),
    ],
)
def test_a_wish_that_no_target_or_two_entries_take_is_told(
    wishes: tuple[dict[str, Any], ...], steps: tuple[Any, ...], said: str
) -> None:
    assert any(place == steps and said in words for place, words in check_wishes(release(*wishes)))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    return BlobStore()


def package(store: BlobStore, **changes: Any) -> dict[str, Any]:
    """An entry whose package is in the store, as `build_modules` makes it."""
    made = entry(**changes)
    manifest = {"moment": 5, "modules": {"a.ko": {"sha256": sha256_bytes(MODULE)}}, "signer": None}
    files = {
        f"{module_directory(made['kernel']['release'])}/a.ko": Member(MODULE),
        MANIFEST.format(package=made["package"]): Member(json.dumps(manifest).encode()),
    }
    target = store.root / "made.deb"
    write_deb(target, control_fields(made, ""), files, scripts(RELEASE), 5)
    size = target.stat().st_size
    return {**made, "size": size, "sha256": store.put_file(target)}


@pytest.fixture
def lock(store: BlobStore) -> dict[str, Any]:
    """A lock with modules for two targets, the second of another kernel."""
    kernel = {**entry()["kernel"], "release": TRIXIE, "package": f"linux-image-{TRIXIE}"}
    later = package(store, kernel=kernel, package=f"m-{TRIXIE}", filename="m.deb", driver="550.163.01")
    part = {key: LOCK[key] for key in ("kernel", "python")} | {"apt": {**LOCK["apt"], "packages": []}}
    part |= {"os": {**LOCK["os"], "suite": "trixie"}, "kernel": kernel, "modules": [later]}
    return {**LOCK, "modules": [package(store)], "targets": [part]}


def test_each_target_gets_its_own_modules(lock: dict[str, Any], store: BlobStore, tmp_path: Path) -> None:
    first, later = module_entries(lock)
    whole = with_modules(lock, store, tmp_path)
    assert [deb["name"] for deb in whole["targets"][0]["apt"]["packages"]] == [later["package"]]
    assert [deb["name"] for deb in whole["apt"]["packages"]][-1] == first["package"]
    assert lock["targets"][0]["apt"]["packages"] == [], "the lock itself stays as it is"
    assert [each["name"] for each in ship_modules(lock, store, tmp_path)] == [
        first["package"],
        later["package"],
    ]
    assert for_target(lock, "amd64", "trixie")["modules"] == [later]
    assert for_target(lock, "amd64", "bookworm")["modules"] == [first]
    bare = {
        **lock,
        "targets": [{key: value for key, value in lock["targets"][0].items() if key != "modules"}],
    }
    assert "modules" not in for_target(bare, "amd64", "trixie"), "another target's are not its own"


def test_a_lock_of_several_targets_is_read_and_compared(lock: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "release.lock.yml"
    path.write_bytes(dump_lock(lock))
    assert load_lock_file(path)[0] == lock
    other = {
        **lock,
        "targets": [{**lock["targets"][0], "modules": [entry(package=f"m-{TRIXIE}", version="9")]}],
    }
    said = diff_locks(lock, other).sentences()
    assert any("trixie/amd64" in line and f"m-{TRIXIE}" in line for line in said), said


def test_a_target_keeps_what_was_built_for_it(lock: dict[str, Any]) -> None:
    later = lock["targets"][0]
    assert _same_target(later, lock) is later
    assert _same_target(lock, lock) is lock
    assert _same_target({"os": {"suite": "sid", "arch": "amd64"}}, lock) == {}
    assert _same_target(later, {}) == {}


@pytest.mark.parametrize("signed", [False, True])
def test_both_documents_tell_what_lies_on_a_device(
    lock: dict[str, Any], store: BlobStore, tmp_path: Path, signed: bool
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    if signed:
        make_mok(keys)
    depot = {f"apt/pool/{each['filename']}": each["sha256"] for each in ship_modules(lock, store, keys)}
    shipped = shipped_modules(lock, depot, store)
    for told in module_entries(lock):
        name, release_ = told["filename"], told["kernel"]["release"]
        deb = store.path(depot[f"apt/pool/{name}"])
        path = f"{module_directory(release_)}/a.ko"
        on_device = sha256_bytes(read_members(deb, "lib")[path])
        assert (on_device == sha256_bytes(MODULE)) is not signed
        assert shipped[name].modules == {path: on_device}
        said = statement(lock, LOCK_SHA256, shipped=shipped)
        subjects = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
        assert (subjects[name], subjects[path]) == (depot[f"apt/pool/{name}"], on_device)
        listed = said["predicate"]["buildDefinition"]["resolvedDependencies"]
        needs = {one["name"]: one["digest"]["sha256"] for one in listed}
        assert needs.get(f"{name} before signing") == (told["sha256"] if signed else None)
        component = _modules(_as_shipped(told, shipped[name])).make()
        facts = {one.name: one.value for one in component.properties}
        assert facts[f"edgewright:sha256:{path}"] == on_device
        assert facts.get("edgewright:unsigned_sha256") == (told["sha256"] if signed else None)
        assert [str(one.content) for one in component.hashes] == [depot[f"apt/pool/{name}"]]


def test_a_depot_without_the_package_or_with_another_is_refused(
    lock: dict[str, Any], store: BlobStore
) -> None:
    with pytest.raises(IntegrityError, match="it is not there"):
        shipped_modules(lock, {}, store)
    target = store.root / "other.deb"
    write_deb(target, {"Package": "x"}, {"usr/x": Member(b"")}, {}, 1)
    other = store.put_file(target)
    depot = {f"apt/pool/{each['filename']}": other for each in module_entries(lock)}
    with pytest.raises(IntegrityError, match="its manifest does not tell its modules"):
        shipped_modules(lock, depot, store)

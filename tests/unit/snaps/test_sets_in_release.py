# SPDX-License-Identifier: Apache-2.0
"""Validation sets from a release into lock, depot and bundle; each wrong one is refused where it passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.takein import take_in
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import BlobStore
from edgewright.depot.build import build_depot, verify_depot
from edgewright.errors import InputError, IntegrityError
from edgewright.release.changes import diff_locks
from edgewright.release.documents import (
    LOCK_FILE,
    RELEASE_FILE,
    dump_lock,
    load_lock,
    load_release,
    read_release,
)
from edgewright.release.resolve import find_only
from edgewright.snaps.depot import check_bundle_snaps, check_depot_snaps
from edgewright.snaps.inputs import lock_snaps
from edgewright.snaps.refusal import SnapRefused
from edgewright.snaps.setfiles import lock_sets, restore_sets
from tests.unit.snaps import asserting as a
from tests.unit.snaps.releases import ASSERTED, DANGEROUS, NOW, SET, write

pytestmark = pytest.mark.usefixtures("own_store")
FILE = "validation-set-edge-set_3.assert"


def with_set(directory: Path, chain: bytes | None = None, snaps: Any = (ASSERTED,), **changed: Any) -> Path:
    """A release with snaps and a set, not locked yet; a key set to None is left out."""
    write(directory, *snaps)
    (directory / "snaps" / "edge-set.assert").write_bytes(a.set_chain() if chain is None else chain)
    release = yaml.safe_load((directory / RELEASE_FILE).read_text())
    entry = {key: value for key, value in {**SET, **changed}.items() if value is not None}
    release["validation_sets"] = [entry]
    (directory / RELEASE_FILE).write_text(yaml.safe_dump(release, sort_keys=False))
    return directory


def locked(directory: Path, *snaps: dict[str, Any]) -> dict[str, Any]:
    with_set(directory, snaps=snaps or (ASSERTED,))
    marked, digest = read_release(directory)
    lock = yaml.safe_load((directory / LOCK_FILE).read_text())
    lock["release"]["sha256"] = digest
    lock["snaps"] = lock_snaps(marked, directory, BlobStore(), NOW)
    lock["validation_sets"] = lock_sets(marked, lock["snaps"], directory, BlobStore(), NOW)
    (directory / LOCK_FILE).write_bytes(dump_lock(lock))
    return load_lock(directory)[0]


def test_a_lock_names_the_set_and_its_pins(tmp_path: Path) -> None:
    lock = locked(tmp_path / "release")
    (entry,) = lock["validation_sets"]
    assert (entry["account"], entry["name"], entry["sequence"], entry["revision"]) == (
        a.PUBLISHER,
        "edge-set",
        3,
        0,
    )
    assert entry["snaps"] == [{"name": "reader", "snap_id": a.SNAP_ID, "presence": "required", "revision": 7}]
    assert entry["assertions"]["filename"] == FILE
    release, _ = load_release(tmp_path / "release")
    assert find_only("edge-set", lock, release).kind == "validation-set"
    assert "1 validation set (edge-set new)" in diff_locks({**lock, "validation_sets": []}, lock).summary()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"account": None}, "missing 'account'"),
        ({"account": "a/b"}, "does not match"),
        ({"name": "Edge"}, "does not match"),
        ({"sequence": 0}, "less than the minimum"),
        ({"sequence": None}, "missing 'sequence'"),
        ({"assertions": "../set.assert"}, "expected a path below"),
        ({"sequenze": 3}, "did you mean 'sequence'"),
        ({"name": "reader"}, None),
    ],
)
def test_a_wrong_entry_is_told_with_its_line(
    tmp_path: Path, changed: dict[str, Any], words: str | None
) -> None:
    directory = with_set(tmp_path / "release", **changed)
    if words is None:
        load_release(directory)  # a set may be called as a snap is
        return
    with pytest.raises(InputError, match=words) as refused:
        load_release(directory)
    assert f"{RELEASE_FILE}:" in str(refused.value)


def test_a_set_without_snaps_or_with_the_name_of_another_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no snaps that a validation set could speak of"):
        load_release(with_set(tmp_path / "one", snaps=()))
    clash = {**ASSERTED, "name": "validation-set-edge-set", "revision": 3}
    with pytest.raises(InputError, match="same file name in the depot; rename the set"):
        load_release(with_set(tmp_path / "two", snaps=(clash,)))


@pytest.mark.parametrize(
    ("chain", "changed", "why"),
    [
        (a.set_chain(set=a.validation_set({**a.PIN, "revision": "8"})), {}, "set"),
        (a.set_chain(brand=None), {}, "cut"),
        (a.set_chain(set=None), {}, "missing"),
        (a.set_chain(set=a.validation_set(sequence="4")), {}, "sequence"),
        (a.set_chain(), {"account": a.STRANGER}, "name"),
        (b"no assertion", {}, "format"),
    ],
)
def test_a_wrong_set_is_not_locked(tmp_path: Path, chain: bytes, changed: dict[str, Any], why: str) -> None:
    directory = with_set(tmp_path / "release", chain, **changed)
    marked, _ = read_release(directory)
    snaps = lock_snaps(marked, directory, BlobStore(), NOW)
    with pytest.raises(SnapRefused) as refused:
        lock_sets(marked, snaps, directory, BlobStore(), NOW)
    assert refused.value.why == why
    assert f"{RELEASE_FILE}:" in str(refused.value)


def test_a_set_that_speaks_of_a_built_snap_is_refused(tmp_path: Path) -> None:
    built = {"name": "edgewright-runtime", "built": "runtime", "grade": "dangerous", "licence": "Apache-2.0"}
    chain = a.set_chain(set=a.validation_set({"name": "edgewright-runtime", "id": a.SNAP_ID}))
    directory = with_set(tmp_path / "release", chain, snaps=(built,))
    marked, _ = read_release(directory)
    with pytest.raises(SnapRefused, match=r"edgewright-runtime: .* without assertions"):
        lock_sets(marked, [], directory, BlobStore(), NOW)


def test_at_build_a_set_is_checked_again(tmp_path: Path) -> None:
    lock = locked(tmp_path / "release")
    sets, store = lock["validation_sets"], BlobStore()
    restore_sets(sets, lock["snaps"], tmp_path / "release", store, NOW)
    with pytest.raises(SnapRefused, match="pins revision 7, the release has 8"):
        restore_sets(sets, [{**lock["snaps"][0], "revision": 8}], tmp_path / "release", store, NOW)
    store.path(sets[0]["assertions"]["sha256"]).unlink()
    (tmp_path / "release" / "snaps" / "edge-set.assert").write_bytes(
        a.set_chain(set=a.validation_set(revision="1"))
    )
    with pytest.raises(IntegrityError, match="supply the locked file"):
        restore_sets(sets, lock["snaps"], tmp_path / "release", store, NOW)


def test_a_depot_holds_the_set_and_tells_a_changed_one(tmp_path: Path) -> None:
    locked(tmp_path / "release", ASSERTED, DANGEROUS)
    depot = tmp_path / "depot"
    build_depot(tmp_path / "release", depot)
    assert verify_depot(depot, tmp_path / "release") == []
    assert check_depot_snaps(depot, "x", NOW) == 2
    assert (depot / "snaps" / FILE).read_bytes() == a.set_chain()
    (depot / "snaps" / FILE).unlink()
    with pytest.raises(SnapRefused, match=f"{FILE} is missing"):
        check_depot_snaps(depot, "x", NOW)
    (depot / "snaps" / FILE).write_bytes(a.set_chain(set=a.validation_set(revision="1")))
    with pytest.raises(SnapRefused, match="is not the file that the index names") as refused:
        check_depot_snaps(depot, "x", NOW)
    assert refused.value.why == "changed"


LIES: dict[str, dict[str, Any]] = {
    "the release says sequence 4, its assertion is of sequence 3": {"sequence": 4},
    "its assertions are of": {"account": a.STRANGER},
    "revision are not what its assertion says": {"revision": 2},
    "snaps are not what": {"snaps": [{"name": "reader", "snap_id": a.SNAP_ID, "presence": "optional"}]},
    "not what its schema says|should be non-empty": {"snaps": []},
    "Additional properties": {"more": 1},
}


def test_an_index_that_lies_about_a_set_is_refused(tmp_path: Path) -> None:
    locked(tmp_path / "release")
    depot = tmp_path / "depot"
    build_depot(tmp_path / "release", depot)
    path = depot / "snaps" / "index.json"
    told = json.loads(path.read_text())
    for words, changed in LIES.items():
        path.unlink()
        sets = [{**told["validation_sets"][0], **changed}]
        path.write_text(json.dumps({**told, "validation_sets": sets}))
        with pytest.raises(IntegrityError, match=words):
            check_depot_snaps(depot, "x", NOW)


def test_a_bundle_carries_the_set_and_a_stranger_does_not_believe_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked(tmp_path / "release")
    keys = KeySet.develop(tmp_path / "keys")
    build_bundle(tmp_path / "release", tmp_path / "stick", keys, chunk_bytes=1000)
    with open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=keys.fingerprint) as bundle:
        bundle.check_all()
        assert check_bundle_snaps(bundle) == 1
        take_in(bundle, tmp_path / "depots")
        bundle.accept()
    assert (tmp_path / "depots" / "current" / "snaps" / FILE).is_file()
    monkeypatch.undo()  # Canonical's root again: the test's store is nobody there
    with (
        open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=keys.fingerprint) as bundle,
        pytest.raises(SnapRefused),
    ):
        check_bundle_snaps(bundle)

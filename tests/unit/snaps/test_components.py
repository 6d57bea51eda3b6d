# SPDX-License-Identifier: Apache-2.0
"""Components: from a release into lock, depot and bundle; each wrong one is refused for its own reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.sbom import make_sbom
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
from edgewright.snaps.components import carried
from edgewright.snaps.depot import check_bundle_snaps, check_depot_snaps
from edgewright.snaps.inputs import lock_snaps, restore_snaps
from edgewright.snaps.refusal import REASONS, SnapRefused
from tests.unit.snaps import asserting as a
from tests.unit.snaps.releases import ASSERTED, DANGEROUS, NOW, write

pytestmark = pytest.mark.usefixtures("own_store")
PART: dict[str, Any] = {
    "name": "extra",
    "path": "snaps/reader+extra_12.comp",
    "revision": 12,
    "sha3_384": a.sha3(a.COMPONENT),
    "licence": "Apache-2.0",
}
FILE = "reader+extra_12.comp"


def with_component(
    directory: Path, chain: bytes | None = None, data: bytes = a.COMPONENT, **changed: Any
) -> Path:
    """A release whose snap has a component, not locked yet; a key set to None is left out."""
    part = {key: value for key, value in {**PART, **changed}.items() if value is not None}
    write(directory, {**ASSERTED, "components": [part]}, chain=chain or a.component_chain())
    (directory / "snaps" / FILE).write_bytes(data)
    return directory


def locked(directory: Path) -> dict[str, Any]:
    with_component(directory)
    marked, digest = read_release(directory)
    lock = yaml.safe_load((directory / LOCK_FILE).read_text())
    lock["release"]["sha256"] = digest
    lock["snaps"] = lock_snaps(marked, directory, BlobStore(), NOW)
    (directory / LOCK_FILE).write_bytes(dump_lock(lock))
    return load_lock(directory)[0]


def test_a_lock_names_the_component_beside_its_snap(tmp_path: Path) -> None:
    lock = locked(tmp_path / "release")
    ((component,),) = [snap["components"] for snap in lock["snaps"]]
    assert (component["name"], component["revision"], component["filename"]) == ("extra", 12, FILE)
    assert (component["size"], component["sha3_384"]) == (len(a.COMPONENT), a.sha3(a.COMPONENT))
    assert [each["name"] for each in carried(lock)] == ["reader", "reader+extra"]
    assert [each["grade"] for each in carried(lock)] == ["signed", "signed"]
    assert "2 snaps (reader new, reader+extra new)" in diff_locks({**lock, "snaps": []}, lock).summary()
    release, _ = load_release(tmp_path / "release")
    bill = json.loads(make_sbom(release, lock, "ab" * 32, BlobStore(), NOW))
    assert ("reader+extra", "12") in {(each["name"], each["version"]) for each in bill["components"]}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"revision": None}, "missing 'revision'"),
        ({"sha3_384": None}, "missing 'sha3_384'"),
        ({"licence": None}, "missing 'licence'"),
        ({"licence": "LicenseRef-Proprietary"}, "does not let it be handed on"),
        ({"path": "/srv/x.comp"}, "expected a path below"),
        ({"name": "Extra"}, "does not match"),
        ({"verison": 1}, "unknown key 'verison'"),
    ],
)
def test_a_wrong_entry_is_told_with_its_line(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        load_release(with_component(tmp_path / "release", **changed))
    assert f"{RELEASE_FILE}:" in str(refused.value)


def test_a_component_of_an_unasserted_snap_and_one_named_twice_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="grade dangerous has no components"):
        load_release(write(tmp_path / "one", {**DANGEROUS, "components": [PART]}))
    with pytest.raises(InputError, match="two components are called 'extra'"):
        load_release(write(tmp_path / "two", {**ASSERTED, "components": [PART, PART]}))


@pytest.mark.parametrize(
    ("why", "changed", "chain", "data"),
    [
        pytest.param("changed", {}, {}, a.COMPONENT[:-1] + b"x", id="one byte"),
        pytest.param(
            "changed", {"sha3_384": a.sha3(a.COMPONENT + b"x")}, {}, a.COMPONENT + b"x", id="another file"
        ),
        pytest.param("revision", {"revision": 13}, {}, a.COMPONENT, id="another revision"),
        pytest.param("missing", {}, {"resource": None}, a.COMPONENT, id="no snap-resource-revision"),
        pytest.param("missing", {"name": "other"}, {}, a.COMPONENT, id="another name"),
        pytest.param("pair", {}, {"pair": None}, a.COMPONENT, id="no pair"),
        pytest.param(
            "pair",
            {},
            {"pair": a.resource_pair(**{"snap-revision": "8"})},
            a.COMPONENT,
            id="another snap's pair",
        ),
        pytest.param(
            "size", {}, {"resource": a.resource_revision(**{"resource-size": "9"})}, a.COMPONENT, id="size"
        ),
        pytest.param(
            "developer",
            {},
            {
                "resource": a.resource_revision(**{"developer-id": a.STRANGER}),
                "stranger": a.account(a.STRANGER, "stranger"),
            },
            a.COMPONENT,
            id="another developer",
        ),
        pytest.param(
            "authority", {}, {"resource": a.resource_revision(by=a.BRAND)}, a.COMPONENT, id="not the store's"
        ),
        pytest.param(
            "authority", {}, {"pair": a.resource_pair(provenance="site")}, a.COMPONENT, id="delegated"
        ),
        pytest.param(
            "cut",
            {},
            {"resource": a.resource_revision(**{"snap-id": "Zz9" * 10 + "Aa"})},
            a.COMPONENT,
            id="no declaration",
        ),
        pytest.param("file", {}, {}, b"no squashfs", id="no squashfs"),
    ],
)
def test_a_wrong_component_is_not_locked(
    tmp_path: Path, why: str, changed: dict[str, Any], chain: dict[str, bytes | None], data: bytes
) -> None:
    directory = with_component(tmp_path / "release", a.component_chain(**chain), data, **changed)
    marked, _ = read_release(directory)
    with pytest.raises(SnapRefused) as refused:
        lock_snaps(marked, directory, BlobStore(), NOW)
    assert refused.value.why == why
    assert why in REASONS


def test_a_component_that_is_not_there_is_told(tmp_path: Path) -> None:
    directory = with_component(tmp_path / "release")
    (directory / "snaps" / FILE).unlink()
    marked, _ = read_release(directory)
    with pytest.raises(InputError, match=r"component reader\+extra: there is no file"):
        lock_snaps(marked, directory, BlobStore(), NOW)


def test_at_build_a_component_is_had_again_and_checked(tmp_path: Path) -> None:
    lock, store = locked(tmp_path / "release"), BlobStore()
    (component,) = lock["snaps"][0]["components"]
    store.path(component["sha256"]).unlink()
    restore_snaps(lock["snaps"], tmp_path / "release", store, NOW)
    assert store.path(component["sha256"]).read_bytes() == a.COMPONENT
    store.path(component["sha256"]).unlink()
    (tmp_path / "release" / "snaps" / FILE).write_bytes(a.COMPONENT[:-1] + b"x")
    with pytest.raises(SnapRefused, match="supply the locked file"):
        restore_snaps(lock["snaps"], tmp_path / "release", store, NOW)
    with pytest.raises(SnapRefused, match="says revision 13"):
        wrong = {**lock["snaps"][0], "components": [{**component, "revision": 13}]}
        (tmp_path / "release" / "snaps" / FILE).write_bytes(a.COMPONENT)
        restore_snaps([wrong], tmp_path / "release", store, NOW)


LIES: dict[str, dict[str, Any]] = {
    "says revision 13": {"revision": 13},
    r"(other|extra)_12.comp is (missing|not named)": {"filename": "reader+other_12.comp"},
    "sha3_384|expected .* bytes": {"sha3_384": "Q" * 64},
    "does not match|not what its schema says": {"filename": "../x.comp"},
}


def test_a_depot_and_a_bundle_hold_the_component(tmp_path: Path) -> None:
    locked(tmp_path / "release")
    depot = tmp_path / "depot"
    build_depot(tmp_path / "release", depot)
    assert verify_depot(depot, tmp_path / "release") == []
    assert check_depot_snaps(depot, "x", NOW) == 1
    assert (depot / "snaps" / FILE).read_bytes() == a.COMPONENT
    index = depot / "snaps" / "index.json"
    told = json.loads(index.read_text())
    for words, changed in LIES.items():
        snap = told["snaps"][0]
        index.unlink()
        lying = {**snap, "components": [{**snap["components"][0], **changed}]}
        index.write_text(json.dumps({**told, "snaps": [lying]}))
        with pytest.raises(IntegrityError, match=words):
            check_depot_snaps(depot, "x", NOW)
    index.unlink()
    index.write_text(json.dumps(told))
    (depot / "snaps" / FILE).unlink()
    (depot / "snaps" / FILE).write_bytes(a.COMPONENT[:-1] + b"x")
    with pytest.raises(SnapRefused, match=r"reader\+extra of x: expected") as refused:
        check_depot_snaps(depot, "x", NOW)
    assert refused.value.why == "changed"
    keys = KeySet.develop(tmp_path / "keys")
    build_bundle(tmp_path / "release", tmp_path / "stick", keys, chunk_bytes=1000)
    with open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=keys.fingerprint) as bundle:
        bundle.check_all()
        assert check_bundle_snaps(bundle) == 1

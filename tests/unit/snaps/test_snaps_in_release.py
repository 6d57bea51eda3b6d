# SPDX-License-Identifier: Apache-2.0
"""Snaps from a release into its lock, the depot and a bundle; each wrong one is refused where it passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.sbom import make_sbom
from edgewright.bundle.takein import take_in
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import BlobStore
from edgewright.depot.build import build_depot, verify_depot
from edgewright.device.areas import want_all
from edgewright.errors import InputError
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
from edgewright.snaps.grade import check_inventory, recorded
from edgewright.snaps.inputs import lock_snaps
from edgewright.snaps.refusal import SnapRefused
from tests.unit.snaps import asserting as a
from tests.unit.snaps.releases import ASSERTED, DANGEROUS, NOW, write

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.usefixtures("own_store")


def locked(directory: Path, *snaps: dict[str, Any]) -> dict[str, Any]:
    """The same, with its lock."""
    write(directory, *snaps)
    marked, digest = read_release(directory)
    lock = yaml.safe_load((directory / LOCK_FILE).read_text())
    lock["release"]["sha256"] = digest
    lock["snaps"] = lock_snaps(marked, directory, BlobStore(), NOW)
    (directory / LOCK_FILE).write_bytes(dump_lock(lock))
    return load_lock(directory)[0]


def test_a_lock_names_all_that_a_snap_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = locked(tmp_path / "release", ASSERTED, DANGEROUS)
    own, reader = lock["snaps"]
    assert (own["grade"], own["filename"], "assertions" in own) == (
        "dangerous",
        "own-tool_dangerous.snap",
        False,
    )
    assert reader["filename"] == "reader_7.snap"
    assert (reader["snap_id"], reader["publisher_id"], reader["revision"]) == (a.SNAP_ID, a.PUBLISHER, 7)
    assert reader["size"] == len(a.FILE)
    assert reader["assertions"]["filename"] == "reader_7.assert"
    assert "GRADE DANGEROUS" in capsys.readouterr().err
    release, _ = load_release(tmp_path / "release")
    assert find_only("reader", lock, release).kind == "snap"
    before = {**lock, "snaps": []}
    assert "2 snaps (own-tool new, reader new)" in diff_locks(before, lock).summary()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grade": "dangerous"}, "grade dangerous has no assertions"),
        ({"revision": None}, "missing 'revision'"),
        ({"publisher": None}, "missing 'publisher'"),
        ({"assertions": None}, "without assertions needs grade: dangerous"),
        ({"sha3_384": None}, "missing 'sha3_384'"),
        ({"sha3_384": "a" * 96}, "does not match"),
        ({"licence": None}, "missing 'licence'"),
        ({"licence": "LicenseRef-Proprietary"}, "does not let it be handed on"),
        ({"path": "/srv/reader.snap"}, "expected a path below"),
        ({"assertions": "../reader.assert"}, "expected a path below"),
        ({"revison": 7}, "unknown key 'revison', did you mean 'revision'"),
        ({"grade": "signed"}, "expected 'dangerous'"),
    ],
)
def test_a_wrong_entry_is_told_with_its_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    entry = {key: value for key, value in {**ASSERTED, **change}.items() if value is not None}
    directory = write(tmp_path / "release", entry)
    with pytest.raises(InputError, match=words) as refused:
        load_release(directory)
    assert f"{RELEASE_FILE}:" in str(refused.value)


def test_two_snaps_of_one_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two snaps are called 'reader'"):
        load_release(write(tmp_path / "release", ASSERTED, ASSERTED))


@pytest.mark.parametrize(
    ("entry", "file", "chain", "why"),
    [
        ({}, a.FILE[:-1] + b"x", None, "changed"),
        ({"sha3_384": a.sha3(a.FILE + b"x")}, a.FILE + b"x", None, "changed"),
        ({"revision": 8}, a.FILE, None, "revision"),
        ({"publisher": "somebody"}, a.FILE, None, "publisher"),
        ({}, a.FILE, b"type: account\n\nAc", "format"),
        ({}, a.FILE, a.chain(key=None), "cut"),
        ({}, a.FILE, a.chain(revision=None), "missing"),
        ({}, b"no squashfs", None, "file"),
        ({}, b"", None, "file"),
    ],
)
def test_a_wrong_snap_is_not_locked(
    tmp_path: Path, entry: dict[str, Any], file: bytes, chain: bytes | None, why: str
) -> None:
    directory = write(tmp_path / "release", {**ASSERTED, **entry}, file=file, chain=chain)
    marked, _ = read_release(directory)
    with pytest.raises(SnapRefused) as refused:
        lock_snaps(marked, directory, BlobStore(), NOW)
    assert refused.value.why == why


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    directory = write(tmp_path / "release", ASSERTED)
    (directory / "snaps" / "reader_7.assert").unlink()
    marked, _ = read_release(directory)
    with pytest.raises(InputError, match=r"there is no file .*reader_7.assert; put it there"):
        lock_snaps(marked, directory, BlobStore(), NOW)


def test_a_depot_holds_the_snaps_and_tells_a_changed_one(tmp_path: Path) -> None:
    locked(tmp_path / "release", ASSERTED, DANGEROUS)
    depot = tmp_path / "depot"
    build_depot(tmp_path / "release", depot)
    assert verify_depot(depot, tmp_path / "release") == []
    assert check_depot_snaps(depot, "x", NOW) == 2
    index = json.loads((depot / "snaps" / "index.json").read_text())
    assert [snap["name"] for snap in index["snaps"]] == ["own-tool", "reader"]
    (depot / "snaps" / "reader_7.snap").unlink()
    (depot / "snaps" / "reader_7.snap").write_bytes(a.FILE[:-1] + b"x")
    with pytest.raises(SnapRefused, match=r"expected .* bytes with sha3_384") as refused:
        check_depot_snaps(depot, "x", NOW)
    assert refused.value.why == "changed"


def _index(depot: Path, change: dict[str, Any]) -> None:
    path = depot / "snaps" / "index.json"
    content = json.loads(path.read_text())
    content["snaps"][0] |= change
    path.unlink()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"revision": 8}, "release says revision 8"),
        ({"publisher_id": a.STRANGER}, "its assertions Ab1"),
        ({"name": "writer"}, "snap-declaration is of reader"),
        ({"grade": "dangerous"}, "snaps.0: it is not what its schema says"),
        ({"filename": "../reader.snap"}, "does not match"),
        ({"filename": "other_7.snap"}, "is not named|is missing"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    locked(tmp_path / "release", ASSERTED)
    depot = tmp_path / "depot"
    build_depot(tmp_path / "release", depot)
    _index(depot, change)
    with pytest.raises(Exception, match=words) as refused:
        check_depot_snaps(depot, "x", NOW)
    assert refused.value.exit_code == 3  # type: ignore[attr-defined]


def test_a_spare_or_missing_file_is_refused(tmp_path: Path) -> None:
    locked(tmp_path / "release", ASSERTED)
    depot = tmp_path / "depot"
    build_depot(tmp_path / "release", depot)
    (depot / "snaps" / "more_1.snap").write_bytes(a.FILE)
    with pytest.raises(SnapRefused, match=r"more_1.snap is not named"):
        check_depot_snaps(depot, "x", NOW)
    (depot / "snaps" / "more_1.snap").unlink()
    (depot / "snaps" / "index.json").unlink()
    with pytest.raises(SnapRefused, match=r"index.json is missing"):
        check_depot_snaps(depot, "x", NOW)


def test_a_bundle_is_verified_and_taken_in_by_its_assertions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked(tmp_path / "release", ASSERTED, DANGEROUS)
    keys = KeySet.develop(tmp_path / "keys")
    build_bundle(tmp_path / "release", tmp_path / "stick", keys, chunk_bytes=1000)
    with open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=keys.fingerprint) as bundle:
        bundle.check_all()
        capsys.readouterr()
        assert check_bundle_snaps(bundle) == 2
        assert "WITHOUT ASSERTIONS (own-tool)" in capsys.readouterr().err
        take_in(bundle, tmp_path / "depots")
        bundle.accept()
    served = tmp_path / "depots" / "current" / "snaps"
    assert (served / "reader_7.snap").read_bytes() == a.FILE
    monkeypatch.undo()  # Canonical's root again: the test store is nobody there
    shutil.rmtree(tmp_path / "depots")
    with open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=keys.fingerprint) as bundle:
        with pytest.raises(SnapRefused):
            check_bundle_snaps(bundle)
        with pytest.raises(SnapRefused):
            take_in(bundle, tmp_path / "depots")
    assert not (tmp_path / "depots" / "current").exists()


def test_the_bill_of_materials_names_snaps(tmp_path: Path) -> None:
    lock = locked(tmp_path / "release", ASSERTED)
    release, _ = load_release(tmp_path / "release")
    made = json.loads(make_sbom(release, lock, "ab" * 32, BlobStore(), NOW))
    (found,) = [each for each in made["components"] if each["bom-ref"].startswith("snap:")]
    told = {each["name"]: each["value"] for each in found["properties"]}
    assert (found["name"], found["version"], told["edgewright:snap_id"]) == ("reader", "7", a.SNAP_ID)


def test_release_inventory_and_record_say_dangerous_alike() -> None:
    lock = {"snaps": [{"name": "own-tool", "grade": "dangerous"}, {"name": "reader", "grade": "signed"}]}
    core = {"edgewright_os": "ubuntu_core"}
    with pytest.raises(InputError, match="own-tool has no assertion"):
        want_all(core, {}, lock, ["identity"])
    check_inventory({}, lock)  # a Debian device holds no snaps
    with pytest.raises(InputError, match="expected signed or dangerous, got 'Dangerous'"):
        check_inventory({"edgewright_snap_grade": "Dangerous"}, {})
    with pytest.raises(InputError, match="expected signed or dangerous"):
        check_inventory({"edgewright_snap_grade": ["dangerous"]}, {})
    check_inventory({**core, "edgewright_snap_grade": "dangerous"}, lock)
    assert recorded(lock) == {"snaps": {"grade": "dangerous", "without_assertions": ["own-tool"]}}
    assert recorded({"snaps": [lock["snaps"][1]]}) == {}


def test_nginx_serves_what_the_depot_holds() -> None:
    """All else answers 404 there, so a new directory of the depot needs a place in the template."""
    template = (ROOT / "roles" / "depot" / "templates" / "nginx.conf.j2").read_text()
    for place in ("/apt/", "/files/", "/pypi/files/", "/snaps/"):
        assert f"location {place} {{" in template

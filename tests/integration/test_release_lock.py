# SPDX-License-Identifier: Apache-2.0
"""Resolving against a small apt archive, wheels and files of the test's own, with the real apt and pip."""

from __future__ import annotations

import datetime
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.depot.blobs import BlobStore
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.trees import apt_tree, files_tree
from edgewright.errors import InputError, IntegrityError, UnreachableError
from edgewright.release.changes import diff_locks
from edgewright.release.deblicence import with_licences
from edgewright.release.documents import RELEASE_FILE, dump_lock, read_release
from edgewright.release.lock import _read_licences, ensure_images, fetch_sources
from edgewright.release.resolve import resolve
from tests.integration.release_place import FILE, Place, make_place
from tests.integration.release_sources import Archive, tiny_wheel

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        shutil.which("apt-ftparchive") is None, reason="apt-ftparchive (apt-utils) is missing"
    ),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed"),
]

UTC = datetime.UTC


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with make_place(tmp_path, monkeypatch) as made:
        yield made


def debs(lock: dict[str, Any]) -> dict[str, str]:
    return {deb["name"]: deb["version"] for deb in lock["apt"]["packages"]}


def wheels(lock: dict[str, Any]) -> dict[str, str]:
    return {wheel["name"]: wheel["version"] for wheel in lock["python"]["wheels"]}


# --- the whole, and the same bytes --------------------------------------------------------------------


def test_a_release_of_every_kind_resolves(place: Place) -> None:
    lock = place.resolve()
    assert debs(lock) == {
        "libtool1": "1.0", "linux-image-1.0-rt-amd64": "1.0-1", "linux-image-rt-amd64": "1",
        "other": "1.0", "tool": "1.0",
    }  # fmt: skip
    assert [deb["name"] for deb in lock["apt"]["packages"] if deb.get("bootstrap")] == ["other"]
    assert wheels(lock) == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    assert lock["kernel"] == {
        "package": "linux-image-1.0-rt-amd64", "version": "1.0-1", "release": "1.0-rt-amd64", "flavour": "rt"
    }  # fmt: skip
    assert lock["files"] == [
        {
            "name": "firmware.bin", "size": len(FILE), "sha256": hashlib.sha256(FILE).hexdigest(),
            "licence": "LicenseRef-own-work", "path": "supplied/firmware.bin",
        }
    ]  # fmt: skip


def test_a_meta_package_that_begins_as_a_kernel_does_is_not_taken_for_one(place: Place) -> None:
    """As bookworm-security's linux-image-6.12-rt-amd64."""
    place.archive.add("linux-image-1.0.7-rt-amd64", "1.0.7-1", arch="amd64")
    place.archive.add("linux-image-1.0-next-rt-amd64", "1.0.7-1", "linux-image-1.0.7-rt-amd64", "amd64")
    place.archive.publish()
    place.release["os"]["kernel"] = "linux-image-1.0-next-rt-amd64"
    assert place.resolve()["kernel"] == {
        "package": "linux-image-1.0.7-rt-amd64",
        "version": "1.0.7-1",
        "release": "1.0.7-rt-amd64",
        "flavour": "rt",
    }
    place.release["os"]["kernel"] = "linux-image-1.0.7-rt-amd64"
    assert place.resolve()["kernel"]["release"] == "1.0.7-rt-amd64", "one kernel by its own name"


def test_a_model_is_taken_out_of_a_wheel_for_other_pythons(place: Place) -> None:
    """Its program does not run on devices; what does run there must be for their Python."""
    tiny_wheel(place.wheels, "reader", "1.0", pythons="<3.5")
    place.release["images"]["models"] = [
        {
            **{"model": "reader", "name": "tiny/models/reader", "version": "1", "licence": "MIT"},
            **{"wheel": "reader==1.0", "member": "reader/model.onnx", "alphabet_key": "character"},
            "golden": [{"name": "serial", "text": "SN 1", "atol": 0.1}],
        }
    ]
    (model,) = (image for image in place.resolve()["images"] if image["role"] == "model")
    assert model["wheel"]["version"] == "1.0"
    place.release["python"]["requirements"].append("reader")
    with pytest.raises(InputError, match=r"reader.* for Python 3\.11"):
        place.resolve()


def test_the_same_input_gives_the_same_bytes_whatever_order_comments_and_locale(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.resolve()

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(each) for key, each in reversed(value.items())}
        return value

    text = yaml.safe_dump(turned(place.release), sort_keys=False)
    (place.folder / RELEASE_FILE).write_text(f"# a comment\n{text}# and another\n")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    marked, digest = read_release(place.folder)
    again = resolve(marked, digest, place.folder, BlobStore(place.folder.parent / "other"), old={}, only=None)
    assert again["release"].pop("sha256") != first["release"].pop("sha256")
    assert dump_lock(again) == dump_lock(first)


def test_lists_in_another_order_give_the_same_lock(place: Place) -> None:
    first = place.resolve()
    for part, key in (("apt", "packages"), ("python", "requirements")):
        place.release[part][key].reverse()
    again = place.resolve()
    assert again["release"].pop("sha256") != first["release"].pop("sha256")
    assert dump_lock(again) == dump_lock(first)


def test_a_packages_licence_is_read_once_and_only_where_a_program_can_read_it(place: Place) -> None:
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
    place.archive.add("tool", "1.1", "libtool1", Copyright=f"{head}Files: *\nCopyright: me\nLicense: Expat\n")
    place.archive.publish()
    lock = place.resolve()
    packages = lock["apt"]["packages"]
    assert [deb.get("licence") for deb in with_licences(packages, {}, place.store)] == [None] * len(packages)
    _read_licences(lock, {}, place.store, fetch=True)
    found = {deb["name"]: deb.get("licence") for deb in lock["apt"]["packages"]}
    assert found == dict.fromkeys(found) | {"tool": "Expat"}
    for path in place.store.root.iterdir():
        path.unlink()
    again = place.resolve()
    _read_licences(again, lock, place.store, fetch=True)
    assert dump_lock(again) == dump_lock(lock)
    assert not [deb for deb in packages if place.store.has(deb["sha256"])], "what is known is not fetched"


# --- one entry ----------------------------------------------------------------------------------------


def test_one_package_moves_and_the_others_stay(place: Place) -> None:
    old = place.resolve()
    place.archive.add("tool", "1.1", "libtool1 (>= 1.0)")
    place.archive.add("other", "1.1")
    place.archive.add("libtool1", "1.1")
    place.archive.publish()
    new = place.resolve(old, "tool")
    assert debs(new) == {**debs(old), "tool": "1.1"}
    assert diff_locks(old, new).summary() == "1 package (tool 1.0 -> 1.1)"
    whole = place.resolve()
    assert debs(whole) == {**debs(old), "tool": "1.1", "other": "1.1", "libtool1": "1.1"}


def test_what_the_one_package_needs_moves_with_it_and_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old = place.resolve()
    place.archive.add("tool", "2.0", "libtool1 (>= 1.1)")
    place.archive.add("libtool1", "1.1")
    place.archive.add("other", "1.1")
    place.archive.publish()
    new = place.resolve(old, "tool")
    assert debs(new) == {**debs(old), "tool": "2.0", "libtool1": "1.1"}
    assert "NOTICE: libtool1 1.0 does not fit with what moves, so it moves as well" in capsys.readouterr().err


def test_what_the_archive_dropped_moves_and_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old = place.resolve()
    place.archive.add("tool", "1.1", "libtool1 (>= 1.0)")
    place.archive.add("other", "1.1")
    place.archive.remove("other", "1.0")
    place.archive.publish()
    assert debs(place.resolve(old, "deb:tool")) == {**debs(old), "tool": "1.1", "other": "1.1"}
    assert "NOTICE: other 1.0: the archive no longer has it, so it moves as well" in capsys.readouterr().err


def test_a_package_of_the_runtime_image_moves_there_too(place: Place) -> None:
    old = place.resolve()
    place.archive.add("libtool1", "1.1")
    place.archive.publish()
    held = place.resolve(old, "tool")
    assert held["images"] == old["images"]
    moved = place.resolve(old, "libtool1")
    assert [deb["version"] for deb in moved["images"][0]["debs"]] == ["1.1"]


def test_one_wheel_moves_and_the_others_stay(place: Place) -> None:
    old = place.resolve()
    for name in ("alpha", "beta", "gamma"):
        tiny_wheel(place.wheels, name, "1.1", ["gamma"] if name == "alpha" else [])
    new = place.resolve(old, "Alpha")
    assert wheels(new) == {"alpha": "1.1", "beta": "1.0", "gamma": "1.0"}
    assert new["apt"] == old["apt"]
    tiny_wheel(place.wheels, "alpha", "1.2", ["gamma>=1.1"])
    assert wheels(place.resolve(old, "alpha")) == wheels(new), "the newest that fits with the others"


def test_a_wheel_that_fits_with_nothing_says_what_to_do(place: Place) -> None:
    old = place.resolve()
    place.release["python"]["requirements"] = ["alpha>=2", "beta"]
    tiny_wheel(place.wheels, "alpha", "2.0", ["gamma>=1.1"])
    tiny_wheel(place.wheels, "gamma", "1.1")
    with pytest.raises(InputError, match=r"release\.yml:\d+ .*lock all anew, without --only"):
        place.resolve(old, "alpha")


def test_what_nobody_names_cannot_be_locked_alone(place: Place) -> None:
    old = place.resolve()
    with pytest.raises(InputError, match=r"neither the release nor its lock names it; did you mean libtool1"):
        place.resolve(old, "libtol1")
    place.release["python"]["requirements"] = ["tool"]
    with pytest.raises(InputError, match=r"could be several entries; say deb:tool or wheel:tool"):
        place.resolve(old, "tool")


# --- further targets ----------------------------------------------------------------------------------


def test_a_second_architecture_is_resolved_on_the_same_host(place: Place, tmp_path: Path) -> None:
    place.archive.add("linux-image-rt-arm64", "1", "linux-image-1.0-rt-arm64", "arm64")
    place.archive.add("linux-image-1.0-rt-arm64", "1.0-1", arch="arm64")
    place.archive.publish()
    alone = place.resolve()
    target = {
        "suite": "tiny",
        "arch": "arm64",
        "kernel": "linux-image-rt-arm64",
        "python": {"platforms": ["manylinux_2_28_aarch64"]},
    }
    place.release["targets"] = [target]
    lock = place.resolve()
    (further,) = lock.pop("targets")
    lock["release"]["sha256"] = alone["release"]["sha256"]
    own, other = lock["images"]
    assert [(image["name"], image["platform"]) for image in lock["images"]] == [
        ("tiny/runtime", "linux/amd64"), ("tiny/runtime", "linux/arm64")
    ]  # fmt: skip
    assert [deb["version"] for deb in other["debs"]] == ["1.0"]
    lock["images"] = [own]
    assert dump_lock(lock) == dump_lock(alone), "the first target stays where it is"
    assert further["os"] == {"family": "debian", "suite": "tiny", "arch": "arm64"}
    assert further["kernel"]["release"] == "1.0-rt-arm64"
    assert "linux-image-1.0-rt-arm64" in debs(further)
    assert "linux-image-1.0-rt-amd64" not in debs(further)
    assert wheels(further) == wheels(lock)
    whole = place.resolve()
    fetch_sources({**whole, "images": []}, place.release, place.store, everything=True)
    tree = apt_tree(whole, ReleaseKey(tmp_path / "keys"), place.store)
    assert b"Architectures: amd64 arm64\n" in tree["apt/dists/tiny/Release"]
    for arch in ("amd64", "arm64"):
        index = tree[f"apt/dists/tiny/main/binary-{arch}/Packages"]
        assert f"Package: linux-image-1.0-rt-{arch}\n".encode() in index
    place.archive.add("tool", "1.1", "libtool1 (>= 1.0)")
    place.archive.add("other", "1.1")
    place.archive.publish()
    moved = place.resolve(whole, "tool")
    assert [(debs(part)["tool"], debs(part)["other"]) for part in (moved, moved["targets"][0])] == [
        ("1.1", "1.0")
    ] * 2
    assert diff_locks(whole, moved).sentences()[1].startswith("deb tool for tiny/arm64: 1.0 ")
    assert moved["images"] == whole["images"]
    place.archive.add("libtool1", "1.1")
    place.archive.publish()
    again = place.resolve(whole, "image:tiny/runtime")
    assert [image["debs"][0]["version"] for image in again["images"]] == ["1.1", "1.1"]
    assert [debs(part)["libtool1"] for part in (again, again["targets"][0])] == ["1.0", "1.0"]
    earlier = {**whole, "images": whole["images"][:1]}
    grown = place.resolve(earlier, "wheel:alpha")["images"]
    assert [image["debs"][0]["version"] for image in grown] == ["1.0", "1.1"], (
        "the one was held, the other new"
    )
    del target["python"]
    place.release["targets"] = [target, {**target, "suite": "other"}, target]
    with pytest.raises(InputError) as told:
        place.resolve()
    for words in ("missing 'python.platforms'", "missing 'sources'", "tiny on arm64 is a target already"):
        assert words in str(told.value)


# --- sources ------------------------------------------------------------------------------------------


def test_an_index_past_its_valid_until_is_refused_by_the_clock(place: Place) -> None:
    made = datetime.datetime.now(UTC) - datetime.timedelta(days=30)
    place.archive.publish(made, datetime.timedelta(days=7))
    with pytest.raises(UnreachableError, match=r"is expired .*past its Valid-Until: the mirror stands still"):
        place.resolve()


def test_a_snapshot_is_judged_by_its_own_moment_which_the_lock_keeps(place: Place) -> None:
    made = datetime.datetime(2026, 3, 1, 12, tzinfo=UTC)
    place.archive.publish(made, datetime.timedelta(days=7))
    source = place.release["apt"]["sources"][0]
    source["snapshot"] = "20260303T000000Z"
    lock = place.resolve()
    assert lock["apt"]["date"].startswith("Sun, 01 Mar 2026 12:00:00")
    assert lock["apt"]["snapshots"] == [
        {"uri": source["uri"], "suites": ["tiny"], "at": "20260303T000000Z"}
    ]  # fmt: skip
    source["snapshot"] = "20260310T000000Z"
    with pytest.raises(InputError, match=r"valid until Sun, 08 Mar 2026 .* the archive had stopped then"):
        place.resolve()
    source["snapshot"] = "20260228T000000Z"
    with pytest.raises(InputError, match=r"no younger than the snapshot 20260228T000000Z, it was made on"):
        place.resolve()
    source["snapshot"] = "20261399T000000Z"
    with pytest.raises(InputError, match=r"release\.yml:\d+: apt\.sources\[0\]\.snapshot: .* is no moment"):
        place.resolve()


def test_an_archive_of_another_key_is_refused(place: Place, tmp_path: Path) -> None:
    stranger = Archive(tmp_path / "stranger")
    stranger.close()
    (place.folder / "archive.asc").write_bytes(stranger.key)
    with pytest.raises(UnreachableError, match=r"NO_PUBKEY .*name the archive's public key as `key`"):
        place.resolve()
    (place.folder / "archive.asc").unlink()
    with pytest.raises(InputError, match=r"there is no file .*put the archive's public key there"):
        place.resolve()


def test_a_package_that_does_not_exist_is_told_with_its_line(place: Place) -> None:
    place.release["apt"]["packages"].append("no-such-package")
    with pytest.raises(InputError) as told:
        place.resolve()
    line = 1 + (place.folder / RELEASE_FILE).read_text().splitlines().index("  - no-such-package")
    assert f"release.yml:{line}: no-such-package" in str(told.value)


def test_a_wheel_that_may_not_be_handed_on_needs_a_waiver(place: Place) -> None:
    tiny_wheel(place.wheels, "gamma", "1.0", licence="NVIDIA Proprietary Software")
    with pytest.raises(InputError, match=r"release\.yml:\d+: gamma 1\.0: its licence 'NVIDIA Propr"):
        place.resolve()
    waiver = {"who": "Legal", "why": "contract 7", "until": "2099-01-01"}
    place.release["python"]["waivers"] = {"Gamma": waiver}
    lock = place.resolve()
    assert [wheel.get("waiver") for wheel in lock["python"]["wheels"]] == [None, None, waiver]
    place.release["python"]["waivers"]["beta"] = waiver
    with pytest.raises(InputError, match=r"no wheel beta of this release needs a waiver; remove it"):
        place.resolve()


# --- files --------------------------------------------------------------------------------------------


def test_files_get_into_the_store_and_from_there_into_the_depot(place: Place) -> None:
    (place.archive.root / "note.txt").write_bytes(b"a note\n")
    digest = hashlib.sha256(b"a note\n").hexdigest()
    place.release["files"].append(
        {
            "name": "note.txt",
            "url": f"http://{place.address}/note.txt",
            "sha256": digest,
            "size": 7,
            "licence": "MIT",
        }
    )
    lock = place.resolve()
    assert [entry["name"] for entry in lock["files"]] == ["firmware.bin", "note.txt"]
    assert files_tree(lock) == {
        "files/firmware.bin": hashlib.sha256(FILE).hexdigest(),
        "files/note.txt": digest,
    }
    for path in place.store.root.iterdir():
        path.unlink()
    lock["images"] = []
    fetch_sources(lock, place.release, place.store, everything=True)
    ensure_images(lock, place.release, place.folder, place.store)
    assert all(place.store.has(digest) for digest in files_tree(lock).values())


def test_a_supplied_file_that_is_another_is_refused_with_its_line(place: Place) -> None:
    supplied = place.folder / "supplied/firmware.bin"
    supplied.write_bytes(FILE[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"reading .*release\.yml:\d+: .*firmware\.bin: expected sha256"):
        place.resolve()
    place.release["files"][0]["size"] = 5
    with pytest.raises(IntegrityError, match=r"expected 5 bytes, got 900"):
        place.resolve()
    supplied.unlink()
    with pytest.raises(InputError, match=r"release\.yml:\d+: .*there is no file .*the site supplies it"):
        place.resolve()
    assert not list(place.store.root.glob("*.copy"))

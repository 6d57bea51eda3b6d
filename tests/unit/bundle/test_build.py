# SPDX-License-Identifier: Apache-2.0
"""A bundle is the same bytes everywhere, each content lies there once, and a killed build is no bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX, TIMESTAMP, BundleIndex
from edgewright.bundle.verify import BundleRefused, open_bundle
from edgewright.bundle.writer import ROOM
from edgewright.cli.main import main
from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError, IntegrityError
from edgewright.release.documents import LOCK_FILE
from tests.unit.bundle.installers import wheel_bytes
from tests.unit.bundle.killing import changes, killed
from tests.unit.bundle.small_release import make_release

Tree = dict[str, tuple[int, bytes]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with `release/`, `other/` (a later release) and `keys/`; the cache is below it too."""
    root = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CACHE", str(root / "cache"))
        patch.setenv("EDGEWRIGHT_KEYS", str(root / "keys"))
        make_release(root / "release")
        make_release(root / "other", ("two", "three"), "Fri, 20 Nov 2026 02:12:54 UTC")
        KeySet.develop(root / "keys")
        yield root


@pytest.fixture(scope="module")
def whole(site: Path) -> Tree:
    """What an undisturbed build makes."""
    _build(site, site / "whole")
    return _tree(site / "whole")


def _build(site: Path, stick: Path, release: str = "release", chunk_bytes: int = 1 << 20) -> None:
    build_bundle(site / release, stick, KeySet.open(site / "keys"), chunk_bytes=chunk_bytes)


def _tree(root: Path) -> Tree:
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode & 0o777,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def _verify(site: Path, stick: Path, tmp_path: Path) -> BundleIndex:
    fingerprint = KeySet.open(site / "keys").fingerprint
    with open_bundle(stick, tmp_path / "trust", fingerprint=fingerprint) as bundle:
        bundle.check_all()
        return bundle.index


def test_the_depot_of_a_bundle_is_the_lock_s(site: Path, whole: Tree, tmp_path: Path) -> None:
    index = _verify(site, site / "whole", tmp_path)
    assert index.name == "label-reader 1.0.0"
    assert index.development
    assert index.lock_sha256 == sha256((site / "release" / LOCK_FILE).read_bytes()).hexdigest()
    assert {"apt/pool/one_1.0_all.deb", "apt/dists/bookworm/InRelease"} <= index.depot.keys()
    assert {"release.yml", LOCK_FILE, "sbom.cdx.json", "provenance.json"} <= index.documents.keys()
    assert f"{index.signed_at:%F %T}" == "2026-11-19 02:12:54", "the lock's moment"
    assert f"{index.expires:%F}" == "2027-11-19"
    assert ROOM not in whole


def test_equal_content_lies_there_once(site: Path, whole: Tree) -> None:
    index = BundleIndex.load((site / "whole" / INDEX).read_bytes())
    paths = [path for path in index.depot if "/manifests/" in path and "runtime" in path]
    assert len(paths) == 2, "by tag and by digest"
    assert len({index.depot[path] for path in paths}) == 1
    blobs = [data for name, (_, data) in whole.items() if name.startswith("targets/blobs/")]
    assert len(blobs) == len(set(blobs)) == len(set(index.depot.values()))


def test_another_directory_zone_umask_locale_and_day_give_the_same_bytes(
    site: Path, whole: Tree, tmp_path: Path
) -> None:
    release, stick = tmp_path / "elsewhere" / "release", tmp_path / "another" / "stick"
    shutil.copytree(site / "release", release)
    cache = tmp_path / "cache"
    shutil.copytree(site / "cache", cache)
    command = "umask 077 && exec faketime '2027-05-01 12:00:00' \"$@\""
    build = [sys.executable, "-m", "edgewright.cli.main", "bundle", "build", "--no-installer"]
    done = subprocess.run(
        ["sh", "-c", command, "sh", *build, str(release), "-o", str(stick), "--keys", str(site / "keys")],
        env={**os.environ, "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "EDGEWRIGHT_CACHE": str(cache)}
        | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = _tree(stick)
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name] != whole[name]] == []


def test_building_again_writes_nothing_and_changes_nothing(site: Path, whole: Tree, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    _build(site, stick)
    inodes = {path: path.stat().st_ino for path in stick.rglob("*") if path.is_file()}
    result = build_bundle(site / "release", stick, KeySet.open(site / "keys"))
    assert (result.written, result.removed) == (0, 0)
    assert _tree(stick) == whole
    kept = {path for path, inode in inodes.items() if path.stat().st_ino == inode}
    assert {path for path in inodes if "metadata" not in path.parts} <= kept


def test_a_changed_file_on_the_stick_is_mended(site: Path, whole: Tree, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    _build(site, stick)
    name = f"targets/blobs/{BundleIndex.load((stick / INDEX).read_bytes()).depot['apt/pool/one_1.0_all.deb']}"
    data = (stick / name).read_bytes()
    (stick / name).unlink()
    (stick / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(BundleRefused):
        _verify(site, stick, tmp_path)
    _build(site, stick)
    assert _tree(stick) == whole


def test_a_damaged_file_in_the_cache_is_told_and_never_named(
    site: Path,
    whole: Tree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A package is damaged in the cache; its source is not reachable, so that it can't be had again."""
    shutil.copytree(site / "cache", tmp_path / "cache")
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEWRIGHT_ARCHIVES", "debian=http://127.0.0.1:9/debian")
    monkeypatch.setattr("edgewright.depot.blobs._TRIES", 1)
    index = BundleIndex.load((site / "whole" / INDEX).read_bytes())
    digest = index.depot["apt/pool/one_1.0_all.deb"]
    path = BlobStore().path(digest)
    path.write_bytes(bytes(path.stat().st_size))
    assert (
        main(["bundle", "build", str(site / "release"), "-o", str(tmp_path / "stick"), "--no-installer"]) == 4
    )
    told = capsys.readouterr().err
    assert "damaged" in told
    assert "fetching one_1.0_all.deb" in told
    assert not (tmp_path / "stick" / "targets" / "blobs" / digest).exists()
    assert not (tmp_path / "stick" / TIMESTAMP).exists()
    path.write_bytes(whole[f"targets/blobs/{digest}"][1])
    _build(site, tmp_path / "stick")
    assert _tree(tmp_path / "stick") == whole


def test_large_contents_lie_in_parts_and_come_out_whole(site: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    _build(site, stick, chunk_bytes=500)
    index = _verify(site, stick, tmp_path)
    split = {digest: blob for digest, blob in index.blobs.items() if blob.parts}
    assert split
    fingerprint = KeySet.open(site / "keys").fingerprint
    with open_bundle(stick, tmp_path / "trust", fingerprint=fingerprint) as bundle:
        for digest in split:
            bundle.copy(digest, tmp_path / digest)
            assert sha256((tmp_path / digest).read_bytes()).hexdigest() == digest


def test_a_later_release_replaces_an_older_one(site: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    _build(site, stick)
    old = set(_tree(stick))
    result = build_bundle(site / "other", stick, KeySet.open(site / "keys"))
    assert result.removed > 0
    assert result.written < result.size
    index = _verify(site, stick, tmp_path)
    assert {"apt/pool/two_1.0_all.deb", "apt/pool/three_1.0_all.deb"} <= index.depot.keys()
    assert "apt/pool/one_1.0_all.deb" not in index.depot
    _build(site, tmp_path / "fresh", "other")
    assert _tree(stick) == _tree(tmp_path / "fresh"), f"nothing of {len(old)} older files is left"


def test_a_build_that_is_killed_at_any_point_is_no_bundle_and_goes_on(
    site: Path, whole: Tree, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    count = changes(lambda: _build(site, tmp_path / "count"), tmp_path / "count")
    assert count > 50
    for at in [*range(0, count, max(count // 12, 1)), count - 2, count - 1]:
        assert killed(lambda: _build(site, stick), stick, at) or at > 20, "what was placed is kept"
        _is_no_bundle_or_whole(site, stick, tmp_path, whole)
        for path in (stick / "targets" / "blobs").glob("*"):
            assert sha256(path.read_bytes()).hexdigest() == path.name, "a name is a promise"
    _build(site, stick)
    assert _tree(stick) == whole


def test_a_killed_replacement_is_never_taken_for_either_release(site: Path, tmp_path: Path) -> None:
    _build(site, tmp_path / "new", "other")
    new = _tree(tmp_path / "new")
    _build(site, tmp_path / "old")

    stick = tmp_path / "stick"

    def start() -> None:
        shutil.rmtree(stick, ignore_errors=True)
        shutil.copytree(tmp_path / "old", stick)

    start()
    old = _tree(stick)
    count = changes(lambda: _build(site, stick, "other"), stick)
    for at in range(0, count, max(count // 12, 1)):
        start()
        assert killed(lambda: _build(site, stick, "other"), stick, at) or at > count - 9
        found = _tree(stick)
        if TIMESTAMP in found and ROOM not in found:
            assert found in (old, new)
        else:
            with pytest.raises(BundleRefused):
                _verify(site, stick, tmp_path)
    _build(site, stick, "other")
    assert _tree(stick) == new


def _is_no_bundle_or_whole(site: Path, stick: Path, tmp_path: Path, whole: Tree) -> None:
    try:
        _verify(site, stick, tmp_path)
    except (BundleRefused, InputError):
        assert not (stick / TIMESTAMP).exists()
    else:
        assert _tree(stick) == whole


def test_an_installer_lies_on_the_stick_and_is_signed(site: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "t.whl"
    wheel.write_bytes(wheel_bytes({"t-1.dist-info/METADATA": "Name: t\nVersion: 1\nLicense: MIT\n"}))
    files: dict[str, bytes | Path] = {
        "install": b"#!/bin/sh\n",
        "installer/wheels/t-1-py3-none-any.whl": wheel,
    }
    keys = KeySet.open(site / "keys")
    build_bundle(site / "release", tmp_path / "stick", keys, installer=lambda *_: files)
    assert (tmp_path / "stick" / "install").stat().st_mode & 0o777 == 0o755
    with open_bundle(tmp_path / "stick", tmp_path / "trust", fingerprint=keys.fingerprint) as bundle:
        assert files.keys() <= bundle.files.keys()
        assert bundle.read("installer/wheels/t-1-py3-none-any.whl", 1000) == wheel.read_bytes()
        bill = json.loads(bundle.read("targets/documents/sbom.cdx.json", 1 << 20))
    assert "installer:t-1-py3-none-any.whl" in {component["bom-ref"] for component in bill["components"]}
    with pytest.raises(InputError, match="targets/x is no part of an installer"):
        build_bundle(site / "release", tmp_path / "other", keys, installer=lambda *_: {"targets/x": b""})
    assert not (tmp_path / "other").exists()


def test_a_depot_path_that_no_stick_can_have_is_refused(site: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(site / "release", release)
    text = (release / LOCK_FILE).read_text()
    (release / LOCK_FILE).write_text(text.replace("name: edgewright/runtime", "name: ../../runtime"))
    with pytest.raises(InputError, match=r"laying out the depot: v2/\.\./\.\./runtime"):
        build_bundle(release, tmp_path / "stick", KeySet.open(site / "keys"))
    assert not (tmp_path / "stick").exists()


@pytest.mark.parametrize("date", ["yesterday", "2026-11-19"])
def test_a_lock_without_a_moment_is_refused(date: str, site: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(site / "release", release)
    text = (release / LOCK_FILE).read_text()
    (release / LOCK_FILE).write_text(text.replace("Thu, 19 Nov 2026 02:12:54 UTC", date))
    with pytest.raises(InputError, match=r"apt\.date: expected a date such as"):
        build_bundle(release, tmp_path / "stick", KeySet.open(site / "keys"))


def test_keys_that_are_no_development_set_need_the_apt_key_too(site: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(site / "keys", keys)
    for name in ("release.key.asc", "release.pub.asc"):
        (keys / name).unlink(missing_ok=True)
    (keys / "keys.yml").write_text(
        (keys / "keys.yml").read_text().replace("development: true", "development: false")
    )
    with pytest.raises(InputError, match=r"put release\.key\.asc and release\.pub\.asc there"):
        build_bundle(site / "release", tmp_path / "stick", KeySet.open(keys))
    assert not (tmp_path / "stick").exists()


def test_the_command_line(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stick, keys = tmp_path / "stick", tmp_path / "keys"
    monkeypatch.setenv("EDGEWRIGHT_KEYS", str(keys))
    assert main(["bundle", "build", str(site / "release"), "-o", str(stick), "--no-installer"]) == 0
    told = capsys.readouterr()
    assert "DEVELOPMENT" in told.err
    assert "fingerprint of the root key: " in told.out
    assert main(["bundle", "verify", str(stick)]) == 0
    assert "files are right" in capsys.readouterr().out
    monkeypatch.setenv("EDGEWRIGHT_KEYS", str(tmp_path / "none"))
    assert main(["bundle", "verify", str(stick)]) == IntegrityError.exit_code, "nothing is trusted here"
    fingerprint = KeySet.open(keys).fingerprint
    assert main(["bundle", "verify", str(stick), "--fingerprint", fingerprint.upper()]) == 0
    assert main(["bundle", "verify", str(stick), "--fingerprint", "0" * 64]) == IntegrityError.exit_code
    assert (
        main(["bundle", "build", str(site / "release"), "-o", str(stick), "--keys", str(tmp_path / "no")])
        == 2
    )
    assert "keys develop" in capsys.readouterr().err, "who names keys does not get others"
    assert not (tmp_path / "no").exists()


def test_a_document_cannot_be_changed_behind_the_index(site: Path, whole: Tree, tmp_path: Path) -> None:
    listed = json.loads(whole[INDEX][1])["documents"]
    for name, entry in listed.items():
        data = whole[f"targets/documents/{name}"][1]
        assert entry == {"sha256": sha256(data).hexdigest(), "size": len(data)}

# SPDX-License-Identifier: Apache-2.0
"""One recipe, two packings: the snap holds the image's files, and two builds give the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.depot.blobs import BlobStore, sha256_file
from edgewright.errors import InputError, IntegrityError, MissingToolError
from edgewright.release.ocitar import Entry, make_image, write_layer
from edgewright.snaps import built
from edgewright.snaps.built import restore_built, with_built
from edgewright.snaps.pack import image_entries, model_snap, pack_snaps, runtime_snap, squash
from edgewright.snaps.release import check_release_snaps

needs_squashfs = pytest.mark.skipif(
    shutil.which("mksquashfs") is None, reason="mksquashfs is not installed: apt install squashfs-tools"
)
needs_snap = pytest.mark.skipif(
    shutil.which("snap") is None, reason="snap is not installed: apt install snapd"
)

# A loader that says how it was called, in the place of the C library's.
LOADER = b'#!/bin/sh\necho "$@" "$PYTHONHOME" "$EDGEWRIGHT_SOCKET" "${EDGEWRIGHT_THREADS:-}"\n'
RUNTIME: dict[str, Entry] = {
    "lib": Entry.symlink("usr/lib"),
    "etc/passwd": Entry.file(b"root"),
    "usr/bin/python3.11": Entry.file(b"elf", 0o755),
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": Entry.file(LOADER, 0o755),
    "usr/lib64/ld-linux-x86-64.so.2": Entry.symlink("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    "opt/edgewright/site-packages/edgewright_runtime/__init__.py": Entry.file(b"one"),
}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def lock_of(store: BlobStore, model: bytes = b"weights") -> dict[str, Any]:
    """A lock with a runtime of two layers and a model."""
    upper = {"opt/edgewright/site-packages/edgewright_runtime/__init__.py": Entry.file(b"two")}
    runtime = make_image([write_layer(RUNTIME, store), write_layer(upper, store)], {}, "amd64", store)
    files = {"model.onnx": Entry.file(model), "golden/x.npy": Entry.file(b"x"), "LICENSE": Entry.file(b"l")}
    image = make_image([write_layer(files, store)], {}, "amd64", store)
    return {
        "os": {"arch": "amd64"},
        "images": [
            {"role": "runtime", "name": "edgewright/runtime", "version": "1.0.0", "digest": runtime.digest},
            {"role": "model", "name": "m", "model": "reader", "version": "1", "digest": image.digest},
        ],
    }


def test_a_snap_holds_the_files_of_the_image_and_nothing_of_its_skeleton(store: BlobStore) -> None:
    lock = lock_of(store)
    entries = image_entries(lock["images"][0], store)
    snap = runtime_snap(entries, "1.0.0", "amd64", ["reader"])
    assert snap["opt/edgewright/site-packages/edgewright_runtime/__init__.py"].data == b"two"
    assert not {"etc/passwd", "lib"} & snap.keys()
    link = snap["usr/lib64/ld-linux-x86-64.so.2"].link
    assert link == "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    told = yaml.safe_load(snap["meta/snap.yaml"].data)
    assert (told["confinement"], told["base"]) == ("strict", "core24")
    assert told["apps"]["server"]["plugs"] == ["network-bind", "model-reader"]
    assert told["plugs"]["model-reader"]["content"] == "edgewright-model-reader"
    given = yaml.safe_load(
        model_snap(image_entries(lock["images"][1], store), lock["images"][1], "amd64")["meta/snap.yaml"].data
    )
    assert given["slots"]["model"] == {
        "interface": "content",
        "content": "edgewright-model-reader",
        "read": ["$SNAP/model"],
    }
    assert "apps" not in given


@needs_squashfs
def test_two_builds_give_the_same_bytes(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = lock_of(store)
    first = pack_snaps(lock, store, tmp_path / "one")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    old = os.umask(0o077)
    try:
        time.sleep(1.1)  # another second of the clock: no time of this run may be in the file
        second = pack_snaps(lock, store, tmp_path / "somewhere" / "else")
    finally:
        os.umask(old)
    assert [each.hashed for each in first] == [each.hashed for each in second]
    assert [each.path.name for each in first] == [
        "edgewright-runtime_1.0.0_amd64.snap",
        "edgewright-model-reader_1_amd64.snap",
    ]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(e.path.name for e in first)


@needs_squashfs
def test_another_image_gives_another_snap(tmp_path: Path, store: BlobStore) -> None:
    one = pack_snaps(lock_of(store), store, tmp_path / "one")
    two = pack_snaps(lock_of(store, b"others"), store, tmp_path / "two")
    assert one[0].hashed == two[0].hashed
    assert one[1].hashed != two[1].hashed


@needs_squashfs
@needs_snap
def test_snapd_itself_finds_nothing_wrong_and_the_scripts_run(tmp_path: Path, store: BlobStore) -> None:
    for packed in pack_snaps(lock_of(store), store, tmp_path / "packed"):
        tree = tmp_path / packed.name
        subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, packed.path], check=True, capture_output=True)
        subprocess.run(["snap", "pack", "--check-skeleton", tree], check=True, capture_output=True)
    snap = tmp_path / "edgewright-runtime"
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "environment").write_text("EDGEWRIGHT_THREADS=3\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "snapctl").write_text('#!/bin/sh\necho "snapctl $*"\n')
    (snap / "models/reader/model.yml").write_text("the content interface shows it")
    (tmp_path / "bin" / "snapctl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SNAP": str(snap), "SNAP_REVISION": "x1"}
    environment |= {"SNAP_DATA": str(tmp_path / "data"), "SNAP_COMMON": str(tmp_path / "common")}

    def run(script: str) -> str:
        done = subprocess.run([snap / script], env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    told = run("bin/serve")
    assert f"--library-path {snap}/usr/lib/x86_64-linux-gnu {snap}/usr/bin/python3.11" in told
    assert f"-m edgewright_runtime --config-from-env {snap}/usr {tmp_path}/data/run/server.sock 3" in told
    assert "snapctl set-health okay" in run("meta/hooks/check-health")
    (snap / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").write_text("#!/bin/sh\nexit 1\n")
    assert "snapctl set-health --code=not-ready waiting the model server" in run("meta/hooks/check-health")
    ended = subprocess.run([snap / "bin/serve"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    told = "snapctl set-health --code=server-ended error the model server ended by itself: status 1"
    assert told in ended.stdout
    assert told in run("meta/hooks/check-health")
    (tmp_path / "bin" / "snapctl").write_text('#!/bin/sh\necho "snapctl $*"; [ "$1" != is-connected ]\n')
    assert "--code=not-connected waiting the model reader" in run("meta/hooks/check-health")


@needs_squashfs
def test_a_release_builds_its_snaps_once_and_again_when_they_are_missing(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"name": "edgewright-runtime", "built": "runtime", "grade": "dangerous", "licence": "Apache-2.0"}
    release = {"name": "r", "version": "1.0.0", "snaps": [entry]}
    lock = lock_of(store)
    (locked,) = with_built(lock, release, {}, store)
    assert locked["image"] == lock["images"][0]["digest"]
    assert sha256_file(store.path(locked["sha256"])) == locked["sha256"]
    capsys.readouterr()
    assert with_built(lock, release, {"snaps": [locked]}, store) == [locked]
    assert "packing" not in capsys.readouterr().err
    store.path(locked["sha256"]).unlink()
    restore_built({**lock, "snaps": [locked]}, store)
    assert store.has(locked["sha256"], locked["size"])
    store.path(locked["sha256"]).unlink()
    with pytest.raises(IntegrityError, match="expected sha256 00"):
        restore_built({**lock, "snaps": [{**locked, "sha256": "0" * 64}]}, store)
    monkeypatch.setattr(built, "recipe", lambda _debs: "1" * 64)
    assert with_built(lock, release, {"snaps": [locked]}, store)[0]["recipe"] == "1" * 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"grade": None}, "needs grade: dangerous"),
        ({"built": "writer"}, "expected runtime or reader, got 'writer'"),
        ({"name": "mine"}, "is called edgewright-runtime"),
        ({"path": "snaps/x.snap"}, "remove path"),
        ({"built": None}, "missing 'path'"),
    ],
)
def test_a_wrong_entry_is_told(change: dict[str, Any], words: str) -> None:
    entry = {
        "name": "edgewright-runtime",
        "built": "runtime",
        "grade": "dangerous",
        "licence": "MIT",
        **change,
    }
    entry = {key: value for key, value in entry.items() if value is not None}
    told = [sentence for _, sentence in check_release_snaps([entry], ["reader"])]
    assert any(words in sentence for sentence in told) if words else told == []


@pytest.mark.parametrize(
    ("drop", "version", "words"),
    [
        ("usr/bin/python3.11", "1.0.0", "holds no Python"),
        ("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "1.0.0", "holds no loader"),
        ("nothing", "1.0 beta", "is no version that snapd takes"),
    ],
)
def test_an_image_that_cannot_be_a_snap_is_told(drop: str, version: str, words: str) -> None:
    entries = {path: entry for path, entry in RUNTIME.items() if path != drop}
    with pytest.raises(InputError, match=words):
        runtime_snap(entries, version, "amd64", [])


def test_an_image_that_is_not_there_is_told(store: BlobStore) -> None:
    with pytest.raises(IntegrityError, match="the cache does not hold it"):
        image_entries({"name": "x", "digest": "sha256:" + "0" * 64}, store)


def test_a_whiteout_is_no_file_of_ours(store: BlobStore) -> None:
    image = make_image([write_layer({"usr/.wh.bin": Entry.file(b"")}, store)], {}, "amd64", store)
    with pytest.raises(InputError, match="is no plain file of it"):
        image_entries({"name": "x", "digest": image.digest}, store)


def test_a_missing_tool_is_named_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="apt install squashfs-tools"):
        squash({"a": Entry.file(b"a")}, tmp_path / "a.snap")
    assert list(tmp_path.iterdir()) == []

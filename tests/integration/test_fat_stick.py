# SPDX-License-Identifier: Apache-2.0
"""A bundle on a real FAT32 file system: written, read back and verified by mtools, which needs no kernel.

What mounting would add (the kernel's own driver) is not shown here: not every kernel has vfat.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.verify import open_bundle
from tests.unit.bundle.small_release import make_release

TOOLS = ("mkfs.vfat", "fsck.vfat", "mcopy", "mdir", "mdel")
KIB = 40_000
"""The smallest FAT32 has 65,525 clusters; of 512 bytes each that is 33 MB."""

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with `keys/`, the bundle `stick/`, and `stick.img`, a FAT32 file system with it."""
    root = tmp_path_factory.mktemp("fat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CACHE", str(root / "cache"))
        keys = KeySet.develop(root / "keys")
        part = root / "Mixed.Case-1.0-py3-none-any.bin"
        part.write_bytes(b"part")
        files: dict[str, bytes | Path] = {
            "install": b"#!/bin/sh\n",
            f"installer/parts/{part.name}": part,
            "installer/parts/UPPER.BIN": b"8.3, in capitals",
            "installer/parts/foo-1.0+cu12.8-py3-none-any.bin": b"a plus, which short names cannot have",
        }
        build_bundle(
            make_release(root / "release"), root / "stick", keys, installer=lambda *_: files, chunk_bytes=500
        )
        _run("mkfs.vfat", "-F", "32", "-s", "1", "-n", "EDGEWRIGHT", "-C", root / "stick.img", KIB)
        _run("mcopy", "-s", "-Q", "-i", root / "stick.img", *sorted((root / "stick").iterdir()), "::/")
        yield root


def _run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def _read(image: Path, target: Path) -> Path:
    target.mkdir()
    _run("mcopy", "-s", "-n", "-i", image, "::/*", target)
    return target


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _verify(site: Path, stick: Path, trust: Path) -> None:
    with open_bundle(stick, trust, fingerprint=KeySet.open(site / "keys").fingerprint) as bundle:
        bundle.check_all()
        assert any(blob.parts for blob in bundle.index.blobs.values()), "contents lie in parts"


def test_a_bundle_comes_back_from_fat_byte_for_byte_and_is_verified(site: Path, tmp_path: Path) -> None:
    _run("fsck.vfat", "-n", site / "stick.img")
    back = _read(site / "stick.img", tmp_path / "back")
    assert _files(back) == _files(site / "stick"), "names with their case, and contents"
    assert not [path for path in back.rglob("*") if path.is_symlink()]
    _verify(site, back, tmp_path / "trust")


def test_a_bundle_of_fat_may_be_built_upon(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time stamps came back in steps of two seconds, modes not at all: all is kept, nothing written again."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(site / "cache"))
    back = _read(site / "stick.img", tmp_path / "back")
    keys = KeySet.open(site / "keys")
    files = {
        name: data
        for name, data in _files(site / "stick").items()
        if name.startswith(("install", "installer/"))
    }
    result = build_bundle(site / "release", back, keys, installer=lambda *_: files, chunk_bytes=500)
    assert (result.written, result.removed) == (0, 0)
    assert _files(back) == _files(site / "stick")


def test_what_was_changed_on_the_file_system_is_refused(site: Path, tmp_path: Path) -> None:
    image = tmp_path / "stick.img"
    shutil.copyfile(site / "stick.img", image)
    part = next(path for path in sorted((site / "stick/targets/blobs").iterdir()) if path.suffix == ".000")
    data = bytearray(image.read_bytes())
    at = data.find(part.read_bytes())
    assert at > 0
    data[at] ^= 1
    image.write_bytes(data)
    with pytest.raises(BundleRefused, match="expected sha256"):
        _verify(site, _read(image, tmp_path / "flipped"), tmp_path / "trust")
    _run("mdel", "-i", image, f"::/{INDEX}")
    with pytest.raises(BundleRefused, match=r"bundle\.json is missing"):
        _verify(site, _read(image, tmp_path / "deleted"), tmp_path / "trust")


def test_names_that_only_differ_in_case_fall_together_on_fat(site: Path, tmp_path: Path) -> None:
    """Why such names are refused: the file system gives one file for both."""
    image = tmp_path / "stick.img"
    shutil.copyfile(site / "stick.img", image)
    (tmp_path / "INSTALL").write_bytes(b"another")
    done = subprocess.run(
        ["mcopy", "-n", "-D", "o", "-i", image, tmp_path / "INSTALL", "::/"], capture_output=True, check=False
    )
    assert done.returncode == 0
    back = _files(_read(image, tmp_path / "back"))
    assert [back[name] for name in back if name.lower() == "install"] == [b"another"]

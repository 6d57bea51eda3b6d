# SPDX-License-Identifier: Apache-2.0
"""Attacks on contents, names and kinds of files (docs/reference/bundle-attacks.md), each refused."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile, Targets

from edgewright.bundle import reader, transfer
from edgewright.bundle.layout import BLOBS, INDEX, Blob, BundleIndex, Part, blob_name, part_name
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.verify import open_bundle
from edgewright.depot.progress import Progress
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import CONTENTS, SPLIT, Made, check, digest, refused

WHEEL = blob_name(digest(b"wheel"))
DEB = blob_name(digest(CONTENTS["apt/pool/hello.deb"]))


def test_a_right_bundle(made: Made, tmp_path: Path) -> None:
    stream = io.StringIO()
    with made.open() as bundle:
        assert bundle.index.name == "label-reader 1.0.0"
        assert bundle.fingerprint == made.keys.fingerprint
        progress = Progress("verifying", bundle.size, stream)
        bundle.check_all(progress)
        progress.close()
        assert bundle.read("targets/documents/release.lock.yml", 100) == b"schema: edgewright.lock/v1\n"
        for blob in bundle.index.blobs:
            bundle.copy(blob, tmp_path / blob)
            assert digest((tmp_path / blob).read_bytes()) == blob
        bundle.accept()
        bundle.accept()
        assert bundle.clock_note is None
    assert "100" in stream.getvalue() or bundle.size > 0
    with made.open(fingerprint=False) as again:
        assert again.fingerprint == made.keys.fingerprint
    assert (made.trust / "current" / "floor.json").is_file()


def test_copy_into_a_descriptor(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle, (tmp_path / "whole").open("w+b") as stream:
        stream.write(b"before")
        stream.flush()
        bundle.copy(digest(SPLIT), stream.fileno())
        (made.stick / WHEEL).write_bytes(b"WHEEL")
        with refused("changed"):
            bundle.copy(digest(b"wheel"), stream.fileno())
    assert (tmp_path / "whole").read_bytes() == b"before" + SPLIT


def test_what_a_bundle_does_not_have(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle:
        with pytest.raises(InputError, match="the bundle has no such blob"):
            bundle.copy("0" * 64, tmp_path / "x")
        with pytest.raises(InputError, match="the bundle has no such file"):
            bundle.read("metadata/timestamp.json", 10)
        with refused("length", "expected at most 3 bytes"):
            bundle.read(INDEX, 3)
    with pytest.raises(ValueError, match="was closed"):
        bundle.read(INDEX, 1 << 20)
    with pytest.raises(InputError, match="there is no such directory"):
        open_bundle(tmp_path / "nowhere", made.trust, fingerprint="0" * 64)
    (tmp_path / "bare").mkdir()
    with refused("missing", "is this the directory of a bundle?"):
        made.open(stick=tmp_path / "bare")


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize(
    "name", [DEB, f"{BLOBS}/{part_name(digest(SPLIT), 1)}", "install", "installer/bootstrap.py", INDEX]
)
def test_changed_byte(made: Made, tmp_path: Path, name: str, where: str) -> None:
    path = made.stick / name
    data = bytearray(path.read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[where]] ^= 1
    path.write_bytes(data)
    with refused("changed", name, "sha256"):
        check(made)
    if name.startswith(BLOBS):
        blob = name.rpartition("/")[2][:64]
        with made.open() as bundle, refused("changed", name):
            bundle.copy(blob, tmp_path / "staged")
        assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
@pytest.mark.parametrize("accepted", [False, True], ids=["first use", "accepted before"])
def test_changed_byte_of_metadata(made: Made, role: str, accepted: bool) -> None:
    if accepted:
        made.accept()
    path = made.metadata(role)
    data = bytearray(path.read_bytes())
    for at in (0, len(data) // 3, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BundleRefused):
            check(made)


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda data: data[:-1], "has 4 bytes, expected 5"), (lambda data: data + b"x", "has 6")],
)
def test_wrong_length(made: Made, change: Callable[[bytes], bytes], told: str) -> None:
    path = made.stick / WHEEL
    path.write_bytes(change(path.read_bytes()))
    with refused("length", told, "copy it again"):
        check(made)


def test_missing_file(made: Made) -> None:
    (made.stick / WHEEL).unlink()
    with refused("missing", f"{WHEEL} is missing"):
        check(made)
    shutil.rmtree(made.stick / "targets")
    with refused("missing", "; and "):
        check(made)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_missing_metadata(made: Made, role: str) -> None:
    path = made.metadata(role)
    path.unlink()
    with refused("missing", path.name):
        check(made)
    made.trust.mkdir()
    shutil.rmtree(made.stick / "metadata")
    with refused("missing", "metadata"):
        check(made)


@pytest.mark.parametrize(
    "name",
    [
        "autorun.inf",
        "targets/blobs/more",
        "metadata/2.root.json.bak",
        "installer/x/y",
        "metadata/7.targets.json",
    ],
)
def test_extra_file(made: Made, name: str) -> None:
    path = made.stick / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    shown = name if name != "installer/x/y" else "installer/x"
    with refused("extra", shown, "not named by any metadata"):
        check(made)


def test_extra_file_of_a_system(made: Made) -> None:
    (made.stick / "lost+found").mkdir()
    check(made)
    (made.stick / "lost+found" / "x").write_bytes(b"")
    with refused("extra", "lost+found"):
        check(made)
    shutil.rmtree(made.stick / "lost+found")
    (made.stick / "System Volume Information").mkdir()
    with refused("extra", "another operating system left it there"):
        check(made)


def test_two_files_swapped(made: Made) -> None:
    one, two = (made.stick / BLOBS / part_name(digest(SPLIT), number) for number in (0, 1))
    one.rename(made.stick / "x")
    two.rename(one)
    (made.stick / "x").rename(two)
    with refused("changed", "2 files"):
        check(made)


def test_parts_exchanged(made: Made, tmp_path: Path) -> None:
    one, two = (made.stick / BLOBS / part_name(digest(SPLIT), number) for number in (0, 1))
    with made.open() as bundle:
        data = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)
        with refused("changed", one.name):
            bundle.copy(digest(SPLIT), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_parts_do_not_make_the_blob(made: Made, tmp_path: Path) -> None:
    """Signed by somebody who has the key and cuts a file wrongly."""
    index = BundleIndex.load((made.stick / INDEX).read_bytes())
    blob = index.blobs[digest(SPLIT)]
    other = b"\xff" * blob.parts[0].size
    path = f"{BLOBS}/{blob.parts[0].name}"
    (made.stick / path).write_bytes(other)
    parts = (Part(blob.parts[0].name, len(other), digest(other)), *blob.parts[1:])
    sticks.change_index(made, blobs=dict(index.blobs) | {digest(SPLIT): Blob(blob.size, parts)})

    def change(targets: Targets) -> None:
        targets.targets[path] = TargetFile.from_data(path, other, ["sha256"])

    sticks.resign(made, change)
    with made.open() as bundle:
        bundle.check_all()
        with refused("changed", "3 parts are as signed but make sha256"):
            bundle.copy(digest(SPLIT), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_swap_between_check_and_use(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle:
        bundle.check_all()
        (made.stick / WHEEL).write_bytes(b"WHEEL")
        (made.stick / INDEX).write_bytes(bytes(len((made.stick / INDEX).read_bytes())))
        with refused("changed"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        with refused("changed"):
            bundle.read(INDEX, 1 << 20)
        (made.stick / WHEEL).unlink()
        (made.stick / WHEEL).symlink_to("/etc/hostname")
        with refused("kind", "symbolic link"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        (made.stick / WHEEL).unlink()
        with refused("missing"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        (made.stick / "targets").rename(made.stick / "elsewhere")
        (made.stick / "targets").symlink_to("elsewhere")
        with refused("kind", "its part targets, is a symbolic link"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize("size", [1000, 3000])
def test_file_changes_while_it_is_read(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(transfer, "_buffer", lambda: memoryview(bytearray(500)))
    path = made.stick / DEB

    class Cutter(Progress):
        def add(self, count: int, fetched: bool = True) -> None:
            del count, fetched
            os.truncate(path, size)

    with made.open() as bundle, refused("length", "expected 2000 bytes, got"):
        bundle.copy(digest(CONTENTS["apt/pool/hello.deb"]), tmp_path / "staged", Cutter("", 1, io.StringIO()))
    assert not (tmp_path / "staged").exists()


def test_copy_writes_the_signed_size_only(made: Made, tmp_path: Path) -> None:
    with made.open() as bundle:
        with (made.stick / WHEEL).open("wb") as stream:
            stream.truncate(1 << 40)  # sparse
        with refused("length", "expected 5 bytes, got more"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        with refused("length"):
            bundle.check_all()


def test_no_space(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full has no space; a file in staging that exists already is never written over."""
    with made.open() as bundle:
        with (
            pytest.raises(EdgewrightError, match="No space left on device; it needs 5 bytes"),
            Path("/dev/full").open("wb") as full,
        ):
            bundle.copy(digest(b"wheel"), full.fileno())
        (tmp_path / "staged").write_bytes(b"mine")
        with pytest.raises(EdgewrightError, match="File exists"):
            bundle.copy(digest(b"wheel"), tmp_path / "staged")
        assert (tmp_path / "staged").read_bytes() == b"mine"
        with pytest.raises(EdgewrightError, match="No such file or directory"):
            bundle.copy(digest(b"wheel"), tmp_path / "no" / "staged")


@pytest.mark.parametrize("size", [0, 4, 6, 2**32, -1])
def test_sizes_that_lie(made: Made, size: int) -> None:
    """The key's holder signs a wrong size: in the metadata only, or in the index as well."""

    def lie(targets: Targets) -> None:
        targets.targets[WHEEL].length = size

    if size >= 0:
        sticks.resign(made, lie)
    else:  # python-tuf writes no such number
        text = made.metadata("targets").read_text()
        made.metadata("targets").write_text(text.replace('"length":5}', '"length":-1}'))
    with pytest.raises(BundleRefused) as caught:
        check(made)
    assert caught.value.why in ("length", "changed")


def test_index_that_disagrees(made: Made) -> None:
    index = BundleIndex.load((made.stick / INDEX).read_bytes())
    sticks.change_index(made, blobs=dict(index.blobs) | {digest(b"wheel"): Blob(6)})
    sticks.resign(made)
    with refused("index", "says 6 bytes", "targets.json 5"):
        check(made)
    sticks.change_index(made, blobs=index.blobs, expires=sticks.EXPIRES.replace(year=2030))
    sticks.resign(made)
    with refused("index", "expires 2030"):
        check(made)
    sticks.change_index(made, expires=index.expires, documents={})
    sticks.resign(made)
    with refused("index", "does not list it"):
        check(made)


def test_index_is_not_named(made: Made) -> None:
    sticks.resign(made, lambda targets: targets.targets.pop(INDEX) and None)
    with refused("metadata", "does not name targets/bundle.json"):
        check(made)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/passwd",
        "targets/../../outside",
        "targets//x",
        "targets/./x",
        "targets/a\nb",
        "targets/a\x00b",
        "targets/-x",
        "targets/\u00fc",
        "targets/" + "x" * 256,
        "targets/" + "x/" * 600 + "x",
        "targets/blobs",
        "elsewhere/x",
        "metadata/x.json",
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "targets/" + "/".join("abcdefghijklmnopqrst"),
        "",
    ],
)
def test_names_that_leave_the_stick(made: Made, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"outside")

    def add(targets: Targets) -> None:
        targets.targets[name] = TargetFile.from_data(name or "x", b"outside", ["sha256"])

    sticks.resign(made, add)
    with pytest.raises(BundleRefused) as caught:
        check(made)
    assert caught.value.why in ("name", "metadata", "missing"), str(caught.value)
    if name == "metadata/timestamp.json":
        return
    with reader.Stick(made.stick) as stick, pytest.raises((BundleRefused, FileNotFoundError)):
        stick.read(name, 100)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("making a device file needs root")


KINDS = {
    "link": (lambda path: path.symlink_to("/etc/hostname"), "a symbolic link"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
    "pipe": (os.mkfifo, "a pipe"),
    "socket": (_socket, "a socket"),
    "device": (_device, "a character device"),
    "directory": (Path.mkdir, "a directory"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [WHEEL, INDEX, "install", "metadata/1.root.json", "metadata/timestamp.json", "metadata/1.snapshot.json"],
)
def test_links_and_special_files(made: Made, kind: str, name: str) -> None:
    replacement, told = KINDS[kind]
    path = made.stick / name
    path.unlink()
    replacement(path)
    with refused("kind", told, name):
        check(made)


def test_links_to_right_copies(made: Made, tmp_path: Path) -> None:
    """A link is refused also when all that it leads to is right: it might lead elsewhere a moment later."""
    for name in ("targets", "metadata", WHEEL):
        aside = tmp_path / "aside"
        (made.stick / name).rename(aside)
        (made.stick / name).symlink_to(aside)
        with refused("kind", "a symbolic link"):
            check(made)
        (made.stick / name).unlink()
        aside.rename(made.stick / name)
    (made.stick / "targets" / "documents").rename(tmp_path / "documents")
    (made.stick / "targets" / "documents").write_bytes(b"")
    with refused("kind", "targets/documents is a file, expected a directory"):
        check(made)


def test_walk_is_bounded(made: Made) -> None:
    deep = made.stick / "targets"
    for number in range(2000):
        (made.stick / "targets" / f"x{number}").touch()
    with refused("extra", "; and "):
        check(made)
    here = Path.cwd()
    os.chdir(deep)
    try:
        for _ in range(200):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    with refused("extra"):
        check(made)


def test_every_attack_has_its_test() -> None:
    """The attack table names tests that exist."""
    here = Path(__file__).parent
    table = (here.parents[2] / "docs" / "reference" / "bundle-attacks.md").read_text("utf-8")
    cells = [line.split("|")[-2] for line in table.splitlines() if line.startswith("|") and "test_" in line]
    assert len(cells) > 30
    for cell in cells:
        file = Path(__file__).name
        for named in re.findall(r"`([^`]+)`", cell):
            before, _, test = named.partition("::")
            file = before or file
            assert f"def {test}(" in (here / file).read_text("utf-8"), named

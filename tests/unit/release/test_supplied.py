# SPDX-License-Identifier: Apache-2.0
"""A supplied package or wheel is what the release says of it, or is refused with file, line and cure."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError, IntegrityError
from edgewright.release.supplied import Supplied, check_fit, is_supplied, read_supplied
from edgewright.release.yamlmarks import Marked

WAIVER = {"who": "Legal", "why": "agreement", "until": "2099-06-30"}
CONTROL = "Package: tool\nVersion: 1:2.0-1\nArchitecture: arm64\nMaintainer: A <a@archive.example>\n"
DEB = "tool_2.0-1_arm64.deb"
METADATA = "Metadata-Version: 2.1\nName: Acme.Libs\nVersion: 1.0\nLicense: NVIDIA Proprietary\n"
TAG = "cp37-abi3-manylinux_2_28_x86_64"
WHEEL = f"acme_libs-1.0-{TAG}.whl"
TARGETS = [
    SimpleNamespace(suite="bookworm", arch=arch, python="3.11", platforms=[f"manylinux_2_28_{machine}"])
    for arch, machine in (("amd64", "x86_64"), ("arm64", "aarch64"))
]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def deb_bytes(folder: Path, control: str = CONTROL) -> bytes:
    """A package with this control file, whatever it says: dpkg-deb would refuse some."""
    (folder / "c").mkdir(parents=True, exist_ok=True)
    (folder / "c/control").write_text(control)
    for name in ("control", "data"):
        archive = folder / f"{name}.tar"
        source = ["-C", str(folder / "c"), "control"] if name == "control" else ["-T", "/dev/null"]
        subprocess.run(["tar", "-cf", str(archive), *source], check=True)
    found = b"!<arch>\n"
    for name, data in (
        ("debian-binary", b"2.0\n"),
        ("control.tar", (folder / "control.tar").read_bytes()),
        ("data.tar", (folder / "data.tar").read_bytes()),
    ):
        found += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        found += b"\n" * (len(data) % 2)
    return found


def wheel_bytes(metadata: str = METADATA, tags: tuple[str, ...] = (TAG,), info: str = "x.dist-info") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags))
    return buffer.getvalue()


def read(store: BlobStore, name: str, data: bytes, **more: Any) -> Supplied:
    kind = "deb" if name.endswith(".deb") else "wheel"
    entry = {"name": name, "kind": kind, "sha256": store.put(data), "size": len(data)}
    entry |= {"licence": "LicenseRef-NVIDIA-SLA", "waiver": WAIVER, **more}
    entry = {key: value for key, value in entry.items() if value is not None}
    marked = Marked(Path("release.yml"), {"files": [entry]}, {("files", 0): 7})
    return read_supplied(marked, [entry], store)


def test_a_package_is_what_its_control_data_says(store: BlobStore, tmp_path: Path) -> None:
    found = read(store, DEB, deb_bytes(tmp_path), version="1:2.0-1")
    (deb,) = found.packages
    assert (deb.name, deb.version, deb.arch, deb.place) == ("tool", "1:2.0-1", "arm64", "release.yml:7")
    check_fit(found, TARGETS)
    assert found.debs("bookworm", "arm64") == [deb]
    assert found.debs("bookworm", "amd64") == []


def test_a_package_may_be_for_one_suite(store: BlobStore, tmp_path: Path) -> None:
    found = read(store, DEB, deb_bytes(tmp_path), suites=["trixie"])
    assert found.debs("trixie", "arm64")
    assert not found.debs("bookworm", "arm64")


def test_a_wheel_is_what_its_metadata_says(store: BlobStore) -> None:
    found = read(store, WHEEL, wheel_bytes())
    (wheel,) = found.wheels
    assert (wheel.name, wheel.version) == ("acme-libs", "1.0")
    check_fit(found, TARGETS)
    assert found.wheels_for("3.11", ["manylinux_2_28_x86_64"]) == [wheel]
    assert found.wheels_for("3.11", ["manylinux_2_28_aarch64"]) == []
    assert is_supplied(wheel.entry())
    assert wheel.entry()["waiver"] == WAIVER


def test_a_wheel_that_was_renamed_for_its_c_library_is_itself(store: BlobStore) -> None:
    assert read(store, WHEEL, wheel_bytes(tags=("cp37-abi3-linux_x86_64",))).wheels
    with pytest.raises(InputError, match="the wheel itself cp37-abi3-linux_aarch64"):
        read(store, WHEEL, wheel_bytes(tags=("cp37-abi3-linux_aarch64",)))


DEBS = {
    "another name": (
        "tool_2.0_arm64.deb", CONTROL, {}, InputError, f"release.yml:7: expected the name {DEB}"
    ),
    "another version": (DEB, CONTROL, {"version": "2.0-1"}, InputError, "file itself 1:2.0-1"),
    "no version": (DEB, CONTROL.replace("Version", "Wersion"), {}, IntegrityError, "Version None, which"),
    "strange name": (DEB, CONTROL.replace("tool", "../tool"), {}, IntegrityError, r"'\.\./tool', which"),
    "two paragraphs": (DEB, f"{CONTROL}\nPackage: b\n", {}, IntegrityError, "expected one paragraph"),
    "a field twice": (DEB, f"{CONTROL}Version: 3\n", {}, IntegrityError, "the line 'Version: 3'"),
    "a field of the index": (DEB, f"{CONTROL}Filename: x\n", {}, IntegrityError, "has Filename, which"),
}  # fmt: skip


@pytest.mark.parametrize("case", DEBS)
def test_a_package_that_is_another_is_refused(store: BlobStore, tmp_path: Path, case: str) -> None:
    name, control, more, kind, told = DEBS[case]
    with pytest.raises(kind, match=told):
        read(store, name, deb_bytes(tmp_path, control), **more)


def test_what_is_no_package_is_refused_with_its_line(store: BlobStore) -> None:
    with pytest.raises(IntegrityError, match=rf"reading release\.yml:7: {DEB}: it is not a Debian package"):
        read(store, DEB, b"PK\x03\x04")


WHEELS = {
    "no wheel's name": ("acme.whl", wheel_bytes(), {}, InputError, "acme.whl: it is no wheel's file name"),
    "another project": (WHEEL, wheel_bytes("Name: b\nVersion: 1.0\n"), {}, InputError, "that of b 1.0;"),
    "another version": (WHEEL, wheel_bytes(METADATA.replace("1.0", "1.1")), {}, InputError, "Acme.Libs 1.1"),
    "other tags": (WHEEL, wheel_bytes(tags=("py3-none-any",)), {}, InputError, "itself py3-none-any"),
    "another version than the release": (WHEEL, wheel_bytes(), {"version": "2.0"}, InputError, "version 2.0"),
    "a licence that is not told": (
        WHEEL, wheel_bytes(), {"licence": "MIT", "waiver": None}, InputError, "'MIT', the wheel itself"
    ),
    "no zip": (WHEEL, b"!<arch>", {}, IntegrityError, f"release.yml:7: {WHEEL}: it is no wheel"),
    "no metadata": (WHEEL, wheel_bytes(info="other"), {}, IntegrityError, "it has 0 METADATA files"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHEELS)
def test_a_wheel_that_is_another_is_refused(store: BlobStore, case: str) -> None:
    name, data, more, kind, told = WHEELS[case]
    with pytest.raises(kind, match=told):
        read(store, name, data, **more)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (DEB, "it is for arm64, which no target of the release takes"),
        (WHEEL, "its tags are cp37-abi3-manylinux_2_28_x86_64, which no target"),
    ],
)
def test_what_no_target_takes_is_refused(store: BlobStore, tmp_path: Path, name: str, told: str) -> None:
    data = deb_bytes(tmp_path) if name == DEB else wheel_bytes()
    other = TARGETS[:1] if name == DEB else TARGETS[1:]
    with pytest.raises(InputError, match=told):
        check_fit(read(store, name, data), other)


def test_two_files_for_one_target_are_refused(store: BlobStore, tmp_path: Path) -> None:
    first = read(store, DEB, deb_bytes(tmp_path)).packages
    second = read(
        store, "tool_3.0_all.deb", deb_bytes(tmp_path, "Package: tool\nVersion: 3.0\nArchitecture: all\n")
    ).packages
    with pytest.raises(InputError, match=rf"tool_3\.0_all\.deb: {DEB} supplies tool to bookworm on arm64"):
        check_fit(Supplied((*first, *second)), TARGETS)

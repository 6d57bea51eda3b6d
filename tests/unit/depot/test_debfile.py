# SPDX-License-Identifier: Apache-2.0
"""Control fields of packages, compared with what dpkg-deb reads; and files that are no packages."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgewright.depot.debfile import control_fields
from edgewright.errors import IntegrityError

CONTROL = (
    "Package: small\nVersion: 1:1.0-1\nArchitecture: all\nMaintainer: Å <a@archive.example>\n"
    "Depends: libc6 (>= 2.36),\n other\nDescription: a package\n of two lines\n .\n and an empty one\n"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(CONTROL)
    (root / "DEBIAN/postinst").write_text("#!/bin/sh\n")
    (root / "DEBIAN/postinst").chmod(0o755)
    (root / "content").write_bytes(bytes(100_000))
    return root


@pytest.mark.parametrize("kind", ["none", "gzip", "xz", "zstd"])
def test_the_fields_are_those_that_dpkg_reads(tree: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "small.deb"
    command = ["dpkg-deb", f"-Z{kind}", "--uniform-compression", "--build", str(tree), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    expected = subprocess.run(["dpkg-deb", "--field", str(path)], check=True, capture_output=True).stdout
    assert control_fields(path) == expected.decode() == CONTROL


def _ar(*members: tuple[str, bytes], size: int | None = None) -> bytes:
    made = b"!<arch>\n"
    for name, data in members:
        length = len(data) if size is None else size
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{length:<10}`\n".encode() + data
        made += b"\n" * (len(data) % 2)
    return made


def _tar(name: str, data: bytes = b"Package: x\n", kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


BINARY = ("debian-binary", b"2.0\n")


@pytest.mark.parametrize("name", ["control", "./control"])
def test_both_spellings_of_the_name_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(_ar(BINARY, ("_extra", b"odd"), ("control.tar", _tar(name))))
    assert control_fields(path) == "Package: x\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "does not begin as an ar archive"),
        (b"PK\x03\x04 a wheel", "does not begin as an ar archive"),
        (_ar(BINARY), "cut short before its control archive"),
        (_ar(*[("_x", b"")] * 20), "no control archive"),
        (_ar(BINARY, ("control.tar", _tar("control")))[:-600], "cut short"),
        (_ar(BINARY, ("control.tar", _tar("other"))), "no file named control"),
        (_ar(BINARY, ("control.tar", _tar("control", kind=tarfile.SYMTYPE))), "no file named control"),
        (_ar(BINARY, ("control.tar.xz", b"no xz")), "not a Debian package"),
        (_ar(BINARY, ("control.tar.gz", b"\x1f\x8b\x08\x00 broken")), "not a Debian package"),
        (_ar(BINARY, ("control.tar.zst", b"no zstd")), "not a Debian package"),
        (_ar(("control.tar", b""), size=10**9), "expected 16777216 at most"),
        (_ar(("_x", b""), size=-60), "has a size of -60"),
        (_ar(BINARY, ("control.tar", _tar("control", b"\xff"))), "not a Debian package"),
    ],
    ids=range(13),
)
def test_what_is_no_package_is_refused_by_name(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "0a1b"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"reading x\.deb: it is not a Debian package") as caught:
        control_fields(path, "x.deb")
    assert told in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"gone\.deb"):
        control_fields(tmp_path / "gone.deb")

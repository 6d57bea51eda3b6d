# SPDX-License-Identifier: Apache-2.0
"""Packages: dpkg reads them, and the same files give the same bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgewright.depot.debfile import control_fields
from edgewright.errors import IntegrityError
from edgewright.modules.debpack import Member, control_text, read_members, write_deb

FIELDS = {
    "Package": "tool",
    "Version": "1.0-1",
    "Architecture": "amd64",
    "Maintainer": "T <t@archive.example>",
    "Description": "a tool\nwith words\n",
}
FILES = {"lib/modules/1/a.ko": Member(b"module" * 333), "usr/bin/tool": Member(b"#!/bin/sh\n", 0o755)}
SCRIPTS = {"postinst": "#!/bin/sh\nexit 0\n"}


def pack(target: Path, files: dict[str, Member] | None = None) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_deb(target, FIELDS, files or FILES, SCRIPTS, 1_700_000_000)
    return target


def dpkg(*words: str) -> str:
    return subprocess.run(["dpkg-deb", *words], capture_output=True, text=True, check=True).stdout


def test_dpkg_reads_what_was_written(tmp_path: Path) -> None:
    deb = pack(tmp_path / "tool.deb")
    assert dpkg("--field", str(deb), "Package", "Version", "Installed-Size").split() == [
        *("Package:", "tool", "Version:", "1.0-1", "Installed-Size:", "5")
    ]
    assert control_fields(deb) == dpkg("--field", str(deb))
    listed = dpkg("--contents", str(deb))
    assert "-rwxr-xr-x root/root        10 2023-11-14 22:13 ./usr/bin/tool" in listed
    assert "drwxr-xr-x root/root         0 2023-11-14 22:13 ./lib/modules/" in listed
    out = tmp_path / "out"
    subprocess.run(["dpkg-deb", "-R", str(deb), str(out)], check=True)
    assert (out / "lib/modules/1/a.ko").read_bytes() == b"module" * 333
    sums = subprocess.run(["md5sum", "-c", "DEBIAN/md5sums"], cwd=out, capture_output=True, check=False)
    assert sums.returncode == 0
    assert (out / "DEBIAN/postinst").stat().st_mode & 0o777 == 0o755


def test_the_same_files_give_the_same_bytes_from_whatever_place_and_order(tmp_path: Path) -> None:
    first = pack(tmp_path / "one/tool.deb").read_bytes()
    (tmp_path / "file").write_bytes(b"module" * 333)
    turned = dict(reversed({**FILES, "lib/modules/1/a.ko": Member(tmp_path / "file")}.items()))
    assert pack(tmp_path / "two/other.deb", turned).read_bytes() == first
    changed = {**FILES, "usr/bin/tool": Member(b"#!/bin/sh\n", 0o644)}
    assert pack(tmp_path / "three.deb", changed).read_bytes() != first


def test_members_are_read_back(tmp_path: Path) -> None:
    deb = pack(tmp_path / "tool.deb")
    assert read_members(deb, "lib") == {"lib/modules/1/a.ko": b"module" * 333}


@pytest.mark.parametrize("keep", [0, 5, 100, 700, 4000])
def test_a_cut_package_is_refused(tmp_path: Path, keep: int) -> None:
    deb = pack(tmp_path / "tool.deb")
    deb.write_bytes(deb.read_bytes()[:keep])
    with pytest.raises(IntegrityError, match=r"reading .*tool\.deb"):
        read_members(deb, "lib")


def test_further_lines_of_a_value_are_indented() -> None:
    assert control_text({"A": "b", "Description": "one\ntwo\n"}) == "A: b\nDescription: one\n two\n"

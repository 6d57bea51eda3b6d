# SPDX-License-Identifier: Apache-2.0
"""The clean tree: what is refused before, and after, dkms ran. Integration tests build for real."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.errors import EdgewrightError, InputError, IntegrityError
from edgewright.modules import tree as under_test
from edgewright.modules.debpack import Member, write_deb
from edgewright.modules.tree import (
    Dkms,
    Kernel,
    check_compiler,
    check_preemption,
    read_dkms,
    run_dkms,
    unpack,
)
from edgewright.twin.tools import say_nothing
from tests.unit.modules.tiny import RELEASE

KERNEL = Kernel(f"linux-image-{RELEASE}", "6.1.192-2", RELEASE, "rt")
CONF = 'PACKAGE_NAME="nvidia-current"\nPACKAGE_VERSION="535.309.01"\nBUILT_MODULE_NAME[0]="nvidia"\n'


def lay(tree: Path, text: str, name: str = "nvidia-current-535.309.01") -> None:
    place = tree / "usr/src" / name
    place.mkdir(parents=True)
    (place / "dkms.conf").write_text(text)
    os.utime(place / "dkms.conf", (1_700_000_000, 1_700_000_000))


def test_dkms_conf_tells_name_version_and_how_many_modules(tmp_path: Path) -> None:
    lay(tmp_path, CONF + 'DEST_MODULE_NAME[0]="x"\nBUILT_MODULE_NAME[1]="nvidia-uvm"\n')
    place = "usr/src/nvidia-current-535.309.01"
    assert read_dkms(tmp_path, "s") == Dkms("nvidia-current", "535.309.01", 2, place, 1_700_000_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a line PACKAGE_NAME=WORD, got none"),
        ('PACKAGE_NAME="$(id)"\n', "expected a line PACKAGE_NAME=WORD, got PACKAGE_NAME"),
        ("PACKAGE_NAME='a'\nPACKAGE_VERSION=../..\n", "expected a line PACKAGE_VERSION=WORD"),
        ("PACKAGE_NAME=a'b\n", "expected a line PACKAGE_NAME=WORD"),
    ],
    ids=["empty", "command", "path", "quote"],
)
def test_a_dkms_conf_that_is_not_plain_is_refused(tmp_path: Path, text: str, said: str) -> None:
    lay(tmp_path, text)
    with pytest.raises(InputError, match=f"reading dkms.conf of nvidia-kernel-dkms: {said}"):
        read_dkms(tmp_path, "nvidia-kernel-dkms")


def test_no_source_or_two_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one usr/src/NAME/dkms\.conf, found none"):
        read_dkms(tmp_path, "s")
    lay(tmp_path, CONF)
    lay(tmp_path, CONF, "other-1")
    with pytest.raises(InputError, match=r"found nvidia-current-535\.309\.01, other-1"):
        read_dkms(tmp_path, "s")


def headers(tree: Path, release: str = RELEASE, text: str | None = None) -> None:
    place = tree / "usr/src" / f"linux-headers-{release}"
    place.mkdir(parents=True)
    told = 'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"\n'
    (place / ".config").write_text(told if text is None else text)


def test_headers_of_another_kernel_are_refused(tmp_path: Path) -> None:
    headers(tmp_path, "6.1.0-50-rt-amd64")
    said = r"no headers of this kernel \(found: linux-headers-6\.1\.0-50-rt-amd64\)"
    with pytest.raises(InputError, match=f"building modules for {RELEASE}: .*{said}"):
        check_compiler(tmp_path, KERNEL)


def test_a_missing_compiler_is_named_with_the_kernels_own(tmp_path: Path) -> None:
    headers(tmp_path)
    with pytest.raises(InputError, match=r"built with gcc-12 \(Debian .* the tree has no usr/bin/gcc-12"):
        check_compiler(tmp_path, KERNEL)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/gcc-12").touch()
    assert check_compiler(tmp_path, KERNEL) == "gcc-12 (Debian 12.2.0-14) 12.2.0"


def test_headers_that_do_not_say_their_compiler_are_refused(tmp_path: Path) -> None:
    headers(tmp_path, text="CONFIG_X=y\n")
    with pytest.raises(InputError, match="its headers do not say which compiler"):
        check_compiler(tmp_path, KERNEL)


@pytest.mark.parametrize(
    ("text", "flavour", "said"),
    [
        ("CONFIG_PREEMPT_RT=y\n", "rt", None),
        ("CONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT_RT=y\n", "rt", None),
        ("# CONFIG_PREEMPT_RT is not set\n", "generic", None),
        (
            "# CONFIG_PREEMPT_RT is not set\n",
            "rt",
            "flavour rt, the configuration in its headers says another",
        ),
        (
            "CONFIG_PREEMPT_RT=y\n",
            "generic",
            "flavour generic, the configuration in its headers says PREEMPT_RT",
        ),
        ("", "rt", "is missing"),
    ],
)
def test_the_headers_are_real_time_just_where_the_kernel_is(
    tmp_path: Path, text: str, flavour: str, said: str | None
) -> None:
    headers(tmp_path, text=text)
    kernel = Kernel(KERNEL.package, KERNEL.version, RELEASE, flavour)
    if said is None:
        check_preemption(tmp_path, kernel)
        return
    with pytest.raises(InputError, match=said):
        check_preemption(tmp_path, kernel)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`run_dkms` where the program that would run is `command`, as this user."""

    def go(command: list[str], modules: Mapping[str, bytes] | list[str], promised: int) -> list[Path]:
        monkeypatch.setattr(under_test, "as_root", lambda *_: command)
        inner = tmp_path / "tree/var/lib/dkms/nvidia-current/535.309.01"
        place = inner / RELEASE / "x86_64/module"
        place.mkdir(parents=True)
        for name in modules:
            (place / name).write_bytes(modules[name] if isinstance(modules, Mapping) else b"")
        (inner / "build").mkdir()
        (inner / "build/make.log").write_text("gcc: fatal error: killed\n")
        dkms = Dkms("nvidia-current", "535.309.01", promised, "usr/src/x", 1)
        return run_dkms(tmp_path / "tree", KERNEL, dkms, tmp_path / "log", say_nothing)

    return go


def test_a_build_that_ends_well_without_a_module_is_no_build(run: Any) -> None:
    with pytest.raises(EdgewrightError) as told:
        run(["echo", "Skipped"], [], 5)
    for words in ("of 5 modules there are: none", "Skipped", "ended with status 0", RELEASE):
        assert words in str(told.value)


def test_a_build_with_a_module_too_few_names_those_that_are_there(run: Any) -> None:
    with pytest.raises(EdgewrightError, match=r"of 2 modules there are: nvidia-current\.ko"):
        run(["true"], ["nvidia-current.ko"], 2)


def test_a_build_that_fails_quotes_the_compiler(run: Any) -> None:
    with pytest.raises(EdgewrightError, match=r"(?s)ended with status 1.*gcc: fatal error: killed"):
        run(["false"], ["nvidia-current.ko"], 1)


def test_a_build_with_its_modules_gives_them_in_order(run: Any) -> None:
    assert [path.name for path in run(["true"], ["b.ko", "a.ko"], 2)] == ["a.ko", "b.ko"]


def test_modules_that_dkms_packed_are_unpacked(run: Any) -> None:
    """As Debian 13's does, whose kernels' own modules are packed."""
    made = {"b.ko.xz": lzma.compress(b"two"), "a.ko": b"one", "c.ko.gz": gzip.compress(b"three")}
    assert [(path.name, path.read_bytes()) for path in run(["true"], made, 3)] == [
        ("a.ko", b"one"), ("b.ko", b"two"), ("c.ko", b"three")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.ko.xz", "unpacking a.ko.xz as dkms packed it"), ("a.ko.zst", "dkms packed it otherwise")],
)
def test_modules_that_cannot_be_unpacked_are_named(run: Any, name: str, said: str) -> None:
    with pytest.raises(EdgewrightError, match=said):
        run(["true"], {name: b"?"}, 1)


def test_packages_are_unpacked_below_merged_directories(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    fields = {"Package": "x", "Version": "1", "Architecture": "all", "Maintainer": "T", "Description": "x"}
    write_deb(tmp_path / "x.deb", fields, {"bin/tool": Member(b"1"), "lib/a": Member(b"2")}, {}, 1)
    deb = {"filename": "x.deb", "sha256": store.put((tmp_path / "x.deb").read_bytes())}
    unpack([deb], store, tmp_path / "tree", say_nothing)
    assert (tmp_path / "tree/bin").is_symlink()
    assert (tmp_path / "tree/usr/bin/tool").read_bytes() == b"1"
    assert (tmp_path / "tree/usr/lib/a").read_bytes() == b"2"
    bad = {"filename": "bad.deb", "sha256": store.put(b"no package")}
    with pytest.raises(IntegrityError, match=r"unpacking bad\.deb into the tree for modules"):
        unpack([bad], store, tmp_path / "other", say_nothing)


def test_the_build_script_is_one_that_a_shell_reads(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(under_test.SCRIPT)
    subprocess.run(["sh", "-n", str(tmp_path / "script")], check=True)

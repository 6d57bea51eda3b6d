# SPDX-License-Identifier: Apache-2.0
"""No name on a stick differs from another in case only, and none is one that FAT or Windows refuses."""

from __future__ import annotations

import pytest

from edgewright.bundle.fat import MAX_DIRECTORY_ENTRIES, directory_entries, fat_fault, fullest_directory
from edgewright.bundle.layout import check_stick_names


@pytest.mark.parametrize(
    "names",
    [
        ["install", "installer/pins.json", "installer/pins.json.sig", "targets/bundle.json"],
        [f"targets/blobs/{'ab' * 32}", f"targets/blobs/{'cd' * 32}.000", f"targets/blobs/{'cd' * 32}.001"],
        ["targets/documents/models/label-reader/model.sig", "targets/documents/models/other/model.sig"],
        ["installer/wheels/PyYAML-6.0-cp311-cp311-linux_x86_64.whl", "installer/wheels/tuf-7.0.1.whl"],
        ["a/console", "a/com10", "a/nul-1", "a/lpt", "a/xcon", "a/aux_", "a/.b", "a/prn2.txt"],
        ["a/b.c.d", "a/b..c"],
        ["a/b", "a/b"],
    ],
)
def test_names_that_any_stick_holds(names: list[str]) -> None:
    assert fat_fault(names) is None


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["targets/documents/a", "targets/documents/A"], "A: a FAT stick cannot tell it from targets/docu"),
        (["targets/A/x", "targets/a/y"], "targets/a: a FAT stick cannot tell it from targets/A"),
        (["INSTALLER/x", "installer/y"], "installer: a FAT stick cannot tell it from INSTALLER"),
        (["a/b."], "a/b.: a FAT stick drops the dot"),
        (["a./b"], "a.: a FAT stick drops the dot"),
        (["a/con"], "a/con: Windows reserves"),
        (["a/CON.txt"], "a/CON.txt: Windows reserves"),
        (["a/nul.tar.gz"], "a/nul.tar.gz: Windows reserves"),
        (["Aux/b"], "Aux: Windows reserves"),
        (["a/com1"], "a/com1: Windows reserves"),
        (["a/LPT9.json"], "a/LPT9.json: Windows reserves"),
        (["prn"], "prn: Windows reserves"),
        (["targets/bundle~1.jso"], "targets/bundle~1.jso: FAT makes up short names"),
        (["a/foo_1.0~rc1.whl"], "mangle it"),
    ],
)
def test_names_that_a_stick_cannot_hold(names: list[str], told: str) -> None:
    assert told in (fat_fault(names) or "")
    assert told in (check_stick_names(names) or ""), "building, signing and verifying ask this one"


@pytest.mark.parametrize("character", [*'<>:"\\|?*\x00\x1f\x7f ', "ä", "\u202e"])
def test_characters_that_fat_or_windows_refuses(character: str) -> None:
    assert "is no name" in (check_stick_names([f"a/b{character}c"]) or "")


@pytest.mark.parametrize(("length", "entries"), [(1, 2), (13, 2), (14, 3), (64, 6), (68, 7), (255, 21)])
def test_entries_of_a_name(length: int, entries: int) -> None:
    assert directory_entries("x" * length) == entries


def test_the_fullest_directory_is_told() -> None:
    assert fullest_directory([]) == ("the top", 2)
    assert fullest_directory(["install"]) == ("the top", 4)
    names = [f"targets/blobs/{number:064x}" for number in range(10_922)]
    assert fullest_directory([*names, "install"]) == ("targets/blobs", 65_534)
    assert fullest_directory([*names, "targets/blobs/x"])[1] == MAX_DIRECTORY_ENTRIES

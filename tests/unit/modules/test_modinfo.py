# SPDX-License-Identifier: Apache-2.0
"""A module's own words, read from its ELF section."""

from __future__ import annotations

import pytest

from edgewright.errors import IntegrityError
from edgewright.modules.modinfo import read_modinfo, vermagic_release
from tests.unit.modules.tiny import tiny_module

MAGIC = "vermagic=6.1.0-56-rt-amd64 SMP preempt_rt mod_unload modversions "


def test_every_value_is_read_in_order() -> None:
    found = read_modinfo(tiny_module(MAGIC, "alias=a", "alias=b", "depends=", "no equals sign"), "x.ko")
    assert found["alias"] == ["a", "b"]
    assert found["depends"] == [""]
    assert vermagic_release(found) == "6.1.0-56-rt-amd64"
    assert vermagic_release({}) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "begin with nothing"),
        (b"#!/bin/sh\n", "begin with"),
        (b"\x7fELF\x01\x01" + bytes(60), "begin with 7f454c460101"),
        (tiny_module(MAGIC)[:40], "ELF"),
        (tiny_module(MAGIC)[:-70], "ELF"),
        (tiny_module(MAGIC, section=b".comment"), "without the section .modinfo"),
        (b"\x7fELF\x02\x01" + bytes(58), "without a table of sections"),
    ],
    ids=["empty", "script", "32 bits", "cut header", "cut table", "no modinfo", "no sections"],
)
def test_what_is_no_module_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(IntegrityError, match=f"reading x.ko: expected a kernel module .*{said}"):
        read_modinfo(data, "x.ko")

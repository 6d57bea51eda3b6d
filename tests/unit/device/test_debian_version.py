# SPDX-License-Identifier: Apache-2.0
"""The order of Debian versions, in a table; dpkg itself is asked where there is one."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from edgewright.device.debian_version import compare

# (older, newer)
ORDER = [
    ("1.0", "1.1"),
    ("1.9", "1.10"),
    ("1.0-1", "1.0-2"),
    ("1.0-1", "1.0-1+b1"),
    ("1.0~rc1-1", "1.0-1"),
    ("1.0~~", "1.0~"),
    ("9.9", "1:0.1"),
    ("3.0.15-1~deb12u1", "3.0.17-1~deb12u2"),
    ("20230311", "20230311+deb12u1"),
    ("20230311+deb12u1", "20250419~deb12u2"),
    ("2.6.0", "2.6.0.1"),
    ("1.0a", "1.0+"),
    ("1.2-3-4", "1.2-3-5"),
]
SAME = [("1.0", "1.0"), ("0:1.0", "1.0"), ("1.0", "1.00"), ("1.0", "1.0-0")]


@pytest.mark.parametrize(("older", "newer"), ORDER)
def test_an_older_version_comes_first(older: str, newer: str) -> None:
    assert compare(older, newer) == -1
    assert compare(newer, older) == 1


@pytest.mark.parametrize(("left", "right"), SAME)
def test_versions_that_dpkg_takes_for_the_same(left: str, right: str) -> None:
    assert compare(left, right) == 0


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="asks dpkg, which this host lacks")
@pytest.mark.parametrize(("older", "newer"), ORDER)
def test_dpkg_has_the_same_order(older: str, newer: str) -> None:
    assert subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=False).returncode == 0

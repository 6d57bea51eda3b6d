# SPDX-License-Identifier: Apache-2.0
"""Debian's archives by name: what apt says, what the environment says, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright import archives
from edgewright.errors import InputError, MissingToolError

# As apt 2.6 prints it on a host with a mirror, third parties' repositories, and no lists of the last one.
TARGETS = """Debian|Debian|http://mirror.example/debian/
Debian|Debian|http://second.example/debian/
Debian|Debian-Security|https://mirror.example/debian-security/
Debian|Debian Backports|http://mirror.example/backports/
Docker|Docker CE|https://docker.example/linux/debian/
||https://not-fetched.example/debian/
"""


@pytest.fixture(autouse=True)
def a_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A host whose apt-get prints the file `targets`; nothing is remembered between tests."""
    tool = tmp_path / "apt-get"
    tool.write_text(f'#!/bin/sh\n[ "$1" = indextargets ] && cat "{tmp_path}/targets"\n')
    tool.chmod(0o755)
    (tmp_path / "targets").write_text(TARGETS)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(archives.VARIABLE, raising=False)
    archives._host_archives.cache_clear()
    yield tmp_path
    archives._host_archives.cache_clear()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            TARGETS,
            {
                "debian": "http://mirror.example/debian",
                "debian-security": "https://mirror.example/debian-security",
            },
        ),
        ("", {}),
        ("Debian|Debian|cdrom:[Debian]/\n", {}),
        ("Debian\n", {}),
        ("Ubuntu|Ubuntu|http://mirror.example/ubuntu/\n", {}),
    ],
)
def test_addresses_come_from_origin_and_label(text: str, found: dict[str, str]) -> None:
    assert archives.parse_targets(text) == found


@pytest.mark.parametrize(
    ("reference", "where"),
    [
        ("archive:debian", "http://mirror.example/debian"),
        (
            "archive:debian/pool/main/o/a_1+b~2_all.deb",
            "http://mirror.example/debian/pool/main/o/a_1+b~2_all.deb",
        ),
        ("archive:debian-security/dists", "https://mirror.example/debian-security/dists"),
        ("https://vendor.example/repo", "https://vendor.example/repo"),
    ],
)
def test_a_reference_gets_this_hosts_address(reference: str, where: str) -> None:
    assert archives.address(reference) == where


def test_the_environment_goes_before_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(archives.VARIABLE, "debian=http://10.0.0.9:3142/debian/")
    assert archives.address("archive:debian/x") == "http://10.0.0.9:3142/debian/x"
    assert archives.address("archive:debian-security") == "https://mirror.example/debian-security"


@pytest.mark.parametrize(
    "text", ["debian", "debian=mirror.example", "ubuntu=http://mirror.example", "=http://x"]
)
def test_a_wrong_environment_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(archives.VARIABLE, text)
    with pytest.raises(InputError, match="reading EDGEWRIGHT_ARCHIVES: expected NAME=http://ADDRESS") as told:
        archives.address("archive:debian")
    assert repr(text) in str(told.value)


@pytest.mark.parametrize("reference", ["archive:ubuntu", "archive:", "file:///srv/debian", "debian"])
def test_an_unknown_reference_is_refused(reference: str) -> None:
    with pytest.raises(InputError, match="expected an http or https address, or one of archive:debian"):
        archives.address(reference)


def test_a_host_without_lists_is_told_what_to_run(a_host: Path) -> None:
    (a_host / "targets").write_text("||http://mirror.example/debian/\n")
    with pytest.raises(InputError, match="no source of the archive debian; run: apt-get update"):
        archives.address("archive:debian")


def test_a_host_without_apt_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingToolError, match="apt-get is not installed"):
        archives.address("archive:debian")


@pytest.mark.parametrize(
    "text",
    ["Thu, 19 Nov 2026 02:12:54 UTC", "Thu, 19 Nov 2026 02:12:54", "Thu, 19 Nov 2026 04:12:54 +0200"],
)
def test_a_release_files_date_is_in_utc(text: str) -> None:
    assert archives.release_date(text).isoformat() == "2026-11-19T02:12:54+00:00"


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        archives.release_date("soon")

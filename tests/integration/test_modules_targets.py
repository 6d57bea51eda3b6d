# SPDX-License-Identifier: Apache-2.0
"""Modules of two targets, resolved by the real apt against an archive of empty packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import InputError
from edgewright.modules.order import _TOOLS
from edgewright.modules.parts import module_entries
from tests.integration.release_place import Place, make_place

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("apt-ftparchive") is None, reason="apt-ftparchive is missing"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an isolated apt needs root here"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A release for two architectures, whose kernels and driver the archive has for both."""
    with make_place(tmp_path, monkeypatch) as made:
        for tool in _TOOLS:
            made.archive.add(tool, "1")
        for arch in ("amd64", "arm64"):
            made.archive.add(
                *("driver-dkms", "535.1-1", "dkms, support (= 535.1-1)", arch),
                Source="driver",
                Provides="kernel-535.1",
            )
            made.archive.add("support", "535.1-1", arch=arch, Source="driver")
            made.archive.add(f"linux-headers-1.0-rt-{arch}", "1.0-1", arch=arch)
        made.archive.add("linux-image-rt-arm64", "1", "linux-image-1.0-rt-arm64", "arm64")
        made.archive.add("linux-image-1.0-rt-arm64", "1.0-1", arch="arm64")
        made.archive.publish()
        target = {"suite": "tiny", "arch": "arm64", "kernel": "linux-image-rt-arm64"}
        made.release["targets"] = [{**target, "python": {"platforms": ["any"]}}]
        made.release["nvidia"] = {"rt_waiver": {"who": "Ada", "why": "tests", "until": "2099-01-01"}}
        made.release["modules"] = [
            {"name": "nvidia", "flavour": "proprietary", "source": "driver-dkms", "driver": "535.1"}
        ]
        yield made


def names(debs: list[dict[str, Any]]) -> set[str]:
    return {deb["name"] for deb in debs}


def test_each_target_has_modules_for_its_own_kernel(place: Place) -> None:
    place.release["modules"][0]["arches"] = ["amd64", "arm64"]
    lock = place.resolve()
    first, later = module_entries(lock)
    assert later == lock["targets"][0]["modules"][0]
    for entry, arch in ((first, "amd64"), (later, "arm64")):
        assert (entry["arch"], entry["kernel"]["release"]) == (arch, f"1.0-rt-{arch}")
        assert entry["needs"] == ["support (= 535.1-1)"]
        assert {deb["arch"] for deb in entry["debs"]} == {"all", arch}
        assert f"linux-headers-1.0-rt-{arch}" in names(entry["debs"])
    for part in (lock, lock["targets"][0]):
        assert "support" in names(part["apt"]["packages"])
        assert not names(part["apt"]["packages"]) & {"dkms", "gcc", "driver-dkms"}, (
            "no compiler goes to devices"
        )


def test_a_further_target_has_none_unless_it_is_named(place: Place) -> None:
    lock = place.resolve()
    assert [entry["arch"] for entry in module_entries(lock)] == ["amd64"]
    assert "support" not in names(lock["targets"][0]["apt"]["packages"])
    place.release["modules"][0]["arches"] = ["arm64"]
    assert [entry["arch"] for entry in module_entries(place.resolve())] == ["arm64"]
    place.release["modules"][0]["suites"] = ["sid"]
    with pytest.raises(InputError, match=r"release\.yml:\d+: .*no target of the release takes nvidia 535\.1"):
        place.resolve()

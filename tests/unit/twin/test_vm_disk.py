# SPDX-License-Identifier: Apache-2.0
"""A disk that is there already: of which image it may be."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.errors import InputError, IntegrityError
from edgewright.twin import TwinSpec, VmTwin
from edgewright.twin.image import image_dir
from edgewright.twin.recipe import in_suite, vm_recipe

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TwinSpec:
    """A twin of Debian 13 whose disk was made; the image is a stand-in without a system."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    recipe = in_suite(vm_recipe(), "trixie")
    image = image_dir(recipe)
    image.mkdir(parents=True)
    (image / "disk.raw").write_bytes(b"\0" * 65536)
    (image / "recipe.json").write_text(recipe.document())
    spec = TwinSpec("edge-01", "vm", tmp_path / "state", 2299, suite="trixie")
    spec.directory.mkdir(parents=True)
    subprocess.run(
        [
            *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"),
            *("-b", str(image / "disk.raw"), str(VmTwin(spec).disk)),
        ],
        check=True,
    )
    return spec


def test_the_disk_of_the_same_suite_is_taken(spec: TwinSpec) -> None:
    VmTwin(spec)._check_disk()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(
            {"suite": "bookworm"}, "shall have Debian's bookworm, .* with trixie; forget", id="suite"
        ),
        pytest.param(
            {"suite": "bookworm", "arch": "arm64"}, "shall be a vm of arm64, but its disk", id="arch"
        ),
    ],
)
def test_another_systems_disk_is_refused(spec: TwinSpec, change: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        VmTwin(replace(spec, **change))._check_disk()  # type: ignore[arg-type]


def test_a_disk_whose_image_is_gone_is_refused(spec: TwinSpec) -> None:
    shutil.rmtree(image_dir(in_suite(vm_recipe(), "trixie")))
    with pytest.raises(IntegrityError, match="which is gone"):
        VmTwin(spec)._check_disk()

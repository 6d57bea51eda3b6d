# SPDX-License-Identifier: Apache-2.0
"""Which components hold NVIDIA's driver: what a verified row names, and a refusal by name for all else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import InputError
from edgewright.osadvice.components import DATA, component_rows, driver_of, of_nvidia, refusal

PAIR = ["nvidia-580-erd-ko", "nvidia-580-erd-user"]


def test_a_pair_of_one_branch_is_a_driver() -> None:
    row = driver_of([*PAIR, "nouveau-ko"], "pc-kernel", "24/stable")
    assert (row.branch, row.provider, row.snapd) == (580, "mesa-2404", "2.67")
    assert "documentation.ubuntu.com" in row.told
    assert {each.branch for each in component_rows()} == {550, 570, 580}
    assert of_nvidia([*PAIR, "nouveau-ko"]) == PAIR
    assert refusal(["nouveau-ko"], "pi-kernel", None) == ""


@pytest.mark.parametrize(
    ("names", "snap", "channel", "words"),
    [
        pytest.param(PAIR, "pc-kernel", None, "missing 'channel'", id="no channel"),
        pytest.param(PAIR, "pc-kernel", "24-rt/stable", "tracks 24-rt of pc-kernel have NVIDIA", id="rt"),
        pytest.param(
            PAIR, "pc-kernel", "24-rt-hwe/stable", "of track 24-rt-hwe: no verified fact", id="rt hwe"
        ),
        pytest.param(PAIR, "pc-kernel", "22/stable", "known: pc-kernel 24", id="another track"),
        pytest.param(PAIR, "tegra-kernel", "24/stable", "tegra-kernel of track 24", id="another kernel"),
        pytest.param(PAIR[:1], "pc-kernel", "24/stable", "expected one branch's pair", id="half"),
        pytest.param(
            [PAIR[0], "nvidia-570-erd-user"],
            "pc-kernel",
            "24/stable",
            "expected one branch's pair",
            id="mixed",
        ),
        pytest.param([*PAIR, "nvidia-570-erd-ko"], "pc-kernel", "24/stable", "and no other", id="three"),
        pytest.param(
            ["nvidia-590-ko"], "pc-kernel", "24/stable", "names the component nvidia-590-ko", id="590"
        ),
    ],
)
def test_what_no_verified_fact_names_is_refused(
    names: list[str], snap: str, channel: str | None, words: str
) -> None:
    assert words in refusal(names, snap, channel)
    with pytest.raises(InputError, match=snap):
        driver_of(names, snap, channel)


def test_no_component_is_no_driver() -> None:
    with pytest.raises(InputError, match="no component of NVIDIA's"):
        driver_of(["nouveau-ko"], "pc-kernel", "24/stable")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("verified: true", "verified: maybe", "is not of type 'boolean'"),
        ('source: "uc-cuda"', 'source: "other"', "source 'other' is not among sources"),
        ("edgewright.nvidia-components/v1", "v2", "expected schema"),
        ("branch: 550", "brunch: 550", "brunch"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "facts.yml"
    path.write_text(DATA.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        component_rows(path)


def test_a_row_that_nobody_verified_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "facts.yml"
    path.write_text(DATA.read_text().replace("verified: true", "verified: false", 1))
    assert {row.branch for row in component_rows(path)} == {570, 580}

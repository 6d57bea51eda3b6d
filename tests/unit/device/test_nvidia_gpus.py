# SPDX-License-Identifier: Apache-2.0
"""MIG layouts against what each GPU can be cut into; the program that makes one (nvidia-smi simulated)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.nvidia_files import discrete_files, jetson_files
from edgewright.device.nvidia_gpus import DATA, known_gpus, mig_layout
from edgewright.errors import InputError
from edgewright.release.stack.facts import load_facts

FIT: dict[str, tuple[str, Any, dict[str, list[str]]]] = {
    "none": ("t4", {}, {}),
    "off, said so": ("a100-80gb", {"all": []}, {}),
    "two halves": ("a100-80gb", {"all": ["3g.40gb", "3g.40gb"]}, {"all": ["3g.40gb", "3g.40gb"]}),
    "all places": ("h100", {0: ["4g.40gb", "3g.40gb"]}, {"0": ["3g.40gb", "4g.40gb"]}),
    "seven": ("a100-40gb", {"1": ["1g.5gb"] * 7}, {"1": ["1g.5gb"] * 7}),
    "mixed": (
        "h200",
        {"0": ["3g.71gb", "2g.35gb", "1g.18gb", "1g.18gb+me"]},
        {"0": ["1g.18gb", "1g.18gb+me", "2g.35gb", "3g.71gb"]},
    ),
    "of two GPUs": ("a30", {1: ["4g.24gb"], 0: ["2g.12gb", "2g.12gb+me"]}, None),
}


@pytest.mark.parametrize("name", FIT)
def test_a_layout_that_fits(name: str) -> None:
    gpu, layout, expected = FIT[name]
    found = mig_layout(layout, gpu)
    if expected is None:
        assert list(found) == ["0", "1"]
    else:
        assert found == expected


REFUSED: dict[str, tuple[str, Any, str]] = {
    "a list": ("a100-80gb", ["3g.40gb"], "expected GPUs with profiles"),
    "a text": ("a100-80gb", {"all": "3g.40gb"}, "expected a list of profiles"),
    "numbers": ("a100-80gb", {"all": [9, 9]}, "expected a list of profiles"),
    "no GPU": ("a100-80gb", {"first": ["3g.40gb"]}, "'first' is no GPU"),
    "too far": ("a100-80gb", {"99": ["3g.40gb"]}, "'99' is no GPU"),
    "all and one": ("a100-80gb", {"all": ["3g.40gb"], "0": []}, "names all and single GPUs"),
    "another GPU's": ("a100-80gb", {"all": ["1g.5gb"]}, "did you mean"),
    "too many": (
        "a100-80gb",
        {"all": ["4g.40gb", "4g.40gb"]},
        "2 instances of 4g.40gb, and a100-80gb can have 1",
    ),
    "too large": ("a100-80gb", {"all": ["3g.40gb", "3g.40gb", "1g.10gb"]}, "do not fit on one a100-80gb"),
    "whole and more": ("a30", {"all": ["4g.24gb", "1g.6gb"]}, "do not fit on one a30"),
    "media twice": ("a30", {"all": ["1g.6gb+me", "2g.12gb+me"]}, "one instance only"),
    "cannot be cut": ("l4", {"all": ["1g.10gb"]}, "GPU l4 has no MIG profiles"),
    "nobody's": ("", {"all": ["1g.10gb"]}, "GPU (none) has no MIG profiles"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layout_that_does_not_fit_is_refused(name: str) -> None:
    gpu, layout, words = REFUSED[name]
    with pytest.raises(InputError) as caught:
        mig_layout(layout, gpu)
    assert words in str(caught.value)
    assert str(caught.value).startswith("nvidia_mig")


def test_gpus_are_those_of_the_facts() -> None:
    facts = {row["name"]: row for row in load_facts().all("gpus")}
    for name, gpu in known_gpus().items():
        assert name in facts
        if gpu.mig:
            assert facts[name]["mig"] is True, name
        assert all(len(number) == len("10de:1eb8") for number in gpu.pci), name


def test_no_unit_comes_after_the_runtime() -> None:
    files = discrete_files(mig={"all": ["3g.40gb"]}, can_mig=True, persistence=True, mps=True, cdi=True)
    files |= jetson_files(clocks=True, cdi=False)
    units = {path: text for path, text in files.items() if path.endswith(".service")}
    assert len(units) == 5
    for path, text in units.items():
        before = next(line for line in text.splitlines() if line.startswith("Before="))
        assert "edgewright-runtime-a.service" in before, path
        assert "WantedBy=multi-user.target" in text


# Simulated: what mig-apply.sh asks of nvidia-smi, over a directory with `mode` and `instances`.
SMI = r"""#!/bin/sh
state=$STATE
echo "$*" >> "$state/log"
case "$*" in
*--query-gpu=index*) echo 0 ;;
*--query-gpu=mig.mode.current*) cat "$state/mode" ;;
*-L) echo "GPU 0: NVIDIA A100 80GB PCIe (UUID: GPU-1)"
     while read -r each; do echo "  MIG $each     Device  0: (UUID: MIG-1)"; done < "$state/instances" ;;
*"-mig 1") if [ -e "$state/needs_reset" ]; then :; else echo Enabled > "$state/mode"; fi ;;
*"-mig 0") echo Disabled > "$state/mode" ;;
*--gpu-reset*) [ ! -e "$state/held" ] || { echo "In use by another client" >&2; exit 1; }
     echo Enabled > "$state/mode" ;;
*"mig -i 0 -dgi") : > "$state/instances" ;;
*"mig -i 0 -dci") ;;
*"mig -i 0 -cgi "*) shift 4; echo "$1" | tr , '\n' > "$state/instances" ;;
*) echo "unknown: $*" >&2; exit 9 ;;
esac
"""


class Gpu:
    """A simulated GPU, and the program run on it."""

    def __init__(self, directory: Path, mode: str, instances: list[str]) -> None:
        self.directory = directory
        (directory / "bin").mkdir()
        smi = directory / "bin" / "nvidia-smi"
        smi.write_text(SMI, encoding="utf-8")
        smi.chmod(0o755)
        (directory / "mode").write_text(f"{mode}\n", encoding="utf-8")
        self._set(instances)

    def _set(self, instances: list[str]) -> None:
        text = "".join(f"{each}\n" for each in instances)
        (self.directory / "instances").write_text(text, encoding="utf-8")

    def apply(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.directory / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", str(DATA / "mig-apply.sh"), *arguments],
            env={"PATH": path, "STATE": str(self.directory)},
            capture_output=True,
            text=True,
            check=False,
        )

    def instances(self) -> list[str]:
        return (self.directory / "instances").read_text(encoding="utf-8").split()

    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8")


APPLIED: dict[str, tuple[str, list[str], str, list[str], bool]] = {
    "cut a whole GPU": ("Disabled", [], "all=3g.40gb,3g.40gb", ["3g.40gb", "3g.40gb"], True),
    "right already": ("Enabled", ["1g.10gb", "3g.40gb"], "0=3g.40gb,1g.10gb", ["1g.10gb", "3g.40gb"], False),
    "lost at boot": ("Enabled", [], "all=7g.80gb", ["7g.80gb"], True),
    "other layout": ("Enabled", ["7g.80gb"], "0=4g.40gb,3g.40gb", ["4g.40gb", "3g.40gb"], True),
    "whole again": ("Enabled", ["7g.80gb"], "all=", [], False),
    "whole and stays so": ("Disabled", [], "all=", [], False),
}


@pytest.mark.parametrize("name", APPLIED)
def test_the_layout_is_made_as_declared(name: str, tmp_path: Path) -> None:
    mode, before, argument, after, created = APPLIED[name]
    gpu = Gpu(tmp_path, mode, before)
    done = gpu.apply(argument)
    assert done.returncode == 0, done.stderr
    assert gpu.instances() == after
    assert ("-cgi" in gpu.log()) is created
    assert ("-dgi" in gpu.log()) is (bool(before) and before != after)


def test_a_gpu_before_hopper_is_reset_for_the_mode(tmp_path: Path) -> None:
    gpu = Gpu(tmp_path, "Disabled", [])
    (tmp_path / "needs_reset").touch()
    assert gpu.apply("0=7g.80gb").returncode == 0
    assert "--gpu-reset" in gpu.log()
    assert gpu.instances() == ["7g.80gb"]


def test_a_gpu_that_is_in_use_is_left_and_told(tmp_path: Path) -> None:
    gpu = Gpu(tmp_path, "Disabled", [])
    (tmp_path / "needs_reset").touch()
    (tmp_path / "held").touch()
    done = gpu.apply("0=7g.80gb")
    assert done.returncode != 0
    assert "In use" in done.stderr
    assert gpu.instances() == []


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    assert Gpu(tmp_path, "Disabled", []).apply().returncode == 2

# SPDX-License-Identifier: Apache-2.0
"""The known traps, each by name: what must be refused, with which words and source, and what must not."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from edgewright.device.profile import carried_profiles, load_profile
from edgewright.errors import InputError
from edgewright.release.stack.facts import load_facts
from edgewright.release.stack.model import Level
from edgewright.release.stack.universe import make_universe
from edgewright.release.stack.waiver import Waiver
from tests.unit.release.stack.solving import DAY, WAIVER, solved, universe_of, versions

REFUSED = {
    "TensorRT 11 under onnxruntime's TensorRT provider": (
        *("x86_t4", "tensorrt>=11 onnxruntime-gpu"),
        *("links libnvinfer.so.10, and TensorRT 11 brings libnvinfer.so.11", "readelf -d"),
    ),
    "cuDNN 9.12 with CUDA 11": (
        *("x86_t4", "cudnn==9.12 cuda==11.8"),
        *("is built for CUDA 12 or 13, not for CUDA 11", "PyPI"),
    ),
    "cuDNN 9 with an onnxruntime of CUDA 11": (
        *("x86_t4", "onnxruntime-gpu<1.19 cudnn>=9"),
        *("no verified source names the cuDNN of onnxruntime-gpu", ""),
    ),
    "compute capability dropped by CUDA 13": (
        *("v100", "cuda>=13"),
        *("CUDA 12 is the last that has code for compute capability 7.0", "architecture-matrix"),
    ),
    "compute capability dropped by TensorRT 10.5": (
        *("v100", "tensorrt>=10.5"),
        *("has code from compute capability 7.5 on, and the NVIDIA V100 has 7.0", "TensorRT"),
    ),
    "GPU dropped by the driver": (
        *("v100", "driver>=590"),
        *("R580 is the last driver branch that drives Volta", "architecture-matrix"),
    ),
    "open modules on a GPU before Turing": (
        *("v100", "module-flavour==open"),
        *("the open modules don't drive Volta", "kernel-modules"),
    ),
    "proprietary modules on Blackwell": (
        *("rtx-pro-6000", "module-flavour==proprietary"),
        *("the proprietary modules don't drive Blackwell", "R560"),
    ),
    "Blackwell with Debian's driver": (
        *("rtx-pro-6000", "driver<570"),
        *("Blackwell needs driver 570.26 or newer", "release-notes"),
    ),
    "Debian's open module older than its driver": (
        *("x86_t4", "suite==bookworm module-flavour==open driver==535.309.01"),
        *("nvidia-open-kernel-dkms is 535.261.03", "Debian archive"),
    ),
    "CUDA 13 on the driver of bookworm": (
        *("x86_t4", "driver<536 cuda==13.0"),
        *("CUDA 13 needs driver 580.65.06 or newer to run at all", "minor-version-compatibility"),
    ),
    "driver of another suite": (
        *("x86_t4", "suite==bookworm driver==550.163.01"),
        *("published for trixie, not for bookworm", "Debian archive"),
    ),
    "kernel newer than Debian's driver was built for": (
        *("x86_t4", "suite==trixie kernel>=7 driver==550.163.01"),
        *("for kernels up to 6.15 only", "Debian archive"),
    ),
    "onnxruntime without a wheel for trixie's Python": (
        *("x86_t4", "suite==trixie onnxruntime-gpu<1.20"),
        *("has wheels for Python 3.8 to 3.12 only", ""),
    ),
    "real time with the discrete driver": (
        *("x86_t4", "kernel-flavour==rt"),
        *("NVIDIA does not support its driver on PREEMPT_RT kernels", "open-gpu-kernel-modules"),
    ),
    "CUDA that was only seen on PyPI": (
        *("x86_t4", "cuda==13.5"),
        *("no verified source names the driver that CUDA 13.5 needs", "not verified"),
    ),
    "cuDNN whose GPUs nobody wrote down": (
        *("x86_t4", "cudnn==9.28"),
        *("no verified source names the GPUs that cudnn 9.28.0 has code for", "PyPI"),
    ),
    "driver whose suites nobody read": (
        *("x86_t4", "driver>=600"),
        *("no verified source names the kernels of", "was not read"),
    ),
    "JetPack 6 on Thor": (
        *("agx_thor", "jetpack==6.2"),
        *("is for orin, not for thor", "jetson_stats"),
    ),
    "JetPack 7.0 on Orin": (
        *("orin_nano_8gb", "jetpack==7.0"),
        *("is for thor, not for orin", "nvidia.com"),
    ),
    "another CUDA than JetPack's": (
        *("orin_nano_8gb", "l4t==36.4.3 cuda==12.2"),
        *("6.2.3 brings cuda 12.6", "jetson"),
    ),
    "JetPack 7.2, whose CUDA was not verified": (
        *("orin_nano_8gb", "jetpack==7.2 l4t==39.2.0 cuda"),
        *("no verified source names the cuda of JetPack 7.2", ""),
    ),
    "JetPack 6 on the firmware of JetPack 5": (
        *("orin_nano_devkit", "l4t==36.4.3 firmware==35"),
        *("L4T 36 on board firmware R35 does not boot", "jetpack"),
    ),
    "JetPack 5 whose modules were not verified": (
        *("orin_nx_16gb", "jetpack==5.1"),
        *("no verified source names the modules of JetPack 5.1", ""),
    ),
    "real time on L4T 38": (
        *("agx_thor", "kernel-flavour==rt l4t==38.4"),
        *("no verified source names a PREEMPT_RT kernel for L4T 38.4", ""),
    ),
    "PyPI's onnxruntime on a Jetson": (
        *("agx_orin_64gb", "onnxruntime-gpu"),
        *("no verified source says that onnxruntime-gpu", "PyPI"),
    ),
}

UNHEARD = {
    "a TensorRT that no fact supports": (
        "x86_t4",
        "tensorrt>=12",
        "no fact names such a tensorrt (known are",
    ),
    "an unknown L4T": ("orin_nano_8gb", "l4t==36.9.9", "no fact names such a l4t (known are"),
    "an unknown suite": ("x86_t4", "suite==sid", "no fact names such a suite (known are trixie, bookworm)"),
    "another GPU than the profile's": ("x86_t4", "gpu==h100", "the profile's gpu is t4"),
    "a driver on a Jetson": ("agx_thor", "driver>=580", "has a Jetson module, for which there is no driver"),
    "CUDA without a GPU": ("x86_plain", "cuda", "has no NVIDIA GPU, for which there is no cuda"),
    "CUDA on a Raspberry Pi": ("raspberry_pi_5", "cuda", "has no NVIDIA GPU"),
    "L4T on a server": ("x86_t4", "l4t", "has an NVIDIA card, for which there is no l4t"),
}


@pytest.fixture(autouse=True)
def _cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Profiles `v100` and `rtx-pro-6000`: the T4's host with another card."""
    for card in ("v100", "rtx-pro-6000"):
        text = (carried_profiles() / "x86_t4.yml").read_text().replace("gpu_model: t4", f"gpu_model: {card}")
        (tmp_path / f"{card}.yml").write_text(text)

    def found(name: object, directories: object) -> object:
        return load_profile(name, [tmp_path, carried_profiles()])

    monkeypatch.setattr("tests.unit.release.stack.solving.load_profile", found)


@pytest.mark.parametrize(("profile", "wants", "words", "source"), REFUSED.values(), ids=REFUSED)
def test_a_trap_is_refused_in_a_sentence_with_its_source(
    profile: str, wants: str, words: str, source: str
) -> None:
    outcome = solved(profile, wants)
    assert not outcome.ok
    text = "\n".join(outcome.because)
    assert words in text
    assert text.startswith("Because ")
    assert any(source in each for each in (*outcome.sources, "" if not source else "-"))
    assert not outcome.chosen


@pytest.mark.parametrize(("profile", "wants", "words"), UNHEARD.values(), ids=UNHEARD)
def test_what_no_fact_names_is_refused_by_name(profile: str, wants: str, words: str) -> None:
    outcome = solved(profile, wants)
    assert not outcome.ok
    assert words in "\n".join(outcome.because)


def test_wants_that_contradict_each_other_are_told_alone() -> None:
    outcome = solved("x86_t4", "tensorrt>=10 cuda<13 driver>=535 cuda==13.0")
    (told,) = outcome.because
    assert told == (
        "Because cuda<13 is wanted (--want),\n  and cuda==13.0 is wanted (--want),\n  and no cuda is all of"
        " that, no stack fits."
    )


def test_cuda_12_4_with_535_is_minor_version_compatible() -> None:
    outcome = solved("x86_t4", "suite==bookworm cuda==12.4 driver<536")
    assert versions(outcome)["driver"] == "535.309.01"
    (warning,) = outcome.warnings
    assert warning.answer.level is Level.MINOR
    assert "came with driver 550.54.15; on 535.309.01 it runs by minor-version" in warning.answer.why
    assert any("support of driver branch R535 ended in 2026-06" in note for note in outcome.notes)


def test_cuda_12_4_with_535_is_not_full_by_the_often_repeated_number() -> None:
    """535.104.05 is the driver of CUDA 12.2 Update 2, not what 12.4 needs."""
    outcome = solved("x86_t4", "suite==bookworm cuda==12.2 driver<536")
    assert outcome.ok
    assert not outcome.warnings


def test_debians_older_driver_goes_with_the_open_module() -> None:
    outcome = solved("x86_t4", "suite==bookworm module-flavour==open driver<536")
    assert versions(outcome)["driver"] == versions(outcome)["module"] == "535.261.03"


def test_cudnn_9_10_still_has_cuda_11() -> None:
    assert versions(solved("x86_t4", "cuda==11.8 cudnn>=9"))["cudnn"] == "9.10.2"


def test_tensorrt_stays_at_10_under_onnxruntime() -> None:
    outcome = solved("x86_t4", "tensorrt onnxruntime-gpu")
    assert versions(outcome)["tensorrt"].startswith("10.")
    assert versions(outcome)["cuda"].startswith("13.")
    assert [each.other.item for each in outcome.warnings] == ["onnxruntime-gpu"]


def test_the_example_of_the_documentation() -> None:
    outcome = solved("x86_t4", "tensorrt>=10,<11 driver>=535")
    assert outcome.ok
    assert not outcome.warnings
    assert versions(outcome) == {
        "arch": "amd64",
        "gpu": "t4",
        "suite": "trixie",
        "kernel-flavour": "generic",
        "kernel": "6.12.117",
        "driver": "580.126.18",
        "module-flavour": "open",
        "module": "580.126.18",
        "cuda": "13.0.2",
        "tensorrt": "10.14.1",
    }


def test_jetpack_decides_on_a_jetson() -> None:
    outcome = solved("orin_nano_8gb", "l4t==36.4.3 cuda cudnn tensorrt firmware")
    found = versions(outcome)
    assert (found["jetpack"], found["cuda"], found["cudnn"], found["tensorrt"]) == (
        *("6.2", "12.6", "9.3.0"),
        "10.3.0",
    )
    assert (found["firmware"], found["suite"], found["kernel"]) == ("36", "jammy", "5.15")


def test_a_jetsons_real_time_kernel_needs_no_waiver() -> None:
    outcome = solved("agx_thor", "kernel-flavour==rt")
    assert versions(outcome)["l4t"] == "39.2.1"
    assert any("developer preview" in each.answer.why for each in outcome.answers)


class TestRealTime:
    """PREEMPT_RT with the discrete driver."""

    def test_a_waiver_sets_the_refusal_aside_and_is_in_the_answer(self) -> None:
        outcome = solved("x86_t4", "kernel-flavour==rt", WAIVER)
        assert outcome.ok
        assert outcome.waived
        (waived,) = [each for each in outcome.warnings if each.answer.level is Level.WAIVED]
        assert "A. Person" in waived.answer.why
        assert "2027-06-30" in waived.answer.why
        assert outcome.as_json()["waiver"] == {
            "who": "A. Person",
            "why": "the line stops without it",
            "until": "2027-06-30",
        }

    def test_an_expired_waiver_does_not_count(self) -> None:
        outcome = solved("x86_t4", "kernel-flavour==rt", WAIVER, on=datetime.date(2027, 7, 1))
        assert not outcome.ok
        assert "the waiver of A. Person ended on 2027-06-30" in "\n".join(outcome.because)

    def test_it_counts_on_its_last_day(self) -> None:
        assert solved("x86_t4", "kernel-flavour==rt", WAIVER, on=WAIVER.until).ok

    def test_a_waiver_is_not_shown_where_none_was_needed(self) -> None:
        outcome = solved("x86_t4", "kernel-flavour==generic", WAIVER)
        assert not outcome.waived
        assert outcome.as_json()["waiver"] is None

    def test_old_open_modules_are_warned_about(self) -> None:
        outcome = solved("x86_t4", "kernel-flavour==rt driver==580.105.08 module-flavour==open", WAIVER)
        assert any("plain spinlocks only from 580.119.02" in each.answer.why for each in outcome.warnings)

    def test_a_waiver_makes_nothing_else_work(self) -> None:
        waiver = Waiver("A. Person", "all of it", datetime.date(2030, 1, 1))
        assert not solved("x86_t4", "kernel-flavour==rt driver<536 cuda>=13", waiver).ok

    def test_without_the_driver_no_waiver_is_needed(self) -> None:
        assert versions(solved("x86_plain", "kernel-flavour==rt"))["kernel-flavour"] == "rt"


def test_the_end_of_a_branch_depends_on_the_day() -> None:
    before = solved("x86_t4", "suite==bookworm driver<536", on=datetime.date(2026, 6, 30))
    assert not any("support of driver branch" in note for note in before.notes)


@pytest.mark.parametrize("path", sorted(carried_profiles().glob("*.yml")), ids=lambda path: path.stem)
def test_every_carried_profile_has_a_stack(path: Path) -> None:
    outcome = solved(path.stem)
    assert outcome.ok, outcome.because
    assert not outcome.warnings


def test_a_profile_without_its_gpus_name_is_refused() -> None:
    profile = {"name": "site_box", "arch": "amd64", "gpu": "nvidia"}
    with pytest.raises(InputError, match=r"profile site_box has gpu: nvidia and names no gpu_model: add it"):
        make_universe(profile, load_facts(), None, DAY)


def test_a_gpu_of_which_there_is_no_fact_is_refused() -> None:
    profile = {"name": "site_box", "arch": "amd64", "gpu": "nvidia", "gpu_model": "gtx-480"}
    with pytest.raises(InputError, match=r"no fact names the GPU 'gtx-480' \(discrete\): known are t4"):
        make_universe(profile, load_facts(), None, DAY)


@pytest.mark.parametrize(
    ("module", "words"), [(None, "names no jetson_module"), ("p9999-0000", "no fact names the Jetson module")]
)
def test_a_jetson_module_must_be_known(module: str | None, words: str) -> None:
    profile = {"name": "box", "arch": "arm64", "gpu": "tegra", "gpu_model": "orin"}
    with pytest.raises(InputError, match=words):
        make_universe({**profile, "jetson_module": module}, load_facts(), None, DAY)


def test_no_unverified_value_ever_says_yes() -> None:
    """Every answer that is not a refusal names no unverified source."""
    for profile in ("x86_t4", "x86_h200", "orin_nano_8gb", "agx_thor", "x86_plain"):
        universe = universe_of(profile, WAIVER)
        for (one, other), judge in universe.judges.items():
            for first in universe.domains[one]:
                for second in universe.domains[other]:
                    answer = judge(first, second)
                    if answer is not None and answer.level is not Level.REFUSED:
                        assert not any("(not verified)" in each for each in answer.sources), (first, second)
                        assert answer.sources, (first, second)

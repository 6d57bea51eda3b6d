# SPDX-License-Identifier: Apache-2.0
"""`edgewright stack`: exit codes, words and JSON."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edgewright.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
RELEASE = ROOT / "releases" / "label-reader"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code, and standard output followed by standard error."""
    code = main(["stack", *argv])
    caught = capsys.readouterr()
    return code, caught.out + caught.err


def release_with(tmp_path: Path, **nvidia: object) -> Path:
    """The example release with a key `nvidia`."""
    text = (RELEASE / "release.yml").read_text()
    (tmp_path / "release.yml").write_text(text + yaml.safe_dump({"nvidia": nvidia}))
    return tmp_path


def test_solve_prints_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(
        capsys, "solve", "--profile", "x86_t4", "--want", "tensorrt>=10,<11", "--want", "driver>=535"
    )
    assert code == 0
    assert text.startswith("profile x86_t4: fits\n")
    assert "tensorrt           10.14.1" in text


def test_a_refusal_has_status_1_and_numbered_sources(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(
        capsys, "solve", "--profile", "x86_t4", "--want", "tensorrt>=11", "--want", "onnxruntime-gpu"
    )
    assert code == 1
    assert "Because tensorrt>=11 is wanted (--want),\n  and onnxruntime-gpu is wanted (--want)," in text
    assert "\n  [1] onnxruntime_gpu-1.26.0" in text


def test_solve_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--profile", "x86_l4", "--want", "cuda==12.4", "--want", "driver<536", "--on", "2026-11-21")
    code, text = run(capsys, "solve", *options, "--json")
    document = json.loads(text)
    assert code == 0
    assert (document["schema"], document["result"], document["on"]) == (
        "edgewright.stack/v1",
        "fits",
        "2026-11-21",
    )
    assert document["items"]["cuda"]["version"] == "12.4.1"
    levels = {tuple(answer["items"]): answer["level"] for answer in document["answers"]}
    assert levels["driver", "cuda"] == "minor-version compatible"
    assert run(capsys, "solve", *options, "--json")[1] == text


def test_a_refusal_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "solve", "--profile", "x86_t4", "--want", "kernel-flavour==rt", "--json")
    document = json.loads(text)
    assert code == 1
    assert (document["result"], document["items"]) == ("refused", {})
    assert len(document["sources"]) == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("solve", "--profile", "x86_t5"), "did you mean x86_t4"),
        (("solve", "--profile", "x86_t4", "--want", "tensort"), "did you mean tensorrt"),
        (("solve", "--profile", "x86_t4", "--on", "tomorrow"), "expected a day such as"),
        (("solve", "--profile", "x86_t4", "--release", "nowhere"), "there is no such file"),
        (("solve", "--profile", "x86_t4", "--facts", "nowhere"), "missing gpus.yml"),
        (("explain", "--profile", "x86_t4", "cudnn"), "the stack has none"),
        (("check", "nowhere.json", "--profile", "x86_t4"), "No such file"),
        (("check", str(RELEASE)), "name the device's hardware with --profile"),
    ],
)
def test_bad_input_has_status_2_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    code, text = run(capsys, *argv)
    assert code == 2
    assert message in text


def test_explain_tells_why_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "explain", "--profile", "x86_t4", "--want", "tensorrt>=10,<11", "tensorrt")
    assert code == 0
    assert "full with cuda 13.0.2: TensorRT 10.14.1 lists CUDA 13.0 [" in text
    assert "not tensorrt 11.4.0, which would be preferred:\n  tensorrt>=10,<11 is wanted (--want)" in text


def test_explain_of_a_version_tells_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "explain", "--profile", "x86_t4", "--want", "driver<536", "cuda==13.0")
    assert code == 1
    assert "CUDA 13 needs driver 580.65.06 or newer to run at all" in text


def test_explain_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "explain", "--profile", "x86_t4", "--json", "driver")
    document = json.loads(text)
    assert code == 0
    assert document["version"] == "580.126.18"
    assert document["passed"] == []


def test_check_of_the_example_release(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "check", str(RELEASE), "--profile", "x86_vm")
    assert code == 0
    assert f"{RELEASE}: fits (profile x86_vm)" in text


class TestLockWithStack:
    """A lock that names profiles and a waiver of its own."""

    LOCK = ROOT / "releases" / "label-reader-t4"

    def test_it_fits_by_its_own_profile_and_waiver(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, text = run(capsys, "check", str(self.LOCK), "--on", "2026-11-21")
        assert code == 0
        assert "driver             535.309.01" in text
        assert "module-flavour     proprietary" in text
        assert "WAIVER: Ada Example, line engineering answers for it until 2027-06-30" in text
        assert f"{self.LOCK} on bookworm/amd64: fits (profile x86_t4)" in text

    def test_its_waiver_ends(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, text = run(capsys, "check", str(self.LOCK), "--on", "2027-07-01")
        assert code == 1
        assert "the waiver of Ada Example, line engineering ended on 2027-06-30" in text

    def test_another_profile_is_judged_by_the_artefacts(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, text = run(capsys, "check", str(self.LOCK), "--profile", "x86_l4", "--json")
        document = json.loads(text)
        assert code == 1
        assert (document["items"]["gpu"], document["items"]["module"]) == ("l4", "535.309.01")
        assert any("carries no waiver" in each["why"] for each in document["answers"])

    def test_what_was_chosen_must_be_what_the_artefacts_are(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        text = (self.LOCK / "release.lock.yml").read_text()
        path = tmp_path / "release.lock.yml"
        path.write_text(text.replace("\n    driver: 535.309.01\n", "\n    driver: 535.261.03\n"))
        code, told = run(capsys, "check", str(path), "--on", "2026-11-21")
        assert code == 1
        assert "driver is 535.309.01 by package libcuda1, and 535.261.03 by nvidia.chosen of x86_t4" in told

    def test_a_target_that_the_lock_has_not(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        text = (self.LOCK / "release.lock.yml").read_text()
        path = tmp_path / "release.lock.yml"
        path.write_text(text.replace("target: bookworm/amd64", "target: trixie/amd64"))
        code, told = run(capsys, "check", str(path))
        assert code == 2
        assert "nvidia[0]: target 'trixie/amd64' is none of bookworm/amd64" in told


def test_what_was_solved_is_checked_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, solved = run(capsys, "solve", "--profile", "x86_a30", "--json")
    monkeypatch.setattr("sys.stdin", io.StringIO(solved))
    code, text = run(capsys, "check", "-")
    assert code == 0
    assert "standard input: fits (profile x86_a30)" in text


def test_check_of_a_devices_have(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    have = tmp_path / "have.json"
    have.write_text(json.dumps({"nvidia": {"driver": "535.309.01", "cuda": "13.0"}}))
    code, text = run(capsys, "check", str(have), "--profile", "x86_t4")
    assert code == 1
    assert "refused: driver and cuda: CUDA 13 needs driver 580.65.06 or newer to run at all [1]" in text
    assert "does not fit, 1 reason" in text
    assert "note: nothing names suite, kernel-flavour, kernel, module-flavour, module" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "neither a lock"), ("[]", "expected a JSON object"), ("{}", "it names no version of the stack")],
)
def test_check_of_what_is_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "have.json"
    path.write_text(text)
    code, told = run(capsys, "check", str(path), "--profile", "x86_t4")
    assert code == 2
    assert message in told


class TestRelease:
    """What a release says: suite, kernel flavour, waiver."""

    def test_the_example_release_is_real_time_and_has_no_waiver(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, text = run(capsys, "solve", "--profile", "x86_t4", "--release", str(RELEASE))
        assert code == 1
        assert f"kernel-flavour==rt is wanted ({RELEASE / 'release.yml'})" in text

    def test_its_waiver_counts_and_is_printed(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        waiver = {"who": "A. Person", "why": "the line stops without it", "until": "2027-06-30"}
        path = release_with(tmp_path, rt_waiver=waiver)
        options = ("solve", "--profile", "x86_t4", "--release", str(path), "--on", "2026-11-21")
        code, text = run(capsys, *options)
        assert code == 0
        assert "suite              bookworm" in text
        assert "WAIVER: A. Person answers for it until 2027-06-30: the line stops without it" in text
        code, text = run(capsys, *options[:-1], "2027-07-01")
        assert code == 1
        assert "the waiver of A. Person ended on 2027-06-30" in text

    def test_its_wants_count(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        waiver = {"who": "x", "why": "x", "until": "2999-12-31"}
        wants = ["driver==535.309.01", "cuda>=13"]
        path = release_with(tmp_path, profiles=["x86_t4"], want=wants, rt_waiver=waiver)
        code, text = run(capsys, "solve", "--profile", "x86_t4", "--release", str(path))
        assert code == 1
        assert f"cuda>=13 is wanted ({path / 'release.yml'}:" in text

    def test_a_waiver_without_a_name_is_refused(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = release_with(tmp_path, rt_waiver={"why": "x", "until": "2027-06-30"})
        code, text = run(capsys, "solve", "--profile", "x86_t4", "--release", str(path))
        assert code == 2
        assert "who" in text

    def test_a_waiver_until_someday_is_refused(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = release_with(tmp_path, rt_waiver={"who": "x", "why": "x", "until": "someday"})
        code, text = run(capsys, "solve", "--profile", "x86_t4", "--release", str(path))
        assert code == 2
        assert "nvidia.rt_waiver.until: expected a date such as 2027-06-30, got 'someday'" in text


def test_a_sites_profile_and_facts_are_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    shutil.copytree(ROOT / "edgewright" / "data" / "facts", facts)
    gpus = facts / "gpus.yml"
    gpus.write_text(gpus.read_text().replace('name: "t4"', 'name: "site-card"'))
    profile = (ROOT / "edgewright" / "data" / "profiles" / "x86_t4.yml").read_text()
    (tmp_path / "box.yml").write_text(profile.replace("gpu_model: t4", "gpu_model: site-card"))
    options = ("solve", "--profile", "box", "--profiles", str(tmp_path))
    assert run(capsys, *options, "--facts", str(facts))[0] == 0
    code, text = run(capsys, *options)
    assert code == 2
    assert "no fact names the GPU 'site-card'" in text


@pytest.mark.parametrize("wants", [("tensorrt", "onnxruntime-gpu"), ("tensorrt>=11", "onnxruntime-gpu")])
def test_the_same_question_has_the_same_answer_in_every_process(wants: tuple[str, ...]) -> None:
    """Python's own order of sets differs between processes; an answer must not."""
    argv = [sys.executable, "-m", "edgewright.cli.main", "stack", "solve", "--profile", "x86_t4", "--json"]
    argv += ["--on", "2026-11-21", *(word for want in wants for word in ("--want", want))]
    answers = {
        subprocess.run(
            argv, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, check=False
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(answers) == 1
    assert json.loads(answers.pop())["schema"] == "edgewright.stack/v1"

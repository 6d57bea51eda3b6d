# SPDX-License-Identifier: Apache-2.0
"""`release lock` and the NVIDIA stack: what is chosen, what a lock holds, and what is refused by name."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgewright.device.profile import carried_profiles
from edgewright.errors import InputError
from edgewright.release.documents import dump_lock, load_lock_file
from edgewright.release.stack.check import check, stacks_of_lock
from edgewright.release.stack.facts import load_facts
from edgewright.release.stack.locked import lock_stack
from tests.unit.release.stack.solving import DAY, universe_of
from tests.unit.release.tiny import Folder

WAIVER = "  rt_waiver: {who: Ada, why: the line, until: 2027-06-30}\n"
TARGETS = (
    "\ntargets:\n  - {suite: trixie, arch: amd64, kernel: linux-image-amd64, sources: "
    '[{uri: "archive:debian", suites: [trixie], components: [main]}], python: {version: "3.13"}}\n'
)


def part(flavour: str = "rt", suite: str = "bookworm", kernel: str = "6.1.192-2") -> dict[str, Any]:
    """What a lock says of a target, without packages of NVIDIA."""
    image = f"linux-image-{kernel}-{flavour}"
    return {
        "os": {"family": "debian", "suite": suite, "arch": "amd64"},
        "kernel": {"package": image, "version": kernel, "release": kernel, "flavour": flavour},
        "apt": {"packages": [{"name": image, "version": kernel, "source": f"{suite}-security"}]},
        "python": {"wheels": []},
    }


class Locking:
    """The tiny release with an `nvidia` section, and the lock that it has so far."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.lock = part()
        self.more = ""

    def deb(self, name: str, version: str) -> None:
        self.lock["apt"]["packages"].append({"name": name, "version": version, "source": "bookworm"})

    def wheel(self, name: str, version: str) -> None:
        self.lock["python"]["wheels"].append({"name": name, "version": version})

    def file(self, name: str) -> None:
        self.lock.setdefault("files", []).append({"name": name})

    def stack(
        self,
        want: str = "",
        profiles: str = "x86_t4",
        waiver: str = WAIVER,
        on: datetime.date = DAY,
        directories: tuple[Path, ...] = (),
    ) -> list[dict[str, Any]]:
        """Lock it; `want` has wants between spaces."""
        wants = ", ".join(f'"{each}"' for each in want.split())
        section = f"nvidia:\n  profiles: [{profiles}]\n" + (f"  want: [{wants}]\n" if want else "") + waiver
        marked = self.folder.read(("apt:\n", f"{section}apt:\n"), more=self.more)
        return lock_stack(marked, self.lock, [*directories, carried_profiles()], load_facts(), on)

    def refused(self, *args: Any, **named: Any) -> str:
        """Why it is not locked."""
        with pytest.raises(InputError) as told:
            self.stack(*args, **named)
        return str(told.value)


@pytest.fixture
def locking(folder: Folder) -> Locking:
    return Locking(folder)


@pytest.fixture
def debian(locking: Locking) -> Locking:
    """With Debian's driver locked, its modules, and a kernel that is not real-time."""
    locking.lock["kernel"]["flavour"] = "generic"
    locking.deb("nvidia-driver", "535.309.01-0+deb12u1")
    locking.deb("nvidia-kernel-dkms", "535.309.01-0+deb12u1")
    return locking


class TestChosen:
    def test_what_the_lock_holds_is_given_and_the_rest_is_chosen(self, debian: Locking) -> None:
        (entry,) = debian.stack("tensorrt>=10,<11 onnxruntime-gpu container-toolkit", waiver="")
        assert (entry["profile"], entry["target"], entry["origin"]) == ("x86_t4", "bookworm/amd64", "debian")
        chosen = entry["chosen"]
        assert list(chosen)[:8] == [
            *("arch", "gpu", "suite", "kernel-flavour", "kernel", "driver", "module-flavour", "module")
        ]
        assert (chosen["kernel"], chosen["driver"], chosen["module-flavour"]) == (
            *("6.1.192", "535.309.01"),
            "proprietary",
        )
        assert chosen["tensorrt"].startswith("10.")
        assert chosen["python"] == "3.11"
        assert entry["unlocked"] == ["cuda", "tensorrt", "onnxruntime-gpu", "cudnn", "container-toolkit"]
        assert entry["waiver"] is None

    def test_the_waiver_that_it_leans_on_is_part_of_it(self, locking: Locking) -> None:
        (entry,) = locking.stack("driver==535.309.01")
        assert entry["waiver"] == {"who": "Ada", "why": "the line", "until": "2027-06-30"}
        (warning,) = entry["warnings"]
        assert warning["items"] == {"kernel-flavour": "rt", "driver": "535.309.01"}
        assert warning["level"] == "waived"
        assert any("open-gpu-kernel-modules" in source for source in warning["sources"])

    def test_a_waiver_that_nothing_leans_on_is_told_and_not_locked(
        self, debian: Locking, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (entry,) = debian.stack()
        assert entry["waiver"] is None
        assert "release.yml:11: nothing leans on this waiver" in capsys.readouterr().err

    def test_what_the_site_must_bring_is_told(
        self, locking: Locking, capsys: pytest.CaptureFixture[str]
    ) -> None:
        locking.stack("driver==535.309.01 cudnn")
        told = capsys.readouterr().err
        assert "holds driver 535.309.01, module 535.309.01, cuda 12" in told
        assert "NVIDIA's support of driver branch R535 ended in 2026-06" in told

    def test_every_profile_is_solved_on_every_target_of_its_architecture(self, debian: Locking) -> None:
        debian.more = TARGETS
        debian.lock["targets"] = [part("generic", "trixie", "6.12.117-1")]
        found = debian.stack(profiles="x86_l4, x86_t4", waiver="")
        assert [(entry["profile"], entry["target"]) for entry in found] == [
            *(("x86_l4", "bookworm/amd64"), ("x86_l4", "trixie/amd64")),
            *(("x86_t4", "bookworm/amd64"), ("x86_t4", "trixie/amd64")),
        ]
        assert {entry["target"]: entry["chosen"]["driver"] for entry in found}[
            "bookworm/amd64"
        ] == "535.309.01"
        assert {entry["target"]: entry["chosen"]["suite"] for entry in found}["trixie/amd64"] == "trixie"

    def test_a_targets_own_python_counts(self, debian: Locking) -> None:
        debian.more = TARGETS
        debian.lock["targets"] = [part("generic", "trixie", "6.12.117-1")]
        pythons = {
            entry["target"]: entry["chosen"]["python"] for entry in debian.stack("onnxruntime-gpu", waiver="")
        }
        assert pythons == {"bookworm/amd64": "3.11", "trixie/amd64": "3.13"}

    def test_a_kernel_of_tomorrow_is_judged_by_its_line(self, debian: Locking) -> None:
        debian.lock["kernel"]["version"] = "6.1.999-1"
        assert debian.stack(waiver="")[0]["chosen"]["kernel"] == "6.1.999"

    def test_modules_that_the_bundle_is_built_with_count(self, locking: Locking) -> None:
        built = {"name": "nvidia", "package": "edgewright-nvidia-modules-6.1.0-56-rt-amd64"}
        locking.lock["modules"] = [{**built, "flavour": "open", "driver": "535.261.03"}]
        (entry,) = locking.stack("driver")
        assert entry["chosen"]["module-flavour"] == "open"
        assert entry["chosen"]["driver"] == entry["chosen"]["module"] == "535.261.03"
        assert entry["unlocked"] == ["driver"]
        told = locking.refused("module-flavour==proprietary")
        assert "wanted (locked as modules edgewright-nvidia-modules-6.1.0-56-rt-amd64)" in told

    def test_a_file_of_another_architecture_does_not_count(self, debian: Locking) -> None:
        debian.file("libcudnn9-cuda-12_9.99.0.1-1_arm64.deb")
        debian.file("tensorrt_cu12_libs-99.0-py3-none-manylinux_2_35_aarch64.whl")
        assert "cudnn" not in debian.stack(waiver="")[0]["chosen"]

    def test_a_file_for_another_suite_does_not_count(self, debian: Locking) -> None:
        name = "libcudnn9-cuda-12_9.99.0.1-1_amd64.deb"
        debian.lock["files"] = [{"name": name, "suites": ["trixie"]}]
        assert "cudnn" not in debian.stack(waiver="")[0]["chosen"]

    def test_a_sites_own_profile_comes_first(self, debian: Locking, tmp_path: Path) -> None:
        text = (carried_profiles() / "x86_t4.yml").read_text().replace("gpu_model: t4", "gpu_model: l4")
        (tmp_path / "profiles").mkdir()
        (tmp_path / "profiles/x86_t4.yml").write_text(text)
        (entry,) = debian.stack(waiver="", directories=(tmp_path / "profiles",))
        assert entry["chosen"]["gpu"] == "l4"

    def test_the_same_input_gives_the_same_bytes_and_they_fit_the_schema(
        self, locking: Locking, tmp_path: Path
    ) -> None:
        locking.deb("libcuda1", "535.309.01-0+deb12u1")
        first = locking.stack("tensorrt<11 container-toolkit")
        assert first == locking.stack("tensorrt<11 container-toolkit")
        whole = load_lock_file(Path("releases/label-reader/release.lock.yml"))[0]
        (tmp_path / "with.lock.yml").write_bytes(dump_lock({**whole, "nvidia": first}))
        assert load_lock_file(tmp_path / "with.lock.yml")[0]["nvidia"] == first

    def test_what_was_locked_is_checked_as_fitting_for_every_carried_card(self, locking: Locking) -> None:
        paths = [path for path in carried_profiles().glob("x86_*.yml") if "gpu: nvidia" in path.read_text()]
        found = locking.stack("container-toolkit tensorrt>=10,<11", ", ".join(path.stem for path in paths))
        assert len(found) == len(paths) > 10
        for stack in stacks_of_lock({**locking.lock, "nvidia": found}):
            verdict = check(universe_of(stack.profile, stack.waiver), stack.found)
            assert verdict.ok, (stack.profile, verdict.unheard, verdict.refused)

    def test_a_release_without_profiles_has_no_such_section(self, folder: Folder) -> None:
        assert lock_stack(folder.read(), part(), [carried_profiles()], load_facts(), DAY) == []


HELD = {
    # name: (kind, name, version, want, words)
    "driver": (
        *("deb", "nvidia-driver", "535.261.03-1", "driver==535.309.01"),
        "driver==535.261.03 is wanted (locked as package nvidia-driver)",
    ),
    "cuda": (
        *("deb", "cuda-cudart-12-4", "12.4.127-1", "cuda==12.2"),
        "cuda==12.4.1 is wanted (locked as package cuda-cudart-12-4)",
    ),
    "cudnn": (
        *("wheel", "nvidia-cudnn-cu12", "9.17.0.29", "cudnn<9.10"),
        "cudnn==9.17.0 is wanted (locked as wheel nvidia-cudnn-cu12)",
    ),
    "tensorrt": (
        *("file", "libnvinfer10_10.6.0.26-1+cuda12.6_amd64.deb", "", "tensorrt>=11"),
        "tensorrt==10.6.0 is wanted (locked as file libnvinfer10_10.6.0.26-1+cuda12.6_amd64.deb)",
    ),
    "container toolkit": (
        *("file", "nvidia-container-toolkit_1.18.2-1_amd64.deb", "", "container-toolkit<1.18"),
        "container-toolkit==1.18.2 is wanted (locked as file nvidia-container-toolkit_1.18.2-1_amd64.deb)",
    ),
    "onnxruntime-gpu under another CUDA": (
        *("wheel", "onnxruntime-gpu", "1.31.1", "cuda<13"),
        "onnxruntime-gpu 1.31.1 on PyPI links CUDA 13, not CUDA 12",
    ),
}


class TestRefused:
    @pytest.mark.parametrize("case", HELD)
    def test_a_locked_version_that_is_not_the_wanted_one_is_named(self, case: str, debian: Locking) -> None:
        kind, name, version, want, words = HELD[case]
        if case == "driver":
            del debian.lock["apt"]["packages"][1:]
        getattr(debian, kind)(*((name, version) if version else (name,)))
        told = debian.refused(want, waiver="")
        assert "release.yml:10: profile x86_t4 on bookworm/amd64: no NVIDIA stack fits" in told
        assert words in told
        assert f"{want} is wanted (" in told
        assert "release.yml:11)" in told
        assert "edgewright stack solve --profile x86_t4 --want" in told

    def test_two_locked_versions_of_one_item_are_named(self, debian: Locking) -> None:
        debian.deb("libcuda1", "535.261.03-1")
        told = debian.refused(waiver="")
        assert "driver==535.309.01 is wanted (locked as package nvidia-driver)" in told
        assert "driver==535.261.03 is wanted (locked as package libcuda1)" in told

    def test_debians_open_module_beside_its_newer_driver(self, locking: Locking) -> None:
        locking.lock["kernel"]["flavour"] = "generic"
        locking.deb("nvidia-driver", "535.309.01-0+deb12u1")
        locking.deb("nvidia-open-kernel-dkms", "535.261.03-1")
        told = locking.refused(waiver="")
        assert "nvidia-open-kernel-dkms is 535.261.03 where the driver is 535.309.01 [1" in told
        assert "\n    [1] apt-cache madison" in told

    def test_a_version_that_no_fact_names(self, debian: Locking) -> None:
        debian.file("libcudnn9-cuda-12_9.99.0.1-1_amd64.deb")
        told = debian.refused(waiver="")
        assert "no fact names cudnn 9.99.0.1 (file libcudnn9-cuda-12_9.99.0.1-1_amd64.deb)" in told

    def test_real_time_without_a_waiver(self, locking: Locking) -> None:
        told = locking.refused("driver==535.309.01", waiver="")
        assert "and the release carries no waiver" in told
        assert "linux-image-6.1.192-2-rt 6.1.192-2 is a kernel of flavour rt" in told

    def test_real_time_with_a_waiver_that_ended(self, locking: Locking) -> None:
        told = locking.refused("driver==535.309.01", on=datetime.date(2027, 7, 1))
        assert "the waiver of Ada ended on 2027-06-30" in told

    def test_a_kernel_that_the_locked_modules_do_not_build_for(self, debian: Locking) -> None:
        debian.lock["kernel"]["version"] = "6.18.1-1"
        assert "for kernels up to 6.16 only" in debian.refused(waiver="")

    def test_python_of_another_suite(self, debian: Locking) -> None:
        debian.more = TARGETS.replace(', python: {version: "3.13"}', "")
        debian.lock["targets"] = [part("generic", "trixie", "6.12.117-1")]
        told = debian.refused("onnxruntime-gpu", waiver="")
        assert "on trixie/amd64" in told
        assert "trixie has Python 3.13" in told
        assert "python==3.11 is wanted (" in told

    def test_a_profile_that_nobody_knows(self, locking: Locking) -> None:
        told = locking.refused(profiles="x86_t5")
        assert "release.yml:10: nvidia.profiles: " in told
        assert "x86_t4" in told

    def test_a_profile_without_a_gpu(self, locking: Locking) -> None:
        assert "profile x86_plain has no NVIDIA GPU" in locking.refused(profiles="x86_plain")

    def test_a_profile_of_which_there_is_no_target(self, locking: Locking) -> None:
        told = locking.refused(profiles="agx_thor")
        assert "profile agx_thor is of arm64, and no target of the release is" in told

    def test_a_profile_whose_gpu_no_fact_names(self, locking: Locking, tmp_path: Path) -> None:
        text = (carried_profiles() / "x86_t4.yml").read_text().replace("gpu_model: t4", "gpu_model: gtx-480")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/box.yml").write_text(text)
        told = locking.refused(profiles="box", directories=(tmp_path / "mine",))
        assert "release.yml:10: profile box: no fact names the GPU 'gtx-480'" in told


def test_the_locks_of_releases_without_nvidia_are_as_they_were(tmp_path: Path) -> None:
    path = Path("releases/label-reader/release.lock.yml")
    lock, _ = load_lock_file(path)
    assert "nvidia" not in lock
    assert dump_lock(lock) == path.read_bytes()


BROKEN = {
    "another level": ({"level": "full"}, {}),
    "no reason": ({"why": ""}, {}),
    "a version that is a number": ({}, {"chosen": {"arch": "amd64", "cuda": 12.2}}),
    "no target": ({}, {"target": "bookworm"}),
    "a waiver without its day": ({}, {"waiver": {"who": "me", "why": "y"}}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_section_does_not_fit_the_schema(case: str, locking: Locking, tmp_path: Path) -> None:
    (entry,) = locking.stack("driver==535.309.01")
    warning, others = BROKEN[case]
    damaged = {**entry, "warnings": [{**entry["warnings"][0], **warning}], **others}
    whole = load_lock_file(Path("releases/label-reader/release.lock.yml"))[0]
    (tmp_path / "x.lock.yml").write_bytes(dump_lock({**whole, "nvidia": [damaged]}))
    with pytest.raises((InputError, jsonschema.ValidationError), match=r"nvidia\[0\]"):
        load_lock_file(tmp_path / "x.lock.yml")

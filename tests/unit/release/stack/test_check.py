# SPDX-License-Identifier: Apache-2.0
"""Sets that exist: locks, devices, stacks of another day."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.errors import InputError
from edgewright.release.stack.check import Found, Verdict, check, items_of_have, items_of_lock, items_of_stack
from tests.unit.release.stack.solving import WAIVER, solved, universe_of


def lock(flavour: str = "generic", **named: str) -> dict[str, Any]:
    """A lock with packages by name and version; `wheel_` and `file_` before a name make those."""
    debs, wheels, files = [], [], []
    for name, version in named.items():
        plain = name.replace("_", "-")
        if plain.startswith("wheel-"):
            wheels.append({"name": plain[6:], "version": version})
        elif plain.startswith("file-"):
            files.append({"name": f"{plain[5:]}_{version}_amd64.deb"})
        else:
            debs.append({"name": plain, "version": version})
    return {
        "os": {"suite": "bookworm", "arch": "amd64"},
        "kernel": {"flavour": flavour, "version": "6.1.192-2"},
        "apt": {"packages": debs},
        "python": {"wheels": wheels},
        "files": files,
    }


def judged(content: dict[str, Any], profile: str = "x86_t4", waived: bool = False) -> Verdict:
    return check(universe_of(profile, WAIVER if waived else None), items_of_lock(content))


def reasons(verdict: Verdict) -> str:
    return "\n".join([*(each.answer.why for each in verdict.refused), *verdict.unheard])


def test_debians_driver_with_its_own_module_fits() -> None:
    verdict = judged(lock(nvidia_driver="535.309.01-0+deb12u1", nvidia_kernel_dkms="535.309.01-0+deb12u1"))
    assert verdict.ok, reasons(verdict)
    assert verdict.judged["driver"].version == "535.309.01"
    assert verdict.judged["module-flavour"].version == "proprietary"


def test_the_trap_of_debians_open_module_is_found_in_a_lock() -> None:
    verdict = judged(lock(nvidia_driver="535.309.01-0+deb12u1", nvidia_open_kernel_dkms="535.261.03-1"))
    assert "nvidia-open-kernel-dkms is 535.261.03 where the driver is 535.309.01" in reasons(verdict)


def test_real_time_with_the_driver_is_found_and_waived() -> None:
    content = lock("rt", nvidia_driver="535.309.01-0+deb12u1")
    assert "the release carries no waiver" in reasons(judged(content))
    assert judged(content, waived=True).ok


def test_a_locks_wheels_and_files_count() -> None:
    content = lock(
        wheel_onnxruntime_gpu="1.31.1",
        wheel_nvidia_cudnn_cu13="9.17.0.29",
        file_libnvinfer11="11.4.0.106-1+cuda13.2",
    )
    verdict = judged(content)
    assert verdict.judged["cudnn"].version == "9.17.0"
    assert "links libnvinfer.so.10, and TensorRT 11 brings libnvinfer.so.11" in reasons(verdict)


def test_a_package_named_after_its_cuda_is_read() -> None:
    assert judged(lock(cuda_cudart_12_4="12.4.127-1")).judged["cuda"].version == "12.4.1"


def test_a_wheel_of_the_runtime_shows_its_cuda() -> None:
    assert judged(lock(wheel_nvidia_cuda_runtime_cu12="12.9.79")).judged["cuda"].version == "12.9.1"


def test_a_driver_of_which_there_is_no_fact_is_not_known() -> None:
    verdict = judged(lock(nvidia_driver="535.999.99-1"))
    assert not verdict.ok
    assert "no fact names driver 535.999.99 (package nvidia-driver)" in reasons(verdict)


def test_two_versions_of_one_item_are_told() -> None:
    verdict = judged(lock(nvidia_driver="535.309.01-0+deb12u1", libcuda1="535.261.03-1"))
    assert "driver is 535.309.01 by package nvidia-driver, and 535.261.03 by package libcuda1" in reasons(
        verdict
    )


def test_a_driver_without_a_gpu_is_told() -> None:
    verdict = judged(lock(nvidia_driver="535.309.01-0+deb12u1"), "x86_plain")
    assert "profile x86_plain has no driver" in reasons(verdict)


def test_a_lock_without_nvidia_fits_a_plain_machine() -> None:
    assert judged(lock("rt"), "x86_vm").ok


def test_a_kernel_of_tomorrow_is_judged_by_its_line() -> None:
    content = lock(nvidia_driver="535.309.01-0+deb12u1", nvidia_kernel_dkms="535.309.01-0+deb12u1")
    content["kernel"]["version"] = "6.18.1-1"
    assert "for kernels up to 6.16 only" in reasons(judged(content))


def test_a_lock_of_another_architecture_is_told() -> None:
    content = lock()
    content["os"]["arch"] = "arm64"
    assert "no fact names arch arm64" in reasons(judged(content))


def test_a_devices_have_is_read() -> None:
    have = {
        "have": {
            "kernel": {"release": "6.1.0-56-rt-amd64", "realtime": True},
            "nvidia": {"driver": "535.309.01", "module_flavour": "proprietary", "persistence": True},
        }
    }
    found = items_of_have(have)
    assert [(each.item, each.text) for each in found] == [
        ("kernel", "6.1.0-56-rt-amd64"),
        ("kernel-flavour", "rt"),
        ("driver", "535.309.01"),
        ("module-flavour", "proprietary"),
    ]
    verdict = check(universe_of("x86_t4"), found)
    assert "the release carries no waiver" in reasons(verdict)


def test_a_devices_whole_area_is_judged_by_its_names() -> None:
    nvidia = {
        "driver": "535.309.01",
        "module": "535.309.01",
        "module_flavour": "proprietary",
        "cuda": "12.2",
        "cudnn": "9.17.0.29",
        "tensorrt": "10.6.0.26",
        "container_toolkit": "1.18.2",
        "firmware": None,
        "l4t": None,
        "gpus": ["t4"],
    }
    kernel = {"release": "6.1.0-56-amd64", "realtime": False}
    verdict = check(universe_of("x86_t4"), items_of_have({"kernel": kernel, "nvidia": nvidia}))
    assert verdict.ok, reasons(verdict)
    shown = {item: each.version for item, each in verdict.judged.items()}
    assert {item: shown[item] for item in ("cuda", "cudnn", "tensorrt", "container-toolkit", "module")} == {
        "cuda": "12.2.2",
        "cudnn": "9.17.0",
        "tensorrt": "10.6.0",
        "container-toolkit": "1.18.2",
        "module": "535.309.01",
    }
    worse = items_of_have({"nvidia": {**nvidia, "cuda": "11.8", "module": "535.261.03"}})
    told = reasons(check(universe_of("x86_t4"), worse))
    assert "cuDNN 9.17.0 is built for CUDA 12 or 13, not for CUDA 11" in told
    assert "nvidia-kernel-dkms is 535.261.03 where the driver is 535.309.01" in told


def test_a_jetsons_whole_area_is_judged_by_its_names() -> None:
    nvidia = {"l4t": "36.4.3", "firmware": "35", "cuda": "12.6", "tensorrt": "10.3.0.30", "driver": None}
    verdict = check(universe_of("orin_nano_8gb"), items_of_have({"nvidia": nvidia}))
    assert [each.answer.why for each in verdict.refused] == [
        "L4T 36 on board firmware R35 does not boot; the firmware must be updated first"
    ]


def test_a_jetson_with_an_unknown_l4t_is_not_known() -> None:
    verdict = check(
        universe_of("orin_nano_8gb"), items_of_have({"nvidia": {"l4t": "36.9.9", "cuda": "12.6"}})
    )
    assert "no fact names l4t 36.9.9 (nvidia.l4t)" in reasons(verdict)


def test_a_jetson_with_another_cuda_than_its_jetpack() -> None:
    have = {"jetpack": "6.2", "l4t": "36.4.3", "cuda": "12.2"}
    assert "JetPack 6.2 brings cuda 12.6" in reasons(check(universe_of("orin_nano_8gb"), items_of_have(have)))


@pytest.mark.parametrize("profile", ["x86_t4", "x86_h100", "agx_thor", "orin_nx_16gb", "x86_plain"])
def test_what_was_solved_is_checked_as_fitting(profile: str) -> None:
    outcome = solved(profile)
    verdict = check(universe_of(profile), items_of_stack(outcome.as_json()))
    assert verdict.ok, reasons(verdict)
    assert {item: each.version for item, each in verdict.judged.items()} == {
        item: each.version for item, each in outcome.chosen.items()
    }


def test_a_stack_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected schema edgewright\.stack/v1"):
        items_of_stack({"schema": "edgewright.stack/v2", "items": {"cuda": "12.4"}})
    with pytest.raises(InputError, match=r"items\.cuda: expected an item with a version"):
        items_of_stack({"schema": "edgewright.stack/v1", "items": {"cuda": 12.4}})


def test_words_where_a_version_belongs_are_not_known() -> None:
    verdict = check(universe_of("x86_t4"), [Found("cuda", "newest", "a label")])
    assert "no fact names cuda newest (a label)" in reasons(verdict)

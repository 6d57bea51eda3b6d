# SPDX-License-Identifier: Apache-2.0
"""The program that keeps interrupts and kernel threads off, on a tree that stands for the kernel's files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from edgewright.paths import collection_root

PROGRAM = collection_root() / "roles" / "isolation" / "files" / "quiet_cpus.py"
CONFIG = {"isolated": "2-3", "housekeeping": "0-1", "governor": "performance"}


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("quiet_cpus", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["quiet_cpus"] = module
    spec.loader.exec_module(module)
    return module


program = _load()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "proc/irq/default_smp_affinity": "f",
        "proc/irq/24/smp_affinity_list": "0-3",
        "proc/irq/25/smp_affinity_list": "0-1",
        "sys/devices/virtual/workqueue/cpumask": "f",
        "sys/fs/cgroup/cgroup.procs": "2\n20\n50\n51\n52\n",
        "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor": "powersave",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    }
    for pid, name, cpus, flags in (
        (2, "kthreadd", "0-1", 0),
        (20, "migration/2", "2", 0x4208040),
        (50, "kswapd0", "0-3", 0x200840),
        (51, "refuses", "0-3", 0x200840),
    ):
        files[f"proc/{pid}/status"] = f"Name:\t{name}\nCpus_allowed_list:\t{cpus}\n"
        files[f"proc/{pid}/stat"] = f"{pid} ({name}) I 2 0 0 0 -1 {flags} 0 0"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_moves_what_may_run_there_and_nothing_else(tree: Path) -> None:
    moved: dict[int, set[int]] = {}

    def set_affinity(pid: int, cpus: set[int]) -> None:
        if pid == 51:
            raise OSError(22, "Invalid argument")
        moved[pid] = cpus

    refused, faults = program.quieten(program.Machine(str(tree), set_affinity), CONFIG)
    assert (refused, faults) == ({"irqs": {}, "threads": {"51": "refuses"}}, [])
    assert moved == {50: {0, 1}}
    assert (tree / "proc/irq/24/smp_affinity_list").read_text() == "0-1"
    assert (tree / "proc/irq/default_smp_affinity").read_text() == "00000003"
    assert (tree / "sys/devices/virtual/workqueue/cpumask").read_text() == "00000003"
    governor = "sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor"
    assert [(tree / (governor % cpu)).read_text() for cpu in (0, 2)] == ["powersave", "performance"]


class Refusing(program.Machine):  # type: ignore[misc]
    """A kernel that takes no interrupt from its CPUs and knows no such governor."""

    def write(self, path: str, text: str) -> str:
        if "/irq/24/" in path or "governor" in path:
            return "Input/output error"
        return str(super().write(path, text))


def test_what_the_kernel_refuses_is_told(tree: Path) -> None:
    refused, faults = program.quieten(Refusing(str(tree), lambda _pid, _cpus: None), CONFIG)
    assert refused["irqs"] == {"24": "0-3"}
    (fault,) = faults
    assert fault.endswith("cpu2/cpufreq/scaling_governor: cannot set performance: Input/output error")


@pytest.mark.parametrize(
    ("cpus", "mask"), [({0, 1}, "00000003"), ({32}, "00000001,00000000"), (set(), "00000000")]
)
def test_masks_as_the_kernel_takes_them(cpus: set[int], mask: str) -> None:
    assert program.cpu_mask(cpus) == mask
    assert program.mask_numbers(mask) == cpus


def test_without_its_settings_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "CONFIG", str(tmp_path / "none.json"))
    assert program.main() == 1
    assert "apply the role isolation again" in capsys.readouterr().err

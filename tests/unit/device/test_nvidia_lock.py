# SPDX-License-Identifier: Apache-2.0
"""A host's part of the lock's NVIDIA stack, and its waiver."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from edgewright.device.nvidia_lock import (
    effective_day,
    nvidia_answer,
    waiver_line,
    waiver_of,
    waiver_problem,
)
from edgewright.errors import InputError

DAY = datetime.date(2027, 6, 30)
PROFILE = {"name": "x86_t4", "arch": "amd64", "gpu": "nvidia", "gpu_model": "t4"}
JETSON = {"name": "thor", "arch": "arm64", "gpu": "tegra", "gpu_model": "thor", "jetson_module": "p3834-0008"}


def entry(profile: str = "x86_t4", target: str = "bookworm/amd64", **chosen: str) -> dict[str, Any]:
    return {
        "profile": profile,
        "target": target,
        "chosen": {"arch": "amd64", "gpu": "t4", **chosen},
        "waiver": {"who": "Ada", "why": "the line", "until": "2027-06-30"},
    }


def lock(*entries: dict[str, Any], date: str = "Fri, 20 Nov 2026 02:11:10 UTC") -> dict[str, Any]:
    return {
        "release": {"name": "reader", "version": "1.0.0"},
        "os": {"suite": "bookworm", "arch": "amd64"},
        "apt": {"date": date},
        "nvidia": list(entries),
    }


def test_the_hosts_own_profile_counts() -> None:
    mine = entry(driver="535.309.01")
    assert nvidia_answer(lock(entry("x86_a2", gpu="a2"), mine), PROFILE) is mine


def test_the_locks_first_target_comes_before_others() -> None:
    first, other = entry(), entry(target="trixie/amd64")
    assert nvidia_answer(lock(other, first), PROFILE) is first
    assert nvidia_answer(lock(other), PROFILE) is other


NONE = {
    "no GPU": (lock(entry()), {**PROFILE, "gpu": "none"}),
    "a lock without NVIDIA": ({key: value for key, value in lock().items() if key != "nvidia"}, PROFILE),
    "another profile": (lock(entry("x86_a2"), entry("x86_a2", "trixie/amd64")), PROFILE),
    "a profile that says nothing": (lock(entry()), {"name": "x86_t4"}),
}


@pytest.mark.parametrize("case", NONE)
def test_there_is_nothing_to_answer(case: str) -> None:
    assert nvidia_answer(*NONE[case]) is None


BAD = {
    "another GPU since": (
        lock(entry()),
        {**PROFILE, "gpu_model": "l4"},
        "profile x86_t4 has gpu_model l4, and the lock's NVIDIA stack was chosen for gpu t4",
    ),
    "another module since": (
        lock(entry("thor", "noble/arm64", arch="arm64", gpu="thor", jetson="p3834-0000")),
        JETSON,
        "profile thor has jetson_module p3834-0008, and the lock's NVIDIA stack was chosen for jetson",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_the_lock_was_not_made_for_is_refused(case: str) -> None:
    content, profile, words = BAD[case]
    with pytest.raises(InputError) as told:
        nvidia_answer(content, profile)
    assert words in str(told.value)
    assert "`edgewright release lock" in str(told.value)


def test_a_waiver_counts_on_its_last_day_and_ends_after_it() -> None:
    assert waiver_problem(entry(), DAY) is None
    told = waiver_problem(entry(), DAY + datetime.timedelta(days=1))
    assert told is not None
    assert (
        "the waiver of Ada for NVIDIA's driver on PREEMPT_RT ended on 2027-06-30, today is 2027-07-01" in told
    )


def test_a_waiver_is_told_in_one_line() -> None:
    line = "WAIVER: line-3: NVIDIA's driver on PREEMPT_RT: Ada answers for it until 2027-06-30: the line"
    assert waiver_line("line-3", entry(), DAY) == line
    later = waiver_line("line-3", entry(), DAY + datetime.timedelta(days=1))
    assert later == line.replace("2027-06-30:", "2027-06-30 (ENDED):")


@pytest.mark.parametrize("answer", [None, {**entry(), "waiver": None}])
def test_without_a_waiver_there_is_nothing_to_tell(answer: dict[str, Any] | None) -> None:
    assert waiver_of(answer) is None
    assert waiver_line("line-3", answer, DAY) is None
    assert waiver_problem(answer, DAY) is None


def test_a_clock_that_runs_behind_the_locks_packages_is_not_believed() -> None:
    assert effective_day(lock(), datetime.date(2020, 1, 1)) == datetime.date(2026, 11, 20)
    assert effective_day(lock(), DAY) == DAY
    assert effective_day(lock(date=""), datetime.date(2020, 1, 1)) == datetime.date(2020, 1, 1)

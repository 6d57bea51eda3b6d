# SPDX-License-Identifier: Apache-2.0
"""The search against all combinations, on parts of the real universe; and its order of preference."""

from __future__ import annotations

import datetime
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.release.stack.model import Candidate, Level
from edgewright.release.stack.resolution import resolve
from edgewright.release.stack.solve import problem_of, solve
from edgewright.release.stack.version import Clause, Version, Want
from tests.unit.release.stack.solving import WAIVER, solved, universe_of, versions, wants_of

UNIVERSES = {
    profile: universe_of(profile, WAIVER) for profile in ("x86_t4", "x86_h200", "agx_thor", "x86_plain")
}


@pytest.mark.parametrize("profile", UNIVERSES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_part_of_the_real_universe_is_solved_as_by_trying_all(profile: str, data: st.DataObject) -> None:
    universe = UNIVERSES[profile]
    wanted = data.draw(st.sets(st.sampled_from([i for i in universe.domains if i not in ("arch", "gpu")])))
    problem = problem_of(universe, [Want(item) for item in sorted(wanted)])
    part = {
        item: tuple(data.draw(st.permutations(list(found)))[:2]) if len(found) > 2 else found
        for item, found in problem.domains.items()
    }
    narrowed = problem.narrowed(part)
    chosen = resolve(narrowed)
    best = []
    for combination in itertools.product(*part.values()):
        worst = max(
            (narrowed.level(one, other) for one, other in itertools.combinations(combination, 2)),
            default=Level.FULL,
        )
        if worst is not Level.REFUSED:
            best.append(combination)
    assert (chosen is None) == (not best)
    if chosen is not None:
        assert tuple(chosen.values()) in best


@pytest.mark.parametrize("profile", UNIVERSES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_stack_keeps_every_want_and_refuses_no_pair(profile: str, data: st.DataObject) -> None:
    universe = UNIVERSES[profile]
    items = data.draw(st.sets(st.sampled_from(list(universe.domains)), max_size=4))
    wants = []
    for item in sorted(items):
        candidate: Candidate = data.draw(st.sampled_from(universe.domains[item]))
        operators = ["==", "!="]
        operators += [">=", "<=", "<", ">"] if Version.is_version(candidate.version) else []
        wants.append(Want(item, (Clause(data.draw(st.sampled_from(operators)), candidate.version),)))
    outcome = solve(universe, wants)
    if not outcome.ok:
        assert outcome.because
        assert all(line.startswith("Because ") and "no stack" in line for line in outcome.because)
        return
    assert all(want.fits(outcome.chosen[want.item].version) for want in wants)
    assert not [each for each in outcome.answers if each.answer.level is Level.REFUSED]
    assert solve(universe, wants).as_json() == outcome.as_json()


def test_long_term_support_comes_before_newer() -> None:
    drivers = [each.version for each in universe_of("x86_t4").domains["driver"]]
    assert drivers[0] == "580.126.18"
    assert drivers.index("595.71.05") < drivers.index("610.43.02") < drivers.index("535.309.01")


def test_an_ended_branch_was_once_preferred() -> None:
    before = universe_of("x86_t4", on=datetime.date(2026, 6, 1)).domains["driver"]
    assert [each.version for each in before].index("535.309.01") < [each.version for each in before].index(
        "595.71.05"
    )


def test_a_suites_own_kernel_comes_before_extra_ones_and_backports() -> None:
    def kernel(wants: str) -> str:
        return solved("x86_plain", wants).chosen["kernel"].name

    assert kernel("suite==bookworm") == "6.1.192 (linux-image-amd64 6.1.192-2)"
    assert kernel("suite==bookworm kernel-flavour==rt") == "6.1.192 (linux-image-rt-amd64 6.1.192-2)"
    assert "linux-image-6.12-amd64" in kernel("suite==bookworm kernel>=6.12.100")
    assert "bpo12" in kernel("suite==bookworm kernel==6.12.95")


def test_what_is_needed_comes_along() -> None:
    universe = universe_of("x86_t4")
    base = set(universe.active([]))
    assert set(universe.active(["onnxruntime-gpu"])) - base == {"onnxruntime-gpu", "cuda", "cudnn", "python"}
    assert set(universe.active(["tensorrt"])) - base == {"tensorrt", "cuda"}


def test_tensorrt_11_takes_the_driver_that_it_needs() -> None:
    outcome = solved("x86_h100", "tensorrt==11.0")
    assert not outcome.warnings
    found = versions(outcome)
    assert (found["driver"], found["cuda"]) == ("580.126.18", "12.9.1")
    newer = versions(solved("x86_h100", "tensorrt==11.0 cuda>=13"))
    assert (newer["driver"], newer["cuda"], newer["suite"]) == ("595.71.05", "13.2.1", "trixie")


def test_several_wants_of_one_item_all_hold() -> None:
    outcome = solve(universe_of("x86_t4"), wants_of("cuda>=12.2 cuda<12.5 driver<560"))
    assert Version.parse("12.2") <= Version.parse(versions(outcome)["cuda"]) < Version.parse("12.5")


def test_raspberry_pi_has_kernels_for_arm64_only() -> None:
    outcome = solved("raspberry_pi_5", "kernel-flavour==rt")
    assert "linux-image-rt-arm64" in outcome.chosen["kernel"].label
    assert not solved("raspberry_pi_5", "kernel==7.3").ok

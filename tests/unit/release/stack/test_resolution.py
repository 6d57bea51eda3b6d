# SPDX-License-Identifier: Apache-2.0
"""The search against all combinations, on small universes that hypothesis makes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.release.stack.failure import because
from edgewright.release.stack.model import Answer, Candidate, Judge, Level, Pair, Problem
from edgewright.release.stack.resolution import consistent, resolve
from edgewright.release.stack.version import Clause, Want

BEST = frozenset({Level.FULL, Level.WAIVED})
ALL = BEST | {Level.MINOR}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to five items of up to four candidates; refusals are frequent enough for every outcome."""
    items = [f"item-{number}" for number in range(draw(st.integers(1, 5)))]
    domains = {
        item: tuple(Candidate(item, f"{number}") for number in range(draw(st.integers(1, 4)), 0, -1))
        for item in items
    }
    answers: dict[Pair, Answer | None] = {}
    judges: dict[tuple[str, str], Judge] = {}
    levels = st.sampled_from(
        [None, Level.FULL, Level.FULL, Level.MINOR, Level.WAIVED, Level.REFUSED, Level.REFUSED]
    )
    for one, other in itertools.combinations(items, 2):
        if not draw(st.booleans()):
            continue
        for pair in itertools.product(domains[one], domains[other]):
            level = draw(levels)
            known = draw(st.booleans())
            answers[pair] = (
                None
                if level is None
                else Answer(level, f"{pair[0]} and {pair[1]} are {level.word}", known=known)
            )
        judges[one, other] = _judge(answers)
    return Problem(domains, judges)


def _judge(answers: Mapping[Pair, Answer | None]) -> Judge:
    return lambda one, other: answers[one, other]


def solutions(problem: Problem, allowed: frozenset[Level]) -> list[dict[str, Candidate]]:
    """Every combination that has no other levels, by trying them all."""
    found = []
    for chosen in itertools.product(*problem.domains.values()):
        if all(problem.level(one, other) in allowed for one, other in itertools.combinations(chosen, 2)):
            found.append({each.item: each for each in chosen})
    return found


@given(problems())
@settings(max_examples=300, deadline=None)
def test_it_finds_a_solution_exactly_where_trying_all_does(problem: Problem) -> None:
    chosen = resolve(problem)
    best, any_ = solutions(problem, BEST), solutions(problem, ALL)
    if chosen is None:
        assert not any_
    else:
        assert chosen in (best or any_)


@given(problems())
@settings(max_examples=100, deadline=None)
def test_without_minor_pairs_only_full_and_waived_count(problem: Problem) -> None:
    chosen = resolve(problem, minor=False)
    best = solutions(problem, BEST)
    assert (chosen in best) if best else chosen is None


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_same_problem_has_the_same_answer(problem: Problem, shuffling: random.Random) -> None:
    judges = list(problem.judges.items())
    shuffling.shuffle(judges)
    again = Problem(problem.domains, dict(judges))
    assert resolve(problem) == resolve(again) == resolve(problem)


@given(problems())
@settings(max_examples=100, deadline=None)
def test_consistency_never_takes_what_a_solution_needs(problem: Problem) -> None:
    left = consistent(problem, ALL)
    for solution in solutions(problem, ALL):
        assert left is not None
        assert all(candidate in left[item] for item, candidate in solution.items())


@given(problems())
@settings(max_examples=150, deadline=None)
def test_every_refusal_is_told_by_reasons_that_suffice(problem: Problem) -> None:
    wants = [Want(item, (Clause(">=", "1"),)) for item in problem.domains]
    if resolve(problem) is not None:
        return
    lines, _ = because(problem, wants)
    text = "\n".join(lines)
    assert text.startswith("Because ")
    assert text.endswith("no stack fits.")
    assert "refused" in text  # no want forbids anything here, so that pairs must be told


def test_the_most_preferred_comes_first() -> None:
    a, b = (Candidate("a", "2"), Candidate("a", "1")), (Candidate("b", "2"), Candidate("b", "1"))
    problem = Problem({"a": a, "b": b}, {})
    assert resolve(problem) == {"a": a[0], "b": b[0]}


def test_a_full_pair_is_better_than_a_newer_minor_one() -> None:
    a, b = (Candidate("a", "2"), Candidate("a", "1")), (Candidate("b", "1"),)

    def judge(one: Candidate, other: Candidate) -> Answer:
        return Answer(Level.MINOR if one.version == "2" else Level.FULL, "why")

    assert resolve(Problem({"a": a, "b": b}, {("a", "b"): judge})) == {"a": a[1], "b": b[0]}


def test_an_item_without_candidates_has_no_solution() -> None:
    assert resolve(Problem({"a": (Candidate("a", "1"),), "b": ()}, {})) is None


def test_no_items_have_the_empty_solution() -> None:
    assert resolve(Problem({}, {})) == {}

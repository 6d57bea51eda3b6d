# SPDX-License-Identifier: Apache-2.0
"""Why this version of an item was chosen, and why not a more preferred one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.errors import InputError
from edgewright.release.stack.model import Candidate, Level
from edgewright.release.stack.solve import Outcome, PairAnswer, problem_of, solve
from edgewright.release.stack.universe import Universe
from edgewright.release.stack.version import Want

__all__ = ["Explanation", "Passed", "explain"]


@dataclass(frozen=True)
class Passed:
    """A more preferred candidate that was not taken.

    Attributes:
        candidate: The candidate.
        wants: The wants that leave it out.
        against: Its pairs with the chosen stack that are worse than those of the chosen one.
        worse: Why it was not taken although no single pair refuses it; empty where a pair or want does.
    """

    candidate: Candidate
    wants: tuple[Want, ...]
    against: tuple[PairAnswer, ...]
    worse: str = ""


@dataclass(frozen=True)
class Explanation:
    """Of one item of a stack.

    Attributes:
        item: The item.
        outcome: The stack.
        answers: The chosen candidate's pairs.
        passed: More preferred candidates, most preferred first.
    """

    item: str
    outcome: Outcome
    answers: tuple[PairAnswer, ...]
    passed: tuple[Passed, ...]

    def as_json(self) -> dict[str, Any]:
        """For JSON: schema edgewright.stack-explanation/v1."""
        return {
            "schema": "edgewright.stack-explanation/v1",
            "item": self.item,
            "version": self.outcome.chosen[self.item].version,
            "answers": [each.as_json() for each in self.answers],
            "passed": [
                {
                    "version": each.candidate.version,
                    **({"name": each.candidate.label} if each.candidate.label else {}),
                    "wants": [str(want) for want in each.wants],
                    "against": [answer.as_json() for answer in each.against],
                    "worse": each.worse,
                }
                for each in self.passed
            ],
        }


def explain(universe: Universe, wants: Sequence[Want], item: str) -> Outcome | Explanation:
    """Explain the choice of an item.

    Args:
        universe: What there is.
        wants: What is wanted.
        item: The item.

    Returns:
        The explanation; the refusal where nothing fits.

    Raises:
        InputError: The stack does not have the item.
    """
    outcome = solve(universe, wants)
    if not outcome.ok:
        return outcome
    if item not in outcome.chosen:
        raise InputError(
            f"explaining {item}: the stack has none; it has {', '.join(outcome.chosen)}. Add --want {item}"
        )
    problem = problem_of(universe, wants)
    chosen = outcome.chosen[item]
    answers = tuple(each for each in outcome.answers if item in (each.one.item, each.other.item))
    passed = []
    for candidate in universe.domains[item]:
        if candidate == chosen:
            break
        limits = tuple(want for want in wants if want.item == item and not want.fits(candidate.version))
        against = []
        for other in problem.related(item):
            partner = outcome.chosen[other]
            answer = problem.answer(candidate, partner)
            if answer is not None and answer.level > problem.level(chosen, partner):
                against.append(PairAnswer(candidate, partner, answer))
        worse = "" if limits or against else "it goes with these, but what it needs in turn does not"
        passed.append(Passed(candidate, limits, tuple(_worst_first(against)), worse))
    return Explanation(item, outcome, answers, tuple(passed))


def _worst_first(answers: Sequence[PairAnswer]) -> list[PairAnswer]:
    worst = max((each.answer.level for each in answers), default=Level.FULL)
    return [each for each in answers if each.answer.level is worst]

# SPDX-License-Identifier: Apache-2.0
"""The search: resolvelib over a `Problem`.

    chosen = resolve(problem)      # {item: Candidate}, or None when nothing fits

Every item is a root requirement; a pinned candidate requires of each related item a candidate that it
does not refuse. First only FULL (and WAIVED) pairs are allowed; where that has no solution, MINOR ones are
too, and candidates with the fewest of them come first. Deterministic: items are pinned in the problem's
order, candidates tried in theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver

from edgewright.errors import EdgewrightError
from edgewright.release.stack.model import Candidate, Level, Problem

__all__ = ["consistent", "resolve"]

_MAX_ROUNDS = 200_000
"""Pins and undone pins before the search gives up. The full universe takes fewer than 100."""


@dataclass(frozen=True)
class _Requirement:
    """An item must be chosen; `parent` must not refuse it. Without a parent: any candidate."""

    item: str
    parent: Candidate | None = None


class _Provider(AbstractProvider[_Requirement, Candidate, str]):
    def __init__(self, problem: Problem, allowed: frozenset[Level]) -> None:
        self._problem = problem
        self._allowed = allowed
        self._order = {item: number for number, item in enumerate(problem.domains)}

    def identify(self, requirement_or_candidate: _Requirement | Candidate) -> str:
        return requirement_or_candidate.item

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Candidate],  # noqa: ARG002 - resolvelib's interface
        candidates: Mapping[str, Iterator[Candidate]],  # noqa: ARG002
        information: Mapping[str, Iterator[Any]],  # noqa: ARG002
        backtrack_causes: Sequence[Any],  # noqa: ARG002
    ) -> int:
        return self._order[identifier]

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[_Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> list[Candidate]:
        parents = [each.parent for each in requirements[identifier] if each.parent is not None]
        bad = set(incompatibilities[identifier])
        found = []
        for candidate in self._problem.domains[identifier]:
            levels = [self._problem.level(parent, candidate) for parent in parents]
            if candidate not in bad and all(level in self._allowed for level in levels):
                found.append((sum(level is Level.MINOR for level in levels), candidate))
        return [candidate for _, candidate in sorted(found, key=lambda each: each[0])]

    def is_satisfied_by(self, requirement: _Requirement, candidate: Candidate) -> bool:
        if requirement.parent is None:
            return True
        return self._problem.level(requirement.parent, candidate) in self._allowed

    def get_dependencies(self, candidate: Candidate) -> list[_Requirement]:
        return [_Requirement(item, candidate) for item in self._problem.related(candidate.item)]


def consistent(problem: Problem, allowed: frozenset[Level]) -> dict[str, tuple[Candidate, ...]] | None:
    """Leave out candidates that no candidate of some related item goes with (arc consistency).

    Returns:
        What is left, or None when an item has nothing left, so that there is no solution.
    """
    domains = dict(problem.domains)
    if not all(domains.values()):
        return None
    pending = [(item, other) for item in domains for other in problem.related(item)]
    while pending:
        item, other = pending.pop(0)
        left = tuple(
            each
            for each in domains[item]
            if any(problem.level(each, partner) in allowed for partner in domains[other])
        )
        if not left:
            return None
        if len(left) < len(domains[item]):
            domains[item] = left
            again = [(third, item) for third in problem.related(item) if third != other]
            pending += [each for each in again if each not in pending]
    return domains


def resolve(problem: Problem, minor: bool = True) -> dict[str, Candidate] | None:
    """Choose one candidate per item.

    Args:
        problem: What there is.
        minor: Whether MINOR pairs are allowed when there is no solution without.

    Returns:
        The choice, in the problem's order of items; None when nothing fits.
    """
    best = frozenset({Level.FULL, Level.WAIVED})
    for allowed in (best, best | {Level.MINOR}) if minor else (best,):
        domains = consistent(problem, allowed)
        if domains is None:
            continue
        narrowed = problem.narrowed(domains)
        resolver = Resolver(_Provider(narrowed, allowed), BaseReporter[Any, Any, Any]())
        try:
            result = resolver.resolve([_Requirement(item) for item in domains], max_rounds=_MAX_ROUNDS)
        except ResolutionImpossible:
            continue
        except ResolutionTooDeep as error:
            raise EdgewrightError(
                f"resolving the NVIDIA stack: no answer after {_MAX_ROUNDS} rounds; name more with --want"
            ) from error
        return {item: result.mapping[item] for item in problem.domains}
    return None

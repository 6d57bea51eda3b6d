# SPDX-License-Identifier: Apache-2.0
"""Why nothing fits, in sentences: "Because A and B, no stack fits."

First the smallest set of reasons is sought: wants are left out one by one, then kinds of pairs, as long as
there is still no solution. What is left are the wants and pairs that contradict each other. Then the
contradiction is followed: which candidates have no partner, and what refused each. Equal reasons are told
once; sources are numbered.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from edgewright.release.stack.model import Answer, Candidate, Level, Problem
from edgewright.release.stack.resolution import resolve
from edgewright.release.stack.version import Version, Want

__all__ = ["because", "spans"]

_Part = TypeVar("_Part")

_ORDERS = 120
"""Orders of pairs that are tried for the shortest explanation: all of five pairs."""

_CITED = 3
"""Sources that one clause names; more are counted."""

_LISTED = 6
"""Versions that are listed when none fits."""


def because(problem: Problem, wants: Sequence[Want]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell why a problem has no solution under these wants.

    Args:
        problem: The problem without the wants' limits.
        wants: The limits.

    Returns:
        Sentences, and the sources that they number.
    """
    for want in wants:
        if not any(want.fits(each.version) for each in problem.domains[want.item]):
            return _unheard(problem, want)
    for item, candidates in problem.domains.items():
        mine = [want for want in wants if want.item == item]
        if not any(all(want.fits(each.version) for want in mine) for each in candidates):
            return _contradiction(mine, candidates)
    known = problem.known()
    judged = known if _fails(known, wants, list(known.judges)) else problem
    kept = _least(list(wants), lambda some: _fails(judged, some, list(judged.judges)))
    pairs = _least(list(judged.judges), lambda some: _fails(judged, kept, some))
    sources: list[str] = []
    told = {item for pair in pairs for item in pair}
    limited = {want.item for want in kept}
    shown = [want for want in wants if want in kept or (want.item in told - limited and not want.clauses)]
    clauses = [f"{want} is wanted ({want.origin})" for want in shown]
    clauses += _shortest(judged, kept, pairs, sources)
    lines = [f"Because {clauses[0] if clauses else 'nothing goes together'}"]
    lines += [f"and {clause}" for clause in clauses[1:]]
    body = ",\n  ".join(lines)
    return (f"{body},\n  no stack fits.",), tuple(sources)


def spans(candidates: Iterable[Candidate]) -> str:
    """Versions in words: all of a few, or the ends of many."""
    texts = list(dict.fromkeys(each.version for each in candidates))
    if all(Version.is_version(text) for text in texts):
        texts.sort(key=Version.parse)
    if len(texts) <= _LISTED:
        return ", ".join(texts)
    return f"{', '.join(texts[:3])} ... {', '.join(texts[-3:])}"


def _unheard(problem: Problem, want: Want) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = problem.domains[want.item]
    one = len(known) == 1
    there = f"the profile's {want.item} is {known[0].name}" if one else f"known are {spans(known)}"
    return (
        f"Because {want} is wanted ({want.origin}) and no fact names such a {want.item} ({there}), no stack"
        " fits." + ("" if one else " docs/how-to/add-a-fact.md tells how a fact is added."),
    ), ()


def _contradiction(
    wants: Sequence[Want], candidates: Sequence[Candidate]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Wants of one item that no version of it meets together."""
    kept = _least(
        list(wants),
        lambda some: not any(all(want.fits(each.version) for want in some) for each in candidates),
    )
    told = ",\n  and ".join(f"{want} is wanted ({want.origin})" for want in kept)
    return (f"Because {told},\n  and no {kept[0].item} is all of that, no stack fits.",), ()


def _fails(problem: Problem, wants: Sequence[Want], pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether there is no solution with these wants and kinds of pairs only."""
    narrowed = problem.narrowed(_limited(problem, wants), pairs)
    return resolve(narrowed) is None


def _limited(problem: Problem, wants: Sequence[Want]) -> dict[str, tuple[Candidate, ...]]:
    return {
        item: tuple(
            each for each in found if all(want.fits(each.version) for want in wants if want.item == item)
        )
        for item, found in problem.domains.items()
    }


def _least(parts: Sequence[_Part], fails: Callable[[list[_Part]], bool]) -> list[_Part]:
    """Leave out parts, one after the other, as long as what is left still fails."""
    kept = list(parts)
    for part in list(parts):
        without = [each for each in kept if each is not part]
        if fails(without):
            kept = without
    return kept


@dataclass
class _Reason:
    """Refusals of one wording: `{0}` and `{1}` stand for versions of the item that loses and of its partner.

    Attributes:
        wording: The clause.
        lost: Candidates that are refused.
        partners: Those that refuse them.
        answers: The answers themselves.
        left: What the item has left after it, told behind the last reason of a step.
    """

    wording: str
    lost: list[Candidate] = field(default_factory=list)
    partners: list[Candidate] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    left: str = ""


def _shortest(
    problem: Problem, wants: Sequence[Want], pairs: Sequence[tuple[str, str]], sources: list[str]
) -> list[str]:
    """The clauses of the shortest way to the contradiction."""
    narrowed = problem.narrowed(_limited(problem, wants), pairs)
    orders = itertools.islice(itertools.permutations(pairs), _ORDERS)
    ways = [_way(narrowed, order) for order in orders]
    way = min(ways, key=len)
    return [_clause(reason, sources) for reason in way]


def _way(problem: Problem, pairs: Sequence[tuple[str, str]]) -> list[_Reason]:
    """Follow the refusals, pairs in this order, until an item has no candidate left."""
    domains = dict(problem.domains)
    way: list[_Reason] = []
    while step := _step(problem, pairs, domains):
        item, other, left = step
        reasons = _refusals(problem, [each for each in domains[item] if each not in left], domains[other])
        domains[item] = left
        way += reasons
        if not left:
            return way
        reasons[-1].left = f", so that of {item} only {spans(left)} can be"
    rest = [_refusals(problem, domains[one], domains[other]) for one, other in pairs]
    return way + [reason for reasons in rest for reason in reasons]


def _step(
    problem: Problem, pairs: Sequence[tuple[str, str]], domains: dict[str, tuple[Candidate, ...]]
) -> tuple[str, str, tuple[Candidate, ...]] | None:
    """The next item that loses candidates to another, and what it has left: one that loses all first."""
    found: tuple[str, str, tuple[Candidate, ...]] | None = None
    for one, two in pairs:
        for item, other in ((one, two), (two, one)):
            left = tuple(
                each
                for each in domains[item]
                if any(problem.level(each, partner) is not Level.REFUSED for partner in domains[other])
            )
            if not left:
                return item, other, left
            if found is None and len(left) < len(domains[item]):
                found = item, other, left
    return found


def _refusals(problem: Problem, lost: Sequence[Candidate], partners: Sequence[Candidate]) -> list[_Reason]:
    """The refusals between candidates and their would-be partners, by their wording."""
    found: dict[str, _Reason] = {}
    for each in lost:
        for partner in partners:
            answer = problem.answer(each, partner)
            if answer is None or answer.level is not Level.REFUSED:
                continue
            wording = _masked(_masked(answer.why, each.version, "{0}"), partner.version, "{1}")
            reason = found.setdefault(wording, _Reason(wording))
            reason.lost.append(each)
            reason.partners.append(partner)
            reason.answers.append(answer)
    return list(found.values())


def _masked(text: str, version: str, mask: str) -> str:
    """A text with the mask in place of a version that stands there as a word of its own."""
    if not Version.is_version(version) or "." not in version:
        return text
    return re.sub(rf"(?<![\w.]){re.escape(version)}(?![\w]|\.\d)", mask, text)


def _clause(reason: _Reason, sources: list[str]) -> str:
    numbers: list[str] = []
    cited = list(dict.fromkeys(source for answer in reason.answers for source in answer.sources))
    for source in cited[:_CITED]:
        if source not in sources:
            sources.append(source)
        numbers.append(str(sources.index(source) + 1))
    more = f" and {len(cited) - _CITED} more" if len(cited) > _CITED else ""
    text = reason.wording.replace("{0}", spans(reason.lost)).replace("{1}", spans(reason.partners))
    return text + (f" [{', '.join(numbers)}{more}]" if numbers else "") + reason.left

# SPDX-License-Identifier: Apache-2.0
"""Outcomes, explanations and verdicts as lines for a person; sources are numbered and listed at the end."""

from __future__ import annotations

from collections.abc import Iterable

from edgewright.release.stack.check import Verdict
from edgewright.release.stack.explain import Explanation
from edgewright.release.stack.model import Candidate, Level
from edgewright.release.stack.solve import Outcome, PairAnswer
from edgewright.release.stack.universe import Universe

__all__ = ["told_explanation", "told_outcome", "told_verdict"]

_PASSED = 8
"""Passed-over candidates that an explanation tells; more are counted."""


class _Cited:
    """Sources by number, in the order in which they are first named."""

    def __init__(self, sources: Iterable[str] = ()) -> None:
        self._sources = list(sources)

    def pair(self, each: PairAnswer) -> str:
        """A pair's reason, with the numbers of its sources."""
        numbers = []
        for source in each.answer.sources:
            if source not in self._sources:
                self._sources.append(source)
            numbers.append(str(self._sources.index(source) + 1))
        return each.answer.why + (f" [{', '.join(numbers)}]" if numbers else "")

    def listed(self) -> list[str]:
        """The list that the numbers mean."""
        return [f"  [{number}] {source}" for number, source in enumerate(self._sources, 1)]


def told_outcome(outcome: Outcome) -> list[str]:
    """A stack, or why there is none."""
    if not outcome.ok:
        cited = _Cited(outcome.sources)
        return [f"profile {outcome.universe.profile}: refused", *outcome.because, *cited.listed()]
    cited = _Cited()
    lines = [f"profile {outcome.universe.profile}: fits", *_items(outcome.chosen.values())]
    lines += [_warning(each, cited) for each in outcome.warnings]
    waiver = outcome.universe.waiver
    if outcome.waived and waiver is not None:
        lines.append(f"WAIVER: {waiver.who} answers for it until {waiver.until.isoformat()}: {waiver.why}")
    return [*lines, *(f"note: {note}" for note in outcome.notes), *cited.listed()]


def told_explanation(found: Explanation) -> list[str]:
    """Why this version, and why not the preferred ones."""
    cited = _Cited()
    chosen = found.outcome.chosen[found.item]
    lines = [f"{found.item} {chosen.name} was chosen for profile {found.outcome.universe.profile}:"]
    lines += [f"  {_seen_from(each, found.item, cited)}" for each in found.answers]
    for passed in found.passed[:_PASSED]:
        lines.append(f"not {found.item} {passed.candidate.name}, which would be preferred:")
        lines += [f"  {want} is wanted ({want.origin})" for want in passed.wants]
        lines += [f"  {_seen_from(each, found.item, cited)}" for each in passed.against]
        if passed.worse:
            again = f"edgewright stack explain ... {found.item}=={passed.candidate.version}"
            lines.append(f"  {passed.worse}; ask `{again}`")
    if len(found.passed) > _PASSED:
        lines.append(f"and not {len(found.passed) - _PASSED} more; --json tells them all")
    if not found.passed:
        lines.append(f"no other {found.item} is preferred to it")
    return lines + cited.listed()


def told_verdict(verdict: Verdict, universe: Universe, name: str) -> list[str]:
    """What was judged, what does not fit, and the answer in the last line but the sources."""
    cited = _Cited()
    lines = _items(verdict.judged.values())
    lines += [_warning(each, cited) for each in verdict.answers if each.answer.level is not Level.FULL]
    lines += [f"not known: {sentence}" for sentence in verdict.unheard]
    if missing := [item for item in universe.active(()) if item not in verdict.judged]:
        lines.append(f"note: nothing names {', '.join(missing)}, so it was not judged")
    waiver = universe.waiver
    if waiver is not None and any(each.answer.level is Level.WAIVED for each in verdict.answers):
        lines.append(f"WAIVER: {waiver.who} answers for it until {waiver.until.isoformat()}: {waiver.why}")
    count = len(verdict.refused) + len(verdict.unheard)
    reasons = f"{count} reason{'s' if count != 1 else ''}"
    lines.append(
        f"{name}: {'fits' if verdict.ok else f'does not fit, {reasons}'} (profile {universe.profile})"
    )
    return lines + cited.listed()


def _items(candidates: Iterable[Candidate]) -> list[str]:
    return [f"  {each.item:<18} {each.name}" for each in candidates]


def _warning(each: PairAnswer, cited: _Cited) -> str:
    return f"{each.answer.level.word}: {each.one.item} and {each.other.item}: {cited.pair(each)}"


def _seen_from(each: PairAnswer, item: str, cited: _Cited) -> str:
    other = each.other if each.one.item == item else each.one
    return f"{each.answer.level.word} with {other}: {cited.pair(each)}"

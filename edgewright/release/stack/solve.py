# SPDX-License-Identifier: Apache-2.0
"""From wants to a stack, or to a refusal that says why.

universe = make_universe(profile.as_dict(), load_facts(), waiver=None, on=date.today())
outcome = solve(universe, wants)
outcome.ok, outcome.items if outcome.ok else outcome.because
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgewright.release.stack.failure import because
from edgewright.release.stack.model import Answer, Candidate, Level, Problem
from edgewright.release.stack.resolution import resolve
from edgewright.release.stack.universe import Universe
from edgewright.release.stack.version import Version, Want

__all__ = ["SCHEMA", "Outcome", "PairAnswer", "pair_answers", "problem_of", "solve"]

SCHEMA = "edgewright.stack/v1"


@dataclass(frozen=True)
class PairAnswer:
    """Two chosen candidates and how they go together."""

    one: Candidate
    other: Candidate
    answer: Answer

    def as_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "items": {each.item: each.version for each in (self.one, self.other)},
            "level": self.answer.level.word,
            "known": self.answer.known,
            "why": self.answer.why,
            "sources": list(self.answer.sources),
        }


@dataclass(frozen=True)
class Outcome:
    """A stack or a refusal.

    Attributes:
        ok: Whether there is a stack.
        universe: What it was chosen from.
        wants: What was wanted.
        chosen: Candidate per item; empty when refused.
        answers: Of each related pair of the choice.
        because: Sentences that tell why nothing fits; empty when something does.
        sources: Of those sentences, in the order of their numbers.
        notes: Sentences beyond the pairs: support that ended, packages that the site must supply.
    """

    ok: bool
    universe: Universe
    wants: tuple[Want, ...]
    chosen: dict[str, Candidate] = field(default_factory=dict)
    answers: tuple[PairAnswer, ...] = ()
    because: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[PairAnswer, ...]:
        """Pairs that are not FULL."""
        return tuple(each for each in self.answers if each.answer.level is not Level.FULL)

    @property
    def waived(self) -> bool:
        """Whether the stack stands on the waiver."""
        return any(each.answer.level is Level.WAIVED for each in self.answers)

    def as_json(self) -> dict[str, Any]:
        """Schema edgewright.stack/v1."""
        waiver = self.universe.waiver if self.waived else None
        return {
            "schema": SCHEMA,
            "profile": self.universe.profile,
            "on": self.universe.on.isoformat(),
            "wants": [str(want) for want in self.wants],
            "result": "fits" if self.ok else "refused",
            "items": {
                item: {"version": each.version, **({"name": each.label} if each.label else {})}
                for item, each in self.chosen.items()
            },
            "answers": [each.as_json() for each in self.answers],
            "waiver": waiver.as_json() if waiver else None,
            "notes": list(self.notes),
            "because": list(self.because),
            "sources": list(self.sources),
        }


def problem_of(universe: Universe, wants: Sequence[Want]) -> Problem:
    """The problem of choosing the wanted items and what they need, without the wants' limits."""
    items = universe.active(want.item for want in wants if want.item in universe.domains)
    return Problem({item: universe.domains[item] for item in items}, universe.judges)


def solve(universe: Universe, wants: Sequence[Want]) -> Outcome:
    """Choose one version of every item that is wanted or needed.

    Args:
        universe: What there is.
        wants: Limits; several for one item must all hold.

    Returns:
        The stack, or why there is none.
    """
    told = tuple(wants)
    absent = [want for want in told if want.item not in universe.domains]
    if absent:
        has = {"nvidia": "an NVIDIA card", "tegra": "a Jetson module", "none": "no NVIDIA GPU"}[universe.gpu]
        lines = tuple(
            f"Because {want} is wanted ({want.origin}) and profile {universe.profile} has {has},"
            f" for which there is no {want.item}, no stack fits."
            for want in absent
        )
        return Outcome(False, universe, told, because=lines)
    problem = problem_of(universe, told)
    limited = {
        item: tuple(each for each in found if all(w.fits(each.version) for w in told if w.item == item))
        for item, found in problem.domains.items()
    }
    chosen = resolve(problem.narrowed(limited)) if all(limited.values()) else None
    if chosen is None:
        lines, sources = because(problem, told)
        return Outcome(False, universe, told, because=lines, sources=sources)
    return Outcome(
        True, universe, told, chosen, tuple(pair_answers(problem, chosen)), notes=_notes(universe, chosen)
    )


def pair_answers(problem: Problem, chosen: dict[str, Candidate]) -> list[PairAnswer]:
    """The answers for every related pair, in the problem's order."""
    found = []
    for one, other in problem.judges:
        if one in chosen and other in chosen:
            answer = problem.answer(chosen[one], chosen[other])
            if answer is not None:
                found.append(PairAnswer(chosen[one], chosen[other], answer))
    return found


def _notes(universe: Universe, chosen: dict[str, Candidate]) -> tuple[str, ...]:
    notes = []
    driver = chosen.get("driver")
    if driver is not None:
        branch = universe.facts.one("branches", branch=Version.parse(driver.version).major)
        if branch is not None and branch["eol"] and branch["eol"] < universe.on.strftime("%Y-%m"):
            notes.append(
                f"NVIDIA's support of driver branch R{branch['branch']} ended in {branch['eol']}"
                f" ({branch.told})"
            )
        if driver.data["origin"] == "nvidia":
            notes.append(
                f"driver {driver.version} is not in Debian: the site supplies NVIDIA's packages, pinned by"
                " digest"
            )
    supplied = [
        item
        for item in ("cudnn", "tensorrt", "container-toolkit")
        if item in chosen and universe.gpu == "nvidia"
    ]
    if supplied:
        notes.append(
            f"not in Debian, so the site supplies NVIDIA's files, pinned by digest: {', '.join(supplied)}"
        )
    return tuple(notes)

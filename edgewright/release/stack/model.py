# SPDX-License-Identifier: Apache-2.0
"""The values that the resolver works on; they know nothing of NVIDIA, so that tests can make small ones.

A `Problem` has items, each with candidates in order of preference, and an answer for every pair of
candidates that have to do with each other. A solution takes one candidate per item, none of whose
pairs is refused. Everything is in a stated order, so the same problem has the same solution.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Candidate", "Level", "Pair", "Problem"]


class Level(enum.IntEnum):
    """How well two candidates go together, from best to worst.

    FULL: a source names the pair. MINOR: CUDA's minor-version compatibility or the like: it runs, what is
    newer may be missing; a warning. WAIVED: refused, and a named person set that aside. REFUSED: a source
    says no, or no verified source says yes.
    """

    FULL = 0
    MINOR = 1
    WAIVED = 2
    REFUSED = 3

    @property
    def word(self) -> str:
        """For messages and JSON."""
        return ("full", "minor-version compatible", "waived", "refused")[self]


@dataclass(frozen=True)
class Answer:
    """The answer for a pair.

    Attributes:
        level: How well they go together.
        why: A clause that can stand after "because", without a full stop.
        sources: Where it was read.
        known: Whether a verified fact decides; False only where the lack of one refuses.
    """

    level: Level
    why: str
    sources: tuple[str, ...] = ()
    known: bool = True


@dataclass(frozen=True)
class Candidate:
    """One possible choice for an item.

    Attributes:
        item: The item's name.
        version: What wants compare: a version or a word.
        label: The candidate's own name, unique within the item; shown where it differs from the version.
        data: The row behind it, for the relations.
        sources: Where its existence was read.
    """

    item: str
    version: str
    label: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False, repr=False)
    sources: tuple[str, ...] = field(default=(), compare=False, hash=False, repr=False)

    @property
    def name(self) -> str:
        """The version, with the label where that says more."""
        return f"{self.version} ({self.label})" if self.label and self.label != self.version else self.version

    def __str__(self) -> str:
        return f"{self.item} {self.name}"


Pair = tuple[Candidate, Candidate]
Judge = Callable[[Candidate, Candidate], Answer | None]


class Problem:
    """Items, their candidates, and the answers for pairs.

    Args:
        domains: Candidates of each item in order of preference; the items' order is the mapping's.
        judges: For two items (in the order of `domains`), the function that answers for their candidates;
            it gives None where the two have nothing to do with each other.
    """

    def __init__(
        self, domains: Mapping[str, Sequence[Candidate]], judges: Mapping[tuple[str, str], Judge]
    ) -> None:
        self.domains: dict[str, tuple[Candidate, ...]] = {item: tuple(each) for item, each in domains.items()}
        order = {item: number for number, item in enumerate(self.domains)}
        self.judges: dict[tuple[str, str], Judge] = {}
        for (first, second), judge in judges.items():
            if first in order and second in order:
                if order[first] > order[second]:
                    raise ValueError(f"judge of {first} and {second}: name the items in the order of domains")
                self.judges[first, second] = judge
        self._order = order
        self._answers: dict[Pair, Answer | None] = {}

    def related(self, item: str) -> list[str]:
        """Items that have a judge together with this one, in order."""
        return [other for other in self.domains if self._key(item, other) in self.judges]

    def answer(self, one: Candidate, other: Candidate) -> Answer | None:
        """The answer for two candidates in any order; None where nothing relates them."""
        if self._order[one.item] > self._order[other.item]:
            one, other = other, one
        judge = self.judges.get((one.item, other.item))
        if judge is None:
            return None
        pair = (one, other)
        if pair not in self._answers:
            self._answers[pair] = judge(one, other)
        return self._answers[pair]

    def level(self, one: Candidate, other: Candidate) -> Level:
        """The level of two candidates; FULL where nothing relates them."""
        found = self.answer(one, other)
        return Level.FULL if found is None else found.level

    def narrowed(
        self, domains: Mapping[str, Sequence[Candidate]], judges: Sequence[tuple[str, str]] | None = None
    ) -> Problem:
        """The same with other candidates, and with only the named judges; answers are not computed twice."""
        kept = {key: judge for key, judge in self.judges.items() if judges is None or key in judges}
        made = Problem(domains, kept)
        made._answers = self._answers
        return made

    def known(self) -> Problem:
        """The same without refusals that only the lack of a fact gives."""

        def only_known(judge: Judge) -> Judge:
            def judged(one: Candidate, other: Candidate) -> Answer | None:
                answer = judge(one, other)
                return answer if answer is None or answer.known else None

            return judged

        return Problem(self.domains, {pair: only_known(judge) for pair, judge in self.judges.items()})

    def _key(self, one: str, other: str) -> tuple[str, str]:
        return (one, other) if self._order[one] < self._order[other] else (other, one)

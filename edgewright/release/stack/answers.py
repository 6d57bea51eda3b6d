# SPDX-License-Identifier: Apache-2.0
"""Answers for pairs, made from facts: full, minor-version compatible, refused, not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgewright.release.stack.facts import Row
from edgewright.release.stack.model import Answer, Candidate, Level

__all__ = ["full", "judged", "minor", "refused", "row_of", "sources_of", "unknown"]


def sources_of(rows: tuple[Row | None, ...]) -> tuple[str, ...]:
    """Sources and dates of facts, each once."""
    return tuple(dict.fromkeys(row.told for row in rows if row is not None))


def full(why: str, *rows: Row | None) -> Answer:
    """A source names the pair."""
    return Answer(Level.FULL, why, sources_of(rows))


def minor(why: str, *rows: Row | None) -> Answer:
    """It runs; a warning tells what is not covered."""
    return Answer(Level.MINOR, why, sources_of(rows))


def refused(why: str, *rows: Row | None) -> Answer:
    """A source says no."""
    return Answer(Level.REFUSED, why, sources_of(rows))


def unknown(why: str, *rows: Row | None) -> Answer:
    """No verified source says yes."""
    return Answer(Level.REFUSED, why, sources_of(rows), known=False)


def judged(
    known: Any,
    fits: Callable[[Any], bool],
    *rows: Row | None,
    absent: str,
    yes: str | Callable[[Any], str],
    no: str | Callable[[Any], str],
) -> Answer:
    """Judge by one value of a fact: not known without it, else full or refused.

    Args:
        known: The value; None where no verified source has it.
        fits: Whether it says yes.
        rows: The facts that were asked.
        absent, yes, no: The clause for each answer; a function of the value where that is told.
    """
    if known is None:
        return unknown(absent, *rows)
    make, why = (full, yes) if fits(known) else (refused, no)
    return make(why if isinstance(why, str) else why(known), *rows)


def row_of(candidate: Candidate) -> Row:
    """The fact behind a candidate."""
    row = candidate.data
    assert isinstance(row, Row), f"{candidate} has no fact behind it"  # noqa: S101 - a mistake of this program
    return row

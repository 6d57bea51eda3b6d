# SPDX-License-Identifier: Apache-2.0
"""Answers for pairs, made from facts: full, minor-version compatible, refused, not known."""

from __future__ import annotations

from edgewright.release.stack.facts import Row
from edgewright.release.stack.model import Answer, Candidate, Level

__all__ = ["full", "minor", "refused", "row_of", "sources_of", "unknown"]


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


def row_of(candidate: Candidate) -> Row:
    """The fact behind a candidate."""
    row = candidate.data
    assert isinstance(row, Row), f"{candidate} has no fact behind it"  # noqa: S101 - a mistake of this program
    return row

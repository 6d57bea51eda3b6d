# SPDX-License-Identifier: Apache-2.0
"""Solving with the carried profiles and facts, in one line."""

from __future__ import annotations

import datetime

from edgewright.device.profile import carried_profiles, load_profile
from edgewright.release.stack.facts import Facts, load_facts
from edgewright.release.stack.solve import Outcome, solve
from edgewright.release.stack.universe import NUMBERS, WORDS, Universe, make_universe
from edgewright.release.stack.version import Want
from edgewright.release.stack.waiver import Waiver

DAY = datetime.date(2026, 11, 21)
WAIVER = Waiver("A. Person", "the line stops without it", datetime.date(2027, 6, 30))


def universe_of(
    profile: str, waiver: Waiver | None = None, on: datetime.date = DAY, facts: Facts | None = None
) -> Universe:
    """The universe of a carried profile."""
    found = load_profile(profile, [carried_profiles()]).as_dict()
    return make_universe(found, facts or load_facts(), waiver, on)


def wants_of(text: str) -> list[Want]:
    """Wants between spaces."""
    return [Want.parse(part, WORDS, NUMBERS) for part in text.split()]


def solved(profile: str, wants: str = "", waiver: Waiver | None = None, on: datetime.date = DAY) -> Outcome:
    """What comes of wants for a profile."""
    return solve(universe_of(profile, waiver, on), wants_of(wants))


def versions(outcome: Outcome) -> dict[str, str]:
    """Chosen versions by item."""
    return {item: candidate.version for item, candidate in outcome.chosen.items()}

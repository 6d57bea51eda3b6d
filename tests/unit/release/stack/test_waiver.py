# SPDX-License-Identifier: Apache-2.0
"""The waiver's form."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from edgewright.errors import InputError
from edgewright.release.stack.waiver import parse_waiver

GOOD: dict[str, Any] = {"who": "A. Person", "why": "tests", "until": "2027-06-30"}


def test_a_waiver_is_read() -> None:
    waiver = parse_waiver(GOOD, "here")
    assert waiver.as_json() == GOOD
    assert waiver.counts(datetime.date(2027, 6, 30))
    assert not waiver.counts(datetime.date(2027, 7, 1))


def test_a_date_of_yaml_is_read_too() -> None:
    assert parse_waiver({**GOOD, "until": datetime.date(2027, 6, 30)}, "here").until.year == 2027


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"who": ""}, "who: expected words"),
        ({"why": "  "}, "why: expected words"),
        ({"who": 7}, "who: expected words, got 7"),
        ({"until": "soon"}, "until: expected a day such as"),
        ({"until": "2027-02-30"}, "until: expected a day"),
        ({"until": None}, "until: expected a day"),
        ({"for": "ever"}, "unknown for"),
    ],
)
def test_a_wrong_one_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_waiver({**GOOD, **change}, "here")


@pytest.mark.parametrize("key", sorted(GOOD))
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(InputError, match=f"here: missing {key}"):
        parse_waiver({name: value for name, value in GOOD.items() if name != key}, "here")


def test_a_sentence_is_no_waiver() -> None:
    with pytest.raises(InputError, match="expected a mapping"):
        parse_waiver("because I say so", "here")

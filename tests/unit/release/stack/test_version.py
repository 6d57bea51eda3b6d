# SPDX-License-Identifier: Apache-2.0
"""Versions and wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import InputError
from edgewright.release.stack.universe import NUMBERS, WORDS
from edgewright.release.stack.version import Version, Want

_NUMBERS = st.lists(st.integers(0, 999), min_size=1, max_size=5)


def want(text: str) -> Want:
    return Want.parse(text, WORDS, NUMBERS)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("550.54.14", "550.163.01"),
        ("535.309.01", "550.54.14"),
        ("12.9", "12.10"),
        ("9.9.0", "10"),
        ("580.65.06", "580.65.7"),
    ],
)
def test_versions_compare_as_numbers(less: str, more: str) -> None:
    assert Version.parse(less) < Version.parse(more)
    assert not Version.parse(more) < Version.parse(less)


@given(_NUMBERS, _NUMBERS)
def test_order_is_that_of_padded_numbers(one: list[int], other: list[int]) -> None:
    length = max(len(one), len(other))
    first, second = Version(tuple(one)), Version(tuple(other))
    padded = [numbers + [0] * (length - len(numbers)) for numbers in (one, other)]
    assert (first < second) == (padded[0] < padded[1])
    assert (first == second) == (padded[0] == padded[1])
    if first == second:
        assert hash(first) == hash(second)


@pytest.mark.parametrize(
    ("text", "version", "fits"),
    [
        ("tensorrt>=10,<11", "10.14.1", True),
        ("tensorrt>=10,<11", "11.0.0", False),
        ("tensorrt>=10,<11", "8.6.1", False),
        ("cuda==12.4", "12.4.0", True),
        ("cuda==12.4", "12.4.1", True),
        ("cuda=12.4", "12.4.1", True),
        ("cuda==12.4.*", "12.4.1", True),
        ("cuda==12.4", "12.40", False),
        ("cuda==12.4.0", "12.4", True),
        ("cuda!=12.4", "12.4.1", False),
        ("cuda!=12.4", "12.5.0", True),
        ("cuda>12.4", "12.4.0", False),
        ("cuda>12.4", "12.4.1", True),
        ("cuda<=12.4", "12.4.0", True),
        ("driver == 535.54.3", "535.54.03", True),
        ("suite==bookworm", "bookworm", True),
        ("suite==bookworm", "trixie", False),
        ("suite!=bookworm", "trixie", True),
        ("driver", "1.0", True),
    ],
)
def test_what_fits(text: str, version: str, fits: bool) -> None:
    assert want(text).fits(version) is fits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensort>=10", "did you mean tensorrt"),
        ("driver>=535,", "'' is no comparison"),
        ("driver>=", "'>=' is no comparison"),
        ("driver~=535", "no comparison"),
        ("driver>=535.x", "not a version of driver"),
        ("driver>=535.*", r"goes with == and != only"),
        ("suite>=bookworm", "only == and != compare it"),
        ("cuda==twelve", "not a version of cuda"),
        (">=535", "expected an item"),
        ("", "expected an item"),
        ("driver 535", "no comparison"),
        ("tensorrt>=10 <11", "no comparison"),
    ],
)
def test_what_is_no_want_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        want(text)
    assert text in str(caught.value) or not text


@pytest.mark.parametrize("text", ["", "535.", ".5", "5-1", "12.x", "v12", "1" * 20])
def test_what_is_no_version_is_refused(text: str) -> None:
    assert not Version.is_version(text)
    with pytest.raises(InputError, match="expected numbers between dots"):
        Version.parse(text)


def test_a_want_reads_back_as_it_was_written() -> None:
    assert str(want("tensorrt >= 10, < 11")) == "tensorrt>=10,<11"
    assert want(str(want("cuda==12.4"))) == want("cuda==12.4")

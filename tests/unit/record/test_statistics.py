# SPDX-License-Identifier: Apache-2.0
"""Quantiles and their bounds: against counting by hand, and against drawing many samples."""

from __future__ import annotations

import math
import random

import pytest

from edgewright.errors import InputError
from edgewright.record.statistics import least_samples, quantile, quantile_weighted


def _below(total: int, p: float, k: int) -> float:
    """P(binomial(total, p) < k), summed with exact integers of combinations."""
    return math.fsum(math.comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(k))


@pytest.mark.parametrize(
    ("total", "p"), [(20, 0.5), (100, 0.5), (59, 0.9), (299, 0.99), (500, 0.99), (1000, 0.9)]
)
def test_ranks_are_the_tightest_that_keep_the_confidence(total: int, p: float) -> None:
    found = quantile(range(1, total + 1), p)
    low, high = found.low, found.high
    assert low is not None and high is not None
    assert _below(total, p, int(low)) <= 0.05 < _below(total, p, int(low) + 1)
    assert _below(total, p, int(high)) >= 0.95 > _below(total, p, int(high) - 1)
    assert low <= found.value <= high


def test_conover_example_of_the_median() -> None:
    # 16 samples, median: ranks 5 and 12 leave 0.0384 on each side (Conover 1999, section 3.2, table A3).
    found = quantile(range(1, 17), 0.5)
    assert (found.low, found.high) == (5, 12)


@pytest.mark.parametrize(("p", "samples"), [(0.5, 5), (0.9, 29), (0.99, 299), (0.999, 2995)])
def test_too_few_samples_give_no_upper_bound(p: float, samples: int) -> None:
    assert least_samples(p) == samples
    assert quantile([1.0] * samples, p).high == 1.0
    assert quantile([1.0] * (samples - 1), p).high is None


def test_one_sample_bounds_a_high_quantile_from_below_only() -> None:
    # It is below the true 99th percentile with probability 0.99.
    found = quantile([7.0], 0.99)
    assert (found.value, found.low, found.high) == (7.0, 7.0, None)
    assert quantile([7.0], 0.5).low is None


def test_bounds_hold_as_often_as_they_say() -> None:
    rng = random.Random(4711)  # noqa: S311 - a seed for a test
    true = -math.log(1 - 0.9)  # 90th percentile of the exponential distribution
    below = above = 0
    for _ in range(2000):
        found = quantile([rng.expovariate(1.0) for _ in range(120)], 0.9)
        assert found.low is not None and found.high is not None
        below += found.high < true
        above += found.low > true
    assert below / 2000 < 0.06 and above / 2000 < 0.06


def test_histogram_and_samples_agree() -> None:
    samples = [1.0] * 700 + [2.0] * 250 + [9.0] * 50
    assert quantile(samples, 0.9) == quantile_weighted({9.0: 50, 1.0: 700, 2.0: 250, 5.0: 0}, 0.9)


def test_many_samples_take_no_time() -> None:
    found = quantile_weighted({1.0: 99_000_000, 2.0: 1_000_000}, 0.999)
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("samples", "p", "confidence"), [([], 0.5, 0.95), ([1.0], 0, 0.95), ([1.0], 1, 0.95), ([1.0], 0.5, 1)]
)
def test_refused(samples: list[float], p: float, confidence: float) -> None:
    with pytest.raises(InputError, match="computing a quantile"):
        quantile(samples, p, confidence)

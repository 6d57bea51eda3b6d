# SPDX-License-Identifier: Apache-2.0
"""Quantiles with confidence bounds that assume nothing about how latencies are distributed. Pure.

Of N independent samples in order, X(1) <= ... <= X(N), the number of samples below the true
p-quantile is binomial(N, p). So P(X(l) <= quantile <= X(u)) can be counted without knowing the
distribution: the interval of order statistics (H. A. David and H. N. Nagaraja, Order Statistics,
3rd edition, 2003, section 7.1; W. J. Conover, Practical Nonparametric Statistics, 3rd edition, 1999,
section 3.2). The price is honest: with few samples there is no upper bound at all. A one-sided 95 %
upper bound of the 99th percentile takes 299 samples, because 0.99 ** 298 > 0.05 >= 0.99 ** 299.

Latencies that follow each other are not quite independent; the bounds are stated for independent ones.

Example:
    quantile([1.0] * 299, 0.99).high   # 1.0
    quantile([1.0] * 298, 0.99).high   # None: too few
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgewright.errors import InputError

__all__ = ["CONFIDENCE", "Quantile", "Weighted", "least_samples", "quantile", "quantile_weighted"]

# Each bound alone holds with this confidence; both together with 1 - 2 * (1 - CONFIDENCE).
CONFIDENCE = 0.95

Weighted = Mapping[float, int]
"""Value to how often it was seen: a histogram."""


@dataclass(frozen=True)
class Quantile:
    """A quantile as observed, with bounds for the true one.

    Attributes:
        p: which quantile, between 0 and 1.
        value: the sample at rank ceil(p * N), in the samples' unit.
        low: the true quantile is not below this, with confidence `CONFIDENCE`; None: too few samples.
        high: the true quantile is not above this, with confidence `CONFIDENCE`; None: too few samples.
    """

    p: float
    value: float
    low: float | None
    high: float | None


def quantile(samples: Sequence[float], p: float, confidence: float = CONFIDENCE) -> Quantile:
    """Quantile of samples.

    Args:
        samples: in any order and unit; at least one.
        p: which quantile, above 0 and below 1.
        confidence: of each bound, above 0 and below 1.

    Raises:
        InputError: no samples, or p or the confidence out of range.
    """
    counts: dict[float, int] = {}
    for sample in samples:
        counts[sample] = counts.get(sample, 0) + 1
    return quantile_weighted(counts, p, confidence)


def quantile_weighted(counts: Weighted, p: float, confidence: float = CONFIDENCE) -> Quantile:
    """Quantile of samples given as a histogram; see `quantile`."""
    ordered = sorted((value, count) for value, count in counts.items() if count > 0)
    total = sum(count for _, count in ordered)
    if not total:
        raise InputError("computing a quantile: expected at least one sample, got none")
    if not 0 < p < 1 or not 0 < confidence < 1:
        raise InputError(f"computing a quantile: expected 0 < p, confidence < 1, got {p} and {confidence}")
    rank = min(total, max(1, math.ceil(p * total - 1e-9)))
    low, high = _ranks(total, p, confidence)
    at = _Ranks(ordered)
    return Quantile(p, at.value(rank), at.value(low) if low else None, at.value(high) if high else None)


def least_samples(p: float, confidence: float = CONFIDENCE) -> int:
    """How many samples it takes for the p-quantile to have an upper bound at all."""
    return math.ceil(math.log(1 - confidence) / math.log(p) - 1e-12)


class _Ranks:
    """The sample at a rank (1 is the smallest) of a histogram."""

    def __init__(self, ordered: Iterable[tuple[float, int]]) -> None:
        self._ends: list[tuple[int, float]] = []
        seen = 0
        for value, count in ordered:
            seen += count
            self._ends.append((seen, value))

    def value(self, rank: int) -> float:
        return self._ends[bisect_left(self._ends, (rank, -math.inf))][1]


def _ranks(total: int, p: float, confidence: float) -> tuple[int | None, int | None]:
    """Ranks of the bounds: the largest l with P(B < l) <= alpha, the smallest u with P(B < u) >= confidence.

    B, binomial(total, p), counts the samples at or below the quantile: X(l) is at or below it when
    B >= l, and X(u) at or above it when B < u.
    """
    alpha = 1 - confidence
    below = 0.0  # P(B < k), summed from the smallest term on, in logarithms against underflow
    log_p, log_q = math.log(p), math.log1p(-p)
    log_all = math.lgamma(total + 1)
    # Terms further than 40 standard deviations below the mean add up to nothing that a double can hold.
    first = max(0, int(total * p - 40 * math.sqrt(total * p * (1 - p))) - 1)
    low = first if first >= 1 else None
    for k in range(first, total + 1):
        if k >= 1 and below <= alpha:
            low = k
        if k >= 1 and below >= confidence:
            return low, k
        log_term = log_all - math.lgamma(k + 1) - math.lgamma(total - k + 1) + k * log_p + (total - k) * log_q
        below += math.exp(log_term) if log_term > -745 else 0.0
    return low, None

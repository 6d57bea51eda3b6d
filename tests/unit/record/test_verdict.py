# SPDX-License-Identifier: Apache-2.0
"""Verdicts and their reasons, in tables."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.record.statistics import Quantile
from edgewright.record.verdict import Judged, combine, emulation, judge_function, judge_kernel, judge_time

EMULATED = emulation("qemu")


def q(value: float, low: float | None, high: float | None) -> Quantile:
    return Quantile(0.99, value, low, high)


TIME: dict[str, tuple[dict[str, Any], str, str]] = {
    "kept": ({}, "pass", "not above 21 ms"),
    "missed": ({"latency": q(80, 60, 90)}, "fail", "not below 60 ms"),
    "undecided": ({"latency": q(49, 40, 60)}, "inconclusive", "between 40 and 60 ms"),
    "undecided above": ({"latency": q(55, 49, 60)}, "inconclusive", "measure longer"),
    "too few": ({"latency": q(20, 19, None), "samples": 100}, "inconclusive", "takes 299"),
    "too few, and too slow all the same": ({"latency": q(80, 60, None)}, "fail", "not below 60 ms"),
    "no answer": ({"latency": None, "samples": 0}, "inconclusive", "no latency was observed"),
    "rate not held": ({"rate": (10.0, 7.0)}, "fail", "observed 7 requests a second, wanted 10"),
    "late wake-up": ({"wakeup": ([2, 3], 101.0)}, "fail", "worst observed 101 us, limit 100 us"),
    "wake-up not measured": ({"wakeup": "no cyclictest"}, "inconclusive", "no cyclictest"),
    "late wake-up under emulation": (
        {"wakeup": ([2, 3], 9000.0), "emulated": EMULATED},
        "inconclusive",
        "emulated",
    ),
    "good under emulation": ({"emulated": EMULATED}, "inconclusive", "emulated by QEMU"),
}


@pytest.mark.parametrize(("changes", "verdict", "reason"), TIME.values(), ids=TIME.keys())
def test_time(changes: dict[str, Any], verdict: str, reason: str) -> None:
    given: dict[str, Any] = {
        "intent": {"latency_p99_ms": 50.0, "wakeup_worst_us": 100.0},
        "latency": q(20, 19, 21),
        "samples": 600,
        "rate": (10.0, 9.99),
        "wakeup": ([2, 3], 40.0),
        "emulated": None,
    }
    judged = judge_time(**{**given, **changes})
    assert judged.verdict == verdict
    assert reason in "; ".join(judged.reasons)
    assert "guarantee" not in "; ".join(judged.reasons)


@pytest.mark.parametrize(
    ("printed", "emulated"), [("qemu", True), (None, True), ("", True), ("kvm", False), ("none", False)]
)
def test_emulation(printed: str | None, emulated: bool) -> None:
    assert (emulation(printed) is not None) == emulated


PLAN = {
    "images": {"runtime": "sha256:a", "m": "sha256:b"},
    "isolated": True,
    "slice": "edgert.slice",
    "expected": ["A", "B"],
}
FACTS = {"images": {"runtime": "sha256:a", "m": "sha256:b"}, "partition": "isolated"}
REQUESTS = {"sent": 4, "errors": 0, "error_examples": [], "texts": [{"A": 2}, {"B": 2}]}
FUNCTION: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "right": ({}, {}, "pass", "all 4 answers to 2 fresh labels"),
    "wrong text": ({}, {"texts": [{"A": 1, "4": 1}, {"B": 2}]}, "fail", "label 'A' was read as '4' 1 time"),
    "never answered": ({}, {"texts": [{"A": 2}, {}]}, "fail", "label 'B' was never answered"),
    "errors": (
        {},
        {"errors": 1, "error_examples": ["status 503"]},
        "fail",
        "1 of 4 requests were not answered: status 503",
    ),
    "other image": (
        {"images": {"runtime": "sha256:c", "m": "sha256:b"}},
        {},
        "fail",
        "ran sha256:c, the lock says sha256:a",
    ),
    "no container": ({"images": {}}, {}, "fail", "ran none"),
    "partition lost": ({"partition": "isolated invalid (Cpu list)"}, {}, "fail", "reads isolated invalid"),
}


@pytest.mark.parametrize(("facts", "requests", "verdict", "reason"), FUNCTION.values(), ids=FUNCTION.keys())
def test_function(facts: dict[str, Any], requests: dict[str, Any], verdict: str, reason: str) -> None:
    judged = judge_function(PLAN, {**FACTS, **facts}, {**REQUESTS, **requests})
    assert (judged.verdict, reason in "; ".join(judged.reasons)) == (verdict, True), judged


LOG = {
    "lines": 3,
    "found": {"bug": 0, "warning": 0, "lockup": 0, "stall": 0},
    "examples": [],
    "complete": True,
    "error": None,
}
KERNEL: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "quiet": ({}, None, "pass"),
    "bug": ({"found": {"bug": 1}, "examples": ["BUG: x"]}, None, "fail"),
    "bug under emulation": ({"found": {"bug": 1}}, EMULATED, "fail"),
    "stall": ({"found": {"stall": 1}}, None, "fail"),
    "stall under emulation": ({"found": {"stall": 1, "bug": 0}}, EMULATED, "inconclusive"),
    "lost lines": ({"complete": False}, None, "inconclusive"),
    "not readable": ({"error": "permission denied"}, None, "inconclusive"),
}


@pytest.mark.parametrize(("changes", "emulated", "verdict"), KERNEL.values(), ids=KERNEL.keys())
def test_kernel(changes: dict[str, Any], emulated: str | None, verdict: str) -> None:
    assert judge_kernel({**LOG, **changes}, emulated).verdict == verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        (["pass", "pass", "pass"], "pass"),
        (["pass", "inconclusive", "pass"], "inconclusive"),
        (["inconclusive", "fail", "pass"], "fail"),
    ],
)
def test_combine(parts: list[Any], verdict: str) -> None:
    assert combine(Judged(part, ("why",)) for part in parts) == verdict
